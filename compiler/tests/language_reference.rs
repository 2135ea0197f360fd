//! `docs/language.md` says what the compiler does: its programs are right and canonical, and its tables list what
//! there is.

use std::path::Path;

use rooftile_compiler::diag::{Code, has_errors, render};
use rooftile_compiler::hir::check;
use rooftile_compiler::syntax::{parse, print};

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md");
    std::fs::read_to_string(path).expect("docs/language.md")
}

#[test]
fn programs_in_the_reference_are_right_and_canonical() {
    let text = reference();
    let programs: Vec<&str> =
        text.split("```tile\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(programs.len() >= 2, "programs are missing");
    for program in programs {
        let (file, diagnostics) = parse(program);
        assert!(diagnostics.is_empty(), "{}", render(&diagnostics, "docs/language.md", program, false));
        let (_, diagnostics) = check(&file);
        assert!(!has_errors(&diagnostics), "{}", render(&diagnostics, "docs/language.md", program, false));
        assert_eq!(print(&file, program), *program);
    }
}

#[test]
fn every_code_is_listed_with_its_kind_and_an_example() {
    let text = reference();
    for code in Code::ALL {
        let row = format!("\n| {code} | {} | ", code.word());
        let example = text.split(row.as_str()).nth(1).and_then(|rest| rest.split(" |\n").next());
        assert!(example.is_some_and(|e| e.len() > 10), "no row for {code} ({})", code.word());
    }
    assert_eq!(text.matches("\n| E0").count(), Code::ALL.len());
}

#[test]
fn every_verb_is_listed() {
    let text = reference();
    for verb in rooftile_compiler::schedule::verbs::VERBS {
        assert!(text.contains(&format!("`{}(", verb.name)), "`{}` is not listed", verb.name);
    }
}
