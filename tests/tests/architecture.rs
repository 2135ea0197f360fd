//! The invariants of `docs/architecture.md`, guarded.

use std::fs;
use std::path::{Path, PathBuf};

use rooftile_tests::root;

/// Every Rust file below `folder`, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).expect("folder of a crate").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                out.push((path, text));
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join(folder).join("src"), &mut out);
    out.sort();
    assert!(!out.is_empty(), "{folder} has no sources");
    out
}

/// The `rooftile-*` crates that a crate's manifest names in `[dependencies]`.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
    let section = manifest.split("[dependencies]").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section
        .lines()
        .filter_map(|line| line.strip_prefix("rooftile-"))
        .map(|rest| rest.split(['.', ' ', '=']).next().unwrap_or(rest).to_owned())
        .collect()
}

/// Lines of code that contain `needle`: comments, and everything from `#[cfg(test)]` on, do not count.
fn lines_with<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = &'a str> {
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or("")
        .lines()
        .filter(move |line| !line.trim_start().starts_with("//") && line.contains(needle))
}

#[test]
fn crates_use_only_what_the_map_allows() {
    assert_eq!(dependencies("artifact"), [""; 0]);
    assert_eq!(dependencies("compiler"), ["artifact"]);
    assert_eq!(dependencies("runtime"), ["artifact"]);
    assert_eq!(dependencies("search"), ["artifact", "compiler", "runtime"]);
}

#[test]
fn codegen_never_sees_a_schedule() {
    for (path, text) in sources("compiler") {
        if path.to_string_lossy().contains("/codegen/") {
            let hits: Vec<_> =
                ["schedule::", "hir::", "syntax::"].iter().flat_map(|n| lines_with(&text, n)).collect();
            assert!(hits.is_empty(), "{}: {hits:?}", path.display());
        }
    }
}

#[test]
fn search_names_runtime_in_one_file() {
    let files: Vec<_> = sources("search")
        .into_iter()
        .filter(|(_, text)| lines_with(text, "rooftile_runtime").next().is_some())
        .map(|(path, _)| path)
        .collect();
    assert!(files.len() <= 1, "{files:?}");
}

#[test]
fn libraries_do_not_print() {
    for folder in ["artifact", "compiler", "runtime", "search"] {
        for (path, text) in sources(folder) {
            for needle in ["println!", "print!(", "dbg!"] {
                let hits: Vec<_> = lines_with(&text, needle).collect();
                assert!(hits.is_empty(), "{}: {hits:?}", path.display());
            }
        }
    }
}

#[test]
fn only_the_runtimes_timer_reads_the_clock() {
    for folder in ["artifact", "compiler", "search", "runtime"] {
        for (path, text) in sources(folder) {
            if path.ends_with("runtime/src/timer.rs") {
                continue;
            }
            for needle in ["Instant::now", "SystemTime::now", "clock_gettime"] {
                let hits: Vec<_> = lines_with(&text, needle).collect();
                assert!(hits.is_empty(), "{}: {hits:?}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_the_runtime() {
    for folder in ["artifact", "compiler", "search"] {
        for (path, text) in sources(folder) {
            let hits: Vec<_> =
                lines_with(&text, "unsafe ").filter(|l| !l.contains("unsafe extern")).collect();
            assert!(hits.is_empty(), "{}: {hits:?}", path.display());
        }
    }
}

#[test]
fn paths_named_in_the_docs_exist() {
    let docs = fs::read_dir(root().join("docs")).expect("docs").flatten().map(|e| e.path());
    let files = docs.chain([root().join("README.md"), root().join("dsl-examples/README.md")]);
    let folders = [
        "artifact/",
        "compiler/",
        "runtime/",
        "search/",
        "cli/",
        "dsl-examples/",
        "benches/",
        "tests/",
        "docs/",
        "scripts/",
    ];
    for file in files.filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&file).expect("a document");
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split([' ', ':', '#']).next().unwrap_or(quoted);
            let is_path = folders.iter().any(|f| path.starts_with(f));
            if is_path && !path.contains(['*', '{', '<', 'N']) && !path.contains("..") {
                assert!(root().join(path).exists(), "{}: `{path}` does not exist", file.display());
            }
        }
    }
}
