//! Damaged text through parser and checker: whatever comes out, nothing panics.
//!
//! `ROOFTILE_FUZZ_SECONDS` bounds the time (2 by default); the seed is printed, and `ROOFTILE_FUZZ_SEED` repeats it.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rooftile_compiler::diag::render;
use rooftile_compiler::hir::{check, print};
use rooftile_compiler::syntax::parse;

fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["tests/samples", "tests/samples/wrong", "tests/samples/refused", "dsl-examples"];
    let mut files = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder") {
            files.push(entry.expect("an entry").path());
        }
    }
    files.retain(|f| f.extension().is_some_and(|e| e == "tile"));
    files.sort();
    files.iter().map(|f| std::fs::read_to_string(f).expect("a sample")).collect()
}

/// Cuts text into words and signs.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let class = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            1
        } else if c.is_whitespace() {
            2
        } else {
            3
        }
    };
    let mut before = None;
    for (at, c) in text.char_indices() {
        if before.is_some_and(|b| b != class(c) || b == 3) {
            out.push(&text[start..at]);
            start = at;
        }
        before = Some(class(c));
    }
    out.push(&text[start..]);
    out
}

/// One to four random edits: a word replaced by another of the corpus, dropped, doubled, or swapped.
fn damage(text: &str, pool: &[&str], rng: &mut StdRng) -> String {
    let mut words: Vec<&str> = words(text);
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..words.len());
        let other = rng.random_range(0..words.len());
        match rng.random_range(0..6) {
            0 => words[at] = pool[rng.random_range(0..pool.len())],
            1 => words[at] = "",
            2 => words.insert(at, words[other]),
            3 => words.swap(at, other),
            4 => words[at] = words[other],
            _ => {
                words[at] =
                    ["0", "1", "-1", "9223372036854775807", "1e400", "(", "]", "N", "i", "=="][at % 10]
            }
        }
    }
    words.concat()
}

#[test]
fn damaged_samples_do_not_panic() {
    let seconds = std::env::var("ROOFTILE_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2.0);
    let fresh = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::from(d.subsec_nanos()));
    let seed = std::env::var("ROOFTILE_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(fresh);
    println!("ROOFTILE_FUZZ_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let corpus = corpus();
    let pool: Vec<&str> = corpus.iter().flat_map(|text| words(text)).collect();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut tried, mut accepted) = (0u64, 0u64);
    while Instant::now() < end {
        let text = damage(&corpus[rng.random_range(0..corpus.len())], &pool, &mut rng);
        let before = Instant::now();
        let (file, mut diagnostics) = parse(&text);
        let (hir, more) = check(&file);
        diagnostics.extend(more);
        let shown = render(&diagnostics, "fuzz.tile", &text, false);
        let printed = print::file_text(&hir);
        let took = before.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for:\n{text}\n{shown}\n{printed}");
        tried += 1;
        accepted += u64::from(diagnostics.is_empty());
    }
    println!("{tried} texts, {accepted} of them accepted");
    assert!(tried > 0);
}
