//! Accumulators in memory that live in registers while a reduced loop adds to them.

use super::{Emitter, ValueBuffer};
use crate::diag::Diagnostic;
use crate::hir::ir::ValueId;
use crate::nest::ir::{self as nest, BinaryOp};
use crate::schedule::access::{Object, reads_of};
use crate::schedule::form::{Action, StmtId};
use crate::schedule::fuse::Tree;
use crate::schedule::in_place::Start;
use crate::schedule::levels::{LevelId, LevelKind};
use crate::schedule::storage::{Base, Dim, Home, HomeSpace};

/// Most elements of an accumulator in registers: what 32 vectors of 512 bits hold.
pub(in crate::schedule) const MOST_HELD: i64 = 512;

/// An accumulator that lives in registers during a loop.
pub(super) struct Promotion {
    value: ValueId,
    memory: ValueBuffer,
    registers: ValueBuffer,
}

impl Emitter<'_> {
    /// Accumulators in memory that a reduced loop only adds to live in registers for its time.
    ///
    /// ```text
    /// for k { acc[i,j] += e }  =>  r = acc[i,j];  for k { r += e };  acc[i,j] = r
    /// ```
    pub(super) fn promote(&mut self, level: LevelId, body: &[Tree]) -> Result<Vec<Promotion>, Diagnostic> {
        let stmts = Tree::stmts(body);
        let axis = self.levels.all[level].axis;
        let mut out = Vec::new();
        for s in &stmts {
            let Action::Accumulate { value, .. } = &self.form.stmts[*s].action else { continue };
            let axes = self.form.func.values[*value].axes.clone();
            if axes.contains(&axis) || self.touched_elsewhere(*value, *s, &stmts) {
                continue;
            }
            let Some(Home::Buffer { space, .. }) = &self.homes[value.index()] else { continue };
            let fixed = axes.iter().all(|a| {
                self.levels.steps(*a).all(|l| self.level_base.contains_key(&l) && !loops_inside(body, l))
            });
            let held = self.buffers.get(value).is_some_and(|b| b.space == HomeSpace::Register);
            let size: i64 = axes.iter().map(|a| self.levels.unit_count(*a)).product();
            let lanes = axes.iter().filter(|a| self.levels.has_lanes(**a)).count();
            if *space == HomeSpace::Register || held || !fixed || size > MOST_HELD || lanes > 1 {
                continue;
            }
            let memory = self.value_buffer(*value)?;
            let mut dims: Vec<Dim> = axes
                .iter()
                .enumerate()
                .filter(|(_, a)| self.levels.is_blocked(**a))
                .map(|(position, a)| Dim { axis: *a, position, base: Base::Block, panel: None })
                .collect();
            dims.sort_by_key(|d| self.levels.has_lanes(d.axis));
            let v = &self.form.func.values[*value];
            let registers = self.make_buffer(&v.name, v.dtype, HomeSpace::Register, dims, v.span)?;
            let promotion = Promotion { value: *value, memory, registers };
            self.buffers.insert(*value, promotion.registers.clone());
            self.begin_sum(&promotion)?;
            out.push(promotion);
        }
        Ok(out)
    }

    /// Loads an accumulator, or lets it start, where that is left to the first part of its sum.
    fn begin_sum(&mut self, p: &Promotion) -> Result<(), Diagnostic> {
        let Some(Start { set, reduced }) = self.in_place.starts.get(&p.value) else {
            return self.exchange(p, true);
        };
        let mut first = None;
        for axis in reduced {
            // Where another axis has the lanes, its points run one by one.
            let loops = self.levels.steps(*axis).chain(self.levels.points(*axis));
            let open = loops.filter_map(|l| self.level_base.get(&l)).last();
            let Some(base) = open.copied() else { continue };
            let lo = self.pure(self.form.func.axes[*axis].lo)?;
            let begins = self.b.binary(BinaryOp::Eq, base, lo);
            first = Some(first.map_or(begins, |f| self.b.and(f, begins)));
        }
        let blocks = self.blocks_of(p);
        let then = self.collect(|e| e.over_blocks(&blocks, &mut |e: &mut Self| e.leaf(*set)))?;
        match first {
            None => self.out.extend(then),
            Some(cond) => {
                let otherwise = self.collect(|e| e.exchange(p, true))?;
                self.out.push(nest::Stmt::If { cond, then, otherwise });
            }
        }
        Ok(())
    }

    /// The levels of an accumulator's registers, from the outside in.
    fn blocks_of(&self, p: &Promotion) -> Vec<LevelId> {
        let mut blocks: Vec<LevelId> =
            p.registers.dims.iter().flat_map(|d| self.levels.blocks(d.axis).collect::<Vec<_>>()).collect();
        blocks.sort_by_key(|l| self.levels.position(*l));
        blocks
    }

    fn touched_elsewhere(&self, value: ValueId, stmt: StmtId, stmts: &[StmtId]) -> bool {
        stmts.iter().any(|s| {
            if *s == stmt {
                return false;
            }
            let action = &self.form.stmts[*s].action;
            action.written_value() == Some(value)
                || matches!(action, Action::Scan { run, .. } if *run == value)
                || reads_of(self.form, action).iter().any(|a| a.object == Object::Value(value))
        })
    }

    pub(super) fn demote(&mut self, promotions: Vec<Promotion>) -> Result<(), Diagnostic> {
        for p in promotions {
            self.exchange(&p, false)?;
            self.buffers.insert(p.value, p.memory);
        }
        Ok(())
    }

    /// Copies a promoted accumulator between memory and registers, block by block.
    fn exchange(&mut self, p: &Promotion, load: bool) -> Result<(), Diagnostic> {
        let blocks = self.blocks_of(p);
        self.over_blocks(&blocks, &mut |e: &mut Self| {
            let (from, to) = if load { (&p.memory, &p.registers) } else { (&p.registers, &p.memory) };
            let source = e.value_index(from, None)?;
            let target = e.value_index(to, None)?;
            for (a, b) in from.parts.iter().zip(&to.parts) {
                let v = e.b.load(*a, &source);
                let stmt = e.b.store(*b, &target, v);
                e.out.push(stmt);
            }
            Ok(())
        })
    }

    fn over_blocks(
        &mut self,
        blocks: &[LevelId],
        f: &mut dyn FnMut(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some((level, rest)) = blocks.split_first() else { return f(self) };
        match self.levels.all[*level].kind {
            LevelKind::Step(_) => self.over_blocks(rest, f),
            LevelKind::Threads { count } => {
                self.in_threads(*level, count, true, (1, false), |e| e.over_blocks(rest, f))
            }
            LevelKind::Block { count, lanes } => {
                self.in_units(*level, count, lanes, |e| e.over_blocks(rest, f))
            }
        }
    }
}

fn loops_inside(trees: &[Tree], wanted: LevelId) -> bool {
    trees.iter().any(|t| match t {
        Tree::Leaf(_) => false,
        Tree::Loop { level, body, .. } => *level == wanted || loops_inside(body, wanted),
        Tree::Seq { level, body, .. } => *level == Some(wanted) || loops_inside(body, wanted),
        Tree::If { then, otherwise, .. } => loops_inside(then, wanted) || loops_inside(otherwise, wanted),
    })
}
