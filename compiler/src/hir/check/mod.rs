//! The checker: syntax tree to typed tile program.
//!
//! One `Cx` per function holds what is being built. The rules live where their construct is checked: `names` (which
//! free names are sizes), `signature`, `expr`, `call` (functions, reductions), `types` (how types meet), `stmt`,
//! `loops`, `partial` (results of one tile), `pipeline`.

mod call;
mod consts;
mod cx;
mod expr;
mod loops;
mod names;
mod partial;
mod pipeline;
mod signature;
mod stmt;
mod text;
mod types;

use std::collections::BTreeSet;

use indexmap::IndexMap;

use self::cx::{Bound, Cx};
use self::names::Names;
use super::ir::{File, Func, FuncId, FuncKind, ScalarParam, Table};
use super::legal;
use crate::arena::Arena;
use crate::diag::{Code, Diagnostic, Span, has_errors};
use crate::syntax::ast;

/// What functions of a file see of one another.
struct Globals<'a> {
    tables: Vec<Table>,
    /// Number of the table; `None` for one that is wrong.
    consts: IndexMap<&'a str, Option<usize>>,
    fns: IndexMap<&'a str, &'a ast::Fn>,
    /// All names of kernels, right or wrong.
    kernels: BTreeSet<&'a str>,
    /// All names of pipelines, right or wrong.
    pipelines: BTreeSet<&'a str>,
    /// Kernels that can be called.
    funcs: IndexMap<String, FuncId>,
    /// What is finished.
    done: Arena<Func>,
    /// Whether the rules of legality are held to.
    legality: bool,
}

/// Checks a file. Kernels, pipelines and references that are wrong are reported and left out; the others are there.
/// Never panics. Every diagnostic of severity error refuses the file as a whole; the order is that of the text.
#[must_use]
pub fn check(file: &ast::File) -> (File, Vec<Diagnostic>) {
    check_as_far_as(file, true)
}

/// As [`check`], but no rule of legality is held to: what is well-typed is there, however wrong. For the judges, which
/// must find such wrongs on their own.
#[must_use]
pub fn resolve(file: &ast::File) -> (File, Vec<Diagnostic>) {
    check_as_far_as(file, false)
}

fn check_as_far_as(file: &ast::File, legality: bool) -> (File, Vec<Diagnostic>) {
    let mut diags = Vec::new();
    let mut globals = globals(file, &mut diags);
    globals.legality = legality;
    check_fns(&globals, &mut diags);

    let tunables = tunables(file);
    let entries = entries(file);
    for pipelines in [false, true] {
        for &(kernel, kind) in entries.iter().filter(|(_, kind)| (*kind == FuncKind::Pipeline) == pipelines) {
            if let Some(func) = check_entry(&globals, kernel, kind, &tunables, &mut diags) {
                let id = globals.done.push(func);
                if kind == FuncKind::Kernel {
                    globals.funcs.insert(kernel.name.name.clone(), id);
                }
            }
        }
    }
    let references = check_references(&globals, file, &entries, &tunables, &mut diags);
    let mut out = File { funcs: globals.done, tables: globals.tables, variants: Vec::new() };
    for func in references {
        out.funcs.push(func);
    }
    check_variants(file, &mut out, &entries, &mut diags);
    sort_and_dedup(&mut diags);
    (out, diags)
}

