//! Loops: `for`, `with`, `seq`, `fold`, and the `next` of carries.

use super::cx::{Bound, CarryLoop, Cx};
use super::text::expr_text;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, AxisKind, ExprId, NextItem, StmtKind, TileSize, ValueId, ValueKind};
use crate::syntax::ast;

/// Carries of a loop with their first values.
struct Carries {
    /// Those that are right.
    good: Vec<(ValueId, ExprId)>,
    /// Whether that is all of them.
    whole: bool,
}

impl Carries {
    fn whole(self) -> Option<Vec<(ValueId, ExprId)>> {
        self.whole.then_some(self.good)
    }
}

impl Cx<'_> {
    /// Bounds of a domain: `i64`, and whole.
    pub(super) fn domain(&mut self, domain: &ast::Domain) -> Option<(ExprId, ExprId)> {
        let (lo, hi) = match domain {
            ast::Domain::Extent(hi) => {
                let lo = self.int(0, hi.span);
                (Some(lo), self.index(hi))
            }
            ast::Domain::Range(lo, hi) => (self.index(lo), self.index(hi)),
        };
        let (lo, hi) = (lo?, hi?);
        self.whole(lo, "a bound")?;
        self.whole(hi, "a bound")?;
        Some((lo, hi))
    }

    fn tile_size(&mut self, tile: Option<&ast::TileSize>) -> TileSize {
        match tile {
            None => TileSize::Free,
            Some(ast::TileSize::Name(name)) => TileSize::Name(name.name.clone()),
            Some(ast::TileSize::Int(n, span)) => {
                if *n < 1 {
                    self.error(Code::Arguments, *span, "a tile has at least one point");
                }
                TileSize::Int(*n)
            }
        }
    }

    fn axis(&mut self, name: &ast::Ident, domain: &ast::Domain, kind: AxisKind) -> Option<AxisId> {
        match self.domain(domain) {
            Some((lo, hi)) => Some(self.add_axis(name, kind, lo, hi)),
            None => {
                self.bind(&name.name, name.span, Bound::Poison);
                None
            }
        }
    }

    pub(super) fn with_axes(&mut self, axes: &[ast::AxisDecl]) -> Option<Vec<AxisId>> {
        let ids: Vec<Option<AxisId>> =
            axes.iter().map(|a| self.axis(&a.name, &a.domain, AxisKind::With)).collect();
        ids.into_iter().collect()
    }

    pub(super) fn with_stmt(&mut self, axes: &[ast::AxisDecl], body: &[ast::Stmt]) -> Option<StmtKind> {
        self.scoped(|cx| {
            let with = cx.with_axes(axes);
            let body = cx.body(body);
            Some(StmtKind::For { axes: Vec::new(), with: with?, body })
        })
    }

    pub(super) fn for_stmt(
        &mut self,
        axes: &[ast::Ident],
        domains: &[ast::Domain],
        tiles: &[ast::TileSize],
        with: &[ast::AxisDecl],
        body: &[ast::Stmt],
        span: Span,
    ) -> Option<StmtKind> {
        if axes.len() != domains.len() || !(tiles.is_empty() || tiles.len() == axes.len()) {
            let message = if axes.len() == domains.len() {
                format!("{} tile sizes for {} axes", tiles.len(), axes.len())
            } else {
                format!("{} axes, but {} domains", axes.len(), domains.len())
            };
            let at = axes.first().map_or(span, |a| a.span);
            self.error(Code::Arguments, at, message);
            return None;
        }
        self.scoped(|cx| {
            let ids: Vec<Option<AxisId>> = axes
                .iter()
                .zip(domains)
                .enumerate()
                .map(|(n, (name, domain))| {
                    let tile = cx.tile_size(tiles.get(n));
                    cx.axis(name, domain, AxisKind::For(tile))
                })
                .collect();
            let with = cx.with_axes(with);
            let outer = cx.fors.len();
            cx.fors.extend(ids.iter().flatten());
            let body = cx.body(body);
            cx.fors.truncate(outer);
            let ids: Option<Vec<AxisId>> = ids.into_iter().collect();
            Some(StmtKind::For { axes: ids?, with: with?, body })
        })
    }

    /// Checks the carries of a loop. Their names stay in scope after it.
    fn carries(&mut self, carry: &[ast::CarryDecl]) -> Carries {
        let mut all = Vec::new();
        let mut bounds = Vec::new();
        for decl in carry {
            let dtype = self.mapped(decl.ty.dtype);
            let made = self.initial(&decl.name, &decl.ty, dtype, &decl.init, ValueKind::Carry);
            bounds.push((&decl.name, made.map_or(Bound::Poison, |(v, _)| Bound::Value(v))));
            all.extend(made);
        }
        let whole = all.len() == carry.len();
        for (name, bound) in bounds {
            self.bind(&name.name, name.span, bound);
        }
        Carries { good: all, whole }
    }

    fn carry_body(&mut self, carry: &Carries, body: &[ast::Stmt], span: Span) -> Vec<crate::hir::ir::Stmt> {
        let carries = carry.good.iter().map(|&(v, _)| v).collect();
        self.loops.push(CarryLoop { carries, has_next: false });
        let stmts = self.body(body);
        if let Some(state) = self.loops.pop()
            && !state.carries.is_empty()
            && !state.has_next
        {
            let name = self.func.values[state.carries[0]].name.clone();
            self.report(
                Diagnostic::error(Code::Misplaced, span, format!("nothing gives `{name}` its next value"))
                    .help(format!("end the loop with `next {name} = ..`")),
            );
        }
        stmts
    }

    pub(super) fn seq(
        &mut self,
        name: &ast::Ident,
        lo: &ast::Expr,
        hi: &ast::Expr,
        carry: &[ast::CarryDecl],
        body: &[ast::Stmt],
        span: Span,
    ) -> Option<StmtKind> {
        let bounds = self.counter_bounds(lo, hi);
        let carry = self.carries(carry);
        self.scoped(|cx| {
            let axis = match bounds {
                Some((lo, hi)) => Some(cx.add_axis(name, AxisKind::Seq, lo, hi)),
                None => {
                    cx.bind(&name.name, name.span, Bound::Poison);
                    None
                }
            };
            let body = cx.carry_body(&carry, body, span);
            Some(StmtKind::Seq { axis: axis?, carry: carry.whole()?, body })
        })
    }

    /// Bounds of a `seq` or `repeat`, which are the same for every point.
    pub(super) fn counter_bounds(&mut self, lo: &ast::Expr, hi: &ast::Expr) -> Option<(ExprId, ExprId)> {
        let (lo, hi) = (self.index(lo), self.index(hi));
        let (lo, hi) = (lo?, hi?);
        for bound in [lo, hi] {
            self.whole(bound, "a bound")?;
            if let Some(&axis) = self.axes(bound).first() {
                let axis_name = self.axis_name(axis).to_owned();
                let message = format!("the bounds of a counter may not vary along `{axis_name}`");
                self.report(
                    Diagnostic::error(Code::LiveAxis, self.span(bound), message)
                        .cause(self.func.axes[axis].span, format!("`{axis_name}` is declared here"))
                        .help("count to the largest bound, and keep finished points with `select`"),
                );
                return None;
            }
        }
        Some((lo, hi))
    }

    pub(super) fn fold(
        &mut self,
        name: &ast::Ident,
        domain: &ast::Domain,
        tile: Option<&ast::TileSize>,
        carry: &[ast::CarryDecl],
        body: &[ast::Stmt],
        span: Span,
    ) -> Option<StmtKind> {
        let tile = self.tile_size(tile);
        let bounds = self.domain(domain);
        let carry = self.carries(carry);
        self.scoped(|cx| {
            let axis = match bounds {
                Some((lo, hi)) => Some(cx.add_axis(name, AxisKind::Fold(tile), lo, hi)),
                None => {
                    cx.bind(&name.name, name.span, Bound::Poison);
                    None
                }
            };
            let body = cx.carry_body(&carry, body, span);
            Some(StmtKind::Fold { axis: axis?, carry: carry.whole()?, body })
        })
    }

    pub(super) fn next(&mut self, items: &[(ast::LValue, ast::Expr)], span: Span) -> Option<StmtKind> {
        let Some(state) = self.loops.last_mut() else {
            self.error(Code::Misplaced, span, "`next` stands at the end of a `seq` or `fold`");
            return None;
        };
        state.has_next = true;
        let carries = state.carries.clone();
        let made: Vec<Option<NextItem>> =
            items.iter().map(|(target, value)| self.next_item(target, value, &carries)).collect();
        let made: Vec<NextItem> = made.into_iter().collect::<Option<_>>()?;
        for (n, item) in made.iter().enumerate() {
            let twice = made[..n]
                .iter()
                .any(|other| other.value == item.value && (other.index.is_none() || item.index.is_none()));
            if twice {
                let name = self.func.values[item.value].name.clone();
                self.error(Code::Duplicate, items[n].0.span, format!("`{name}` gets two next values"));
                return None;
            }
        }
        Some(StmtKind::Next(made))
    }

    fn next_item(
        &mut self,
        target: &ast::LValue,
        value: &ast::Expr,
        carries: &[ValueId],
    ) -> Option<NextItem> {
        let val = self.expr(value);
        let name = &target.name;
        let v = match self.lookup(&name.name) {
            Some((Bound::Value(v), _)) if carries.contains(&v) => v,
            Some((Bound::Poison, _)) => return None,
            Some((_, declared)) => {
                let message = format!("`{}` is not a carry of this loop", name.name);
                self.report(
                    Diagnostic::error(Code::NotA, name.span, message).cause(declared, "declared here"),
                );
                return None;
            }
            None => {
                self.unknown(&name.name, name.span);
                return None;
            }
        };
        let def = self.func.values[v].clone();
        let expr = self.coerce(val?, def.dtype)?;
        self.whole(expr, "a carry")?;
        let Some(index) = &target.indices else {
            let op = Some((name.name.as_str(), ast::AssignOp::Set));
            self.check_live(&def.name, expr, &def.axes, def.dtype, def.span, value, op)?;
            return Some(NextItem { value: v, index: None, expr });
        };
        let ids = self.indices(index)?;
        self.check_rank(&def.name, def.axes.len(), ids.len(), target.span, Some(def.span))?;
        let own = ids
            .iter()
            .zip(&def.axes)
            .all(|(&e, &a)| self.expr_of(e).kind == crate::hir::ir::ExprKind::Axis(a));
        let mut axes: Vec<AxisId> = ids.iter().flat_map(|&e| self.axes(e).to_vec()).collect();
        axes.sort_unstable();
        axes.dedup();
        let live: Vec<AxisId> = self.axes(expr).iter().copied().filter(|a| !axes.contains(a)).collect();
        if let Some(&first) = live.first() {
            let list = self.axis_list(&live);
            let at: Vec<String> = index.iter().map(expr_text).collect();
            let message = format!("{list} not among the indices of `{}[{}]`", def.name, at.join(","));
            self.report(
                Diagnostic::error(Code::LiveAxis, value.span, message)
                    .cause(target.span, "assigned here")
                    .cause(
                        self.func.axes[first].span,
                        format!("`{}` is declared here", self.axis_name(first)),
                    ),
            );
            return None;
        }
        Some(NextItem { value: v, index: (!own).then_some(ids), expr })
    }
}
