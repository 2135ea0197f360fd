//! The entry point of a phase: a loop over its chunks.

use rooftile_artifact::gpu_abi::cell;
use rspirv::spirv::{Op, Word};

use super::super::gpu::barriers::{self, Step};
use super::super::gpu::layout;
use super::super::gpu::range::Range;
use super::super::gpu::threads::Shape;
use super::emit::{Binding, Emitter};
use crate::nest::ir::{BufferId, CoreLoop, LoopKind, Phase, Stmt};

/// A core loop before the chunks are run.
struct Core {
    /// Its first value, in 32 bits or 64.
    first: Word,
    passes: Word,
    narrow: bool,
}

impl Emitter<'_> {
    /// Writes the entry point of a phase.
    pub(super) fn phase(&mut self, name: &str, phase: &Phase, shape: Shape) {
        let (group, groups) = self.begin_entry(shape);
        let (word, bool) = (self.code.module.u32(), self.code.module.bool());
        let (mut first, mut stride) = (group, groups);
        if shape.chunks() > 1 {
            let each = self.code.module.int_const(32, shape.chunks().into());
            let start = self.code.value(Op::IMul, word, &[group, each]);
            first = self.code.value(Op::IAdd, word, &[start, self.thread]);
            stride = self.code.value(Op::IMul, word, &[groups, each]);
        }
        let nest = self.nest;
        let scratch: Vec<BufferId> = layout::touched(nest, &phase.body)
            .into_iter()
            .filter(|&id| self.layout.is_far(nest, id))
            .collect();
        self.find_scratch(first, &scratch);
        let chunks = self.cell(cell::CHUNKS, word);
        let cores: Vec<Core> = phase.cores.iter().map(|c| self.core(c)).collect();

        let any = self.code.value(Op::ULessThan, bool, &[first, chunks]);
        let branch = self.code.begin_if(any);
        let l = self.code.begin_loop(word, first);
        self.bind_cores(&phase.cores, &cores, l.counter);
        if shape.together {
            self.uniform = shape.group > 1;
            let steps = barriers::plan(nest, &phase.body);
            self.steps(&steps);
        } else {
            self.block(&phase.body);
        }
        self.code.loop_continue(&l);
        // The sum may be beyond 2^32 where the distance to the end is not.
        let rest = self.code.value(Op::ISub, word, &[chunks, l.counter]);
        let more = self.code.value(Op::ULessThan, bool, &[stride, rest]);
        let next = self.code.value(Op::IAdd, word, &[l.counter, stride]);
        self.code.end_loop(&l, next, more);
        self.code.end_then(&branch);
        self.code.finish(name, shape.group);
    }

    /// The first value and the passes of a core loop. There are passes where there are chunks.
    fn core(&mut self, core: &CoreLoop) -> Core {
        let word = self.code.module.u32();
        let (lo, hi) = (self.ranges.of(core.lo), self.ranges.of(core.hi));
        let narrow = lo.union(hi).fit().is_some();
        let (bits, ty) = if narrow { (32, word) } else { (64, self.code.module.u64()) };
        let (first, end) = if narrow {
            (self.low(core.lo), self.low(core.hi))
        } else {
            (self.value(core.lo), self.value(core.hi))
        };
        let mut passes = self.code.value(Op::ISub, ty, &[end, first]);
        if core.step > 1 {
            let [one, step] = [1, core.step].map(|v| self.code.module.int_const(bits, v.cast_unsigned()));
            let last = self.code.value(Op::ISub, ty, &[passes, one]);
            let whole = self.code.value(Op::UDiv, ty, &[last, step]);
            passes = self.code.value(Op::IAdd, ty, &[whole, one]);
        }
        if !narrow {
            passes = self.code.value(Op::UConvert, word, &[passes]);
        }
        Core { first, passes, narrow }
    }

    /// The counters of a chunk: the last varies fastest.
    fn bind_cores(&mut self, loops: &[CoreLoop], cores: &[Core], chunk: Word) {
        let (word, wide) = (self.code.module.u32(), self.code.module.u64());
        let mut rest = chunk;
        for (n, (l, core)) in loops.iter().zip(cores).enumerate().rev() {
            let mut pass = rest;
            if n > 0 {
                pass = self.code.value_here(Op::UMod, word, &[rest, core.passes]);
                rest = self.code.value_here(Op::UDiv, word, &[rest, core.passes]);
            }
            let (bits, ty) = if core.narrow { (32, word) } else { (64, wide) };
            if !core.narrow {
                pass = self.code.value(Op::UConvert, wide, &[pass]);
            }
            let step = self.code.module.int_const(bits, l.step.cast_unsigned());
            let distance = if l.step == 1 { pass } else { self.code.value(Op::IMul, ty, &[pass, step]) };
            let zero = self.nest.const_int(l.lo) == Some(0);
            let counter =
                if zero { distance } else { self.code.value(Op::IAdd, ty, &[core.first, distance]) };
            let range = Range { lo: self.ranges.of(l.lo).lo, hi: self.ranges.of(l.hi).hi.saturating_sub(1) };
            self.ranges.set(l.var, if range.lo <= range.hi { range } else { Range::FULL });
            self.bind(l.var, if core.narrow { Binding::Narrow(counter) } else { Binding::Value(counter) });
        }
    }

    /// Statements that the threads of a group run together.
    fn steps(&mut self, steps: &[Step<'_>]) {
        for step in steps {
            self.forget();
            match step {
                Step::Barrier if self.shape.group > 1 => self.barrier(),
                Step::Barrier => {}
                Step::Stmt(stmt) => self.stmt(stmt),
                Step::Block { stmt, bodies } => self.enclosing(stmt, bodies),
            }
        }
    }

    /// A loop or condition around barriers.
    fn enclosing(&mut self, stmt: &Stmt, bodies: &[Vec<Step<'_>>]) {
        let [first, second] = [0, 1].map(|n| bodies.get(n).map_or(&[][..], |b| &b[..]));
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => {
                let bounds = (*lo, *hi, *step);
                if *kind == LoopKind::Serial {
                    self.serial(*var, bounds, body, &mut |e| e.steps(first));
                } else {
                    self.unrolled(*var, bounds, &mut |e| e.steps(first));
                }
            }
            Stmt::If { cond, .. } => {
                self.branch(*cond, &mut |e| e.steps(first), second.is_empty(), &mut |e| e.steps(second));
            }
            _ => self.stmt(stmt),
        }
    }
}
