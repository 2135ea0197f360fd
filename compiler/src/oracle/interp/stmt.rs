//! Statements: all points of a tile are computed, then stored.

use rooftile_artifact::Scalar;

use super::memory::{Cells, MAX_RANK};
use super::race::Access;
use super::{Exec, R, TileDefault};
use crate::diag::Span;
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, ExprId, NextItem, Stmt, StmtKind, TensorId, TileSize, ValueId,
};
use crate::oracle::error::ErrorKind;

impl<'a> Exec<'_, 'a> {
    /// Runs statements one after the other.
    pub(super) fn block(&mut self, body: &'a [Stmt]) -> R<()> {
        for stmt in body {
            self.fresh();
            self.stmt(stmt)?;
        }
        Ok(())
    }

    /// Makes everything memoised so far invalid.
    pub(super) fn fresh(&mut self) {
        self.m.clock += 1;
        self.base = self.m.clock;
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> R<()> {
        self.remember(&stmt.kind);
        match &stmt.kind {
            StmtKind::Define { value, init } => self.define(*value, *init, stmt.span),
            StmtKind::Update { value, op, expr } => self.update(*value, *op, *expr, stmt.span),
            StmtKind::Store { tensor, index, op, expr, kind: _ } => {
                self.store(*tensor, index, *op, *expr, stmt.span)
            }
            StmtKind::Append { list, count, key, value, pred } => {
                self.append((*list, *count), key, *value, *pred, stmt.span)
            }
            StmtKind::For { axes, with: _, body } => self.tiles(axes, body),
            StmtKind::Seq { axis, carry, body } => self.seq(*axis, carry, body, stmt.span),
            StmtKind::Fold { axis, carry, body } => self.fold(*axis, carry, body, stmt.span),
            StmtKind::Next(items) => self.next(items, stmt.span),
            StmtKind::If { cond, then, otherwise } => {
                let arm = if self.eval(*cond)?.is_true() { then } else { otherwise };
                self.block(arm)
            }
            StmtKind::Call { callee, args, sizes } => self.call(*callee, args, sizes, stmt.span),
            StmtKind::Repeat { axis, pingpong, body } => self.repeat(*axis, pingpong, body),
            StmtKind::Fill { tensor, value } => self.fill(*tensor, *value, stmt.span),
            StmtKind::Copy { from, to } => self.copy(*from, *to, stmt.span),
        }
    }

    fn define(&mut self, value: ValueId, init: ExprId, span: Span) -> R<()> {
        let mut cells = self.new_cells(value, span)?;
        let points = self.order(self.func.values[value].axes.iter().copied());
        self.for_points(&points, &mut |exec| {
            let v = exec.eval(init)?;
            let at = exec.point_of(&cells, value, span)?;
            cells.cells[at] = Some(v);
            Ok(())
        })?;
        self.values[value.index()] = Some(cells);
        Ok(())
    }

    /// The position of the current point in the cells of a tile value.
    fn point_of(&self, cells: &Cells, value: ValueId, span: Span) -> R<usize> {
        match cells.position(self.here(value)) {
            Some(at) => Ok(at),
            None => {
                let index = self.here(value).collect();
                self.fail(ErrorKind::NoPoint { value: self.func.values[value].name.clone(), index }, span)
            }
        }
    }

    fn update(&mut self, value: ValueId, op: AssignOp, expr: ExprId, span: Span) -> R<()> {
        let points = self.order(self.func.values[value].axes.iter().copied());
        let mut news = Vec::new();
        self.for_points(&points, &mut |exec| {
            let v = exec.eval(expr)?;
            let Some(cells) = &exec.values[value.index()] else {
                return exec.fail(ErrorKind::Internal("an update before the definition"), span);
            };
            news.push((exec.point_of(cells, value, span)?, v));
            Ok(())
        })?;
        let dtype = self.func.values[value].dtype;
        for (at, v) in news {
            let old = self.values[value.index()].as_ref().and_then(|c| c.cells[at]);
            let Some(old) = old else {
                return self.fail(ErrorKind::Internal("an update of a point without a value"), span);
            };
            let new = self.done(self.m.arith.assign(op, old, v, dtype), span)?;
            if let Some(cells) = &mut self.values[value.index()] {
                cells.cells[at] = Some(new);
            }
        }
        Ok(())
    }

    /// The values of indices at the current point.
    fn index(&mut self, index: &[ExprId]) -> R<Vec<i64>> {
        index.iter().take(MAX_RANK).map(|&e| Ok(self.eval(e)?.as_i64())).collect()
    }

    /// All axes that some expressions vary along, in walking order.
    fn axes_of(&self, exprs: impl IntoIterator<Item = ExprId>) -> Vec<AxisId> {
        let func = self.func;
        self.order(exprs.into_iter().flat_map(|e| func.exprs[e].axes.iter().copied()))
    }

    fn store(&mut self, tensor: TensorId, index: &[ExprId], op: AssignOp, expr: ExprId, span: Span) -> R<()> {
        let points = self.axes_of(index.iter().copied().chain([expr]));
        let mut writes = Vec::new();
        self.for_points(&points, &mut |exec| {
            let v = exec.eval(expr)?;
            writes.push((exec.index(index)?, v));
            Ok(())
        })?;
        let dtype = self.func.tensors[tensor].dtype;
        let mut seen = std::collections::HashSet::new();
        for (index, v) in writes {
            let (storage, at) = self.place(tensor, &index, span)?;
            if op == AssignOp::Set && !seen.insert(at) {
                return self
                    .fail(ErrorKind::DuplicateWrite { tensor: self.tensor_name(tensor), index }, span);
            }
            self.mark(storage, at, Access::Write(op), span, tensor, &index)?;
            let new = match (op, self.m.storages[storage].cells[at]) {
                (AssignOp::Set, _) => v,
                (_, Some(old)) => self.done(self.m.arith.assign(op, old, v, dtype), span)?,
                (_, None) => {
                    return self.fail(ErrorKind::Unwritten { tensor: self.tensor_name(tensor), index }, span);
                }
            };
            let new = self.keep(new, dtype);
            self.m.storages[storage].cells[at] = Some(new);
        }
        Ok(())
    }

    fn append(
        &mut self,
        (list, count): (TensorId, TensorId),
        key: &[ExprId],
        value: ExprId,
        pred: Option<ExprId>,
        span: Span,
    ) -> R<()> {
        let points = self.axes_of(key.iter().copied().chain([value]).chain(pred));
        let mut items = Vec::new();
        self.for_points(&points, &mut |exec| {
            if exec.holds(pred)? {
                items.push((exec.index(key)?, exec.eval(value)?));
            }
            Ok(())
        })?;
        for (key, v) in items {
            let (storage, at) = self.place(count, &key, span)?;
            self.mark(storage, at, Access::Append, span, count, &key)?;
            let Some(n) = self.m.storages[storage].cells[at].map(Scalar::as_i64) else {
                return self.fail(ErrorKind::Unwritten { tensor: self.tensor_name(count), index: key }, span);
            };
            let capacity =
                self.bindings[list.index()].as_ref().and_then(|b| b.extents.last().copied()).unwrap_or(0);
            if n >= capacity {
                return self.fail(ErrorKind::ListFull { list: self.tensor_name(list), key, capacity }, span);
            }
            self.m.storages[storage].cells[at] = Some(Scalar::Int(n + 1));
            let slot: Vec<i64> = key.iter().copied().chain([n]).collect();
            let (storage, at) = self.place(list, &slot, span)?;
            self.mark(storage, at, Access::Write(AssignOp::Set), span, list, &slot)?;
            let v = self.keep(v, self.func.tensors[list].dtype);
            self.m.storages[storage].cells[at] = Some(v);
        }
        Ok(())
    }

    fn holds(&mut self, pred: Option<ExprId>) -> R<bool> {
        match pred {
            Some(e) => Ok(self.eval(e)?.is_true()),
            None => Ok(true),
        }
    }

    /// The size of the tiles of an axis that has `extent` points at most.
    fn tile_size(&mut self, axis: AxisId, extent: i64) -> i64 {
        let a = &self.func.axes[axis];
        let (AxisKind::For(tile) | AxisKind::Fold(tile)) = &a.kind else { return extent.max(1) };
        let tiles = &self.m.options.tiles;
        let name = match tile {
            TileSize::Name(name) => name,
            TileSize::Int(_) | TileSize::Free => &a.name,
        };
        let size = match (tiles.sizes.get(name), tiles.default, tile) {
            (Some(&size), _, _) => size,
            (None, TileDefault::Whole, TileSize::Int(size)) => *size,
            (None, TileDefault::Whole, _) => extent,
            (None, TileDefault::Each(size), _) => size,
            (None, TileDefault::Random, _) => self.m.rng.below(1, extent + 1),
        };
        size.max(1)
    }

    /// `for`: every combination of tiles.
    fn tiles(&mut self, axes: &[AxisId], body: &'a [Stmt]) -> R<()> {
        if axes.is_empty() {
            return self.block(body);
        }
        let mut combos: Vec<Vec<(i64, i64)>> = vec![Vec::new()];
        for &axis in axes {
            let extent = self.longest(axis)?;
            let size = self.tile_size(axis, extent);
            let mut next = Vec::new();
            for combo in &combos {
                let mut from = 0;
                while from < extent {
                    next.push(combo.iter().copied().chain([(from, from.saturating_add(size))]).collect());
                    from = from.saturating_add(size);
                }
            }
            combos = next;
        }
        if self.m.options.tiles.shuffle {
            self.m.rng.shuffle(&mut combos);
        }
        let run = self.m.races.start();
        for combo in combos {
            for (&axis, window) in axes.iter().zip(combo) {
                self.window[axis.index()] = Some(window);
            }
            if self.m.options.check_races {
                self.m.races.enter(run);
                self.block(body)?;
                self.m.races.leave();
            } else {
                self.block(body)?;
            }
        }
        for &axis in axes {
            self.window[axis.index()] = None;
        }
        Ok(())
    }

    fn seq(&mut self, axis: AxisId, carry: &[(ValueId, ExprId)], body: &'a [Stmt], span: Span) -> R<()> {
        for &(value, init) in carry {
            self.define(value, init, span)?;
        }
        let (lo, hi) = self.whole(axis)?;
        let outer = self.folding.take();
        for t in lo..hi {
            self.set(axis, t);
            self.block(body)?;
        }
        self.folding = outer;
        Ok(())
    }

    fn fold(&mut self, axis: AxisId, carry: &[(ValueId, ExprId)], body: &'a [Stmt], span: Span) -> R<()> {
        for &(value, init) in carry {
            self.define(value, init, span)?;
        }
        let extent = self.longest(axis)?;
        let size = self.tile_size(axis, extent);
        let outer = self.folding.replace(axis);
        let mut from = 0;
        while from < extent {
            self.window[axis.index()] = Some((from, from.saturating_add(size)));
            self.block(body)?;
            from = from.saturating_add(size);
        }
        self.window[axis.index()] = None;
        self.folding = outer;
        Ok(())
    }

    fn next(&mut self, items: &[NextItem], span: Span) -> R<()> {
        let mut news: Vec<(ValueId, Cells)> = Vec::new();
        for item in items {
            if !news.iter().any(|(v, _)| *v == item.value) {
                let Some(old) = &self.values[item.value.index()] else {
                    return self.fail(ErrorKind::Internal("a `next` before its carry"), span);
                };
                let empty = Cells { cells: vec![None; old.cells.len()], ..old.clone() };
                news.push((item.value, empty));
            }
            let Some((_, cells)) = news.iter_mut().find(|(v, _)| *v == item.value) else { continue };
            self.next_item(item, cells, span)?;
        }
        for (value, mut cells) in news {
            let old = self.values[value.index()].take();
            for (at, before) in old.iter().flat_map(|o| o.cells.iter().enumerate()) {
                if before.is_none() || cells.cells[at].is_some() {
                    continue;
                }
                // A lane without an element in this tile keeps its carry.
                if self.folding.is_none() {
                    let (name, index) = (self.func.values[value].name.clone(), cells.point(at));
                    return self.fail(ErrorKind::NotBijective { value: name, index, twice: false }, span);
                }
                cells.cells[at] = *before;
            }
            self.values[value.index()] = Some(cells);
        }
        Ok(())
    }

    fn next_item(&mut self, item: &NextItem, cells: &mut Cells, span: Span) -> R<()> {
        let Some(index) = &item.index else {
            let parents = self.folding.map_or(&[][..], |f| &self.func.axes[f].parents);
            let points = self.order(self.func.values[item.value].axes.iter().chain(parents).copied());
            return self.for_points(&points, &mut |exec| {
                if let Some(fold) = exec.folding {
                    let (lo, hi) = exec.range(fold)?;
                    if lo >= hi {
                        return Ok(());
                    }
                }
                let v = exec.eval(item.expr)?;
                let at = exec.point_of(cells, item.value, span)?;
                cells.cells[at] = Some(v);
                Ok(())
            });
        };
        let points = self.axes_of(index.iter().copied().chain([item.expr]));
        self.for_points(&points, &mut |exec| {
            let v = exec.eval(item.expr)?;
            let point = exec.index(index)?;
            let name = || exec.func.values[item.value].name.clone();
            match cells.position(point.iter().copied()) {
                None => exec.fail(ErrorKind::NoPoint { value: name(), index: point }, span),
                Some(at) if cells.cells[at].is_some() => {
                    exec.fail(ErrorKind::NotBijective { value: name(), index: point, twice: true }, span)
                }
                Some(at) => {
                    cells.cells[at] = Some(v);
                    Ok(())
                }
            }
        })
    }
}