fn globals<'a>(file: &'a ast::File, diags: &mut Vec<Diagnostic>) -> Globals<'a> {
    let mut globals = Globals {
        tables: Vec::new(),
        consts: IndexMap::new(),
        fns: IndexMap::new(),
        kernels: BTreeSet::new(),
        pipelines: BTreeSet::new(),
        funcs: IndexMap::new(),
        done: Arena::default(),
        legality: true,
    };
    let mut first: IndexMap<&str, Span> = IndexMap::new();
    for item in &file.items {
        let name = match &item.kind {
            ast::ItemKind::Const(c) => &c.name,
            ast::ItemKind::Fn(f) => &f.name,
            ast::ItemKind::Kernel(k) | ast::ItemKind::Pipeline(k) => &k.name,
            _ => continue,
        };
        if let Some(&before) = first.get(name.name.as_str()) {
            diags.push(
                Diagnostic::error(Code::Duplicate, name.span, format!("`{}` is defined twice", name.name))
                    .cause(before, "first defined here"),
            );
            continue;
        }
        first.insert(&name.name, name.span);
        match &item.kind {
            ast::ItemKind::Const(c) => {
                let table = consts::table(c, diags).map(|table| {
                    globals.tables.push(table);
                    globals.tables.len() - 1
                });
                globals.consts.insert(&name.name, table);
            }
            ast::ItemKind::Fn(f) => {
                globals.fns.insert(&name.name, f);
            }
            ast::ItemKind::Kernel(_) => {
                globals.kernels.insert(&name.name);
            }
            ast::ItemKind::Pipeline(_) => {
                globals.pipelines.insert(&name.name);
            }
            _ => {}
        }
    }
    globals
}

/// Checks each function once, so that one that nothing calls is checked too.
fn check_fns(globals: &Globals<'_>, diags: &mut Vec<Diagnostic>) {
    for (name, item) in &globals.fns {
        let mut cx = Cx::new(globals, name, FuncKind::Kernel, item.name.span);
        cx.inlining.push((*name).to_owned());
        for (param, dtype) in &item.params {
            let scalar = cx.func.scalars.push(ScalarParam {
                name: param.name.clone(),
                dtype: *dtype,
                span: param.span,
            });
            cx.bind(&param.name, param.span, Bound::Scalar(scalar));
        }
        cx.fn_body(item);
        diags.append(&mut cx.diags);
    }
}

/// Names of tunables, by kernel or pipeline.
fn tunables(file: &ast::File) -> IndexMap<&str, Vec<&str>> {
    let mut out: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for item in &file.items {
        if let ast::ItemKind::Tune(tune) = &item.kind {
            let names = out.entry(tune.name.name.as_str()).or_default();
            for item in &tune.items {
                if let ast::TuneItem::Var { name, .. } = item {
                    names.push(&name.name);
                }
            }
        }
    }
    out
}

/// Kernels and pipelines, each name once.
fn entries(file: &ast::File) -> Vec<(&ast::Kernel, FuncKind)> {
    let mut out: Vec<(&ast::Kernel, FuncKind)> = Vec::new();
    for item in &file.items {
        let entry = match &item.kind {
            ast::ItemKind::Kernel(k) => (k, FuncKind::Kernel),
            ast::ItemKind::Pipeline(k) => (k, FuncKind::Pipeline),
            _ => continue,
        };
        if out.iter().all(|(k, _)| k.name.name != entry.0.name.name) {
            out.push(entry);
        }
    }
    out
}

/// The head of a kernel or pipeline.
fn head<'a>(
    globals: &'a Globals<'a>,
    kernel: &ast::Kernel,
    kind: FuncKind,
    tunables: &IndexMap<&str, Vec<&str>>,
) -> Cx<'a> {
    let mut cx = Cx::new(globals, &kernel.name.name, kind, kernel.name.span);
    let names = Names::of(kernel);
    let tuned = tunables.get(kernel.name.name.as_str()).into_iter().flatten();
    cx.hidden.extend(tuned.map(|n| (*n).to_owned()));
    cx.signature(kernel, &names);
    cx
}

fn check_entry(
    globals: &Globals<'_>,
    kernel: &ast::Kernel,
    kind: FuncKind,
    tunables: &IndexMap<&str, Vec<&str>>,
    diags: &mut Vec<Diagnostic>,
) -> Option<Func> {
    let mut cx = head(globals, kernel, kind, tunables);
    finish(&mut cx, &kernel.body, diags)
}

/// Checks a body and closes the function; `None` where anything is wrong.
fn finish(cx: &mut Cx<'_>, body: &[ast::Stmt], diags: &mut Vec<Diagnostic>) -> Option<Func> {
    let body = cx.scoped(|cx| cx.body(body));
    cx.check_accumulator_reads(&body);
    cx.func.body = body;
    let bad = cx.bad || has_errors(&cx.diags);
    diags.append(&mut cx.diags);
    if bad {
        return None;
    }
    let mut func = cx.func.clone();
    let mut problems = legal::check(&mut func, &cx.globals.tables);
    let bad = cx.globals.legality && has_errors(&problems);
    diags.append(&mut problems);
    (!bad).then_some(func)
}

