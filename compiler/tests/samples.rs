//! Every sample parses.

use std::path::{Path, PathBuf};

use rooftile_compiler::diag::has_errors;
use rooftile_compiler::syntax::parse;

/// The samples, the wrong ones too: what is wrong with those is not their syntax.
fn samples() -> Vec<PathBuf> {
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
    files
}

#[test]
fn samples_parse() {
    for path in samples() {
        let source = std::fs::read_to_string(&path).expect("a sample");
        let (file, diagnostics) = parse(&source);
        assert!(!has_errors(&diagnostics), "{}: {diagnostics:#?}", path.display());
        assert!(!file.items.is_empty(), "{}", path.display());
    }
}
