//! `rooftile run` on NumPy files gives what NumPy gave: `tests/data/make.py` made the arrays.

mod common;

use common::{data, example, npy_data, npy_f16, npy_f32, scratch, succeed};

/// Runs an example on the arrays of `tests/data`, on a device; gives the path of its output.
fn run(
    name: &str,
    kernel: Option<&str>,
    device: &str,
    inputs: &[&str],
    output: &str,
    more: &[&str],
) -> String {
    let folder = scratch(&format!("numpy-{name}-{device}"));
    let out = folder.join("out.npy").display().to_string();
    let file = example(name);
    let mut args = vec!["run".to_owned(), file];
    args.extend(kernel.map(str::to_owned));
    for input in inputs {
        args.extend(["--in".to_owned(), format!("{input}={}", data(&format!("{name}.{input}.npy")))]);
    }
    args.extend(["--out".to_owned(), format!("{output}={out}"), "--device".to_owned(), device.to_owned()]);
    args.extend(more.iter().map(|s| (*s).to_owned()));
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    out
}

/// Largest difference, relative to the larger of the element and 1 % of the root mean square.
fn max_rel(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(want).map(|(g, w)| (g - w).abs() / w.abs().max(0.01 * rms)).fold(0.0, f64::max)
}

/// The devices that every example must agree on.
const DEVICES: [&str; 2] = ["cpu", "oracle"];

#[test]
fn matmul() {
    for device in DEVICES {
        let out = run("matmul", None, device, &["A", "B"], "C", &[]);
        assert!(max_rel(&npy_f32(&out), &npy_f32(&data("matmul.C.npy"))) < 1e-4);
    }
}

#[test]
fn softmax() {
    for device in DEVICES {
        let out = run("softmax", None, device, &["X"], "Y", &[]);
        assert!(max_rel(&npy_f32(&out), &npy_f32(&data("softmax.Y.npy"))) < 1e-5);
    }
}

#[test]
fn layernorm() {
    for device in DEVICES {
        let out = run("layernorm", None, device, &["X", "g", "b"], "Y", &["--set", "eps=1e-5"]);
        assert!(max_rel(&npy_f16(&out), &npy_f16(&data("layernorm.Y.npy"))) < 5e-3);
    }
}

#[test]
fn attention() {
    for kernel in ["attn", "attn_plain"] {
        for device in DEVICES {
            let out = run("attention", Some(kernel), device, &["Q", "K", "V"], "O", &["--set", "sc=0.125"]);
            assert!(max_rel(&npy_f16(&out), &npy_f16(&data("attention.O.npy"))) < 2e-2, "{kernel} {device}");
        }
    }
}

#[test]
fn scan() {
    for device in DEVICES {
        let out = run("scan", None, device, &["x"], "y", &[]);
        assert!(max_rel(&npy_f32(&out), &npy_f32(&data("scan.y.npy"))) < 1e-5);
    }
}

#[test]
fn histogram() {
    for device in DEVICES {
        let out = run("histogram", None, device, &["x", "h"], "h", &[]);
        assert_eq!(npy_data(&out), npy_data(&data("histogram.h_after.npy")));
    }
}

#[test]
fn heat2d() {
    for device in DEVICES {
        let out = run("heat2d", None, device, &["u"], "u", &["--size", "T=5", "--set", "al=0.2"]);
        assert!(max_rel(&npy_f32(&out), &npy_f32(&data("heat2d.u_after.npy"))) < 1e-5);
    }
}
