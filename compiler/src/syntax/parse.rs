//! Tokens to syntax tree, with all syntax errors of the file.

use super::ast::File;
use super::build::{Builder, Raw};
use super::expected::expected;
use super::layout::classify;
use super::token::{Spanned, Tok, lex};
use crate::diag::{Code, Diagnostic, Span};

lalrpop_util::lalrpop_mod!(
    // The module is generated.
    #[allow(clippy::all, missing_docs, private_interfaces, unreachable_pub, unused)]
    grammar,
    "/syntax/grammar.rs"
);

/// Longest text that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting of brackets and operators, so that no walk over the tree can exhaust the stack.
pub const MAX_DEPTH: usize = 500;
/// What a block counts towards [`MAX_DEPTH`].
const BLOCK_DEPTH: usize = 8;
/// Reading stops after this many syntax errors.
pub const MAX_ERRORS: usize = 100;

/// Parses a file. The tree holds what could be read; it is whole exactly when no diagnostic is an error. Diagnostics
/// come in the order of the text. Never panics, whatever the text.
#[must_use]
pub fn parse(source: &str) -> (File, Vec<Diagnostic>) {
    if source.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", source.len());
        return (File::default(), vec![Diagnostic::error(Code::TooDeep, Span::new(0, 0), message)]);
    }
    let mut lexed = lex(source);
    classify(source, &mut lexed.tokens);
    let mut diagnostics = std::mem::take(&mut lexed.diagnostics);
    if let Some(too_deep) = too_deep(&lexed.tokens) {
        diagnostics.push(too_deep);
        return (File::default(), diagnostics);
    }

    let builder = Builder::default();
    let input = lexed
        .tokens
        .iter()
        .take_while(|_| builder.error_count() < MAX_ERRORS)
        .map(|&(tok, span)| Ok((span.start as usize, tok, span.end as usize)));
    let file = grammar::FileParser::new().parse(&builder, input).unwrap_or_else(|error| {
        builder.failed(error, 0);
        File::default()
    });

    let stopped = builder.error_count() >= MAX_ERRORS;
    let (mut raw, others) = builder.into_parts();
    if stopped {
        raw.retain(|error| !error.at_end);
    }
    diagnostics.extend(others);
    diagnostics.extend(describe(raw, source, &lexed.tokens));
    diagnostics.sort_by_key(|d| (d.primary.span, d.code));
    let stopped = stopped || diagnostics.len() > MAX_ERRORS;
    diagnostics.truncate(MAX_ERRORS);
    if stopped && let Some(last) = diagnostics.last_mut() {
        last.notes.push("there are too many errors; the rest of the file was not read".to_owned());
    }
    (file, diagnostics)
}

