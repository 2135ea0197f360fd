//! Every sample parses, and the printer keeps it.

use std::path::{Path, PathBuf};

use rooftile_compiler::diag::has_errors;
use rooftile_compiler::syntax::ast::File;
use rooftile_compiler::syntax::{ClearSpans, hash, parse, print, print_canonical, print_item};

/// The samples, the wrong ones too: what is wrong with those is not their syntax.
fn samples() -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples");
    let mut files = Vec::new();
    for dir in [dir.clone(), dir.join("wrong")] {
        for entry in std::fs::read_dir(&dir).expect("the folder of samples") {
            files.push(entry.expect("an entry").path());
        }
    }
    files.retain(|f| f.extension().is_some_and(|e| e == "tile"));
    files.sort();
    assert!(files.len() >= 25, "samples are missing: {files:?}");
    files.into_iter().map(|f| (f.clone(), std::fs::read_to_string(f).expect("a sample"))).collect()
}

fn parsed(name: &str, source: &str) -> File {
    let (file, diagnostics) = parse(source);
    assert!(!has_errors(&diagnostics), "{name}: {diagnostics:#?}\n{source}");
    file
}

fn without_spans(mut file: File) -> File {
    file.clear_spans();
    file
}

#[test]
fn samples_parse() {
    for (path, source) in samples() {
        assert!(!parsed(&path.display().to_string(), &source).items.is_empty(), "{}", path.display());
    }
}

#[test]
fn printing_keeps_the_tree_and_settles_at_once() {
    for (path, source) in samples() {
        let name = path.display().to_string();
        let file = parsed(&name, &source);
        let printed = print(&file, &source);
        let again = parsed(&name, &printed);
        assert_eq!(print(&again, &printed), printed, "{name}");
        assert_eq!(source.matches("//").count(), printed.matches("//").count(), "{name}");
        assert_eq!(hash(&file), hash(&again), "{name}");
        let canonical = print_canonical(&file);
        let items: String = file.items.iter().map(print_item).collect();
        assert_eq!(canonical, items, "{name}");
        assert_eq!(without_spans(file), without_spans(again), "{name}");
        assert!(printed.lines().all(|l| l.chars().count() <= 110), "{name}: a line is too long\n{printed}");
    }
}

#[test]
fn layout_of_the_samples() {
    let good = samples().into_iter().filter(|(path, _)| !path.to_string_lossy().contains("wrong"));
    let printed: Vec<String> =
        good.map(|(path, source)| print(&parsed(&path.display().to_string(), &source), &source)).collect();
    insta::assert_snapshot!(printed.join("\n"));
}
