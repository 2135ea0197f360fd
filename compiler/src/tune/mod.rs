//! The space of ways to run a kernel: tunables with finite domains, and constraints over them, size names and `hw.*`.
//!
//! [`build`] reads the `tune` blocks of a file, [`for_target`] merges those of one kernel, and
//! [`solve::Space`] answers for given sizes which points there are.

mod conflict;
pub mod expr;
mod interval;
pub mod solve;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rooftile_artifact::{CpuTarget, GpuTarget, Target};

use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir as hir;
use crate::syntax::ast;

pub use conflict::Conflict;
pub use expr::{Env, TuneExpr};

/// Targets that `tune` and `schedule` may name.
pub const TARGETS: [&str; 3] = ["cpu", "cuda", "vulkan"];

/// Keys of `hw` on a CPU. Bytes unless said: first, second and last-level cache, cache line, cores (a count), vector
/// width, vector registers (a count).
pub const CPU_KEYS: [&str; 7] = ["l1", "l2", "l3", "line", "cores", "vector", "registers"];

/// Keys of `hw` on a GPU: shared memory of a block, lanes of a warp, bytes of registers of a block, threads of a
/// block, multiprocessors, bytes of the second-level cache.
pub const GPU_KEYS: [&str; 6] = ["shared", "warp", "regbytes", "threads", "sms", "l2"];

/// The tunables and constraints of one `tune` block, or of several that were merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tune {
    /// The kernel or pipeline.
    pub name: String,
    /// The only target that it is for.
    pub target: Option<String>,
    /// Tunables in order.
    pub vars: Vec<Tunable>,
    /// Constraints in order.
    pub requires: Vec<Require>,
    /// Its place; of merged blocks, the first one's.
    pub span: Span,
}

/// A tunable.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunable {
    /// Its name.
    pub name: String,
    /// Its values, as written.
    pub domain: Domain,
    /// The value used without a search.
    pub value: Option<i64>,
    /// Where it is named.
    pub span: Span,
}

/// The values of a tunable, as written. Ends may mention sizes and `hw.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `{1, 2, 4}`
    Set(Vec<TuneExpr>),
    /// `a..b`, the end excluded.
    Range(TuneExpr, TuneExpr),
    /// `pow2(a..b)`: powers of two, both ends included.
    Pow2(TuneExpr, TuneExpr),
}

/// A constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Require {
    /// A condition.
    pub expr: TuneExpr,
    /// Its place.
    pub span: Span,
}

/// The values of `hw.*` on a CPU.
#[must_use]
pub fn cpu_keys(target: &CpuTarget) -> BTreeMap<String, i64> {
    let registers = if target.features.avx512 || !cfg!(target_arch = "x86_64") { 32 } else { 16 };
    let values =
        [target.l1d, target.l2, target.l3, target.line, target.threads, target.vector_bytes, registers];
    CPU_KEYS
        .iter()
        .zip(values)
        .map(|(key, v)| ((*key).to_owned(), i64::try_from(v).unwrap_or(i64::MAX)))
        .collect()
}

/// The values of `hw.*` on a GPU: those that are known of it.
#[must_use]
pub fn gpu_keys(target: &GpuTarget) -> BTreeMap<String, i64> {
    [
        ("shared", target.shared_bytes),
        ("warp", target.subgroup),
        ("threads", target.group_threads),
        ("sms", target.units),
    ]
    .map(|(key, v)| (key.to_owned(), i64::from(v)))
    .into()
}

/// The values of `hw.*` on a target.
#[must_use]
pub fn keys(target: &Target) -> BTreeMap<String, i64> {
    match target {
        Target::Cpu(cpu) => cpu_keys(cpu),
        Target::Vulkan(gpu) => gpu_keys(gpu),
    }
}

