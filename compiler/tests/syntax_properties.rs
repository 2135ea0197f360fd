//! Properties of the parser and the printer on generated trees and on damaged texts.
//!
//! `ROOFTILE_FUZZ_SECONDS` (default 2) is shared out between the tests here, `ROOFTILE_FUZZ_SEED` (default 1) sets
//! where they start. A failure names the seed that shows it.

mod generate;

use std::path::Path;
use std::time::{Duration, Instant};

use generate::{Random, file};
use rooftile_compiler::diag::{Diagnostic, Span, has_errors, render, to_json};
use rooftile_compiler::syntax::ast::File;
use rooftile_compiler::syntax::{ClearSpans, hash, parse, print, print_canonical};

/// Runs the property on one seed after the other until its share of the time is over.
fn for_seeds(property: impl Fn(&mut Random)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("ROOFTILE_FUZZ_SEED").unwrap_or(1);
    let share = Duration::from_secs(number("ROOFTILE_FUZZ_SECONDS").unwrap_or(2)) / 3;
    let start = Instant::now();
    let mut seed = first;
    while seed == first || start.elapsed() < share {
        // Shown only if the test fails.
        println!("ROOFTILE_FUZZ_SEED={seed}");
        property(&mut Random::new(seed));
        seed += 1;
    }
}

fn read(source: &str) -> File {
    let (file, diagnostics) = parse(source);
    assert!(!has_errors(&diagnostics), "{}\n{source}", render(&diagnostics, "generated", source, false));
    file
}

fn without_spans(mut file: File) -> File {
    file.clear_spans();
    file
}

#[test]
fn printed_trees_parse_to_themselves() {
    for_seeds(|random| {
        let tree = file(random);
        let canonical = print_canonical(&tree);
        let again = read(&canonical);
        assert_eq!(print(&again, &canonical), canonical);
        assert_eq!(hash(&again), hash(&tree));
        let again = without_spans(again);
        assert!(again == tree, "{canonical}\n{tree:#?}\n{again:#?}");
    });
}

#[test]
fn comments_are_kept_wherever_they_stand() {
    for_seeds(|random| {
        let canonical = print_canonical(&file(random));
        // A line break is possible at every space.
        let mut source = String::new();
        let mut count = 0;
        for c in canonical.chars() {
            source.push(c);
            if c.is_whitespace() && random.one_in(8) {
                source.push_str(&format!(
                    "// comment {count}\n{}",
                    if random.one_in(2) { "\n\n  " } else { "" }
                ));
                count += 1;
            }
        }
        let tree = read(&source);
        let printed = print(&tree, &source);
        for i in 0..count {
            let comment = format!("// comment {i}\n");
            assert_eq!(printed.matches(&comment).count(), 1, "{comment}\n{source}\n{printed}");
        }
        let again = read(&printed);
        assert_eq!(print(&again, &printed), printed, "{source}");
        assert_eq!(hash(&again), hash(&tree), "{source}\n{printed}");
    });
}

#[test]
fn damaged_texts_are_reported_and_nothing_panics() {
    let samples = sample_texts();
    for_seeds(|random| {
        let mut text = random.pick(&samples).clone();
        for _ in 0..=random.below(6) {
            damage(&mut text, random);
        }
        let (tree, diagnostics) = parse(&text);
        check_diagnostics(&diagnostics, &text);
        let printed = print(&tree, &text);
        if !has_errors(&diagnostics) {
            let again = read(&printed);
            assert_eq!(print(&again, &printed), printed, "{text}");
            assert_eq!(without_spans(again), without_spans(tree), "{text}");
        }
    });
}

fn check_diagnostics(diagnostics: &[Diagnostic], text: &str) {
    let inside = |span: Span| span.start <= span.end && text.get(span.range()).is_some();
    for d in diagnostics {
        assert!(inside(d.primary.span) && d.causes.iter().all(|c| inside(c.span)), "{d:?}\n{text}");
        assert!(!d.message.is_empty());
    }
    assert!(diagnostics.is_sorted_by_key(|d| d.primary.span), "{diagnostics:?}");
    assert!(render(diagnostics, "damaged", text, false).matches("[E").count() >= diagnostics.len());
    assert_eq!(to_json(diagnostics, "damaged", text).as_array().map(Vec::len), Some(diagnostics.len()));
}

fn sample_texts() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("samples").map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tile"));
    paths.sort();
    paths.iter().map(|p| std::fs::read_to_string(p).expect("a sample")).collect()
}

/// Takes out, doubles, moves or puts in a piece.
fn damage(text: &mut String, random: &mut Random) {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        "..",
        "=",
        "==",
        "max=",
        "min =",
        "in",
        "for",
        "kernel k",
        "task",
        "tune k {",
        "é",
        "\u{0}",
        "\"",
        "// c\n",
        "\n",
        "1e999",
        "0x",
        "99999999999999999999",
        "u<9>",
        "i<3>",
        "-",
        "~",
        "!",
        "1.",
        ".0",
        "search",
        "edge",
        "const",
        "require",
        "rooftile 7",
        "\u{202e}",
        "if x {",
        "else",
        "next a",
        "carry (",
    ];
    let boundary = |text: &str, at: usize| text.floor_char_boundary(at);
    let start = boundary(text, random.below(text.len() + 1));
    let end = boundary(text, (start + random.below(12)).min(text.len()));
    match random.below(4) {
        0 => text.replace_range(start..end, ""),
        1 => {
            let piece = text[start..end].to_owned();
            text.insert_str(end, &piece);
        }
        2 => {
            let piece = text[start..end].to_owned();
            text.replace_range(start..end, "");
            let at = boundary(text, random.below(text.len() + 1));
            text.insert_str(at, &piece);
        }
        _ => text.insert_str(start, PIECES[random.below(PIECES.len())]),
    }
}
