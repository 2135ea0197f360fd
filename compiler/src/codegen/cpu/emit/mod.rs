//! The writer of kernels: what a nest means, in terms of [`Ssa`].
//!
//! One function per kernel: `entry(args, phase, begin, end)` picks the phase, loops over the chunks, and runs the
//! body. A lane loop is written out as vectors ([`lanes`]); what has no vector form is done lane by lane. Nothing here
//! knows which generator listens: the width of vectors, and whether there is a fused multiply-add, are asked for.
//!
//! Here is the function around the phases: arguments, buffers, chunks.

mod address;
mod ahead;
mod arith;
mod assume;
mod bits;
mod convert;
mod dots;
mod expr;
mod gather;
mod lanes;
mod masked;
mod math_ops;
mod memory;
mod ops;
mod packed;
mod quotient;
mod register;
mod scope;
mod settle;
mod steps;
mod stmt;
mod table;
mod transposed;
mod words;

use rooftile_artifact::DType;
use rooftile_artifact::abi::{BUFFER_ALIGN, offset};
use rustc_hash::FxHashMap;

use self::address::AddressKey;
use self::ahead::Stream;
use self::assume::Assumed;
use self::lanes::{Lanes, Val, lane_of};
use self::packed::power_of_two;
use self::register::RegisterFile;
use self::scope::{Binding, Dep, Known, Scopes};
use self::settle::Watch;
use self::table::MadeOf;
use self::transposed::Pass;
use super::ssa::{At, Bin, Cmp, Lane, Region, Ssa, Ty};
use crate::nest::ir::{CoreLoop, ExprId, Nest, Phase, Space, VarId};

/// The lane loop around the current position.
#[derive(Clone, Debug)]
struct LaneLoop {
    var: VarId,
    /// The counter's value in each lane.
    values: Vec<i64>,
    /// The lane that is being written out alone; all of them if `None`.
    only: Option<usize>,
}

/// Writes the function of a nest.
struct Emitter<'a, B: Ssa> {
    nest: &'a Nest,
    /// What it is written with.
    b: B,
    /// Sizes and scalars, loaded at the entry.
    sizes: Vec<B::Value>,
    scalars: Vec<B::Value>,
    /// First byte of each buffer that is memory.
    bases: Vec<Option<B::Value>>,
    /// Of each buffer, the product of the extents after each dimension: a number, and a value where they are not
    /// all constant. Dimensions whose values are equal have equal numbers in the last place.
    strides: Vec<Vec<Stride<B::Value>>>,
    registers: Vec<Option<RegisterFile<B::Variable>>>,
    bindings: Vec<(Binding<B::Value>, Dep)>,
    /// Index expressions of variables bound to load-free values.
    definitions: Vec<Option<ExprId>>,
    /// Whether a variable counts a loop.
    counters: Vec<bool>,
    /// Powers of two that counters are multiples of.
    multiples: Vec<i64>,
    /// Of what expressions are made, as far as it was asked.
    made_of: Vec<Option<MadeOf>>,
    assumed: Assumed<B::Value>,
    scopes: Scopes,
    known: Vec<Option<Known<Val<B::Value>>>>,
    known_addresses: FxHashMap<AddressKey, Known<B::Value>>,
    lanes: Option<LaneLoop>,
    /// The lanes that run, where not all do; then none is written out alone.
    running: Option<Lanes<B::Value>>,
    /// Counters of the loops around the current position, with their ends.
    loops_around: Vec<(VarId, ExprId)>,
    /// Passes of loops that are written out, around the current position.
    passes_around: Vec<Pass>,
    /// The innermost loop, where it may be left early.
    watch: Option<Watch<B::Value>>,
    /// Of buffers whose stores may go past the caches: 0 where they do, else a number.
    small: Vec<Option<B::Value>>,
    /// What the pass at hand of the innermost loop has read, vector by vector.
    streams: Vec<Stream<B::Value>>,
    /// How many bytes ahead what is read of a buffer is asked for.
    ahead: Vec<Option<B::Value>>,
    /// Address of the status word.
    status: Option<B::Value>,
}

/// Elements from one index of a dimension to the next: `factor * symbol`.
#[derive(Clone, Copy, Debug)]
struct Stride<V> {
    factor: i64,
    /// Product of the extents that are not constant, with a number that tells different ones apart.
    symbol: Option<(u32, V)>,
}

/// Writes the whole function of a nest.
pub(super) fn write<B: Ssa>(nest: &Nest, builder: B) -> B {
    let mut emitter = Emitter::new(nest, builder);
    emitter.function();
    emitter.b
}