/// Reads every `tune` block. A block with errors is left out.
#[must_use]
pub fn build(file: &ast::File, checked: &hir::File) -> (Vec<Tune>, Vec<Diagnostic>) {
    let (mut tunes, mut diagnostics) = (Vec::new(), Vec::new());
    for item in &file.items {
        if let ast::ItemKind::Tune(tune) = &item.kind {
            let before = diagnostics.len();
            let built = block(tune, file, checked, item.span, &mut diagnostics);
            if !crate::diag::has_errors(&diagnostics[before..]) {
                tunes.push(built);
            }
        }
    }
    (tunes, diagnostics)
}

/// The blocks of `name` that are for every target or for `target`, as one. A tunable of a block for the target
/// replaces the general one of its name; constraints add up.
#[must_use]
pub fn for_target(tunes: &[Tune], name: &str, target: &str) -> Tune {
    let mut merged = Tune { name: name.to_owned(), target: Some(target.to_owned()), ..Tune::default() };
    let general = tunes.iter().filter(|t| t.name == name && t.target.is_none());
    let special = tunes.iter().filter(|t| t.name == name && t.target.as_deref() == Some(target));
    for (n, tune) in general.chain(special).enumerate() {
        if n == 0 {
            merged.span = tune.span;
        }
        for var in &tune.vars {
            match merged.vars.iter_mut().find(|v| v.name == var.name) {
                Some(old) => *old = var.clone(),
                None => merged.vars.push(var.clone()),
            }
        }
        merged.requires.extend(tune.requires.iter().cloned());
    }
    merged
}

/// Names of sizes and integer parameters of a kernel or pipeline: what `tune`, `when` and tasks may mention.
#[must_use]
pub fn size_names(func: &hir::Func) -> Vec<&str> {
    let sizes = func.sizes.iter().map(|(_, s)| s.name.as_str());
    let scalars = func.scalars.iter().filter(|(_, s)| s.dtype.is_int()).map(|(_, s)| s.name.as_str());
    sizes.chain(scalars).collect()
}

/// An error about a name that no kernel or pipeline has.
pub(crate) fn unknown_entry(file: &ast::File, name: &ast::Ident) -> Diagnostic {
    let known = file.items.iter().filter_map(|i| match &i.kind {
        ast::ItemKind::Kernel(k) | ast::ItemKind::Pipeline(k) => Some(k.name.name.as_str()),
        _ => None,
    });
    let message = format!("no kernel or pipeline `{}`", name.name);
    let mut d = Diagnostic::error(Code::UnknownName, name.span, message);
    d.help = suggest(&name.name, known).map(|n| format!("did you mean `{n}`?"));
    d
}

/// Whether the file writes a kernel or pipeline of that name.
pub(crate) fn has_entry(file: &ast::File, name: &str) -> bool {
    file.items.iter().any(|i| match &i.kind {
        ast::ItemKind::Kernel(k) | ast::ItemKind::Pipeline(k) => k.name.name == name,
        _ => false,
    })
}

/// An error about a target that does not exist.
pub(crate) fn unknown_target(target: &ast::Ident) -> Option<Diagnostic> {
    if TARGETS.contains(&target.name.as_str()) {
        return None;
    }
    let message = format!("no target `{}`; there are {}", target.name, TARGETS.join(", "));
    let mut d = Diagnostic::error(Code::UnknownName, target.span, message);
    d.help = suggest(&target.name, TARGETS).map(|n| format!("did you mean `{n}`?"));
    Some(d)
}

