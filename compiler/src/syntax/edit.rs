//! Changes of a tree that a search writes back into a file.

use super::ast::{Expr, ExprKind, File, Item, ItemKind, Schedule, TuneItem, UnaryOp};
use super::print::print_expr;
use super::spans::ClearSpans;
use crate::diag::Span;

/// An integer literal that stands in no source text.
#[must_use]
pub fn int(value: i64) -> Expr {
    let span = Span::default();
    let literal = Expr { kind: ExprKind::Int { value: value.unsigned_abs(), hex: false }, span };
    if value < 0 { Expr { kind: ExprKind::Unary(UnaryOp::Neg, Box::new(literal)), span } } else { literal }
}

/// A name that stands in no source text.
#[must_use]
pub fn name(name: &str) -> Expr {
    Expr { kind: ExprKind::Name(name.to_owned()), span: Span::default() }
}

/// Puts a schedule in the place of the one with the same kernel, target and condition. Where there is none, it goes
/// behind the last item that belongs to the kernel (before its task), else to the end.
pub fn replace_schedule(file: &mut File, mut new: Schedule) {
    // Its places are those of another text, whose comments are not here.
    new.clear_spans();
    let when = |s: &Schedule| s.when.as_ref().map(print_expr);
    let same = |s: &Schedule| {
        s.name.name == new.name.name && s.target.name == new.target.name && when(s) == when(&new)
    };
    for item in &mut file.items {
        if let ItemKind::Schedule(old) = &mut item.kind
            && same(old)
        {
            *old = new;
            return;
        }
    }
    let belongs = |item: &Item| match &item.kind {
        ItemKind::Kernel(k) | ItemKind::Pipeline(k) => k.name.name == new.name.name,
        ItemKind::Reference(r) => r.name.name == new.name.name,
        ItemKind::Tune(t) => t.name.name == new.name.name,
        ItemKind::Schedule(s) => s.name.name == new.name.name,
        _ => false,
    };
    let at = file.items.iter().rposition(belongs).map_or(file.items.len(), |i| i + 1);
    file.items.insert(at, Item { kind: ItemKind::Schedule(new), span: Span::default() });
}

/// Sets the value that a tunable has without a search: `name in .. = value`. Of the kernel's `tune`s that declare it,
/// the one for `target` is changed if there is one, else the one for every target. Returns whether there is either.
pub fn set_tune_value(file: &mut File, kernel: &str, target: Option<&str>, name: &str, value: i64) -> bool {
    let targets = [target, None];
    for wanted in &targets[usize::from(target.is_none())..] {
        for item in &mut file.items {
            let ItemKind::Tune(tune) = &mut item.kind else { continue };
            if tune.name.name != kernel || tune.target.as_ref().map(|t| t.name.as_str()) != *wanted {
                continue;
            }
            for item in &mut tune.items {
                if let TuneItem::Var { name: declared, value: slot, .. } = item
                    && declared.name == name
                {
                    // The place of the old value keeps the comment behind it where it is.
                    let span = slot.as_ref().map_or_else(Span::default, |old| old.span);
                    *slot = Some(Expr { span, ..int(value) });
                    return true;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{parse, print};

    const SOURCE: &str = "\
// what is tuned
tune k {
  a in {1, 2} // rows
  b in pow2(1..8) = 4 // columns
}
tune k for cpu { a in {1, 2} } // for the host
// the host's
schedule k for cpu { parallel(i) }
// the judge
task k {
  search {N=8}
}
";

    fn schedule(text: &str) -> Schedule {
        let item = parse(text).0.items.pop().expect("one item");
        match item.kind {
            ItemKind::Schedule(s) => s,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn edits_keep_the_rest_of_the_file() {
        let (mut file, diagnostics) = parse(SOURCE);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        assert_eq!(print(&file, SOURCE), SOURCE);
        assert!(set_tune_value(&mut file, "k", Some("cpu"), "a", 2));
        assert!(set_tune_value(&mut file, "k", Some("cpu"), "b", -8));
        assert!(!set_tune_value(&mut file, "k", None, "c", 1));
        assert!(!set_tune_value(&mut file, "other", None, "a", 1));
        replace_schedule(&mut file, schedule("schedule k for cpu { parallel(i, j) vector(j, 8) }"));
        replace_schedule(&mut file, schedule("schedule k for cpu when N >= 512 { parallel(j) }"));
        replace_schedule(&mut file, schedule("schedule k for cuda { grid(i) }"));
        let expected = "\
// what is tuned
tune k {
  a in {1, 2} // rows
  b in pow2(1..8) = -8 // columns
}
tune k for cpu { a in {1, 2} = 2 } // for the host
// the host's
schedule k for cpu { parallel(i, j) vector(j, 8) }
schedule k for cpu when N >= 512 { parallel(j) }
schedule k for cuda { grid(i) }
// the judge
task k {
  search {N=8}
}
";
        assert_eq!(print(&file, SOURCE), expected);
    }
}