impl<'a, B: Ssa> Emitter<'a, B> {
    fn new(nest: &'a Nest, b: B) -> Emitter<'a, B> {
        Emitter {
            nest,
            b,
            sizes: Vec::new(),
            scalars: Vec::new(),
            bases: Vec::new(),
            strides: Vec::new(),
            registers: Vec::new(),
            bindings: vec![(Binding::Unbound, Dep::default()); nest.vars.len()],
            definitions: vec![None; nest.vars.len()],
            counters: vec![false; nest.vars.len()],
            multiples: vec![1; nest.vars.len()],
            made_of: vec![None; nest.exprs.len()],
            assumed: Assumed::default(),
            scopes: Scopes::default(),
            known: vec![None; nest.exprs.len()],
            known_addresses: FxHashMap::default(),
            lanes: None,
            running: None,
            loops_around: Vec::new(),
            passes_around: Vec::new(),
            watch: None,
            small: vec![None; nest.buffers.len()],
            streams: Vec::new(),
            ahead: vec![None; nest.buffers.len()],
            status: None,
        }
    }

    fn function(&mut self) {
        let [args, phase, begin, end] = self.b.entry();
        self.scopes.push(true);
        self.prologue(args);
        let nest = self.nest;
        let done = self.b.block();
        for (n, body) in nest.phases.iter().enumerate() {
            let (here, next) = (self.b.block(), self.b.block());
            let chosen = self.compare_const(Cmp::Eq, phase, n as i64);
            self.b.branch(chosen, (here, &[]), (next, &[]));
            self.arm(here, done, |e| e.phase(body, begin, end));
            self.go_on(next);
        }
        self.b.jump(done, &[]);
        self.go_on(done);
        if self.small.iter().any(Option::is_some) {
            self.b.fence();
        }
        self.b.ret();
    }

    /// A scalar that is the same during the whole call.
    fn fixed(&mut self, lane: Lane, base: B::Value, displacement: i32) -> B::Value {
        self.b.load(Ty::scalar(lane), At { base, displacement, region: Region::Constant })
    }

    fn prologue(&mut self, args: B::Value) {
        let nest = self.nest;
        let buffers = self.fixed(Lane::I64, args, offset::BUFFERS);
        let sizes = self.fixed(Lane::I64, args, offset::SIZES);
        let scalars = self.fixed(Lane::I64, args, offset::SCALARS);
        let local = self.fixed(Lane::I64, args, offset::LOCAL);
        self.status = Some(self.fixed(Lane::I64, args, offset::STATUS));
        self.sizes = (0..nest.sizes.len()).map(|n| self.fixed(Lane::I64, sizes, 8 * n as i32)).collect();
        self.scalars = nest
            .scalars
            .iter()
            .enumerate()
            .map(|(n, (_, dtype))| {
                let at = 8 * n as i32;
                match dtype {
                    DType::F16 | DType::Bf16 => {
                        let v = self.fixed(Lane::F32, scalars, at);
                        self.scalar_cast(v, DType::F32, *dtype)
                    }
                    _ => self.fixed(lane_of(*dtype), scalars, at),
                }
            })
            .collect();
        let mut symbols: Vec<Vec<ExprId>> = Vec::new();
        let mut symbol_values: Vec<B::Value> = Vec::new();
        let mut next_local = local;
        for (id, buffer) in nest.buffers.iter() {
            // Strides, from the last dimension to the first.
            let mut strides = Vec::with_capacity(buffer.shape.len());
            let mut factor = 1i64;
            let mut unknown: Vec<ExprId> = Vec::new();
            let mut value: Option<(u32, B::Value)> = None;
            for &extent in buffer.shape.iter().rev() {
                strides.push(Stride { factor, symbol: value });
                match nest.const_int(extent) {
                    Some(e) => factor = factor.wrapping_mul(e),
                    None => {
                        let extent_value = self.uniform(extent);
                        let product = match value {
                            None => extent_value,
                            Some((_, v)) => self.b.binary(Bin::Mul, v, extent_value),
                        };
                        unknown.push(extent);
                        unknown.sort();
                        let number = match symbols.iter().position(|s| *s == unknown) {
                            Some(n) => n,
                            None => {
                                symbols.push(unknown.clone());
                                symbol_values.push(product);
                                symbols.len() - 1
                            }
                        };
                        value = Some((number as u32, symbol_values[number]));
                    }
                }
            }
            let chosen = !buffer.own_prefetch && self.b.can_prefetch();
            if let (Space::Global(_), true) = (buffer.space, chosen) {
                let row = strides.get(1).copied();
                self.ahead[id.index()] = Some(self.row_ahead(row, buffer.dtype.size()));
            }
            strides.reverse();
            let base = match buffer.space {
                Space::Global(slot) => Some(self.fixed(Lane::I64, buffers, 8 * slot as i32)),
                Space::Register | Space::Matrix => None,
                Space::Local | Space::Shared => {
                    let base = next_local;
                    // Rounded up as `host::local_bytes` does.
                    let align = BUFFER_ALIGN as i64;
                    let scale = factor.wrapping_mul(buffer.dtype.size() as i64);
                    let bytes = match value {
                        None => self.int64((scale + align - 1) & -align),
                        Some((_, v)) => {
                            let bytes = self.op_const(Bin::Mul, v, scale);
                            let bytes = self.op_const(Bin::Add, bytes, align - 1);
                            self.op_const(Bin::And, bytes, -align)
                        }
                    };
                    next_local = self.b.binary(Bin::Add, next_local, bytes);
                    Some(base)
                }
            };
            self.strides.push(strides);
            self.bases.push(base);
            if let (Some(from), true) = (buffer.past_caches, self.b.can_pass_caches()) {
                let scale = factor.wrapping_mul(buffer.dtype.size() as i64);
                let bytes = match value {
                    None => self.int64(scale),
                    Some((_, v)) => self.op_const(Bin::Mul, v, scale),
                };
                let from = self.int64(from);
                let small = self.b.compare(Cmp::Lt, bytes, from);
                self.small[id.index()] = Some(self.b.extend(Lane::I64, small, false));
            }
        }
    }

    /// A size's value.
    fn size(&self, n: usize) -> B::Value {
        self.sizes[n]
    }

    /// A scalar parameter's value.
    fn param(&self, n: usize) -> B::Value {
        self.scalars[n]
    }

    /// A value that is the same for all lanes.
    fn uniform(&mut self, e: ExprId) -> B::Value {
        let v = self.eval(e);
        // Lane 0 stands for all; verified nests have no lanes where this is called.
        self.extract(&v, self.nest.exprs[e].dtype, 0)
    }

    fn phase(&mut self, phase: &Phase, begin: B::Value, end: B::Value) {
        let passes: Vec<B::Value> = phase.cores.iter().map(|c| self.passes(c)).collect();
        let lows: Vec<B::Value> = phase.cores.iter().map(|c| self.uniform(c.lo)).collect();
        self.declare_registers(phase);
        self.counted((begin, end, 1), false, |e, chunk| {
            e.chunk(phase, chunk, (&passes, &lows));
            None
        });
    }

    /// The body of one chunk, by its number.
    fn chunk(&mut self, phase: &Phase, chunk: B::Value, (passes, lows): (&[B::Value], &[B::Value])) {
        self.scopes.memory_written();
        self.clear_registers();
        // The last core loop varies fastest.
        let mut rest = chunk;
        for (n, core) in phase.cores.iter().enumerate().rev() {
            let index = if n == 0 {
                rest
            } else {
                let index = self.b.binary(Bin::URem, rest, passes[n]);
                rest = self.b.binary(Bin::UDiv, rest, passes[n]);
                index
            };
            let scaled = self.op_const(Bin::Mul, index, core.step);
            let counter = self.b.binary(Bin::Add, lows[n], scaled);
            self.bind_counter(core.var, (core.lo, core.step), counter);
        }
        self.block(&phase.body);
    }

    /// Number of passes of a core loop, at least 1 so that it can divide.
    fn passes(&mut self, core: &CoreLoop) -> B::Value {
        let (lo, hi) = (self.uniform(core.lo), self.uniform(core.hi));
        let span = self.b.binary(Bin::Sub, hi, lo);
        let padded = self.op_const(Bin::Add, span, core.step - 1);
        let passes = if core.step == 1 {
            padded
        } else {
            let step = self.int64(core.step);
            self.b.binary(Bin::SDiv, padded, step)
        };
        let one = self.int64(1);
        let enough = self.greater_const(passes, 0);
        self.b.select(enough, passes, one)
    }

    /// Binds a variable at the current position.
    fn bind(&mut self, var: VarId, binding: Binding<B::Value>) {
        let dep = Dep { scope: self.scopes.innermost(), level: self.scopes.level, ..Dep::default() };
        self.bindings[var.index()] = (binding, dep);
    }

    /// Binds the counter of a loop that runs.
    fn bind_counter(&mut self, var: VarId, (lo, step): (ExprId, i64), counter: B::Value) {
        self.multiples[var.index()] = self.multiple(lo).min(power_of_two(step));
        self.bind(var, Binding::Value(Val::Uniform(counter)));
        self.counters[var.index()] = true;
    }

    /// Number of lanes, where a value of its own per lane is wanted.
    fn lane_count(&self) -> Option<usize> {
        self.lanes.as_ref().filter(|l| l.only.is_none()).map(|l| l.values.len())
    }
}