/// Finds the first place that nests deeper than [`MAX_DEPTH`]. Brackets count, and the operators read so far in each
/// expression that is still open: an upper bound on the height of the tree.
fn too_deep(tokens: &[Spanned<'_>]) -> Option<Diagnostic> {
    let mut open: Vec<usize> = Vec::new();
    let (mut here, mut total) = (0, 0);
    let mut before = None;
    for &(tok, span) in tokens {
        let ended = match tok {
            Tok::ParenOpen | Tok::BracketOpen => false,
            Tok::ParenClose | Tok::BracketClose | Tok::BraceClose | Tok::SetClose | Tok::ParamClose => {
                total -= here;
                here = open.pop().unwrap_or(0);
                before = Some(tok);
                continue;
            }
            // An operand right behind an operand starts another statement or item.
            _ if tok.is_operator() => false,
            _ if tok.ends_operand() => before.is_some_and(Tok::ends_operand),
            _ => true,
        };
        if ended {
            total -= here;
            here = 0;
        }
        if tok.is_operator() || opens(tok) {
            let levels = if tok == Tok::BraceOpen { BLOCK_DEPTH } else { 1 };
            here += levels;
            total += levels;
        }
        if opens(tok) {
            open.push(std::mem::take(&mut here));
        }
        if total > MAX_DEPTH {
            let message = format!(
                "nested deeper than {MAX_DEPTH} levels of brackets and operators (a block counts for {BLOCK_DEPTH})"
            );
            return Some(
                Diagnostic::error(Code::TooDeep, span, message).help("name a part of it with `let`"),
            );
        }
        before = Some(tok);
    }
    None
}

/// Words for the errors that are worth reporting: one a line, and none that only follows from braces skipped before.
fn describe(mut raw: Vec<Raw>, source: &str, tokens: &[Spanned<'_>]) -> Vec<Diagnostic> {
    raw.sort_by_key(|r| r.span);
    let mut out = Vec::new();
    let mut last_end: Option<usize> = None;
    let mut muted_until = 0;
    for error in &raw {
        let at = error.span.start as usize;
        let muted = at < muted_until;
        if error.braces != 0 {
            let next_item = tokens.iter().find(|(tok, span)| span.start as usize > at && tok.starts_item());
            muted_until = muted_until.max(next_item.map_or(usize::MAX, |(_, span)| span.start as usize));
        }
        let index = tokens.partition_point(|(_, span)| (span.start as usize) < at);
        let one_line = |from: usize, to: usize| !source.get(from..to).unwrap_or_default().contains('\n');
        let same_line = last_end.is_some_and(|end| one_line(end, at));
        // What is missing at the end of a line is found missing at the start of the next.
        let before = tokens[..index.min(tokens.len())].last().map_or(0, |(_, span)| span.end as usize);
        last_end = Some(if one_line(before, at) { error.span.end as usize } else { before });
        let found = tokens.get(index).map(|(tok, _)| *tok);
        // A bad token has been reported as such.
        if !muted && !same_line && found != Some(Tok::Error) {
            out.push(diagnostic(error, source, tokens, index));
        }
    }
    out
}

fn diagnostic(error: &Raw, source: &str, tokens: &[Spanned<'_>], index: usize) -> Diagnostic {
    let wanted = expected(&error.expected);
    let unclosed = innermost_open(&tokens[..index.min(tokens.len())]);
    if error.at_end || index >= tokens.len() {
        let message = match wanted {
            Some(wanted) => format!("the file ends, but {wanted} is expected"),
            None => "the file ends too early".to_owned(),
        };
        let diagnostic = Diagnostic::error(Code::UnexpectedEnd, error.span, message);
        return match unclosed {
            Some((what, span)) => diagnostic.cause(span, format!("this `{what}` is not closed")),
            None => diagnostic,
        };
    }
    let (tok, span) = tokens[index];
    let text = source.get(span.range()).unwrap_or_default();
    let message = match wanted {
        Some(wanted) => format!("expected {wanted}, found `{text}`"),
        None => format!("`{text}` may not stand here"),
    };
    let mut diagnostic = Diagnostic::error(Code::Syntax, span, message);
    let can_be = |terminal: &str| error.expected.iter().any(|t| t.trim_matches('"') == terminal);
    let name_expected = can_be("IDENT") && !can_be("FLOAT");
    if tok == Tok::Eq && can_be("=") {
        diagnostic = diagnostic.help("`==` compares; `=` assigns");
    } else if matches!(tok, Tok::Eq | Tok::Ne | Tok::Lt | Tok::Le | Tok::Gt | Tok::Ge) && !can_be("IDENT") {
        diagnostic = diagnostic.help("comparisons do not chain; write `a < b && b < c`");
    } else if tok.starts_item()
        && let Some((what, open)) = unclosed
    {
        diagnostic = diagnostic.cause(open, format!("this `{what}` is not closed"));
    } else if tok.is_keyword() && name_expected && !can_be("let") {
        diagnostic = diagnostic.note(format!("`{text}` is a keyword and cannot be a name"));
    } else if matches!(tok, Tok::DType(_)) && name_expected {
        diagnostic = diagnostic.note(format!("`{text}` is a type and cannot be a name"));
    }
    diagnostic
}

fn opens(tok: Tok<'_>) -> bool {
    matches!(tok, Tok::ParenOpen | Tok::BracketOpen | Tok::BraceOpen | Tok::SetOpen)
}

/// The innermost bracket that is open behind the tokens.
fn innermost_open(tokens: &[Spanned<'_>]) -> Option<(char, Span)> {
    let mut open = Vec::new();
    for &(tok, span) in tokens {
        match tok {
            Tok::ParenOpen => open.push(('(', span)),
            Tok::BracketOpen => open.push(('[', span)),
            Tok::BraceOpen | Tok::SetOpen => open.push(('{', span)),
            Tok::ParenClose | Tok::BracketClose | Tok::BraceClose | Tok::SetClose | Tok::ParamClose => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::has_errors;

    #[test]
    fn deep_and_long_texts_are_refused() {
        for text in ["(".repeat(100_000), "{".repeat(100_000), "- ".repeat(100_000), "a[".repeat(100_000)] {
            let (_, diagnostics) = parse(&text);
            assert_eq!(diagnostics.last().map(|d| d.code), Some(Code::TooDeep), "{}", &text[..4]);
        }
        let long = format!("const X: f32 = 1.0{}", " + 1.0".repeat(100_000));
        assert_eq!(parse(&long).1[0].code, Code::TooDeep);
        let (_, diagnostics) = parse(&" ".repeat(MAX_BYTES + 1));
        assert_eq!(diagnostics[0].code, Code::TooDeep);
    }

    #[test]
    fn many_statements_are_not_deep() {
        let text = format!("kernel k(x: out f32[N]) {{ {} }}", "x[0] = a + b * (c - d) ".repeat(2_000));
        assert!(!has_errors(&parse(&text).1));
    }

    #[test]
    fn words_of_one_block_are_names_elsewhere() {
        let text = "kernel check(range: in f32[of], edge: out f32[of] edge clamp range 0..4) {
            with init in of { edge[init] = range[init] * cost } search(tol) }
            tune check { require in {1, 2} when in 1..4 require when < require }";
        let (file, diagnostics) = parse(text);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        assert_eq!(file.items.len(), 2);
    }

    #[test]
    fn errors_stop_at_a_limit() {
        let text = "kernel k() {\n".to_owned() + &"let = 1\n".repeat(10_000) + "}";
        let (_, diagnostics) = parse(&text);
        assert_eq!(diagnostics.len(), MAX_ERRORS);
    }
}
