//! `rooftile compare` of runs on several devices.

mod common;

use std::io::Write as _;

use common::{run, scratch, small_task, succeed};
use serde_json::Value;

#[test]
fn runs_on_a_processor_and_a_gpu_are_compared() {
    let folder = scratch("compare-devices");
    let file = small_task(&folder);
    let out = |device: &str| folder.join(device).display().to_string();
    let search =
        |device: &str| run(&["search", &file, "--device", device, "--evals", "5", "--out", &out(device)]);
    let (code, stdout, stderr) = search("vulkan");
    if code == 4 {
        // Past the test harness, which keeps what a passing test prints.
        let _ = writeln!(std::io::stdout(), "\nSKIPPED: comparison with vulkan (no device)");
        return;
    }
    assert_eq!(code, 0, "{stdout}{stderr}");
    let (code, stdout, stderr) = search("cpu");
    assert_eq!(code, 0, "{stdout}{stderr}");

    let (cpu, vulkan) = (out("cpu"), out("vulkan"));
    let both: Value =
        serde_json::from_str(&succeed(&["compare", &cpu, &vulkan, "--json"])).expect("one document");
    let runs = both["runs"].as_array().expect("a list");
    let devices: Vec<&str> = runs.iter().filter_map(|r| r["device"].as_str()).collect();
    assert_eq!(devices, ["cpu", "vulkan"]);
    // The roof ends a search before, where it was measured beside other work.
    let evaluated = |r: &Value| r["evaluations"] == 5 || r["stop"] == "headroom";
    assert!(runs.iter().all(|r| r["verified"] == true && evaluated(r)), "{both}");
    assert!(runs[0]["target"]["cpu"].is_object() && runs[1]["target"]["vulkan"].is_object());
    let gpu = runs[1]["fingerprint"]["device"].as_str().expect("a name");
    assert!(runs[0]["fingerprint"]["device"].is_null() && !gpu.is_empty());
    // The harmonic mean of both.
    let fractions: Vec<f64> = runs.iter().filter_map(|r| r["fraction"]["sealed"].as_f64()).collect();
    let score = both["portability"]["matmul"].as_f64().expect("a number");
    let mean = 2.0 / (1.0 / fractions[0] + 1.0 / fractions[1]);
    assert!((score / mean - 1.0).abs() < 1e-9, "{score} {mean}");

    let text = succeed(&["compare", &cpu, &vulkan]);
    let said = |start: &str, what: &str| text.lines().any(|l| l.starts_with(start) && l.contains(what));
    assert!(said(&vulkan, " vulkan ") && said(&cpu, " cpu "), "{text}");
    assert!(said(&format!("{vulkan}: "), gpu) && said("portability of matmul: ", "%"), "{text}");
}
