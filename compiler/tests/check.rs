//! The checker on whole files: samples, examples, and texts that must be refused, whose reports are pinned word for
//! word. `INSTA_UPDATE=always` accepts a change.

use std::path::{Path, PathBuf};

use rooftile_compiler::diag::{Diagnostic, Severity, has_errors, render};
use rooftile_compiler::hir::ir::File;
use rooftile_compiler::hir::{check, print};
use rooftile_compiler::syntax::parse;

fn tiles(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|f| f.extension().is_some_and(|e| e == "tile"))
        .collect();
    files.sort();
    files
}

fn checked(source: &str) -> (File, Vec<Diagnostic>) {
    let (file, mut diagnostics) = parse(source);
    let (hir, more) = check(&file);
    diagnostics.extend(more);
    diagnostics.retain(|d| d.severity == Severity::Error);
    (hir, diagnostics)
}

#[test]
fn samples_and_examples_are_accepted() {
    let files = [tiles("tests/samples"), tiles("dsl-examples")].concat();
    assert!(files.len() >= 30, "samples are missing");
    for path in files {
        let source = std::fs::read_to_string(&path).expect("a sample");
        let (hir, diagnostics) = checked(&source);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:#?}", path.display());
        assert!(!hir.funcs.is_empty(), "{}", path.display());
        if std::env::var_os("ROOFTILE_PRINT_HIR").is_some() {
            println!("=== {}\n{}", path.display(), print::file_text(&hir));
        }
    }
}

/// What is said about a file, with the codes on a line of their own.
fn report(path: &Path) -> String {
    let source = std::fs::read_to_string(path).expect("a sample");
    let (_, diagnostics) = checked(&source);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    render(&diagnostics, &name, &source, false)
}

#[test]
fn wrong_samples_are_refused() {
    insta::glob!("../../tests/samples/wrong", "*.tile", |path| {
        // Independence of the tile size is tested by running, not proven.
        if !path.ends_with("fold_not_invariant.tile") {
            let source = std::fs::read_to_string(path).expect("a sample");
            let (_, diagnostics) = checked(&source);
            assert!(has_errors(&diagnostics), "{}", path.display());
            insta::assert_snapshot!(report(path));
        }
    });
}

#[test]
fn texts_against_each_rule_are_refused() {
    insta::glob!("../../tests/samples/refused", "*.tile", |path| {
        insta::assert_snapshot!(report(path));
    });
}
