//! The examples as data: every one parses and type-checks.

use rooftile_compiler::{diag, hir, syntax};
use rooftile_tests::examples;

#[test]
fn every_example_checks() {
    for path in examples() {
        let source = std::fs::read_to_string(&path).expect("an example");
        let (file, diagnostics) = syntax::parse(&source);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:#?}", path.display());
        let (_, diagnostics) = hir::check(&file);
        let text = diag::render(&diagnostics, &path.display().to_string(), &source, false);
        assert!(!diag::has_errors(&diagnostics), "{text}");
    }
}
