//! The canonical printer. Text, tree, text is the identity on canonical text; tree, text, tree is the identity up to
//! places.
//!
//! Layout follows from the tree alone, but for two things that the source text decides: where comments go, and where
//! one blank line sets things apart. A comment on a line of its own stays before what follows it, a comment at the
//! end of a line stays behind it, and a comment inside a statement moves before the statement.

mod comments;
mod doc;
mod expr;
mod item;
mod stmt;

use self::comments::{Comment, Comments};
use self::doc::{Doc, WIDTH, flat, render, text};
use super::ast::{Expr, File, Item};
use super::token::Tok;
use crate::diag::Span;

/// The canonical text of a file with the comments of the source that it was parsed from. Parts whose spans are empty
/// (those that were not parsed but put in) attract no comments. A file that had syntax errors has no canonical text.
#[must_use]
pub fn print(file: &File, source: &str) -> String {
    Printer::new(Some(Comments::new(source))).file(file)
}

/// The canonical text without comments and blank lines: equal exactly for files that are equal up to places.
#[must_use]
pub fn print_canonical(file: &File) -> String {
    Printer::new(None).file(file)
}

/// The canonical text of one item, without comments, ended by a line end.
#[must_use]
pub fn print_item(item: &Item) -> String {
    let mut printer = Printer::new(None);
    printer.item(item);
    printer.finish()
}

/// The canonical text of one expression, on one line.
#[must_use]
pub fn print_expr(e: &Expr) -> String {
    flat(&expr::expr(e, expr::Set::Loose))
}

/// BLAKE3 of the canonical text: equal exactly for files that are equal up to places.
#[must_use]
pub fn hash(file: &File) -> [u8; 32] {
    *blake3::hash(print_canonical(file).as_bytes()).as_bytes()
}

/// Whether the thing stands in the source text.
fn is_written(span: Span) -> bool {
    span.end > span.start
}

impl Span {
    /// From here to the end of `last`, where both stand in the source text; else an empty span.
    fn to_if(self, last: Span) -> Span {
        if is_written(self) && is_written(last) { self.to(last) } else { Span::default() }
    }
}

/// An open block: the indentation to return to.
struct Open {
    indent: usize,
}

/// Writes lines. The last line is kept without its end, so that a comment can be put behind it.
struct Printer<'s> {
    out: String,
    indent: usize,
    comments: Option<Comments<'s>>,
    /// Nothing was written yet in this block.
    fresh: bool,
}

impl<'s> Printer<'s> {
    fn new(comments: Option<Comments<'s>>) -> Printer<'s> {
        Printer { out: String::new(), indent: 0, comments, fresh: true }
    }

    fn file(mut self, file: &File) -> String {
        if let Some((version, span)) = file.version {
            let span = self.with_keyword(span, Tok::Rooftile);
            self.leaf(span, &text(format!("rooftile {version}")));
        }
        for item in &file.items {
            self.item(item);
        }
        self.comments_to(u32::MAX);
        self.finish()
    }

    fn finish(mut self) -> String {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }

    fn start_line(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', self.indent));
        self.fresh = false;
    }

    /// A line, or several where the layout breaks.
    fn line(&mut self, doc: &Doc) {
        self.start_line();
        render(doc, self.indent, self.indent, &mut self.out);
    }

    /// Whether the text fits on one line here.
    fn fits(&self, doc: &Doc) -> bool {
        self.indent + flat(doc).chars().count() <= WIDTH
    }

    fn blank_line(&mut self, before: u32) {
        if !self.fresh && self.comments.as_ref().is_some_and(|c| c.blank_before(before)) {
            self.out.push('\n');
        }
    }

    fn comment(&mut self, comment: Comment<'_>, blank: bool) {
        if self.fresh && comment.opens && !self.out.is_empty() {
            self.out.push(' ');
            self.out.push_str(comment.text);
            return;
        }
        if blank {
            self.blank_line(comment.start);
        }
        self.start_line();
        self.out.push_str(comment.text);
    }

    /// The comments that start before the offset, each on its line.
    fn comments_to(&mut self, end: u32) {
        while let Some(comment) = self.comments.as_mut().and_then(|c| c.before(end)) {
            self.comment(comment, true);
        }
    }

    /// The comments before the first `else` behind the offset.
    fn comments_to_else(&mut self, offset: u32) {
        if let Some(span) = self.comments.as_ref().and_then(|c| c.first_behind(offset, Tok::Else)) {
            self.comments_to(span.start);
        }
    }

    /// The span with the keyword in front of it, which the tree has no place for.
    fn with_keyword(&self, span: Span, keyword: Tok<'_>) -> Span {
        let found = self.comments.as_ref().filter(|_| is_written(span));
        found.and_then(|c| c.just_before(span.start, keyword)).map_or(span, |k| k.to(span))
    }

    /// The span up to the bracket that closes it, which the tree has no place for.
    fn with_closing(&self, span: Span, bracket: Tok<'_>) -> Span {
        let found = self.comments.as_ref().filter(|_| is_written(span));
        found.and_then(|c| c.first_behind(span.end, bracket)).map_or(span, |b| span.to(b))
    }

    /// What goes before a thing that stands at `span`: comments and a blank line.
    fn lead(&mut self, span: Span) {
        if is_written(span) {
            self.comments_to(span.start);
            self.blank_line(span.start);
        }
    }

    /// The comment at the end of the line on which the thing ends.
    fn trail(&mut self, span: Span) {
        if is_written(span)
            && let Some(comment) = self.comments.as_mut().and_then(|c| c.behind(span.end))
        {
            self.out.push(' ');
            self.out.push_str(comment.text);
        }
    }

    fn has_comments(&self, span: Span) -> bool {
        is_written(span) && self.comments.as_ref().is_some_and(|c| c.any_in(span))
    }

    /// A thing that is not split around comments: those inside go before it.
    fn leaf(&mut self, span: Span, doc: &Doc) {
        self.lead(span);
        if is_written(span) {
            while let Some(comment) = self.comments.as_mut().and_then(|c| c.before(span.end)) {
                self.comment(comment, false);
            }
        }
        self.close_leaf(span, doc);
    }

    fn close_leaf(&mut self, span: Span, doc: &Doc) {
        self.line(doc);
        self.trail(span);
    }

    /// Goes into a block whose head was just written.
    fn open(&mut self) -> Open {
        let open = Open { indent: self.indent };
        self.indent += 2;
        self.fresh = true;
        open
    }

    fn leave(&mut self, indent: usize) {
        self.indent = indent;
        self.fresh = false;
    }

    /// Ends a block, and the thing at `span` with it.
    fn close(&mut self, open: Open, span: Span) {
        if is_written(span) {
            self.comments_to(span.end);
        }
        self.leave(open.indent);
        self.line(&text("}"));
        self.trail(span);
    }
}
