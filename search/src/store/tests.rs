use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::bench::NoClock;
use crate::fake::{Fake, header, job};
use crate::run::{Hands, Progress, run};
use crate::strategy::StrategyKind;

const CHILD: &str = "ROOFTILE_TEST_STORE";

/// Runs a search that writes the store named by the environment and says on its output what was committed; the
/// parent test kills it. Does nothing when run by itself.
#[test]
fn child_that_writes() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let job = job(StrategyKind::Evolution, 8, 1_000_000);
    let mut store = Store::create(Path::new(&path), &header(&job)).expect("fresh");
    let mut bench = Fake::new(0.0);
    let stop = AtomicBool::new(false);
    let mut progress = |p| {
        if let Progress::Candidate { id, .. } = p {
            writeln!(std::io::stdout(), "committed {id}").expect("the parent listens");
        }
    };
    let mut hands =
        Hands { bench: &mut bench, store: &mut store, clock: &NoClock, stop: &stop, progress: &mut progress };
    run(&job, &mut hands).expect("runs until it is killed");
}

/// A process killed at any moment loses no candidate that it had said to be committed, and its store can be gone on
/// with: the same candidates follow.
#[test]
fn killed_writers_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..5u64 {
        let path = folder.path().join(format!("{round}.sqlite"));
        let said = folder.path().join(format!("{round}.txt"));
        let out = std::fs::File::create(&said).expect("a file");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "store::tests::child_that_writes", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let committed = || {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            // The last line may be cut short.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().filter_map(|l| l.split("committed ").nth(1)?.parse::<u64>().ok()).max()
        };
        for _ in 0..2000 {
            if committed().is_some_and(|n| n > 20 + 13 * round) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("kills");
        child.wait().expect("ends");
        let last = committed().expect("some were committed");
        let mut store = Store::open(&path).expect("opens");
        let records = store.records().expect("whole");
        assert!(records.len() as u64 > last, "{} records, {last} said to be committed", records.len());
        // Going on gives what an uninterrupted run gives.
        let job = job(StrategyKind::Evolution, 8, 140);
        let stop = AtomicBool::new(false);
        let mut bench = Fake::new(0.0);
        let mut progress = |_| ();
        let mut hands = Hands {
            bench: &mut bench,
            store: &mut store,
            clock: &NoClock,
            stop: &stop,
            progress: &mut progress,
        };
        run(&job, &mut hands).expect("goes on");
        let again = store.records().expect("whole");
        assert_eq!(again[..records.len()], records[..]);
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.sqlite");
    assert!(matches!(Store::open(&path), Err(StoreError::Missing(_))));
    std::fs::write(&path, "hello").expect("writes");
    assert!(Store::open(&path).is_err());
    assert!(matches!(
        Store::create(&path, &header(&job(StrategyKind::Random, 0, 0))),
        Err(StoreError::Exists(_))
    ));
}

/// A run in another format is refused with both numbers, not misread.
#[test]
fn other_formats_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.sqlite");
    drop(Store::create(&path, &header(&job(StrategyKind::Random, 0, 0))).expect("created"));
    let later = schema::VERSION + 1;
    let db = Connection::open(&path).expect("opens");
    db.pragma_update(None, "user_version", later).expect("written");
    drop(db);
    let error = Store::open(&path).expect_err("another format");
    assert!(
        matches!(error, StoreError::Version { found, known } if found == later && known == schema::VERSION)
    );
    assert!(error.to_string().contains(&format!("format {later}")), "{error}");
}
