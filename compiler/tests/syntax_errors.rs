//! What is said about texts that do not parse, word for word. `INSTA_UPDATE=always` accepts a change.

use rooftile_compiler::diag::{has_errors, render, to_json};
use rooftile_compiler::syntax::parse;

#[test]
fn reports_of_syntax_errors() {
    insta::glob!("../../tests/samples/syntax", "*.tile", |path| {
        let source = std::fs::read_to_string(path).expect("a sample");
        let (_, diagnostics) = parse(&source);
        assert!(has_errors(&diagnostics), "{}", path.display());
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        insta::assert_snapshot!(render(&diagnostics, &name, &source, false));
    });
}

#[test]
fn reports_as_json() {
    let source = "kernel k(x: out f32[N]) {\n  x[0] = \n}\n";
    let (_, diagnostics) = parse(source);
    let json = serde_json::to_string_pretty(&to_json(&diagnostics, "k.tile", source)).expect("JSON");
    insta::assert_snapshot!(json);
}
