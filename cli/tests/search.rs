//! Searches from the command line, at sizes so small that they take seconds.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{fail, rooftile, run, scratch, small_task, succeed};
use serde_json::Value;

fn last_line(out: &str) -> Value {
    serde_json::from_str(out.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_search_ends_with_a_winner_that_can_be_used() {
    let folder = scratch("search-winner");
    let (file, out) = (small_task(&folder), folder.join("run"));
    let (code, stdout, stderr) =
        run(&["search", &file, "--evals", "12", "--out", &out.display().to_string()]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    for escape in ['\u{1b}', '\r'] {
        assert!(!stdout.contains(escape) && !stderr.contains(escape), "{stdout}{stderr}");
    }
    for word in ["heldout", "sealed", "over naive", "best.tile"] {
        assert!(stdout.contains(word), "`{word}` is not in:\n{stdout}");
    }
    for name in ["best.tile", "run.sqlite", "report.html"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let best = out.join("best.tile").display().to_string();
    succeed(&["check", &best]);
    succeed(&["run", &best, "--size", "M=5,N=7,K=3", "--verify"]);

    let page = std::fs::read_to_string(out.join("report.html")).expect("text");
    assert!(page.starts_with("<!doctype html>") && page.contains("sealed"));
    let plot = out.join("roofline.svg");
    succeed(&["report", &out.display().to_string(), "--svg", &plot.display().to_string()]);
    assert!(std::fs::read_to_string(&plot).expect("a plot").starts_with("<svg"));
    assert_eq!(std::fs::read_to_string(out.join("report.html")).expect("text"), page);

    let dir = out.display().to_string();
    let compared: Value = serde_json::from_str(&succeed(&["compare", &dir, &dir, "--json"])).expect("JSON");
    assert_eq!(compared["runs"].as_array().map(Vec::len), Some(2));
    let fraction = compared["runs"][0]["fraction"]["sealed"].as_f64().expect("a number");
    let score = compared["portability"]["matmul"].as_f64().expect("a number");
    assert!((score / fraction - 1.0).abs() < 1e-9, "{score} {fraction}");
    assert!(compared["runs"][0]["fingerprint"]["cores"].as_u64() >= Some(1));

    fail(&["search", &file, "--evals", "1", "--out", &dir], 1, &["resume", "--out"]);
}

#[test]
fn json_ends_with_the_result() {
    let folder = scratch("search-json");
    let file = small_task(&folder);
    let out = folder.join("run").display().to_string();
    let stdout = succeed(&["search", &file, "--evals", "9", "--cost", "model", "--json", "--out", &out]);
    for line in stdout.lines() {
        let _: Value = serde_json::from_str(line).expect(line);
    }
    let result = last_line(&stdout);
    for field in [
        "seed_time_s",
        "best_time_s",
        "fraction",
        "speedup",
        "speedup_over_default",
        "evaluations",
        "evaluations_per_s",
        "compiled",
        "duplicates",
        "rejected",
        "promotions",
        "stop",
        "best",
    ] {
        assert!(result.get(field).is_some(), "{field} is missing: {result}");
    }
    for set in ["search", "heldout", "sealed"] {
        assert!(result["fraction"][set].is_number() && result["speedup"][set].is_number(), "{result}");
    }
    assert_eq!(result["speedup"]["over"], "naive");
    assert_eq!((&result["evaluations"], &result["stop"]), (&Value::from(9), &Value::from("evaluations")));
}

#[test]
fn the_model_repeats_itself() {
    let folder = scratch("search-model");
    let file = small_task(&folder);
    let mut seen = Vec::new();
    for (name, workers) in [("a", "1"), ("b", "3")] {
        let out = folder.join(name).display().to_string();
        let args = ["search", &file, "--cost", "model", "--evals", "25", "--seed", "7", "--out", &out];
        succeed(&[&args[..], &["--workers", workers]].concat());
        succeed(&["export-run", &out]);
        let text = std::fs::read_to_string(folder.join(name).join("run.json")).expect("exported");
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let rows = std::fs::read_to_string(folder.join(name).join("candidates.csv")).expect("exported");
        assert_eq!(rows.lines().count(), 1 + data["candidates"].as_array().expect("a list").len());
        seen.push((data["candidates"].clone(), data["report"]["archive"].clone(), rows));
    }
    assert!(seen[0].0.as_array().is_some_and(|c| c.len() >= 25));
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn ctrl_c_keeps_what_was_found() {
    let folder = scratch("search-interrupt");
    let file = small_task(&folder);
    let out = folder.join("run");
    let mut child = rooftile()
        .args(["search", &file, "--budget", "1h", "--json", "--out", &out.display().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|l| l.expect("text"));
    lines.find(|l| l.contains("\"progress\"")).expect("progress");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let result: Value = serde_json::from_str(&lines.last().expect("a result")).expect("JSON");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert_eq!(result["stop"], "interrupted");
    assert_eq!(result["verified"], true);
    assert!(out.join("best.tile").is_file() && out.join("report.html").is_file());
}

#[test]
fn a_folder_shares_the_budget() {
    let folder = scratch("search-folder");
    let tasks = folder.join("tasks");
    std::fs::create_dir(&tasks).expect("a folder");
    let text = std::fs::read_to_string(small_task(&folder)).expect("text");
    for name in ["a.tile", "b.tile"] {
        std::fs::write(tasks.join(name), &text).expect("written");
    }
    let out = folder.join("runs");
    let (tasks, dir) = (tasks.display().to_string(), out.display().to_string());
    let stdout = succeed(&["search", &tasks, "--cost", "model", "--evals", "12", "--json", "--out", &dir]);
    let result = last_line(&stdout);
    let runs = result["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|r| r["evaluations"] == 6), "{result}");
    assert!(out.join("a/best.tile").is_file() && out.join("b/best.tile").is_file());
}

#[test]
fn wrong_settings_are_usage_errors() {
    let folder = scratch("search-usage");
    let file = small_task(&folder);
    fail(&["search", &file, "--strategy", "luck"], 2, &["luck", "evolution"]);
    fail(&["search", &file, "--cost", "gold"], 2, &["gold"]);
    fail(&["search", &file, "--cost", "model", "--budget", "3s"], 2, &["--evals"]);
    fail(&["search", &file, "softmax"], 2, &["softmax", "matmul"]);
    fail(&["search", &file, "--device", "cuda"], 4, &["cuda"]);
    for command in ["resume", "report", "compare", "export-run"] {
        fail(&[command, &folder.display().to_string()], 1, &["not a run"]);
    }
}