fn block(
    tune: &ast::Tune,
    file: &ast::File,
    checked: &hir::File,
    span: Span,
    diagnostics: &mut Vec<Diagnostic>,
) -> Tune {
    let mut out = Tune {
        name: tune.name.name.clone(),
        target: tune.target.as_ref().map(|t| t.name.clone()),
        span,
        ..Tune::default()
    };
    if !has_entry(file, &tune.name.name) {
        diagnostics.push(unknown_entry(file, &tune.name));
        return out;
    }
    diagnostics.extend(tune.target.as_ref().and_then(unknown_target));
    let func = checked.entry(&tune.name.name).map(|id| &checked.funcs[id]);
    let sizes: Option<Vec<&str>> = func.map(size_names);
    for item in &tune.items {
        match item {
            ast::TuneItem::Var { name, domain, value } => {
                if let Some(other) = out.vars.iter().find(|v| v.name == name.name) {
                    let message = format!("`{}` is declared twice", name.name);
                    diagnostics.push(
                        Diagnostic::error(Code::Duplicate, name.span, message)
                            .cause(other.span, "first here"),
                    );
                    continue;
                }
                if sizes.as_ref().is_some_and(|s| s.contains(&name.name.as_str())) {
                    let message = format!("`{}` is a size of `{}` and cannot be tuned", name.name, out.name);
                    diagnostics.push(Diagnostic::error(Code::BadTune, name.span, message));
                    continue;
                }
                match self::domain(domain, name, sizes.as_deref()) {
                    Ok(domain) => {
                        let value = value.as_ref().and_then(|v| match constant(v) {
                            Ok(v) => Some((v, v_span(value))),
                            Err(d) => {
                                diagnostics.push(*d);
                                None
                            }
                        });
                        if let Some((v, at)) = value
                            && let Some(false) = includes(&domain, v)
                        {
                            let message = format!("{v} is not a value of `{}`", name.name);
                            diagnostics.push(
                                Diagnostic::error(Code::BadTune, at, message).cause(name.span, "its domain"),
                            );
                        }
                        let value = value.map(|(v, _)| v);
                        out.vars.push(Tunable { name: name.name.clone(), domain, value, span: name.span });
                    }
                    Err(d) => diagnostics.push(*d),
                }
            }
            ast::TuneItem::Require(e) => match TuneExpr::from_ast(e, Code::BadTune) {
                Ok(expr) => {
                    if expr.kind() == Ok(expr::Kind::Bool) {
                        out.requires.push(Require { expr, span: e.span });
                    } else {
                        let message = format!("`{expr}` is a number; `require` takes a condition");
                        diagnostics.push(Diagnostic::error(Code::BadTune, e.span, message));
                    }
                }
                Err(d) => diagnostics.push(*d),
            },
        }
    }
    // A block for one target may use the general block's tunables.
    let elsewhere = file.items.iter().filter_map(|i| match &i.kind {
        ast::ItemKind::Tune(t) if t.name.name == out.name => Some(&t.items),
        _ => None,
    });
    let tunables: Vec<&str> = elsewhere
        .flatten()
        .filter_map(|i| match i {
            ast::TuneItem::Var { name, .. } => Some(name.name.as_str()),
            ast::TuneItem::Require(_) => None,
        })
        .collect();
    if let Some(sizes) = &sizes {
        for require in &out.requires {
            let known: Vec<&str> = tunables.iter().chain(sizes).copied().collect();
            unknown_names(&require.expr, require.span, &known, diagnostics);
        }
    }
    for require in &out.requires {
        unknown_keys(&require.expr, require.span, diagnostics);
    }
    out
}

fn v_span(value: &Option<ast::Expr>) -> Span {
    value.as_ref().map(|v| v.span).unwrap_or_default()
}

fn constant(e: &ast::Expr) -> Result<i64, Box<Diagnostic>> {
    let expr = TuneExpr::from_ast(e, Code::BadTune)?;
    expr.eval(&Env::default())
        .map_err(|why| Box::new(Diagnostic::error(Code::BadTune, e.span, format!("not a constant: {why}"))))
}

