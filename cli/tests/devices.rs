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

/// A loader that is none, found first: the same as no loader, whatever the system has.
#[test]
fn without_a_loader_every_command_says_so() {
    let folder = scratch("no-loader");
    for name in ["libvulkan.so.1", "libvulkan.so"] {
        std::fs::write(folder.join(name), "not a library").expect("written");
    }
    let matmul = example("matmul");
    for args in [
        &["run", &matmul, "--device", "vulkan"][..],
        &["search", &matmul, "--device", "vulkan", "--evals", "1"],
        &["machine", "--device", "vulkan"],
    ] {
        let out = rooftile().args(args).env("LD_LIBRARY_PATH", &folder).output().expect("the binary runs");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(4), "{args:?}: {err}");
        let said = "`vulkan` is not available: no Vulkan loader: ";
        assert!(err.contains(said) && err.contains("libvulkan"), "{args:?}: {err}");
    }
}

/// The reasons are the same in the list of devices, with and without JSON.
#[test]
fn the_list_says_why_there_is_no_gpu() {
    let list = |json: bool| {
        let mut command = rooftile();
        command.arg("devices").args(json.then_some("--json"));
        command.env("VK_DRIVER_FILES", "/nowhere/driver.json").env_remove("VK_ADD_DRIVER_FILES");
        let out = command.output().expect("the binary runs");
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).expect("text")
    };
    let text = list(false);
    let line = text.lines().find(|l| l.starts_with("vulkan ")).expect("it is listed");
    let (_, why) = line.split_once("(missing: ").expect("it is missing");
    let document: Value = serde_json::from_str(&list(true)).expect("one document");
    let devices = document["devices"].as_array().expect("a list");
    let vulkan = devices.iter().find(|d| d["name"] == "vulkan").expect("it is listed");
    assert_eq!(
        (vulkan["available"].as_bool(), vulkan["reason"].as_str()),
        (Some(false), why.strip_suffix(')'))
    );
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

/// What is explained of a kernel holds together: the roof, the nest, and where our generator makes the code, its loops.
#[test]
fn a_kernel_is_explained() {
    let args = ["explain", &example("saxpy"), "--size", "N=1024", "--schedule", "default", "--json"];
    let out = rooftile().args(args).output().expect("the binary runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).expect("json");
    assert!(said["roof"]["seconds"].as_f64().is_some_and(|s| s > 0.0), "{said}");
    assert!(said["nests"][0].as_str().is_some_and(|n| n.starts_with("nest saxpy")), "{said}");
    let memory = &said["memory"][0];
    assert_eq!(memory["name"], "saxpy");
    // 8 bytes of each point are read and 4 written, and a thousand points stay in the first-level cache.
    assert_eq!(
        (&memory["levels"][0]["read"], &memory["levels"][0]["written"]),
        (&8192.0.into(), &4096.0.into())
    );
    assert_eq!(memory["levels"][1]["read"], 0.0);
    for kernel in said["kernels"].as_array().expect("kernels") {
        assert_eq!(kernel["name"], "saxpy");
        let loops = kernel["loops"].as_array().expect("loops");
        // A vector of x and one of y are read, and one is written.
        let whole = |l: &Value| {
            l["loads"].as_u64() >= Some(2)
                && l["stores"].as_u64() >= Some(1)
                && l["cycles"].as_f64() >= Some(1.0)
        };
        assert!(loops.iter().any(whole), "{said}");
    }
}