fn check_references(
    globals: &Globals<'_>,
    file: &ast::File,
    entries: &[(&ast::Kernel, FuncKind)],
    tunables: &IndexMap<&str, Vec<&str>>,
    diags: &mut Vec<Diagnostic>,
) -> Vec<Func> {
    let mut out = Vec::new();
    let mut first: IndexMap<&str, Span> = IndexMap::new();
    for item in &file.items {
        let ast::ItemKind::Reference(reference) = &item.kind else { continue };
        let name = &reference.name;
        if let Some(&before) = first.get(name.name.as_str()) {
            let message = format!("`{}` has two references", name.name);
            diags.push(Diagnostic::error(Code::Duplicate, name.span, message).cause(before, "the first one"));
            continue;
        }
        first.insert(&name.name, name.span);
        let Some(&(kernel, kind)) = entries.iter().find(|(k, _)| k.name.name == name.name) else {
            diags.push(no_entry(name, entries));
            continue;
        };
        let mut cx = head(globals, kernel, kind, tunables);
        if cx.bad {
            // Reported with the kernel.
            continue;
        }
        cx.func.kind = FuncKind::Reference;
        cx.func.span = name.span;
        cx.hidden.clear();
        out.extend(finish(&mut cx, &reference.body, diags));
    }
    out
}

fn no_entry(name: &ast::Ident, entries: &[(&ast::Kernel, FuncKind)]) -> Diagnostic {
    let message = format!("there is no kernel or pipeline `{}`", name.name);
    let diagnostic = Diagnostic::error(Code::UnknownName, name.span, message);
    match crate::diag::suggest(&name.name, entries.iter().map(|(k, _)| k.name.name.as_str())) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn check_variants(
    file: &ast::File,
    out: &mut File,
    entries: &[(&ast::Kernel, FuncKind)],
    diags: &mut Vec<Diagnostic>,
) {
    for item in &file.items {
        let ast::ItemKind::Variant(variant) = &item.kind else { continue };
        let mut known = true;
        for name in [&variant.name, &variant.of] {
            if entries.iter().all(|(k, _)| k.name.name != name.name) {
                diags.push(no_entry(name, entries));
                known = false;
            }
        }
        let (Some(a), Some(b), true) = (out.entry(&variant.name.name), out.entry(&variant.of.name), known)
        else {
            continue;
        };
        if same_signature(&out.funcs[a], &out.funcs[b]) {
            out.variants.push((a, b));
        } else {
            diags.push(
                Diagnostic::error(
                    Code::Arguments,
                    item.span,
                    format!("`{}` and `{}` take different parameters", variant.name.name, variant.of.name),
                )
                .cause(out.funcs[a].span, "one")
                .cause(out.funcs[b].span, "the other"),
            );
        }
    }
}

/// Whether two kernels take the same parameters in the same order.
fn same_signature(a: &Func, b: &Func) -> bool {
    use super::ir::ParamRef;
    a.params.len() == b.params.len()
        && a.params.iter().zip(&b.params).all(|(&x, &y)| match (x, y) {
            (ParamRef::Tensor(x), ParamRef::Tensor(y)) => {
                let (x, y) = (&a.tensors[x], &b.tensors[y]);
                x.name == y.name && x.dtype == y.dtype && x.role == y.role && x.shape.len() == y.shape.len()
            }
            (ParamRef::Scalar(x), ParamRef::Scalar(y)) => {
                let (x, y) = (&a.scalars[x], &b.scalars[y]);
                x.name == y.name && x.dtype == y.dtype
            }
            _ => false,
        })
}

/// In order of the text; what inlining reported more than once stays once.
fn sort_and_dedup(diags: &mut Vec<Diagnostic>) {
    diags.sort_by(|a, b| (a.primary.span, a.code, &a.message).cmp(&(b.primary.span, b.code, &b.message)));
    diags.dedup_by(|a, b| a.primary.span == b.primary.span && a.code == b.code && a.message == b.message);
}