fn domain(
    domain: &ast::TuneDomain,
    name: &ast::Ident,
    sizes: Option<&[&str]>,
) -> Result<Domain, Box<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let mut read = |e: &ast::Expr| -> Result<TuneExpr, Box<Diagnostic>> {
        let expr = TuneExpr::from_ast(e, Code::BadTune)?;
        if let Some(sizes) = sizes {
            unknown_names(&expr, e.span, sizes, &mut diagnostics);
        }
        unknown_keys(&expr, e.span, &mut diagnostics);
        Ok(expr)
    };
    let built = match domain {
        ast::TuneDomain::Set(v) => Domain::Set(v.iter().map(&mut read).collect::<Result<_, _>>()?),
        ast::TuneDomain::Range(a, b) => Domain::Range(read(a)?, read(b)?),
        ast::TuneDomain::Pow2(a, b) => Domain::Pow2(read(a)?, read(b)?),
    };
    if let Some(d) = diagnostics.into_iter().next() {
        return Err(Box::new(d));
    }
    // Domains that mention sizes are judged when the sizes are known.
    if built.values(&Env::default()).is_ok_and(|v| v.is_empty()) {
        let message = format!("`{}` has no values", name.name);
        return Err(Box::new(Diagnostic::error(Code::BadTune, name.span, message)));
    }
    Ok(built)
}

/// Whether a value is in a domain, where that is known without sizes.
fn includes(domain: &Domain, v: i64) -> Option<bool> {
    domain.values(&Env::default()).ok().map(|values| values.contains(&v))
}

pub(crate) fn unknown_names(expr: &TuneExpr, span: Span, known: &[&str], diagnostics: &mut Vec<Diagnostic>) {
    for name in expr.names().0 {
        if !known.contains(&name) {
            let message = format!("no tunable or size `{name}`");
            let mut d = Diagnostic::error(Code::UnknownName, span, message);
            d.help = suggest(name, known.iter().copied()).map(|n| format!("did you mean `{n}`?"));
            diagnostics.push(d);
        }
    }
}

pub(crate) fn unknown_keys(expr: &TuneExpr, span: Span, diagnostics: &mut Vec<Diagnostic>) {
    for key in expr.names().1 {
        if !CPU_KEYS.contains(&key) && !GPU_KEYS.contains(&key) {
            let known = || CPU_KEYS.iter().chain(&GPU_KEYS).copied();
            let message = format!("no key `hw.{key}`; there are {}", known().collect::<Vec<_>>().join(", "));
            let mut d = Diagnostic::error(Code::BadTune, span, message);
            d.help = suggest(key, known()).map(|n| format!("did you mean `hw.{n}`?"));
            diagnostics.push(d);
        }
    }
}

/// More values than a tunable may have.
pub const MAX_VALUES: usize = 1 << 16;

impl Domain {
    /// The values in ascending order, each once.
    ///
    /// # Errors
    /// A sentence when an end has no value or there are more than [`MAX_VALUES`].
    pub fn values(&self, env: &Env) -> Result<Vec<i64>, String> {
        let eval = |e: &TuneExpr| e.eval(env).map_err(|why| why.to_string());
        let mut values = match self {
            Domain::Set(v) => v.iter().map(eval).collect::<Result<Vec<_>, _>>()?,
            Domain::Range(a, b) => {
                let (a, b) = (eval(a)?, eval(b)?);
                if b.checked_sub(a).is_none_or(|n| n > i64::try_from(MAX_VALUES).unwrap_or(i64::MAX)) {
                    return Err(format!("{a}..{b} has more than {MAX_VALUES} values"));
                }
                (a..b).collect()
            }
            Domain::Pow2(a, b) => {
                let (a, b) = (eval(a)?, eval(b)?);
                (0..63).map(|n| 1i64 << n).filter(|v| (a..=b).contains(v)).collect()
            }
        };
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Domain::Set(v) => {
                let v: Vec<String> = v.iter().map(ToString::to_string).collect();
                write!(f, "{{{}}}", v.join(", "))
            }
            Domain::Range(a, b) => write!(f, "{a}..{b}"),
            Domain::Pow2(a, b) => write!(f, "pow2({a}..{b})"),
        }
    }
}
