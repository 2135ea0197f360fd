//! `bench --against`: the user's own kernel beside ours.

mod common;

use std::path::Path;
use std::process::Command;

use common::{example, fail, run, scratch};
use serde_json::Value;

/// y <- a x + y, whole; with the last element left out; and one that refuses.
const KERNELS: &str = r#"
use std::slice::{from_raw_parts, from_raw_parts_mut};
unsafe fn axpy(tensors: *const *mut f32, n: usize, a: f32) {
    let (x, y) = unsafe { (from_raw_parts(*tensors, n), from_raw_parts_mut(*tensors.add(1), n)) };
    for (y, x) in y.iter_mut().zip(x) { *y += a * x; }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn whole(t: *const *mut f32, sizes: *const i64, scalars: *const u64, _: i64) -> i32 {
    unsafe { axpy(t, *sizes as usize, f32::from_bits(*scalars as u32)) };
    0
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn short(t: *const *mut f32, sizes: *const i64, scalars: *const u64, _: i64) -> i32 {
    unsafe { axpy(t, *sizes as usize - 1, f32::from_bits(*scalars as u32)) };
    0
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn refuses(_: *const *mut f32, _: *const i64, _: *const u64, _: i64) -> i32 { 7 }
"#;

/// The kernels as a shared library.
fn library(folder: &Path) -> String {
    let (source, library) = (folder.join("kernels.rs"), folder.join("libkernels.so"));
    std::fs::write(&source, KERNELS).expect("written");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let built = Command::new(rustc)
        .args(["--crate-type", "cdylib", "--edition", "2024", "-O", "-o"])
        .args([&library, &source])
        .status()
        .expect("rustc runs");
    assert!(built.success());
    library.display().to_string()
}

#[test]
fn kernels_of_the_users_are_judged_and_timed() {
    let folder = scratch("against");
    let library = library(&folder);
    let bench = |symbol: &str| {
        let against = format!("{library}:{symbol}");
        run(&["bench", &example("saxpy"), "--size", "N=1000", "--against", &against, "--json"])
    };
    let result = |out: &str| serde_json::from_str::<Value>(out).expect("one document")["results"][0].clone();

    let (code, out, err) = bench("whole");
    assert_eq!(code, 0, "{err}");
    let rival = &result(&out)["against"];
    assert_eq!(rival["verified"], true);
    let ratio = |key: &str| rival["ratio"][key].as_f64().expect("a number");
    assert!(ratio("lo") > 0.0 && ratio("lo") <= ratio("median") && ratio("median") <= ratio("hi"), "{rival}");

    let (code, out, err) = bench("short");
    assert_eq!(code, 3, "{err}");
    assert_eq!(
        (&result(&out)["verified"], &result(&out)["against"]["verified"]),
        (&true.into(), &false.into())
    );

    let saxpy = example("saxpy");
    let bad = |against: &str, code, words: &[&str]| {
        fail(&["bench", &saxpy, "--size", "N=1000", "--against", against], code, words);
    };
    bad(&format!("{library}:refuses"), 1, &["`refuses` returned 7"]);
    bad(&format!("{library}:nothing"), 1, &["nothing"]);
    bad("no/such.so:whole", 1, &["no/such.so"]);
    bad("whole", 2, &["LIB.so:SYMBOL"]);
}
