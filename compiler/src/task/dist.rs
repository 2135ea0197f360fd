//! Distributions: where the elements of an input come from.

use crate::diag::{Code, Diagnostic, suggest};
use crate::syntax::ast::{Arg, Expr, ExprKind, Ident};

/// A distribution. Operands are expressions over sizes, scalars, tables and inputs above.
#[derive(Clone, Debug, PartialEq)]
pub enum Dist {
    /// `uniform(a, b)`: floats in `a..b`; integers from `a` to below `b`.
    Uniform(Expr, Expr),
    /// `normal(mean, deviation)`; integers are rounded.
    Normal(Expr, Expr),
    /// `cnormal(mean, deviation)`: real and imaginary part, each normal.
    Cnormal(Expr, Expr),
    /// `choice(a, b, ..)`: one of the values.
    Choice(Vec<Expr>),
    /// `zeros`
    Zeros,
    /// `ones`
    Ones,
    /// `iota`: the flat index.
    Iota,
    /// `bump(base, amplitude)`: `base` times 1 plus a lopsided bump and noise of that amplitude. A table gives the base
    /// of each index of the first dimension.
    Bump(Expr, Expr),
    /// `sorted(a, b)`: like `uniform`, never decreasing in storage order; `sorted` is `sorted(0.0, 1.0)`.
    Sorted(Option<(Expr, Expr)>),
    /// `permutation`: each of `0..n` once.
    Permutation,
    /// `ragged(mean)`: row pointers; rows have 0 to twice `mean` elements.
    Ragged(Expr),
    /// `csr(..)`: a part of a sparse matrix: pointers, columns or values, as the parameter is.
    Csr(Csr),
    /// `lattice(L, jitter)`: positions in a box of edge `L`: points of a regular lattice, each moved by up to half
    /// `jitter` of the lattice's distance in every direction (0.2 if not written).
    Lattice(Expr, Option<Expr>),
}

/// A family of sparse matrices.
#[derive(Clone, Debug, PartialEq)]
pub enum Csr {
    /// The 5-point Laplacian of a grid with as many points as rows, as near to a square as the number of rows divides.
    Laplacian5,
    /// `csr(random, mean)`: rows of 0 to twice `mean` elements.
    Random(Expr),
    /// `csr(power_law, mean)`: row lengths with density `length^-2` up to the number of columns.
    PowerLaw(Expr),
}

const USES: [(&str, &str); 14] = [
    ("uniform", "uniform(a, b)"),
    ("normal", "normal(mean, deviation)"),
    ("cnormal", "cnormal(mean, deviation)"),
    ("choice", "choice(a, b, ..)"),
    ("zeros", "zeros"),
    ("ones", "ones"),
    ("iota", "iota"),
    ("bump", "bump(base, amplitude)"),
    ("sorted", "sorted or sorted(a, b)"),
    ("permutation", "permutation"),
    ("ragged", "ragged(mean)"),
    ("csr", "csr(laplacian5), csr(random, mean) or csr(power_law, mean)"),
    ("lattice", "lattice(L) or lattice(L, jitter)"),
    ("constant", "constant(v)"),
];

/// The distribution that an expression names.
///
/// # Errors
/// A diagnostic for an unknown distribution or wrong operands.
pub fn read(e: &Expr) -> Result<Dist, Box<Diagnostic>> {
    let fail = |message: String| Diagnostic::error(Code::BadTask, e.span, message);
    let (name, args): (&str, Vec<Expr>) = match &e.kind {
        ExprKind::Name(name) => (name, vec![]),
        ExprKind::Call(Ident { name, .. }, args) => {
            let plain = |a: &Arg| match a {
                Arg::Expr(e) => Some(e.clone()),
                _ => None,
            };
            match args.iter().map(plain).collect::<Option<Vec<_>>>() {
                Some(args) => (name, args),
                None => return Err(Box::new(fail(format!("`{name}` takes plain operands")))),
            }
        }
        _ => return Err(Box::new(fail("a distribution was expected".to_owned()))),
    };
    let Some((_, usage)) = USES.iter().find(|(n, _)| *n == name) else {
        let mut d = fail(format!("no distribution `{name}`"));
        d.help = suggest(name, USES.iter().map(|(n, _)| *n)).map(|n| format!("did you mean `{n}`?"));
        return Err(Box::new(d));
    };
    let word = |e: &Expr| match &e.kind {
        ExprKind::Name(n) => Some(n.clone()),
        _ => None,
    };
    let dist = match (name, args.as_slice()) {
        ("uniform", [a, b]) => Dist::Uniform(a.clone(), b.clone()),
        ("normal", [a, b]) => Dist::Normal(a.clone(), b.clone()),
        ("cnormal", [a, b]) => Dist::Cnormal(a.clone(), b.clone()),
        ("choice", [_, ..]) => Dist::Choice(args),
        ("constant", [v]) => Dist::Choice(vec![v.clone()]),
        ("zeros", []) => Dist::Zeros,
        ("ones", []) => Dist::Ones,
        ("iota", []) => Dist::Iota,
        ("bump", [a, b]) => Dist::Bump(a.clone(), b.clone()),
        ("sorted", []) => Dist::Sorted(None),
        ("sorted", [a, b]) => Dist::Sorted(Some((a.clone(), b.clone()))),
        ("permutation", []) => Dist::Permutation,
        ("ragged", [mean]) => Dist::Ragged(mean.clone()),
        ("lattice", [l]) => Dist::Lattice(l.clone(), None),
        ("lattice", [l, jitter]) => Dist::Lattice(l.clone(), Some(jitter.clone())),
        ("csr", [kind, rest @ ..]) => match (word(kind).as_deref(), rest) {
            (Some("laplacian5"), []) => Dist::Csr(Csr::Laplacian5),
            (Some("random"), [mean]) => Dist::Csr(Csr::Random(mean.clone())),
            (Some("power_law"), [mean]) => Dist::Csr(Csr::PowerLaw(mean.clone())),
            _ => {
                return Err(Box::new(
                    fail("no such sparse matrix".to_owned()).help(format!("it is written {usage}")),
                ));
            }
        },
        _ => {
            let d = fail(format!("`{name}` does not take {} operands", args.len()));
            return Err(Box::new(d.help(format!("it is written {usage}"))));
        }
    };
    Ok(dist)
}
