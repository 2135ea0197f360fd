//! Devices that are not there, and profiles of those that are.

mod common;

use std::io::Write;
use std::process::Output;

use common::{example, fail, rooftile, scratch};
use serde_json::Value;

/// Runs the command where the Vulkan loader finds no driver; gives its exit code and standard error.
fn without_driver(args: &[&str]) -> (i32, String) {
    let mut command = rooftile();
    command.args(args).env("VK_DRIVER_FILES", "/nowhere/driver.json").env_remove("VK_ADD_DRIVER_FILES");
    let Output { status, stderr, .. } = command.output().expect("the binary runs");
    (status.code().expect("an exit code"), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn without_a_driver_every_command_says_so() {
    let matmul = example("matmul");
    for args in [
        &["run", &matmul, "--device", "vulkan"][..],
        &["bench", &matmul, "--device", "vulkan"],
        &["explain", &matmul, "--device", "vulkan"],
        &["search", &matmul, "--device", "vulkan", "--evals", "1"],
        &["machine", "--device", "vulkan"],
    ] {
        let (code, err) = without_driver(args);
        assert_eq!(code, 4, "{args:?}: {err}");
        assert!(
            err.contains("`vulkan` is not available") && err.contains("Vulkan loader"),
            "{args:?}: {err}"
        );
    }
    let (code, err) = without_driver(&["run", &matmul, "--device", "vulkan:1"]);
    assert!(code == 4 && err.contains("vulkan:1"), "{err}");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    fail(&["machine", "--device", "vulkan:7"], 4, &["vulkan:7"]);
    fail(&["machine", "--device", "oracle"], 4, &["oracle has no roofs"]);
}

#[test]
fn a_profile_of_another_kind_of_device_is_refused() {
    let folder = scratch("profiles");
    let mut machine = rooftile();
    let out = machine.args(["machine", "--device", "vulkan", "--json"]).output().expect("the binary runs");
    if !out.status.success() {
        // Past the test harness, which keeps what a passing test prints.
        let _ = writeln!(std::io::stdout(), "\nSKIPPED: profile of vulkan (no device)");
        return;
    }
    let profile: Value = serde_json::from_slice(&out.stdout).expect("one document");
    assert!(profile["target"]["vulkan"].is_object() && profile["fingerprint"]["device"].is_string());
    let path = folder.join("vulkan.json");
    std::fs::write(&path, &out.stdout).expect("written");
    let file = path.display().to_string();
    let args = ["bench", &example("saxpy"), "--size", "N=1000", "--profile", &file];
    fail(&args, 1, &["vulkan.json", "of kind vulkan, not cpu"]);
    common::succeed(&[&args[..], &["--device", "vulkan"]].concat());
}
