//! What the grammar's actions do beyond putting nodes together: checks that are easier in code than in rules.

use std::cell::RefCell;

use lalrpop_util::ErrorRecovery;
use rooftile_artifact::DType;

use super::ast::*;
use super::token::Tok;
use crate::diag::{Code, Diagnostic, Span, suggest};

/// The language version that this compiler reads.
pub const VERSION: i64 = 1;

const EDGES: [&str; 5] = ["clamp", "wrap", "reflect", "symmetric", "const"];
const FLAGS: [&str; 7] = ["monotone", "injective", "const_", "bag", "edge", "packed", "range"];

/// A syntax error before it is put into words.
#[derive(Debug)]
pub(super) struct Raw {
    /// The token that may not stand here; empty, at the end, when the text ends too early.
    pub(super) span: Span,
    /// Whether the text ended.
    pub(super) at_end: bool,
    /// Terminals of the grammar that could have stood here.
    pub(super) expected: Vec<String>,
    /// Surplus of opening over closing braces in what was skipped.
    pub(super) braces: i32,
}

/// Collects what goes wrong while the tree is built.
#[derive(Debug, Default)]
pub(super) struct Builder {
    raw: RefCell<Vec<Raw>>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

/// The inside of `x[..]`: an index, or an axis that a reduction declares.
#[derive(Debug)]
pub(super) enum Index {
    Expr(Expr),
    Bind(AxisDecl),
}

/// The start of a postfix chain, kept open until it is known what it is.
#[derive(Debug)]
pub(super) enum Operand {
    /// Finished.
    Expr(Expr),
    /// A name, perhaps that of a function.
    Name(Ident),
    /// A name with brackets: an element, or a reduction without its arguments yet.
    Indexed(Ident, Vec<Index>, Span),
}

type Recovery<'s> = ErrorRecovery<usize, Tok<'s>, ()>;
type ParseError<'s> = lalrpop_util::ParseError<usize, Tok<'s>, ()>;

impl Builder {
    fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    fn wrong(&self, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(Code::Syntax, span, message));
    }

    /// Number of syntax errors so far.
    pub(super) fn error_count(&self) -> usize {
        self.raw.borrow().len()
    }

    /// What was found: syntax errors, and diagnostics already in words.
    pub(super) fn into_parts(self) -> (Vec<Raw>, Vec<Diagnostic>) {
        (self.raw.into_inner(), self.diagnostics.into_inner())
    }

    /// Notes an error after which reading went on.
    pub(super) fn recovered(&self, recovery: Recovery<'_>) {
        let mut braces = 0;
        for (_, tok, _) in &recovery.dropped_tokens {
            match tok {
                Tok::BraceOpen => braces += 1,
                Tok::BraceClose => braces -= 1,
                _ => {}
            }
        }
        self.failed(recovery.error, braces);
    }

    /// Notes an error.
    pub(super) fn failed(&self, error: ParseError<'_>, braces: i32) {
        use lalrpop_util::ParseError::*;
        let (span, at_end, expected) = match error {
            UnrecognizedToken { token: (l, _, r), expected } => (Span::new(l, r), false, expected),
            UnrecognizedEof { location, expected } => (Span::new(location, location), true, expected),
            ExtraToken { token: (l, _, r) } => (Span::new(l, r), false, Vec::new()),
            InvalidToken { location } => (Span::new(location, location), false, Vec::new()),
            User { error: () } => return,
        };
        self.raw.borrow_mut().push(Raw { span, at_end, expected, braces });
    }

    pub(super) fn version(&self, version: u64, span: Span) -> (i64, Span) {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        if version == 0 {
            self.report(Diagnostic::error(Code::Version, span, "there is no language version 0"));
        } else if version > VERSION {
            let message =
                format!("this file is written in language version {version}; this compiler reads {VERSION}");
            self.report(Diagnostic::error(Code::Version, span, message).help("use a newer compiler"));
        }
        (version, span)
    }

