//! The files that suites run on: every sample and every example, parsed and checked once.

use std::path::Path;
use std::sync::OnceLock;

use rooftile_compiler::diag;
use rooftile_compiler::driver::{self, Checked};
use rooftile_compiler::hir::ir::{File, Func, FuncId, FuncKind};

use crate::root;

/// A file that is right.
#[derive(Debug)]
pub struct Subject {
    /// Its path from the repository's root.
    pub path: String,
    /// The checked text.
    pub checked: Checked,
}

impl Subject {
    /// The typed tile program.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.checked.hir
    }
}

/// A kernel or pipeline of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The file.
    pub subject: &'static Subject,
    /// The function.
    pub id: FuncId,
}

impl Entry {
    /// The function.
    #[must_use]
    pub fn func(&self) -> &'static Func {
        &self.subject.file().funcs[self.id]
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.func().name
    }

    /// File and function, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}:{}", self.subject.path, self.name())
    }
}

/// Every sample, then every example, sorted by path.
///
/// # Panics
/// If one of them is missing or refused.
#[must_use]
pub fn subjects() -> &'static [Subject] {
    static SUBJECTS: OnceLock<Vec<Subject>> = OnceLock::new();
    SUBJECTS.get_or_init(|| ["tests/samples", "dsl-examples"].into_iter().flat_map(folder).collect())
}

/// Every kernel and pipeline of every subject; only those whose label contains `ROOFTILE_ONLY`, where it is set.
#[must_use]
pub fn entries() -> Vec<Entry> {
    let only = std::env::var("ROOFTILE_ONLY").unwrap_or_default();
    let all = subjects().iter().flat_map(|subject| {
        let funcs = subject.file().funcs.iter().filter(|(_, f)| f.kind != FuncKind::Reference);
        funcs.map(move |(id, _)| Entry { subject, id })
    });
    all.filter(|entry| entry.label().contains(&only)).collect()
}

/// The texts of a folder's `.tile` files with their paths from the root, sorted.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn texts(folder: &str) -> Vec<(String, String)> {
    let dir = root().join(folder);
    let mut out: Vec<(String, String)> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "tile"))
        .map(|path| (format!("{folder}/{}", name(&path)), std::fs::read_to_string(&path).expect("text")))
        .collect();
    out.sort();
    out
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn folder(folder: &str) -> Vec<Subject> {
    let load = |(path, text): (String, String)| {
        let checked = driver::check(&text);
        let shown = diag::render(&checked.diagnostics, &path, &text, false);
        assert!(!checked.has_errors(), "{shown}");
        Subject { path, checked }
    };
    texts(folder).into_iter().map(load).collect()
}
