//! Diagnostics for people and for programs.

use codespan_reporting::diagnostic as report;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};
use codespan_reporting::term::{Config, emit_to_write_style};
use serde_json::{Value, json};

use super::{Diagnostic, Label, Severity, Span};

/// The diagnostics as text, in the order of the source, each with the lines that it is about and an empty line
/// behind. `colour` puts ANSI escapes in.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], file_name: &str, source: &str, colour: bool) -> String {
    let bytes = if colour {
        write(diagnostics, file_name, source, Ansi::new(Vec::new())).into_inner()
    } else {
        write(diagnostics, file_name, source, NoColor::new(Vec::new())).into_inner()
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write<W: WriteColor>(diagnostics: &[Diagnostic], file_name: &str, source: &str, mut writer: W) -> W {
    let file = SimpleFile::new(file_name, source);
    let config = Config { tab_width: 2, ..Config::default() };
    for d in in_order(diagnostics) {
        // Spans fit the source and memory does not fail; a report that cannot be laid out is still said.
        if emit_to_write_style(&mut writer, &config, &file, &reported(d, source)).is_err() {
            let _ = writeln!(writer, "{}[{}]: {}", word(d.severity), d.code, d.message);
        }
    }
    writer
}

fn reported(d: &Diagnostic, source: &str) -> report::Diagnostic<()> {
    let severity = match d.severity {
        Severity::Error => report::Severity::Error,
        Severity::Warning => report::Severity::Warning,
        Severity::Note => report::Severity::Note,
    };
    let range = |span: Span| fitted(span, source).range();
    let mut labels = vec![report::Label::primary((), range(d.primary.span)).with_message(&d.primary.message)];
    labels.extend(
        d.causes.iter().map(|c| report::Label::secondary((), range(c.span)).with_message(&c.message)),
    );
    let mut notes = d.notes.clone();
    notes.extend(d.help.iter().map(|h| format!("help: {h}")));
    report::Diagnostic::new(severity)
        .with_code(d.code.to_string())
        .with_message(&d.message)
        .with_labels(labels)
        .with_notes(notes)
}

/// The diagnostics as a JSON array, in the order of the source. Each has `code` ("E0203"), `kind` (what the code
/// stands for), `severity`, `message`, `file`, `spans`, `notes` and `help` (null if there is none). Each span has
/// `start` and `end` (bytes, the end excluded), `line`, `column`, `end_line` and `end_column` (from 1, columns in
/// characters), `primary` and `label`; the first span is the primary one.
#[must_use]
pub fn to_json(diagnostics: &[Diagnostic], file_name: &str, source: &str) -> Value {
    let lines = Lines::new(source);
    let one = |d: &Diagnostic| {
        let mut spans = vec![lines.span(&d.primary, true)];
        spans.extend(d.causes.iter().map(|c| lines.span(c, false)));
        json!({
            "code": d.code.to_string(),
            "kind": d.code.word(),
            "severity": word(d.severity),
            "message": d.message,
            "file": file_name,
            "spans": spans,
            "notes": d.notes,
            "help": d.help,
        })
    };
    Value::Array(in_order(diagnostics).into_iter().map(one).collect())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// By place, then by code; equal ones stay as they came.
fn in_order(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (d.primary.span, d.code));
    sorted
}

/// The span cut to the source and to whole characters.
fn fitted(span: Span, source: &str) -> Span {
    let at = |offset: u32| source.floor_char_boundary((offset as usize).min(source.len()));
    let start = at(span.start);
    Span::new(start, at(span.end).max(start))
}

/// Where the lines of a text start.
struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    fn new(source: &'s str) -> Lines<'s> {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { source, starts }
    }

    /// Line and column of an offset, from 1.
    fn place(&self, offset: u32) -> (usize, usize) {
        let offset = offset as usize;
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        (line, self.source.get(start..offset).unwrap_or_default().chars().count() + 1)
    }

    fn span(&self, label: &Label, primary: bool) -> Value {
        let span = fitted(label.span, self.source);
        let ((line, column), (end_line, end_column)) = (self.place(span.start), self.place(span.end));
        json!({
            "primary": primary,
            "start": span.start,
            "end": span.end,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "label": label.message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;

    const SOURCE: &str = "a é\nsecond line\n";

    fn two() -> Vec<Diagnostic> {
        let late = Diagnostic::warning(Code::Race, Span::new(5, 11), "the later one").help("turn round");
        let early = Diagnostic::error(Code::UnknownName, Span::new(2, 4), "no `é`")
            .label("here")
            .cause(Span::new(12, 16), "because of this")
            .note("a fact");
        vec![late, early]
    }

    #[test]
    fn text_is_in_source_order() {
        let expected = "\
error[E0201]: no `é`
  ┌─ x.tile:1:3
  │
1 │ a é
  │   ^ here
2 │ second line
  │        ---- because of this
  │
  = a fact

warning[E0303]: the later one
  ┌─ x.tile:2:1
  │
2 │ second line
  │ ^^^^^^
  │
  = help: turn round

";
        assert_eq!(render(&two(), "x.tile", SOURCE, false), expected);
        let coloured = render(&two(), "x.tile", SOURCE, true);
        assert!(coloured.contains("\u{1b}["), "{coloured}");
    }

    #[test]
    fn json_has_places_from_one() {
        let json = to_json(&two(), "x.tile", SOURCE);
        assert_eq!(json[0]["code"], "E0201");
        assert_eq!(json[0]["spans"][0]["column"], 3);
        assert_eq!(json[0]["spans"][0]["end_column"], 4);
        assert_eq!(json[0]["spans"][1]["line"], 2);
        assert_eq!(json[0]["spans"][1]["label"], "because of this");
        assert_eq!(json[1]["severity"], "warning");
        assert_eq!(json[1]["help"], "turn round");
    }

    #[test]
    fn spans_outside_the_text_are_cut() {
        let odd = [Diagnostic::error(Code::Size, Span::new(3, 900), "cut"), {
            Diagnostic::error(Code::Size, Span { start: 800, end: 2 }, "turned")
        }];
        assert!(render(&odd, "x.tile", SOURCE, false).contains("turned"));
        assert_eq!(to_json(&odd, "x.tile", SOURCE)[1]["spans"][0]["line"], 3);
        assert!(render(&odd, "x.tile", "", false).contains("cut"));
    }
}
