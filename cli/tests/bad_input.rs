//! Bad input: a clear error that names the place, and the right exit code.

mod common;

use std::io::Write as _;

use common::{data, example, fail, run, scratch, succeed};

/// Writes a file into a scratch folder and gives its path.
fn file(test: &str, text: &str) -> String {
    let path = scratch(test).join("k.tile");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

/// An example with one piece of text replaced by another.
fn edited(test: &str, name: &str, from: &str, to: &str) -> String {
    let source = std::fs::read_to_string(example(name)).expect("an example");
    assert!(source.contains(from), "{name} has no `{from}`");
    file(test, &source.replace(from, to))
}

#[test]
fn a_missing_size_is_named() {
    let path = file(
        "missing-size",
        "kernel k(x: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i] } }",
    );
    fail(&["run", &path], 2, &["`N`", "--size"]);
}

#[test]
fn an_unknown_size_is_a_usage_error() {
    fail(&["run", &example("matmul"), "--size", "Q=3"], 2, &["Q"]);
}

#[test]
fn a_wrong_type_in_a_numpy_file_is_named() {
    let input = format!("X={}", data("softmax.X.npy"));
    fail(&["run", &example("layernorm"), "--in", &input], 1, &["softmax.X.npy", "f16"]);
}

#[test]
fn a_file_that_is_no_array_is_named() {
    let input = format!("X={}", example("softmax"));
    fail(&["run", &example("softmax"), "--in", &input], 1, &["softmax.tile", "not a .npy file"]);
}

#[test]
fn sizes_that_disagree_are_an_error() {
    let a = format!("A={}", data("matmul.A.npy"));
    let b = format!("B={}", data("matmul.A.npy"));
    fail(&["run", &example("matmul"), "--in", &a, "--in", &b], 1, &["`B`", "13"]);
}

/// Another device may have matrix units: a schedule that wants them is no mistake.
#[test]
fn what_a_plain_device_lacks_is_a_warning() {
    let schedule = "schedule matmul for vulkan { grid(i, j) mma(acc) }\nschedule matmul for cpu";
    let path = edited("no-units", "matmul_f16", "schedule matmul for cpu", schedule);
    let (code, _, err) = run(&["check", &path]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning[E0505]") && err.contains("no matrices of f16"), "{err}");
}

/// What is much code where vectors have 128 bits is less with wider ones.
#[test]
fn blocks_that_the_widest_vectors_hold_are_good() {
    const WRITTEN: &str =
        "stage(B, at = k, in = local, layout = panel(vj))\n  vector(j, vj) unroll(i, ui) tail(i, j, peel)";
    let verbs = |rows: i64| format!("vector(j, 64) unroll(i, {rows}) unroll(k, 64)");
    let with = |rows| edited("wide", "matmul", WRITTEN, &verbs(rows));
    let (code, _, err) = run(&["check", &with(4)]);
    assert_eq!(code, 0, "{err}");
    fail(&["check", &with(64)], 1, &["E0504", "operations"]);
}

#[test]
fn a_tolerance_that_a_null_model_passes_is_refused() {
    let path = edited("loose", "matmul", "nrmse <= 2e-6, maxrel <= 2e-3", "nrmse <= 10.0");
    fail(&["check", "--deep", &path], 1, &["E0602"]);
    fail(
        &["search", &path, "--evals", "1", "--out", &scratch("loose-run").display().to_string()],
        1,
        &["E0602"],
    );
}

#[test]
fn an_unknown_verb_is_refused_with_a_suggestion() {
    let path = edited("verb", "matmul", "unroll(i, ui)", "unrol(i, ui)");
    fail(&["check", &path], 1, &["E0502", "unroll"]);
}

#[test]
fn an_unknown_anchor_is_refused_with_a_suggestion() {
    let path = edited("anchor", "matmul", "unroll(i, ui)", "keep(ac, in = reg)");
    fail(&["check", &path], 1, &["E0501", "`acc`"]);
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let source = std::fs::read_to_string(example("attention")).expect("an example");
    for cut in (0..source.len()).step_by(97).filter(|&cut| source.is_char_boundary(cut)) {
        let path = file("truncated", &source[..cut]);
        let (code, _, err) = run(&["check", &path]);
        assert!(code == 0 || code == 1, "cut at {cut}: exit {code}\n{err}");
        assert!(!err.contains("panicked"), "{err}");
    }
}

#[test]
fn a_missing_file_is_named() {
    fail(&["check", "no/such.tile"], 1, &["no/such.tile"]);
}

#[test]
fn a_size_too_large_for_memory_is_refused() {
    let size = "M=4000000,N=4000000,K=4";
    fail(&["run", &example("matmul"), "--size", size], 1, &["memory"]);
}

/// A trillion elements, on every device: the bytes are named before any is made.
#[test]
fn a_trillion_elements_are_refused_on_every_device() {
    let saxpy = example("saxpy");
    let size = "N=1000000000000";
    for device in ["cpu", "nest", "oracle"] {
        fail(&["run", &saxpy, "--size", size, "--device", device], 1, &["memory", "8000000000000 bytes"]);
    }
    fail(&["bench", &saxpy, "--size", size], 1, &["memory", "8000000000000 bytes"]);
    fail(&["explain", &saxpy, "--size", size], 1, &["memory", "8000000000000 bytes"]);
    let vulkan = ["run", &saxpy, "--size", size, "--device", "vulkan"];
    match run(&vulkan) {
        (4, _, err) => {
            assert!(err.contains("`vulkan` is not available"), "{err}");
            // Past the test harness, which keeps what a passing test prints.
            let _ = writeln!(std::io::stdout(), "\nSKIPPED: sizes too large for vulkan (no device)");
        }
        _ => {
            fail(&vulkan, 1, &["memory", "8000000000000 bytes"]);
            // There is memory for these, but elements are numbered by 31 bits.
            let text = "kernel k(x: in i8[N], y: out i8[N]) { for i in tiles(N; b) { y[i] = x[i] } }";
            let path = file("many-elements", text);
            let many = ["run", &path, "--size", "N=2200000000", "--device", "vulkan"];
            fail(&many, 1, &["has 2200000000 elements", "the device takes"]);
        }
    }
}

/// Memory that the system refuses, since the process may not have more, is an error and no crash.
#[test]
fn a_limit_on_the_process_is_respected() {
    let limited = |device: &str| {
        let script = "ulimit -v 2000000 && exec \"$0\" \"$@\"";
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_rooftile"), "run", &example("saxpy")]);
        shell.args(["--size", "N=400000000", "--device", device]);
        let out = shell.output().expect("a shell");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, err) = limited("cpu");
    assert!(code == Some(1) && err.contains("3200000000 bytes"), "{code:?}: {err}");
    // A driver may not even start in so little.
    let (code, err) = limited("vulkan");
    let refused = code == Some(1) && err.contains("3200000000 bytes");
    assert!(refused || code == Some(4) && err.starts_with("error: "), "{code:?}: {err}");
}

#[test]
fn an_oracle_too_slow_is_refused() {
    let path = edited("slow", "nbody", "{N=256, T=10}", "{N=2000000, T=1000}");
    fail(
        &["search", &path, "--evals", "1", "--out", &scratch("slow-run").display().to_string()],
        1,
        &["E0604"],
    );
}

#[test]
fn a_missing_device_has_its_own_code() {
    fail(&["run", &example("saxpy"), "--size", "N=8", "--device", "cuda"], 4, &["cuda"]);
}

#[test]
fn interpreters_are_not_timed() {
    fail(&["bench", &example("saxpy"), "--size", "N=10", "--device", "oracle"], 2, &["`oracle` interprets"]);
}

#[test]
fn json_diagnostics_carry_code_and_place() {
    let path = edited("json", "matmul", "unroll(i, ui)", "unrol(i, ui)");
    let (code, out, _) = run(&["check", "--message-format", "json", &path]);
    assert_eq!(code, 1);
    let value: serde_json::Value = serde_json::from_str(&out).expect("one JSON document");
    let text = value.to_string();
    assert!(text.contains("E0502") && text.contains("\"line\""), "{text}");
}

#[test]
fn usage_errors_exit_with_two() {
    fail(&["frobnicate"], 2, &[]);
    fail(&["search", &example("matmul"), "--budget", "soon"], 2, &["soon"]);
}

#[test]
fn help_shows_an_example_for_every_command() {
    for command in [
        "check", "fmt", "run", "bench", "search", "resume", "report", "compare", "machine", "devices",
        "explain", "emit",
    ] {
        assert!(succeed(&[command, "--help"]).contains("Example: rooftile"), "{command}");
    }
}
