//! Searches that are killed at any moment, and go on.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{fail, rooftile, scratch, small_task, succeed};
use serde_json::Value;

/// The candidates that the store in a folder holds.
fn candidates(folder: &Path) -> Vec<Value> {
    succeed(&["export-run", &folder.display().to_string()]);
    let text = std::fs::read_to_string(folder.join("run.json")).expect("exported");
    let data: Value = serde_json::from_str(&text).expect("JSON");
    data["candidates"].as_array().expect("a list").clone()
}

/// Starts the command and kills it so long after its search has begun.
fn killed(args: &[&str], after: Duration) {
    let mut child =
        rooftile().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("\"started\"")), "{args:?} did not start");
    std::thread::sleep(after);
    // SIGKILL: nothing of the program runs any more.
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn ten_kills_lose_no_candidate() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64) | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut moment = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_millis(state % 1200)
    };
    let folder = scratch("resume-kill");
    let file = small_task(&folder);
    let out = folder.join("run");
    let dir = out.display().to_string();
    killed(
        &["search", &file, "--cost", "model", "--evals", "1000000", "--seed", "3", "--json", "--out", &dir],
        moment(),
    );
    let mut before = candidates(&out);
    for _ in 1..10 {
        killed(&["resume", &dir, "--json"], moment());
        let now = candidates(&out);
        assert!(now.len() >= before.len(), "{} of {} candidates are left", now.len(), before.len());
        assert!(now[..before.len()] == before[..], "a committed candidate has changed");
        before = now;
    }
    assert!(!before.is_empty(), "nothing was ever committed");
    fail(&["report", &dir], 1, &["not ended", "resume"]);

    // It still comes to an end, with what it had.
    let distinct = before.iter().filter(|c| c["outcome"]["kind"] != "duplicate").count() + 5;
    succeed(&["resume", &dir, "--evals", &distinct.to_string()]);
    let after = candidates(&out);
    assert!(after.len() > before.len() && after[..before.len()] == before[..]);
    assert!(out.join("best.tile").is_file() && out.join("report.html").is_file());

    // A run that was never killed has found the same.
    let whole = folder.join("whole");
    let dir = whole.display().to_string();
    succeed(&[
        "search",
        &file,
        "--cost",
        "model",
        "--evals",
        &distinct.to_string(),
        "--seed",
        "3",
        "--out",
        &dir,
    ]);
    assert!(candidates(&whole) == after, "going on is not the same as never stopping");
}

#[test]
fn another_task_is_refused() {
    let folder = scratch("resume-task");
    let file = small_task(&folder);
    let out = folder.join("run").display().to_string();
    succeed(&["search", &file, "--cost", "model", "--evals", "5", "--out", &out]);
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, text.replace("maxrel <= 2e-3", "maxrel <= 1e-3")).expect("written");
    fail(&["resume", &out, "--evals", "8"], 1, &["no longer", "matmul"]);
    // Its schedule is not part of the task, and a file that is gone is not missed.
    std::fs::write(&file, text.replace("unroll(i, 2)", "unroll(i, 3)")).expect("written");
    succeed(&["resume", &out, "--evals", "8"]);
    std::fs::remove_file(&file).expect("removed");
    succeed(&["resume", &out, "--evals", "10"]);
}