    pub(super) fn binary(&self, op: BinaryOp, l: Expr, r: Expr) -> Expr {
        let span = l.span.to(r.span);
        Expr { kind: ExprKind::Binary(op, Box::new(l), Box::new(r)), span }
    }

    fn name(&self, name: Ident) -> Expr {
        Expr { kind: ExprKind::Name(name.name), span: name.span }
    }

    /// Closes a postfix chain.
    pub(super) fn finish(&self, operand: Operand) -> Expr {
        match operand {
            Operand::Expr(e) => e,
            Operand::Name(n) => self.name(n),
            Operand::Indexed(n, indices, span) => {
                let indices = self.plain_indices(indices);
                Expr { kind: ExprKind::Index(Box::new(self.name(n)), indices), span }
            }
        }
    }

    fn plain_indices(&self, indices: Vec<Index>) -> Vec<Expr> {
        let plain = indices.into_iter().map(|index| match index {
            Index::Expr(e) => e,
            Index::Bind(axis) => {
                let message = format!("an index cannot declare an axis: `{} in ..`", axis.name.name);
                let help = "only a reduction declares axes: `sum[k in 0..K](e)`";
                self.report(Diagnostic::error(Code::Syntax, axis.name.span, message).help(help));
                self.name(axis.name)
            }
        });
        plain.collect()
    }

    pub(super) fn index(&self, operand: Operand, indices: Vec<Index>, span: Span) -> Operand {
        match operand {
            Operand::Name(n) => Operand::Indexed(n, indices, span),
            other => {
                let base = Box::new(self.finish(other));
                Operand::Expr(Expr { kind: ExprKind::Index(base, self.plain_indices(indices)), span })
            }
        }
    }

    pub(super) fn call(&self, operand: Operand, args: Vec<Arg>, span: Span) -> Operand {
        let kind = match operand {
            Operand::Name(callee) => ExprKind::Call(callee, args),
            Operand::Indexed(op, indices, _) => self.reduction(op, indices, args),
            Operand::Expr(Expr { kind: ExprKind::DType(dtype), .. }) => self.cast(dtype, args, span),
            Operand::Expr(e) => {
                self.wrong(e.span, "only a function, a type or a reduction can be called");
                ExprKind::Error
            }
        };
        Operand::Expr(Expr { kind, span })
    }

    fn reduction(&self, op: Ident, indices: Vec<Index>, args: Vec<Arg>) -> ExprKind {
        let mut axes = Vec::with_capacity(indices.len());
        for index in indices {
            match index {
                Index::Bind(axis) => axes.push(ReduceAxis::Bind(axis)),
                Index::Expr(Expr { kind: ExprKind::Name(name), span }) => {
                    axes.push(ReduceAxis::Name(Ident { name, span }));
                }
                Index::Expr(e) => {
                    let message =
                        format!("`{}[..](..)` reduces over axes, but this is not the name of one", op.name);
                    self.wrong(e.span, message);
                }
            }
        }
        let args = args.into_iter().filter_map(|arg| self.plain_arg(arg)).collect();
        ExprKind::Reduce { op, axes, args }
    }

    fn cast(&self, dtype: DType, args: Vec<Arg>, span: Span) -> ExprKind {
        let mut args: Vec<Expr> = args.into_iter().filter_map(|arg| self.plain_arg(arg)).collect();
        match (args.pop(), args.is_empty()) {
            (Some(value), true) => ExprKind::Cast(dtype, Box::new(value)),
            _ => {
                self.wrong(span, format!("a conversion to {dtype} takes one value"));
                ExprKind::Error
            }
        }
    }

    fn plain_arg(&self, arg: Arg) -> Option<Expr> {
        match arg {
            Arg::Expr(e) => Some(e),
            Arg::Range(lo, hi) => {
                self.wrong(lo.span.to(hi.span), "expected a value, found a range");
                None
            }
            Arg::Named(name, e) => {
                self.wrong(name.span.to(e.span), format!("no argument is called `{}` here", name.name));
                None
            }
        }
    }

