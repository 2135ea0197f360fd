//! Damaged and recombined texts through everything that a check does: no panic, no long wait, spans inside the text.
//! `ROOFTILE_FUZZ_SECONDS=600` gives the long run.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rooftile_compiler::diag;
use rooftile_compiler::driver;
use rooftile_compiler::oracle::SplitMix;
use rooftile_tests::subject::texts;
use rooftile_tests::text::mutated;
use rooftile_tests::{fuzz_seed, fuzz_time, mark, root};

/// Longest that one text may take; far above what any takes, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(20);

/// The text that is being checked: it outlives even an abort of the process.
fn last() -> String {
    std::fs::read_to_string(root().join("target/tmp/fuzz_text.last")).unwrap_or_default()
}

fn check(text: &str) {
    let checked = driver::check(text);
    for d in &checked.diagnostics {
        let spans = std::iter::once(d.primary.span).chain(d.causes.iter().map(|c| c.span));
        for span in spans {
            assert!(text.get(span.range()).is_some(), "{d:?} points outside the text");
        }
    }
    let shown = diag::render(&checked.diagnostics, "text", text, false);
    assert_eq!(shown.is_empty(), checked.diagnostics.is_empty());
}

#[test]
fn damaged_texts_neither_panic_nor_hang() {
    let seed = fuzz_seed("fuzz_text");
    let sources: Vec<String> = ["tests/samples", "tests/samples/wrong", "dsl-examples"]
        .into_iter()
        .flat_map(texts)
        .map(|(_, text)| text)
        .collect();
    let (sender, receiver) = mpsc::channel::<Duration>();
    let end = Instant::now() + fuzz_time();
    let worker = std::thread::Builder::new().stack_size(8 << 20).spawn(move || {
        let mut rng = SplitMix::new(seed);
        while Instant::now() < end {
            let text = mutated(&sources, &mut rng);
            mark("fuzz_text", &text);
            let start = Instant::now();
            check(&text);
            let _ = sender.send(start.elapsed());
        }
    });
    let worker = worker.expect("a thread");
    let (mut count, mut slowest) = (0u64, Duration::ZERO);
    loop {
        match receiver.recv_timeout(LIMIT) {
            Ok(took) => {
                count += 1;
                slowest = slowest.max(took);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("a text takes more than {LIMIT:?}:\n{}", last())
            }
        }
    }
    println!("fuzz_text: {count} texts, the slowest took {slowest:?}");
    if worker.join().is_err() {
        panic!("the check panics on:\n{}", last());
    }
    assert!(count > 0);
}
