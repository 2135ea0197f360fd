//! Which comment goes where: before what follows it, or behind what stands on its line.

use crate::diag::Span;
use crate::syntax::token::{Spanned, Tok, lex};

/// The comments of a source text, handed out in order.
#[derive(Debug)]
pub(super) struct Comments<'s> {
    source: &'s str,
    tokens: Vec<Spanned<'s>>,
    comments: Vec<Span>,
    next: usize,
}

impl<'s> Comments<'s> {
    pub(super) fn new(source: &'s str) -> Comments<'s> {
        let lexed = lex(source);
        Comments { source, tokens: lexed.tokens, comments: lexed.comments, next: 0 }
    }

    /// The next comment, if it starts before `end`.
    pub(super) fn before(&mut self, end: u32) -> Option<Comment<'s>> {
        let span = *self.comments.get(self.next).filter(|c| c.start < end)?;
        self.next += 1;
        Some(self.comment(span))
    }

    /// The comment behind what ends at `end`, on the same line.
    pub(super) fn behind(&mut self, end: u32) -> Option<Comment<'s>> {
        let span = *self.comments.get(self.next).filter(|c| c.start >= end)?;
        let between = self.source.get(end as usize..span.start as usize)?;
        if !between.chars().all(|c| matches!(c, ' ' | '\t' | ',')) {
            return None;
        }
        self.next += 1;
        Some(self.comment(span))
    }

    /// Whether a comment that was not handed out yet starts inside.
    pub(super) fn any_in(&self, span: Span) -> bool {
        self.comments[self.next..].iter().take_while(|c| c.start < span.end).any(|c| c.start >= span.start)
    }

    /// Whether there is an empty line just before the offset.
    pub(super) fn blank_before(&self, offset: u32) -> bool {
        let before = self.source.get(..offset as usize).unwrap_or_default();
        before.chars().rev().take_while(|c| c.is_whitespace()).filter(|c| *c == '\n').count() > 1
    }

    /// Where the first token of the kind at or behind the offset stands.
    pub(super) fn first_behind(&self, offset: u32, kind: Tok<'_>) -> Option<Span> {
        let from = self.tokens.partition_point(|(_, span)| span.start < offset);
        self.tokens[from..].iter().find(|(tok, _)| *tok == kind).map(|(_, span)| *span)
    }

    /// Where the token right before the offset stands, if it is of the kind.
    pub(super) fn just_before(&self, offset: u32, kind: Tok<'_>) -> Option<Span> {
        let behind = self.tokens.partition_point(|(_, span)| span.start < offset);
        let (tok, span) = self.tokens.get(behind.checked_sub(1)?)?;
        (*tok == kind).then_some(*span)
    }

    fn comment(&self, span: Span) -> Comment<'s> {
        let text = self.source.get(span.range()).unwrap_or_default().trim_end();
        let line = self.source.get(..span.start as usize).unwrap_or_default();
        let line = line.rsplit('\n').next().unwrap_or_default().trim_end();
        Comment { text, start: span.start, opens: line.ends_with('{') }
    }
}

/// A comment to be printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment<'s> {
    /// From `//` to the end of the line.
    pub(super) text: &'s str,
    /// Where it starts.
    pub(super) start: u32,
    /// Whether it stands right behind the `{` that opens a block.
    pub(super) opens: bool,
}
