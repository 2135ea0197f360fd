//! The small sizes and points at which a property is tried where it is not proven for all.

use std::ops::ControlFlow;

use rooftile_artifact::{DType, Scalar};

use super::abs::{Abs, Eval};
use crate::hir::ir::{AxisId, ExprId, ExprKind, Func, StmtKind, Table, ValueKind};
use crate::hir::{size_eval, walk};

/// Values tried for each size.
const SIZES: [i64; 6] = [1, 2, 3, 4, 5, 8];
/// Values tried where several sizes matter at once.
const FEW_SIZES: [i64; 3] = [1, 2, 3];
/// Values tried in addition where conditions refuse all of the above.
const LARGE_SIZES: [i64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 6, 12];
/// Larger values for what small ones cannot show: powers of two, and one that is none.
const LARGER_SIZES: [i64; 3] = [16, 64, 27];
/// The same where several sizes matter at once.
const FEW_LARGER_SIZES: [i64; 2] = [7, 16];
/// Values tried for each integer scalar.
const SCALARS: [i64; 7] = [2, 0, 1, 3, 5, -1, -2];
/// Most combinations of sizes and scalars that are looked at.
const MAX_SETTINGS: usize = 20_000;

/// The function as the checks see it.
pub(super) struct Space<'a> {
    pub(super) func: &'a Func,
    pub(super) tables: &'a [Table],
    /// What each `let` stands for, by value.
    pub(super) defs: Vec<Option<ExprId>>,
}

/// What a property depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Relevant {
    /// Axes and counters, parents first.
    pub(super) axes: Vec<AxisId>,
    /// Numbers of sizes.
    pub(super) sizes: Vec<usize>,
    /// Numbers of integer scalars.
    pub(super) scalars: Vec<usize>,
    pub(super) wheres: Vec<ExprId>,
}

impl Relevant {
    /// What either depends on.
    pub(super) fn with(&self, other: &Relevant) -> Relevant {
        fn both<T: Copy + Ord>(a: &[T], b: &[T]) -> Vec<T> {
            let mut all = [a, b].concat();
            all.sort_unstable();
            all.dedup();
            all
        }
        Relevant {
            axes: both(&self.axes, &other.axes),
            sizes: both(&self.sizes, &other.sizes),
            scalars: both(&self.scalars, &other.scalars),
            wheres: both(&self.wheres, &other.wheres),
        }
    }
}

