//! Obligations that are tested rather than proved: results do not depend on how axes are cut into tiles, tiles do not
//! race, kernels agree with their references and variants.

use std::collections::BTreeMap;

use rooftile_artifact::Scalar;

use super::cases::small_inputs;
use super::error::{ErrorKind, OracleError};
use super::interp::{Options, TileDefault, Tiles, run};
use super::values::{Data, Inputs, Outputs, Values};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisKind, File, Func, FuncId, FuncKind, ParamRef, Stmt, StmtKind, TileSize};

/// Steps that one evaluation of a small case may take.
const BUDGET: u64 = 20_000_000;

/// Steps that one evaluation of the quick check may take: every `check` of a file pays for it.
const QUICK_BUDGET: u64 = 300_000;

/// How far apart results in `f64` may be that differ only by the order of operations, relative to the element or
/// to the root mean square of the tensor.
const SAME: f64 = 1e-9;

/// The same for two ways to write a computation, whose literals may be rounded differently.
const AGREES: f64 = 1e-4;

/// Tests every kernel that folds at one or two tiny sizes: what a plain check can afford.
#[must_use]
pub fn quick(file: &File) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for (id, func) in file.funcs.iter() {
        if func.kind != FuncKind::Kernel || folds(func).is_empty() {
            continue;
        }
        let cases: Vec<Inputs> = [(1, 5), (2, 4)]
            .into_iter()
            .filter_map(|(seed, largest)| small_inputs(file, id, seed, largest))
            .collect();
        out.extend(invariance(file, id, &cases, 1, QUICK_BUDGET));
    }
    out
}

/// Tests at each case that the results of a kernel or pipeline are the same at tile sizes 1, 2, 3, whole and random,
/// in random order, and that tiles do not race. A case on which the plain run fails for its data is passed over.
#[must_use]
pub fn check_invariance(file: &File, func: FuncId, cases: &[Inputs], seed: u64) -> Vec<Diagnostic> {
    invariance(file, func, cases, seed, BUDGET)
}

/// Tests at each case that a kernel or pipeline agrees with its reference and with its variants.
#[must_use]
pub fn check_agreement(file: &File, func: FuncId, cases: &[Inputs]) -> Vec<Diagnostic> {
    let Some(body) = file.funcs.get(func) else { return Vec::new() };
    let variants = file.variants.iter().filter_map(|&(a, b)| match () {
        () if a == func => Some((b, "variant")),
        () if b == func => Some((a, "variant")),
        () => None,
    });
    let others: Vec<(FuncId, &str)> =
        file.reference(&body.name).map(|r| (r, "reference")).into_iter().chain(variants).collect();
    let options = Options { budget: BUDGET, ..Options::default() };
    let mut out = Vec::new();
    for (other, what) in others {
        for case in cases {
            let (Ok(got), Ok(want)) = (run(file, func, case, &options), run(file, other, case, &options))
            else {
                continue;
            };
            if let Some(apart) = compare(body, &got, &want, AGREES) {
                let span = file.funcs[other].span;
                let text = format!("`{}` does not compute what its {what} says: {apart}", body.name);
                let diagnostic = Diagnostic::error(Code::BadTask, body.span, text);
                out.push(diagnostic.cause(span, format!("the {what}")).note(at(body, case)));
                break;
            }
        }
    }
    out
}

fn invariance(file: &File, func: FuncId, cases: &[Inputs], seed: u64, budget: u64) -> Vec<Diagnostic> {
    let Some(body) = file.funcs.get(func) else { return Vec::new() };
    let mut out: Vec<Diagnostic> = Vec::new();
    let mut report = |d: Diagnostic| {
        if !out.iter().any(|o| o.code == d.code && o.primary == d.primary) {
            out.push(d);
        }
    };
    let options = |tiles: Tiles| Options { tiles, budget, ..Options::default() };
    for case in cases {
        let plain = match run(file, func, case, &options(Tiles::default())) {
            Ok(plain) => plain,
            Err(e) => {
                if is_of_the_program(&e) {
                    report(e.diagnostic());
                }
                continue;
            }
        };
        let kernels = file.kernels_of(func);
        let folds: Vec<Fold<'_>> = kernels.iter().flat_map(|&k| folds(&file.funcs[k])).collect();
        for fold in &folds {
            for size in [1, 2, 3] {
                let sizes = BTreeMap::from([(fold.tile.clone(), size)]);
                let tiles = Tiles { sizes, ..Tiles::default() };
                let Ok(got) = run(file, func, case, &options(tiles)) else { continue };
                if let Some(apart) = compare(body, &got, &plain, SAME) {
                    report(variant_fold(fold, size, &apart).note(at(body, case)));
                    break;
                }
            }
        }
        for tiles in other_tiles(seed) {
            match run(file, func, case, &options(tiles.clone())) {
                Ok(got) => {
                    if let Some(apart) = compare(body, &got, &plain, SAME)
                        && folds.is_empty()
                    {
                        let text =
                            format!("the result of `{}` changes with how axes are cut: {apart}", body.name);
                        report(Diagnostic::error(Code::Partial, body.span, text).note(at(body, case)));
                    }
                }
                Err(e) if is_of_the_program(&e) => report(e.diagnostic()),
                Err(_) => {}
            }
        }
    }
    out
}

