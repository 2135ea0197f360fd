//! A small layout engine after Wadler's "A prettier printer": groups are laid out flat if they fit, else broken.

/// Longest line that the printer writes, where the text can be broken at all.
pub(super) const WIDTH: usize = 110;

/// A text with places where it may be broken.
#[derive(Clone, Debug)]
pub(super) enum Doc {
    /// Characters without a line end.
    Text(String),
    /// A space, or a line end in a broken group.
    Line,
    /// Nothing, or a line end in a broken group.
    Soft,
    /// One after the other.
    Concat(Vec<Doc>),
    /// Line ends inside are indented further.
    Nest(usize, Box<Doc>),
    /// Flat if it fits on the line, else broken at its own places.
    Group(Box<Doc>),
}

/// Characters without a line end.
pub(super) fn text(s: impl Into<String>) -> Doc {
    Doc::Text(s.into())
}

/// One after the other.
pub(super) fn concat(docs: impl IntoIterator<Item = Doc>) -> Doc {
    Doc::Concat(docs.into_iter().collect())
}

/// Flat if it fits.
pub(super) fn group(doc: Doc) -> Doc {
    Doc::Group(Box::new(doc))
}

/// Indents the line ends inside.
pub(super) fn nest(by: usize, doc: Doc) -> Doc {
    Doc::Nest(by, Box::new(doc))
}

/// `a, b, c`, each line filled before the next is begun.
pub(super) fn fill(docs: impl IntoIterator<Item = Doc>) -> Doc {
    separated(docs, ",")
}

/// `a b c`, each line filled before the next is begun.
pub(super) fn words(docs: impl IntoIterator<Item = Doc>) -> Doc {
    separated(docs, "")
}

fn separated(docs: impl IntoIterator<Item = Doc>, mark: &str) -> Doc {
    let mut out = Vec::new();
    for doc in docs {
        if out.is_empty() {
            out.push(doc);
        } else {
            out.push(text(mark));
            out.push(group(concat([Doc::Line, doc])));
        }
    }
    nest(4, Doc::Concat(out))
}

/// `open a, b close` on one line, or each element on a line of its own.
pub(super) fn rows(open: &str, docs: impl IntoIterator<Item = Doc>, close: &str) -> Doc {
    let mut inner = Vec::new();
    for doc in docs {
        if !inner.is_empty() {
            inner.push(text(","));
            inner.push(Doc::Line);
        }
        inner.push(doc);
    }
    if inner.is_empty() {
        return text(format!("{open}{close}"));
    }
    group(concat([text(open), nest(2, concat([Doc::Soft, Doc::Concat(inner)])), Doc::Soft, text(close)]))
}

/// Appends the laid-out text. The current line is `column` wide already; line ends are indented by `indent`.
pub(super) fn render(doc: &Doc, indent: usize, column: usize, out: &mut String) {
    let mut column = column;
    let mut stack = vec![(indent, false, doc)];
    while let Some((indent, flat, doc)) = stack.pop() {
        match doc {
            Doc::Text(s) => {
                out.push_str(s);
                column += s.chars().count();
            }
            Doc::Line if flat => {
                out.push(' ');
                column += 1;
            }
            Doc::Soft if flat => {}
            Doc::Line | Doc::Soft => {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
            Doc::Concat(docs) => stack.extend(docs.iter().rev().map(|d| (indent, flat, d))),
            Doc::Nest(by, inner) => stack.push((indent + by, flat, inner)),
            Doc::Group(inner) => {
                let flat = flat || fits(inner, &stack, WIDTH.saturating_sub(column));
                stack.push((indent, flat, inner));
            }
        }
    }
}

/// The text on one line, however long.
pub(super) fn flat(doc: &Doc) -> String {
    let mut out = String::new();
    let mut stack = vec![doc];
    while let Some(doc) = stack.pop() {
        match doc {
            Doc::Text(s) => out.push_str(s),
            Doc::Line => out.push(' '),
            Doc::Soft => {}
            Doc::Concat(docs) => stack.extend(docs.iter().rev()),
            Doc::Nest(_, inner) | Doc::Group(inner) => stack.push(inner),
        }
    }
    out
}

/// Whether `doc` laid out flat, with what follows it up to the next line end, fits in `room` characters.
fn fits(doc: &Doc, rest: &[(usize, bool, &Doc)], room: usize) -> bool {
    let mut room = room;
    let mut rest = rest.iter().rev();
    let mut stack = vec![(true, doc)];
    loop {
        let (is_flat, doc) = match stack.pop() {
            Some(next) => next,
            None => match rest.next() {
                Some(&(_, is_flat, doc)) => (is_flat, doc),
                None => return true,
            },
        };
        let width = match doc {
            Doc::Text(s) => s.chars().count(),
            Doc::Line if is_flat => 1,
            Doc::Soft if is_flat => 0,
            Doc::Line | Doc::Soft => return true,
            Doc::Concat(docs) => {
                stack.extend(docs.iter().rev().map(|d| (is_flat, d)));
                0
            }
            Doc::Nest(_, inner) => {
                stack.push((is_flat, inner));
                0
            }
            // A later group may still break.
            Doc::Group(inner) => {
                stack.push((is_flat, inner));
                0
            }
        };
        match room.checked_sub(width) {
            Some(left) => room = left,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_break_outside_in() {
        let word = |n: usize| text("x".repeat(n));
        let mut out = String::new();
        render(&concat([text("f("), fill([word(50), word(50), word(50)]), text(")")]), 0, 0, &mut out);
        assert_eq!(out.lines().map(str::len).collect::<Vec<_>>(), [105, 55]);
        out.clear();
        render(&rows("(", [word(60), word(60)], ") {"), 0, 0, &mut out);
        assert_eq!(out.lines().map(str::len).collect::<Vec<_>>(), [1, 63, 62, 3]);
        assert_eq!(flat(&rows("(", [word(1), word(2)], ")")), "(x, xx)");
    }
}
