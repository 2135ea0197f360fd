//! A sum of products in the steps of its subgroups.

use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ExprId, ExprKind};
use crate::schedule::form::{Action, Form, MatrixStep, operands};
use crate::schedule::levels::{LevelId, Levels};
use crate::schedule::plan::Place;

use super::{Product, tiles};

/// Writes a product as steps of subgroups and of all threads.
///
/// # Errors
/// E0504 where loops over other axes than those of the matrices run several points at once.
pub(crate) fn rewrite(form: &mut Form, levels: &Levels, product: &Product) -> Result<(), Diagnostic> {
    let Product { start, sum, rows, columns, inner, .. } = *product;
    let stmt = form.stmts[sum].clone();
    let Some(value) = stmt.action.written_value() else { return Ok(()) };
    let v = form.func.values[value].clone();
    let three = [rows, columns, inner];
    if let Some(a) = stmt.axes.iter().find(|a| !three.contains(a) && levels.is_blocked(**a)) {
        let why =
            format!("mma({}): several points of `{}` would run at once", v.name, form.func.axes[*a].name);
        return Err(Diagnostic::error(Code::Illegal, stmt.span, why).help("leave them to their loop"));
    }
    // Inside a tile there are no loops: its points belong to subgroups.
    let loops = |axes: &[AxisId]| -> Vec<LevelId> {
        axes.iter()
            .flat_map(|a| if three.contains(a) { tiles(levels, *a) } else { levels.chain(*a).to_vec() })
            .collect()
    };
    let (around, all) = (loops(&form.sorted(v.axes.clone())), loops(&stmt.axes));
    let number = form.products.len();
    form.products.push(product.clone());
    let step = |form: &mut Form, step: MatrixStep, axes: &[AxisId], levels: &[LevelId]| {
        let s = form.stmt(Action::Matrix { product: number, step }, axes.to_vec(), stmt.span);
        form.stmts[s].levels = Some(levels.to_vec());
        s
    };

    let sum_type = product.shape.result;
    let matrices = form.value(&format!("{}.matrices", v.name), sum_type, v.axes.clone(), v.span);
    form.info[matrices.index()].matrices = true;
    let near = form.value(&format!("{}.tile", v.name), sum_type, v.axes.clone(), v.span);
    form.info[near.index()].place = Some(Place::Shared);
    if let Action::Set { expr, .. } = form.stmts[start].action {
        let step = MatrixStep::Start { matrices, with: expr };
        form.stmts[start].action = Action::Matrix { product: number, step };
        form.stmts[start].levels = Some(around.clone());
    }
    let mut items = Vec::new();
    let mut factors = Vec::new();
    for (expr, other) in product.factors.into_iter().zip([rows, columns]) {
        let (dtype, span) = (form.func.exprs[expr].dtype, form.func.exprs[expr].span);
        let factor = form.value(&name_of(form, expr), dtype, side_by_side(form, expr, other, inner), span);
        let own = form.func.values[factor].axes.clone();
        let info = &mut form.info[factor.index()];
        info.private = stmt.axes.iter().copied().filter(|a| !own.contains(a)).collect();
        info.place = Some(Place::Shared);
        let copy = step(form, MatrixStep::Copy { tile: factor, expr }, &stmt.axes, &all);
        form.stmts[copy].copies = true;
        items.push(copy);
        factors.push(factor);
    }
    let [a, b] = factors[..] else { return Ok(()) };
    items.push(step(form, MatrixStep::Multiply { matrices, a, b }, &stmt.axes, &all));
    items.push(step(form, MatrixStep::Finish { tile: near, matrices }, &v.axes, &around));
    let mut read = form.read(near, stmt.span);
    if sum_type != v.dtype {
        read = form.expr(ExprKind::Cast(read), v.dtype, stmt.span);
    }
    let set = Action::Set { value, index: None, expr: read };
    items.push(form.stmt(set, v.axes.clone(), stmt.span));
    form.replace_stmts(&mut |_, s| (s == sum).then(|| items.clone()));
    Ok(())
}

/// What a copy of a factor is called.
fn name_of(form: &Form, expr: ExprId) -> String {
    match form.func.exprs[expr].kind {
        ExprKind::Load { tensor, .. } => form.func.tensors[tensor].name.to_lowercase(),
        ExprKind::Value(v) => form.func.values[v].name.clone(),
        _ => "factor".to_owned(),
    }
}

/// The axes of a factor's copy; last the one along which the factor lies side by side in memory.
fn side_by_side(form: &Form, expr: ExprId, other: AxisId, inner: AxisId) -> Vec<AxisId> {
    let mut work = vec![expr];
    while let Some(e) = work.pop() {
        let kind = &form.func.exprs[e].kind;
        if let ExprKind::Load { index, .. } = kind
            && let Some(last) = index.last()
        {
            let axes = &form.func.exprs[*last].axes;
            match (axes.contains(&other), axes.contains(&inner)) {
                (true, false) => return vec![inner, other],
                (false, true) => return vec![other, inner],
                _ => {}
            }
        }
        work.extend(operands(kind));
    }
    vec![other, inner]
}