fn variant_fold(fold: &Fold<'_>, size: i64, apart: &str) -> Diagnostic {
    let axis = fold.name;
    let text = format!("the result of this `fold` changes with the size of the tiles of `{axis}`");
    Diagnostic::error(Code::Partial, fold.span, text)
        .label(format!("tiles of {size} give another result than one tile for all of `{axis}`"))
        .note(apart.to_owned())
        .help("where a carry changes what the others are measured against, rescale those: `l = l * exp(m - m2) + ..`")
}

/// Ways to cut the axes besides whole ones.
fn other_tiles(seed: u64) -> Vec<Tiles> {
    let each = [1, 2, 3].map(TileDefault::Each);
    let random = [TileDefault::Random; 3];
    let defaults = each.into_iter().chain(random).zip(seed..);
    defaults.map(|(default, seed)| Tiles { default, shuffle: true, seed, ..Tiles::default() }).collect()
}

/// Whether the error says something about the program, not about the random data.
fn is_of_the_program(e: &OracleError) -> bool {
    matches!(
        &*e.kind,
        ErrorKind::Race { .. }
            | ErrorKind::DuplicateWrite { .. }
            | ErrorKind::NotBijective { .. }
            | ErrorKind::PartlyWritten { .. }
            | ErrorKind::NoPoint { .. }
    )
}

fn at(func: &Func, case: &Inputs) -> String {
    let parts: Vec<String> =
        func.sizes.iter().zip(&case.sizes).map(|((_, s), v)| format!("{} = {v}", s.name)).collect();
    if parts.is_empty() { "seen on random data".to_owned() } else { format!("seen at {}", parts.join(", ")) }
}

struct Fold<'a> {
    name: &'a str,
    /// What [`Tiles::sizes`] knows it by.
    tile: String,
    span: crate::diag::Span,
}

fn folds(func: &Func) -> Vec<Fold<'_>> {
    fn walk<'a>(func: &'a Func, body: &'a [Stmt], out: &mut Vec<Fold<'a>>) {
        for stmt in body {
            match &stmt.kind {
                StmtKind::Fold { axis, body, .. } => {
                    let a = &func.axes[*axis];
                    let tile = match &a.kind {
                        AxisKind::Fold(TileSize::Name(name)) => name.clone(),
                        _ => a.name.clone(),
                    };
                    out.push(Fold { name: &a.name, tile, span: a.span });
                    walk(func, body, out);
                }
                StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Repeat { body, .. } => {
                    walk(func, body, out);
                }
                StmtKind::If { then, otherwise, .. } => {
                    walk(func, then, out);
                    walk(func, otherwise, out);
                }
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    walk(func, &func.body, &mut out);
    out
}

/// Where two results are apart by more than `tolerance`; lists without order are not compared.
fn compare(func: &Func, got: &Outputs, want: &Outputs, tolerance: f64) -> Option<String> {
    let params = func.params.iter().filter_map(|p| match p {
        ParamRef::Tensor(id) => Some(&func.tensors[*id]),
        ParamRef::Scalar(_) => None,
    });
    params.zip(got.tensors.iter().zip(&want.tensors)).filter(|(t, _)| !t.bag).find_map(
        |(tensor, (got, want))| {
            let at = first_apart(got, want, tolerance)?;
            let (got, want) = (shown(got.get(at)), shown(want.get(at)));
            Some(format!("element {at} of `{}` is {got}, not {want}", tensor.name))
        },
    )
}

fn shown(v: Scalar) -> String {
    match v {
        Scalar::Int(v) => v.to_string(),
        Scalar::Float(v) => v.to_string(),
        Scalar::Complex(re, im) => format!("{re} + {im}i"),
        Scalar::Bool(v) => v.to_string(),
    }
}

/// The first element that differs by more than `tolerance` times its magnitude or the root mean square of `want`.
/// Integers and truth values must be equal.
#[must_use]
pub fn first_apart(got: &Values, want: &Values, tolerance: f64) -> Option<usize> {
    if got.len() != want.len() {
        return Some(got.len().min(want.len()));
    }
    let parts = |v: &Values| -> Vec<f64> {
        match &v.data {
            Data::Float(v) => v.clone(),
            Data::Complex(v) => v.iter().flat_map(|&(re, im)| [re, im]).collect(),
            Data::Int(_) | Data::Bool(_) => Vec::new(),
        }
    };
    let (a, b) = (parts(got), parts(want));
    if a.is_empty() && b.is_empty() {
        return (0..got.len()).find(|&i| got.get(i) != want.get(i));
    }
    let finite = b.iter().filter(|v| v.is_finite());
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rms = (finite.clone().map(|v| v * v).sum::<f64>() / finite.count().max(1) as f64).sqrt();
    let apart = |(&x, &y): (&f64, &f64)| {
        let same = x == y || (x.is_nan() && y.is_nan());
        let distance = (x - y).abs();
        !same && (!distance.is_finite() || distance > tolerance * y.abs().max(rms))
    };
    let at = a.iter().zip(&b).position(apart)?;
    Some(if matches!(got.data, Data::Complex(_)) { at / 2 } else { at })
}
