//! Rule: the maps of a `next` together give every point of the carry one new value.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::space::{Relevant, Space};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, AxisKind, ExprId, ExprKind, NextItem, StmtKind, ValueId};
use crate::hir::{print, walk};

const BUDGET: usize = 120_000;

/// Checks every `next` with indices.
pub(super) fn check(space: &Space<'_>, diags: &mut Vec<Diagnostic>) {
    let mut nexts: Vec<(Vec<NextItem>, Span)> = Vec::new();
    walk::for_each_stmt(&space.func.body, &mut |stmt| {
        if let StmtKind::Next(items) = &stmt.kind {
            nexts.push((items.clone(), stmt.span));
        }
    });
    for (items, span) in nexts {
        let mut done: Vec<ValueId> = Vec::new();
        for item in items.iter().filter(|item| item.index.is_some()) {
            if !done.contains(&item.value) {
                done.push(item.value);
                diags.extend(check_carry(space, item.value, &items, span));
            }
        }
    }
}

fn check_carry(space: &Space<'_>, value: ValueId, items: &[NextItem], span: Span) -> Option<Diagnostic> {
    let func = space.func;
    let def = &func.values[value];
    let maps: Vec<Vec<ExprId>> =
        items.iter().filter(|item| item.value == value).filter_map(|item| item.index.clone()).collect();
    let plain = |dim: usize| maps.iter().all(|m| func.exprs[m[dim]].kind == ExprKind::Axis(def.axes[dim]));
    let dims: Vec<usize> = (0..def.axes.len()).filter(|&dim| !plain(dim)).collect();
    for &dim in &dims {
        let axis = &func.axes[def.axes[dim]];
        if matches!(axis.kind, AxisKind::For(_) | AxisKind::Fold(_)) {
            return Some(
                Diagnostic::error(
                    Code::NotBijective,
                    span,
                    format!(
                        "`{}` is known for one tile of `{}` only, so no other point can be written",
                        def.name, axis.name
                    ),
                )
                .cause(axis.span, format!("`{}` is cut into tiles here", axis.name))
                .help("make the axis whole (`with`)"),
            );
        }
    }
    let targets: Vec<AxisId> = dims.iter().map(|&d| def.axes[d]).collect();
    let mut roots: Vec<ExprId> = Vec::new();
    for &axis in &targets {
        roots.extend([func.axes[axis].lo, func.axes[axis].hi]);
    }
    let mut each: Vec<Relevant> = Vec::new();
    for map in &maps {
        let own: Vec<ExprId> = dims.iter().map(|&d| map[d]).collect();
        each.push(space.relevant(&own));
        roots.extend(own);
    }
    let all = space.relevant(&roots);
    let counters: Vec<AxisId> =
        all.axes.iter().copied().filter(|&a| func.axes[a].kind == AxisKind::Seq).collect();
    let mut problem: Option<String> = None;
    let mut data = false;
    space.each_setting(&all, BUDGET, &mut |eval| {
        space.each_point(eval, &counters, BUDGET, &mut |eval| {
            let when = space.place_text(eval, &all);
            let mut hits: BTreeMap<Vec<i64>, usize> = BTreeMap::new();
            for (map, relevant) in maps.iter().zip(&each) {
                let axes: Vec<AxisId> =
                    relevant.axes.iter().copied().filter(|a| !counters.contains(a)).collect();
                let _ = space.each_point(eval, &axes, BUDGET, &mut |eval| {
                    let at: Option<Vec<i64>> = dims.iter().map(|&d| eval.eval(map[d]).exact()).collect();
                    match at {
                        Some(at) => *hits.entry(at).or_insert(0) += 1,
                        None => data = true,
                    }
                    ControlFlow::Continue(())
                });
            }
            if data {
                return ControlFlow::Break(());
            }
            let _ = space.each_point(eval, &targets, BUDGET, &mut |eval| {
                let at: Vec<i64> = targets.iter().map(|&a| eval.placed(a).map_or(0, |(lo, _)| lo)).collect();
                let times = hits.get(&at).copied().unwrap_or(0);
                if times == 1 {
                    return ControlFlow::Continue(());
                }
                let names: Vec<String> =
                    targets.iter().zip(&at).map(|(&a, v)| format!("{} = {v}", func.axes[a].name)).collect();
                let how = if times == 0 {
                    "gets no next value".to_owned()
                } else {
                    format!("gets {times} next values")
                };
                problem = Some(format!("`{}` at {} {how} {when}", def.name, names.join(", ")));
                ControlFlow::Break(())
            });
            if problem.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    let maps_text: Vec<String> = maps
        .iter()
        .map(|m| {
            let list: Vec<String> = m.iter().map(|&e| print::user_text(func, space.tables, e)).collect();
            format!("`{}[{}]`", def.name, list.join(", "))
        })
        .collect();
    if data {
        return Some(
            Diagnostic::error(
                Code::NotBijective,
                span,
                format!("data say which points {} are", maps_text.join(" and ")),
            )
            .help("the maps of `next` must be known to be a bijection"),
        );
    }
    problem.map(|text| {
        Diagnostic::error(Code::NotBijective, span, text)
            .cause(def.span, format!("`{}` is declared here", def.name))
            .help(format!("{} must together give every point one value", maps_text.join(" and ")))
    })
}
