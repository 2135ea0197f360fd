//! The examples as data: every one parses.

use rooftile_compiler::syntax;
use rooftile_tests::examples;

#[test]
fn every_example_parses() {
    for path in examples() {
        let source = std::fs::read_to_string(&path).expect("an example");
        let (file, diagnostics) = syntax::parse(&source);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:#?}", path.display());
        assert!(!file.items.is_empty());
    }
}
