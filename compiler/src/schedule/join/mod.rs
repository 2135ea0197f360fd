//! `fuse(k1, k2)`: kernels that a pipeline calls one after the other become one, where each touches what the other wrote
//! only at the same points.
//!
//! ```text
//! k1: for i in tiles(N) { T[i] = f(X[i]) }      k2: for j in tiles(N) { Y[j] = g(T[j], X[j]) }
//! =>
//! k1_k2: for i in tiles(N) { let T = f(X[i])  Y[i] = g(T, X[i]) }
//! ```
//!
//! The joined kernel has the statements of both, one after the other, which means the same whatever its loops are; that
//! they share loops follows from what is checked here. Axes that stand in the same dimension of a tensor that one kernel
//! writes and the other touches are one axis, with the name that the earlier kernel gives it. A buffer of the pipeline that
//! only these two touch is a value of the joined kernel; all others are written as before.
//!
//! [`pairs`] says which axes and arguments are one; [`copy`] writes a kernel into the joined one.

mod copy;
mod pairs;

use std::borrow::Cow;

use self::copy::Joined;
use self::pairs::{Calls, Pairs};
use super::access::{Accesses, Object, agree_on_axis};
use super::normal;
use super::plan::{Plan, Verb};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{File, Func, FuncId, FuncKind, Stmt, StmtKind};
use crate::hir::walk::for_each_stmt;

/// The file in which kernels that a plan joins are one.
///
/// # Errors
/// E0504 for kernels that are not called one after the other, or cannot be one.
pub(crate) fn joined<'a>(file: &'a File, entry: FuncId, plan: &Plan) -> Result<Cow<'a, File>, Diagnostic> {
    let mut out = Cow::Borrowed(file);
    for verb in &plan.verbs {
        let Verb::Fuse(kernels) = verb else { continue };
        let Some((first, rest)) = kernels.split_first() else { continue };
        let mut first = first.clone();
        for second in rest {
            first = join(out.to_mut(), entry, [&first, second])?;
        }
    }
    Ok(out)
}

/// Kernels that a pipeline calls one after the other and that can be one.
pub(crate) fn joinable(file: &File, entry: FuncId) -> Vec<[String; 2]> {
    let mut found: Vec<[String; 2]> = Vec::new();
    let mut look = |body: &[Stmt]| {
        for (a, b) in body.iter().zip(body.iter().skip(1)) {
            if let (StmtKind::Call { callee: a, .. }, StmtKind::Call { callee: b, .. }) = (&a.kind, &b.kind) {
                let names = [a, b].map(|f| file.funcs[*f].name.clone());
                let legal = || join(&mut file.clone(), entry, [&names[0], &names[1]]).is_ok();
                if !found.contains(&names) && legal() {
                    found.push(names);
                }
            }
        }
    };
    look(&file.funcs[entry].body);
    for_each_stmt(&file.funcs[entry].body, &mut |stmt| match &stmt.kind {
        StmtKind::Repeat { body, .. } => look(body),
        StmtKind::If { then, otherwise, .. } => [then, otherwise].into_iter().for_each(|b| look(b)),
        _ => {}
    });
    found
}

/// Joins every call of the first kernel with a call of the second right behind it; the joined kernel's name.
fn join(file: &mut File, entry: FuncId, [first, second]: [&str; 2]) -> Result<String, Diagnostic> {
    let span = file.funcs[entry].span;
    let refuse = |why: String| {
        Diagnostic::error(Code::Illegal, span, format!("`{first}` and `{second}` cannot be fused: {why}"))
    };
    if file.funcs[entry].kind != FuncKind::Pipeline {
        return Err(refuse(format!("`{}` is not a pipeline", file.funcs[entry].name)));
    }
    let mut name = format!("{first}_{second}");
    while file.funcs.iter().any(|(_, f)| f.name == name) {
        name.push('_');
    }
    let mut body = file.funcs[entry].body.clone();
    if !in_block(file, entry, &mut body, &name, [first, second]).map_err(refuse)? {
        let help = "fuse takes kernels that a pipeline calls right behind each other";
        return Err(refuse("they are not called one after the other".to_owned()).help(help));
    }
    file.funcs[entry].body = body;
    Ok(name)
}

/// Joins calls in a list of statements and those inside; whether there were any.
fn in_block(
    file: &mut File,
    entry: FuncId,
    body: &mut Vec<Stmt>,
    name: &str,
    names: [&str; 2],
) -> Result<bool, String> {
    let mut found = false;
    let mut at = 0;
    while at < body.len() {
        match &mut body[at].kind {
            StmtKind::Repeat { body, .. } => found |= in_block(file, entry, body, name, names)?,
            StmtKind::If { then, otherwise, .. } => {
                found |= in_block(file, entry, then, name, names)?;
                found |= in_block(file, entry, otherwise, name, names)?;
            }
            _ => {}
        }
        if let Some(calls) = Calls::of(file, entry, &body[at..], names) {
            let span = body[at].span;
            let (func, args, sizes) = both(file, &calls, name)?;
            let known = file.funcs.iter().find(|(_, f)| f.name == name).map(|(id, f)| (id, f.clone()));
            let callee = match known {
                None => file.funcs.push(func),
                // Another pair of calls, which takes the same kernel where it hands on the same.
                Some((id, known)) if format!("{known:?}") == format!("{func:?}") => id,
                Some(_) => return Err("they are called several times, in different ways".to_owned()),
            };
            body.splice(at..at + 2, [Stmt { kind: StmtKind::Call { callee, args, sizes }, span }]);
            found = true;
        }
        at += 1;
    }
    Ok(found)
}

type Call = (Func, Vec<crate::hir::ir::CallArg>, Vec<crate::hir::ir::ExprId>);

/// The joined kernel, and how it is called.
fn both(file: &File, calls: &Calls<'_>, name: &str) -> Result<Call, String> {
    let pairs = Pairs::of(calls)?;
    let joined = Joined::new(calls, &pairs, name)?;
    check(file, &joined)?;
    Ok((joined.func, joined.args, joined.sizes))
}

/// Whether passes of the shared axes have elements of their own in all tensors that both kernels touch and one writes.
fn check(file: &File, joined: &Joined) -> Result<(), String> {
    let form = normal::normalise(&joined.func, &file.tables).map_err(|d| d.message)?;
    let accesses = Accesses::new(&form);
    let all: Vec<_> = form.stmts.handles().flat_map(|s| accesses.of(s)).collect();
    for tensor in &joined.shared {
        let of: Vec<_> = all.iter().filter(|a| a.object == Object::Tensor(*tensor)).collect();
        for axis in &joined.axes {
            let apart = |x: usize, y: usize| agree_on_axis(&form, of[x], of[y], *axis);
            let meet =
                (0..of.len()).any(|x| (x..of.len()).any(|y| (of[x].write || of[y].write) && !apart(x, y)));
            if meet {
                let (tensor, axis) = (&joined.func.tensors[*tensor].name, &joined.func.axes[*axis].name);
                return Err(format!(
                    "`{tensor}` is not read and written at the same points of `{axis}` only"
                ));
            }
        }
    }
    Ok(())
}