impl<'a> Space<'a> {
    pub(super) fn new(func: &'a Func, tables: &'a [Table]) -> Space<'a> {
        let mut defs = vec![None; func.values.len()];
        walk::for_each_stmt(&func.body, &mut |stmt| {
            if let StmtKind::Define { value, init } = stmt.kind
                && func.values[value].kind == ValueKind::Let
            {
                defs[value.index()] = Some(init);
            }
        });
        Space { func, tables, defs }
    }

    /// Axes, sizes and scalars that the expressions depend on, through tile values and bounds of axes. Of a tensor's
    /// elements only their declared range is known, so its indices do not matter.
    pub(super) fn relevant(&self, roots: &[ExprId]) -> Relevant {
        let mut out = Relevant::default();
        let mut seen = vec![false; self.func.exprs.len()];
        let mut stack: Vec<ExprId> = roots.to_vec();
        while let Some(e) = stack.pop() {
            if std::mem::replace(&mut seen[e.index()], true) {
                continue;
            }
            match &self.func.exprs[e].kind {
                ExprKind::Size(s) => push(&mut out.sizes, s.index()),
                ExprKind::Scalar(s) if self.func.scalars[*s].dtype.is_int() => {
                    push(&mut out.scalars, s.index())
                }
                ExprKind::Axis(a) => {
                    push(&mut out.axes, *a);
                    stack.extend([self.func.axes[*a].lo, self.func.axes[*a].hi]);
                }
                ExprKind::Value(v) => stack.extend(self.defs[v.index()]),
                ExprKind::Load { tensor, .. } => {
                    if let Some((lo, hi)) = self.func.tensors[*tensor].range {
                        stack.extend([lo, hi]);
                    }
                }
                ExprKind::Reduce { axes, args, .. } => {
                    for &a in axes {
                        stack.extend([self.func.axes[a].lo, self.func.axes[a].hi]);
                    }
                    stack.extend(args);
                }
                kind => walk::operands(kind, |e| stack.push(e)),
            }
        }
        // Conditions tie sizes together; those that touch a relevant size bring in the others.
        let mut grown = true;
        while grown {
            grown = false;
            for &cond in &self.func.wheres {
                if out.wheres.contains(&cond) {
                    continue;
                }
                let mut sizes = Vec::new();
                let mut scalars = Vec::new();
                walk::for_each_expr(self.func, cond, |_, x| match x.kind {
                    ExprKind::Size(s) => sizes.push(s.index()),
                    ExprKind::Scalar(s) => scalars.push(s.index()),
                    _ => {}
                });
                let touches = sizes.iter().any(|s| out.sizes.contains(s))
                    || scalars.iter().any(|s| out.scalars.contains(s));
                if touches {
                    grown = true;
                    out.wheres.push(cond);
                    sizes.into_iter().for_each(|s| push(&mut out.sizes, s));
                    scalars.into_iter().for_each(|s| push(&mut out.scalars, s));
                }
            }
        }
        out.axes.sort_unstable();
        out.sizes.sort_unstable();
        out.scalars.sort_unstable();
        out
    }

    /// Runs `f` at small sizes and scalars that the conditions allow, small ones first, until it breaks or too much
    /// work was done. Says whether it came to the end.
    pub(super) fn each_setting(
        &self,
        relevant: &Relevant,
        budget: usize,
        f: &mut dyn FnMut(&mut Eval<'_>) -> ControlFlow<()>,
    ) -> bool {
        let mut eval = Eval::new(self.func, self.tables, &self.defs);
        let choices: &[i64] = if relevant.sizes.len() > 3 { &FEW_SIZES } else { &SIZES };
        let (found, ended) = self.settings(relevant, choices, &mut eval, budget, f);
        if found || !ended {
            return ended;
        }
        self.settings(relevant, &LARGE_SIZES, &mut eval, budget, f).1
    }

    /// As [`Space::each_setting`] at larger sizes, as far as the budget goes.
    pub(super) fn each_larger_setting(
        &self,
        relevant: &Relevant,
        budget: usize,
        f: &mut dyn FnMut(&mut Eval<'_>) -> ControlFlow<()>,
    ) {
        let mut eval = Eval::new(self.func, self.tables, &self.defs);
        let choices: &[i64] = if relevant.sizes.len() > 2 { &FEW_LARGER_SIZES } else { &LARGER_SIZES };
        self.settings(relevant, choices, &mut eval, budget, f);
    }

    fn settings(
        &self,
        relevant: &Relevant,
        choices: &[i64],
        eval: &mut Eval<'_>,
        budget: usize,
        f: &mut dyn FnMut(&mut Eval<'_>) -> ControlFlow<()>,
    ) -> (bool, bool) {
        let mut digits = vec![0usize; relevant.sizes.len() + relevant.scalars.len()];
        let mut found = false;
        for _ in 0..MAX_SETTINGS {
            let (size_digits, scalar_digits) = digits.split_at(relevant.sizes.len());
            for (&s, &d) in relevant.sizes.iter().zip(size_digits) {
                eval.sizes[s] = choices[d];
            }
            let mut sensible = true;
            for (&s, &d) in relevant.scalars.iter().zip(scalar_digits) {
                let dtype = self.func.scalars.iter().nth(s).map_or(DType::I64, |(_, s)| s.dtype);
                eval.scalars[s] = Some(SCALARS[d]);
                sensible &= Scalar::Int(SCALARS[d]).cast(dtype).as_i64() == SCALARS[d]
                    && dtype.int_range().is_some_and(|(lo, _)| i128::from(SCALARS[d]) >= lo);
            }
            eval.changed();
            if sensible && self.allowed(relevant, eval) {
                found = true;
                if f(eval).is_break() || eval.work > budget {
                    return (found, false);
                }
            }
            let limit = |k: usize| if k < relevant.sizes.len() { choices.len() } else { SCALARS.len() };
            let Some(next) = (0..digits.len()).find(|&k| digits[k] + 1 < limit(k)) else {
                return (found, true);
            };
            digits[next] += 1;
            digits[..next].fill(0);
        }
        (found, false)
    }

    fn allowed(&self, relevant: &Relevant, eval: &Eval<'_>) -> bool {
        let scalars: Vec<Scalar> = self
            .func
            .scalars
            .iter()
            .zip(&eval.scalars)
            .map(|((_, s), v)| Scalar::Int(v.unwrap_or(1)).cast(s.dtype))
            .collect();
        relevant
            .wheres
            .iter()
            .all(|&w| size_eval::eval(self.func, w, &eval.sizes, &scalars).is_ok_and(Scalar::is_true))
    }

    /// Runs `f` at every point of the axes, which come parents first. An axis whose bounds are data is put anywhere
    /// in them at once.
    pub(super) fn each_point(
        &self,
        eval: &mut Eval<'_>,
        axes: &[AxisId],
        budget: usize,
        f: &mut dyn FnMut(&mut Eval<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some((&axis, rest)) = axes.split_first() else { return f(eval) };
        let (lo, hi) = (self.func.axes[axis].lo, self.func.axes[axis].hi);
        let (Abs::Int(lo_min, lo_max), Abs::Int(hi_min, hi_max)) = (eval.eval(lo), eval.eval(hi)) else {
            return self.each_point(eval, rest, budget, f);
        };
        let last = hi_max.saturating_sub(1);
        if last < lo_min {
            return ControlFlow::Continue(());
        }
        let known = lo_min == lo_max && hi_min == hi_max;
        let mut result = ControlFlow::Continue(());
        if known && hi_max.saturating_sub(lo_min) <= 4096 {
            for at in lo_min..hi_max {
                eval.place(axis, Some((at, at)));
                result = self.each_point(eval, rest, budget, f);
                if result.is_break() || eval.work > budget {
                    break;
                }
            }
        } else {
            eval.place(axis, Some((lo_min, last)));
            result = self.each_point(eval, rest, budget, f);
        }
        eval.place(axis, None);
        result
    }

    /// `y = 0, x = 3 (H = 1)`: where the evaluator stands, for messages.
    pub(super) fn place_text(&self, eval: &Eval<'_>, relevant: &Relevant) -> String {
        let axes: Vec<String> = relevant
            .axes
            .iter()
            .filter_map(|&a| match eval.placed(a) {
                Some((lo, hi)) if lo == hi => Some(format!("{} = {lo}", self.func.axes[a].name)),
                _ => None,
            })
            .collect();
        let mut sizes: Vec<String> = Vec::new();
        for (n, (_, size)) in self.func.sizes.iter().enumerate() {
            if relevant.sizes.contains(&n) {
                sizes.push(format!("{} = {}", size.name, eval.sizes[n]));
            }
        }
        for (n, (_, scalar)) in self.func.scalars.iter().enumerate() {
            if let (true, Some(v)) = (relevant.scalars.contains(&n), eval.scalars[n]) {
                sizes.push(format!("{} = {v}", scalar.name));
            }
        }
        match (axes.is_empty(), sizes.is_empty()) {
            (true, true) => "always".to_owned(),
            (true, false) => format!("when {}", sizes.join(", ")),
            (false, true) => format!("when {}", axes.join(", ")),
            (false, false) => format!("when {} ({})", axes.join(", "), sizes.join(", ")),
        }
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