    pub(super) fn field(&self, operand: Operand, field: Ident, span: Span) -> Operand {
        let numbered = |f: &Ident| f.name.starts_with(|c: char| c.is_ascii_digit());
        let base = self.finish(operand);
        match &base.kind {
            ExprKind::Name(_) => {}
            ExprKind::Field(_, inner) if !numbered(inner) => {}
            _ => {
                self.wrong(field.span, "only a name has parts: `hw.shared`, or a level of an axis: `i.0`");
                return Operand::Expr(Expr { kind: ExprKind::Error, span });
            }
        }
        Operand::Expr(Expr { kind: ExprKind::Field(Box::new(base), field), span })
    }

    pub(super) fn edge(&self, rule: Ident) -> Edge {
        match rule.name.as_str() {
            "clamp" => Edge::Clamp,
            "wrap" => Edge::Wrap,
            "reflect" => Edge::Reflect,
            "symmetric" => Edge::Symmetric,
            other => {
                self.unknown(rule.span, "edge", other, &EDGES);
                Edge::Clamp
            }
        }
    }

    pub(super) fn flag(&self, flag: Ident) -> Ident {
        if !FLAGS.contains(&flag.name.as_str()) {
            self.unknown(flag.span, "attribute of a parameter", &flag.name, &FLAGS);
        }
        flag
    }

    fn unknown(&self, span: Span, what: &str, name: &str, known: &[&str]) {
        let diagnostic = Diagnostic::error(Code::Syntax, span, format!("`{name}` is not an {what}"));
        self.report(match suggest(name, known.iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("one of `{}`", known.join("`, `"))),
        });
    }

    pub(super) fn tile_size(&self, value: u64, span: Span) -> TileSize {
        let size = i64::try_from(value).ok().filter(|v| *v > 0);
        if size.is_none() {
            self.wrong(span, "a tile size is at least 1 and fits in an i64");
        }
        TileSize::Int(size.unwrap_or(1), span)
    }

    /// One domain per axis, and one tile size per axis or none.
    pub(super) fn for_arity(&self, axes: &[Ident], domains: &[Domain], tiles: &[TileSize], span: Span) {
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if axes.len() != domains.len() {
            let message = format!(
                "{} but {}",
                plural(axes.len(), "axis").replace("axiss", "axes"),
                plural(domains.len(), "domain")
            );
            self.report(Diagnostic::error(Code::Arguments, span, message));
        } else if !tiles.is_empty() && tiles.len() != axes.len() {
            let message = format!(
                "{} but {}",
                plural(axes.len(), "axis").replace("axiss", "axes"),
                plural(tiles.len(), "tile size")
            );
            self.report(
                Diagnostic::error(Code::Arguments, span, message)
                    .help("give one tile size for each axis, or none"),
            );
        }
    }

    /// `pow2(a..b)` and `a..b`; a plain value is no domain.
    pub(super) fn tune_domain(&self, domain: Domain) -> TuneDomain {
        match domain {
            Domain::Range(lo, hi) => TuneDomain::Range(lo, hi),
            Domain::Extent(e) => {
                let span = e.span;
                if let ExprKind::Call(callee, mut args) = e.kind
                    && callee.name == "pow2"
                    && args.len() == 1
                    && let Some(Arg::Range(lo, hi)) = args.pop()
                {
                    return TuneDomain::Pow2(lo, hi);
                }
                let help =
                    "values are written `{1, 2, 4}`, `1..8` (8 excluded) or `pow2(16..256)` (both included)";
                self.report(
                    Diagnostic::error(Code::Syntax, span, "expected the values of a tunable").help(help),
                );
                TuneDomain::Set(Vec::new())
            }
        }
    }
}
