//! `sample`: another program times ours, a sample at a time.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{data, example, fail, npy_f32, rooftile, scratch};

/// What the command answers to lines of input, and its exit code.
fn talk(args: &[&str], input: &str) -> (i32, Vec<String>) {
    let mut command = rooftile();
    let mut child =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut to = child.stdin.take().expect("its input");
    to.write_all(input.as_bytes()).expect("written");
    drop(to);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("an exit code"), text.lines().map(str::to_owned).collect())
}

/// Samples change what an `inout` holds; what is written is a first run's all the same.
#[test]
fn samples_and_results_on_request() {
    let folder = scratch("sample");
    let out = folder.join("u.npy").display().to_string();
    let (file, u) = (example("heat2d"), format!("u={}", data("heat2d.u.npy")));
    let with = ["--size", "T=10", "--set", "al=0.2", "--threads", "1", "--schedule", "default"];
    let args = [&["sample", &file, "--in", &u], with.as_slice()].concat();
    let input = format!("sample 3\nsample\nwaltz\nwrite nothing={out}\nwrite u={out}\nquit\nsample\n");
    let (code, lines) = talk(&args, &input);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[0], "ready");
    for line in &lines[1..3] {
        let seconds: Vec<f64> = line.split(' ').map(|s| s.parse().expect("seconds")).collect();
        assert_eq!(seconds.len(), 2);
        assert!(seconds.iter().all(|s| *s > 0.0), "{line}");
    }
    assert!(lines[3].starts_with("error: ") && lines[3].contains("waltz"), "{}", lines[3]);
    assert!(lines[4].starts_with("error: ") && lines[4].contains("nothing"), "{}", lines[4]);
    assert_eq!(lines[5], "written");
    let once = folder.join("once.npy").display().to_string();
    let given = format!("u={once}");
    let run = [&["run", &file, "--in", &u, "--out", &given], with.as_slice()].concat();
    common::succeed(&run);
    assert_eq!(npy_f32(&out), npy_f32(&once));
}

#[test]
fn what_cannot_be_timed_is_refused() {
    fail(&["sample", &example("saxpy"), "--device", "nest"], 2, &["interprets"]);
    fail(&["sample", &example("saxpy"), "--in", "q=q.npy"], 2, &["no tensor `q`"]);
}
