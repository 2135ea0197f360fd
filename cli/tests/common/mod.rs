//! Running the binary as a user does.

#![allow(dead_code, reason = "each suite uses a part of these")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// An example by name.
pub(crate) fn example(name: &str) -> String {
    root().join("dsl-examples").join(format!("{name}.tile")).display().to_string()
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> String {
    root().join("tests/data").join(name).display().to_string()
}

/// A folder for one test, removed and made again.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

/// A matrix product whose sizes take no time, written into a folder; gives its path.
pub(crate) fn small_task(folder: &Path) -> String {
    let path = folder.join("small.tile");
    std::fs::write(&path, include_str!("small.tile")).expect("written");
    path.display().to_string()
}

/// The command, with its cache in the tests' own folder.
pub(crate) fn rooftile() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rooftile"));
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command.env("NO_COLOR", "1");
    command
}

/// Runs the command and gives its exit code, standard output and standard error.
pub(crate) fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = rooftile().args(args).output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// Runs the command, which must succeed; gives its standard output.
pub(crate) fn succeed(args: &[&str]) -> String {
    let (code, out, err) = run(args);
    assert_eq!(code, 0, "{args:?}\n{out}{err}");
    out
}

/// Runs the command, which must fail with `code` and say each of `words` on standard error.
pub(crate) fn fail(args: &[&str], code: i32, words: &[&str]) {
    let (got, out, err) = run(args);
    assert_eq!(got, code, "{args:?}\n{out}{err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: `{word}` is not in:\n{err}");
    }
    assert!(!err.contains("panicked"), "{err}");
}

/// The raw data of a `.npy` file: everything behind its header.
pub(crate) fn npy_data(path: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).expect(path);
    assert_eq!(&bytes[..6], b"\x93NUMPY", "{path}");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + length..].to_vec()
}

/// The elements of a `.npy` file of 32-bit floats.
pub(crate) fn npy_f32(path: &str) -> Vec<f64> {
    npy_data(path).chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// The elements of a `.npy` file of 16-bit floats.
pub(crate) fn npy_f16(path: &str) -> Vec<f64> {
    let decode = |b: &[u8]| {
        let bits = u16::from_le_bytes([b[0], b[1]]);
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
        sign * if exponent == 0 {
            mantissa * 2f64.powi(-14)
        } else {
            (1.0 + mantissa) * 2f64.powi(exponent - 15)
        }
    };
    npy_data(path).chunks_exact(2).map(decode).collect()
}
