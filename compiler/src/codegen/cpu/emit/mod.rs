//! The function around the phases: arguments, buffers, chunks.

mod address;
mod arith;
mod bits;
mod convert;
mod expr;
mod lanes;
mod math_ops;
mod memory;
mod register;
mod scope;
mod stmt;

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use rooftile_artifact::DType;
use rooftile_artifact::abi::{BUFFER_ALIGN, offset};

use self::address::AddressKey;
use self::lanes::{Val, scalar_type};
use self::register::RegisterFile;
use self::scope::{Binding, Dep, Known, Scopes};
use super::cranelift::order::Written;
use crate::nest::ir::{CoreLoop, ExprId, Nest, Phase, Space, VarId};

/// The lane loop around the current position.
#[derive(Clone, Debug)]
pub(super) struct LaneLoop {
    var: VarId,
    /// The counter's value in each lane.
    values: Vec<i64>,
    /// The lane that is being written out alone; all of them if `None`.
    only: Option<usize>,
}

/// Writes the function of a nest.
pub(super) struct Emitter<'a> {
    nest: &'a Nest,
    fma: bool,
    /// Vector operands in memory may lie anywhere: all but those of SSE, before AVX.
    pub(super) unaligned: bool,
    pub(super) b: FunctionBuilder<'a>,
    /// Sizes and scalars, loaded at the entry.
    sizes: Vec<Value>,
    scalars: Vec<Value>,
    /// First byte of each buffer that is memory.
    bases: Vec<Option<Value>>,
    /// Of each buffer, the product of the extents after each dimension: a number, and a value where they are not
    /// all constant. Dimensions whose values are equal have equal numbers in the last place.
    strides: Vec<Vec<Stride>>,
    registers: Vec<Option<RegisterFile>>,
    bindings: Vec<(Binding, Dep)>,
    /// Index expressions of variables bound to load-free values.
    definitions: Vec<Option<ExprId>>,
    /// Whether a variable counts a loop.
    counters: Vec<bool>,
    scopes: Scopes,
    /// What was written so far, for the choice of an order.
    pub(super) written: Written,
    known: Vec<Option<Known<Val>>>,
    known_addresses: HashMap<AddressKey, Known<Value>>,
    lanes: Option<LaneLoop>,
    /// Address of the status word.
    status: Option<Value>,
}

/// Elements from one index of a dimension to the next: `factor * symbol`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    factor: i64,
    /// Product of the extents that are not constant, with a number that tells different ones apart.
    symbol: Option<(u32, Value)>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(nest: &'a Nest, fma: bool, b: FunctionBuilder<'a>) -> Emitter<'a> {
        Emitter {
            nest,
            fma,
            unaligned: true,
            b,
            sizes: Vec::new(),
            scalars: Vec::new(),
            bases: Vec::new(),
            strides: Vec::new(),
            registers: Vec::new(),
            bindings: vec![(Binding::Unbound, Dep::default()); nest.vars.len()],
            definitions: vec![None; nest.vars.len()],
            counters: vec![false; nest.vars.len()],
            scopes: Scopes::default(),
            written: Written::default(),
            known: vec![None; nest.exprs.len()],
            known_addresses: HashMap::new(),
            lanes: None,
            status: None,
        }
    }

    /// Flags of loads that always give the same value.
    fn constant_flags() -> MemFlagsData {
        MemFlagsData::new().with_notrap().with_aligned().with_readonly().with_can_move()
    }

    /// Writes the whole function.
    pub(super) fn function(&mut self) {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        self.scopes.push(true);
        let (args, phase, begin, end) = {
            let p = self.b.block_params(entry);
            (p[0], p[1], p[2], p[3])
        };
        self.prologue(args);
        let nest = self.nest;
        let done = self.b.create_block();
        for (n, body) in nest.phases.iter().enumerate() {
            let (here, next) = (self.b.create_block(), self.b.create_block());
            let chosen = self.b.ins().icmp_imm_s(IntCC::Equal, phase, n as i64);
            self.b.ins().brif(chosen, here, [], next, []);
            self.b.switch_to_block(here);
            self.b.seal_block(here);
            self.scopes.push(true);
            self.phase(body, begin, end);
            self.scopes.pop();
            self.b.ins().jump(done, []);
            self.b.switch_to_block(next);
            self.b.seal_block(next);
        }
        self.b.ins().jump(done, []);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        self.b.ins().return_(&[]);
    }

    fn prologue(&mut self, args: Value) {
        let nest = self.nest;
        let flags = Self::constant_flags();
        let mut field = |at: i32| self.b.ins().load(types::I64, flags, args, at);
        let (buffers, sizes) = (field(offset::BUFFERS), field(offset::SIZES));
        let (scalars, local) = (field(offset::SCALARS), field(offset::LOCAL));
        self.status = Some(field(offset::STATUS));
        self.sizes = (0..nest.sizes.len())
            .map(|n| self.b.ins().load(types::I64, flags, sizes, 8 * n as i32))
            .collect();
        self.scalars = nest
            .scalars
            .iter()
            .enumerate()
            .map(|(n, (_, dtype))| {
                let at = 8 * n as i32;
                match dtype {
                    DType::F16 | DType::Bf16 => {
                        let v = self.b.ins().load(types::F32, flags, scalars, at);
                        self.scalar_cast(v, DType::F32, *dtype)
                    }
                    _ => self.b.ins().load(scalar_type(*dtype), flags, scalars, at),
                }
            })
            .collect();
        let mut symbols: Vec<Vec<ExprId>> = Vec::new();
        let mut symbol_values: Vec<Value> = Vec::new();
        let mut next_local = local;
        for (_, buffer) in nest.buffers.iter() {
            // Strides, from the last dimension to the first.
            let mut strides = Vec::with_capacity(buffer.shape.len());
            let mut factor = 1i64;
            let mut unknown: Vec<ExprId> = Vec::new();
            let mut value: Option<(u32, Value)> = None;
            for &extent in buffer.shape.iter().rev() {
                strides.push(Stride { factor, symbol: value });
                match nest.const_int(extent) {
                    Some(e) => factor = factor.wrapping_mul(e),
                    None => {
                        let extent_value = self.uniform(extent);
                        let product = match value {
                            None => extent_value,
                            Some((_, v)) => self.b.ins().imul(v, extent_value),
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
            strides.reverse();
            let base = match buffer.space {
                Space::Global(slot) => Some(self.b.ins().load(types::I64, flags, buffers, 8 * slot as i32)),
                Space::Register | Space::Matrix => None,
                Space::Local | Space::Shared => {
                    let base = next_local;
                    // Rounded up as `host::local_bytes` does.
                    let align = BUFFER_ALIGN as i64;
                    let scale = factor.wrapping_mul(buffer.dtype.size() as i64);
                    let bytes = match value {
                        None => self.b.ins().iconst(types::I64, (scale + align - 1) & -align),
                        Some((_, v)) => {
                            let bytes = self.b.ins().imul_imm_s(v, scale);
                            let bytes = self.b.ins().iadd_imm_s(bytes, align - 1);
                            self.b.ins().band_imm_s(bytes, -align)
                        }
                    };
                    next_local = self.b.ins().iadd(next_local, bytes);
                    Some(base)
                }
            };
            self.strides.push(strides);
            self.bases.push(base);
        }
    }

    /// A size's value.
    pub(super) fn size(&self, n: usize) -> Value {
        self.sizes[n]
    }

    /// A scalar parameter's value.
    pub(super) fn param(&self, n: usize) -> Value {
        self.scalars[n]
    }

    /// A value that is the same for all lanes.
    pub(super) fn uniform(&mut self, e: ExprId) -> Value {
        let v = self.eval(e);
        // Lane 0 stands for all; verified nests have no lanes where this is called.
        self.extract(&v, self.nest.exprs[e].dtype, 0)
    }

    fn phase(&mut self, phase: &Phase, begin: Value, end: Value) {
        let passes: Vec<Value> = phase.cores.iter().map(|c| self.passes(c)).collect();
        let lows: Vec<Value> = phase.cores.iter().map(|c| self.uniform(c.lo)).collect();
        self.declare_registers(phase);
        let (body, exit) = (self.b.create_block(), self.b.create_block());
        let chunk = self.b.append_block_param(body, types::I64);
        let any = self.b.ins().icmp(IntCC::SignedLessThan, begin, end);
        self.b.ins().brif(any, body, &[BlockArg::Value(begin)], exit, []);
        self.b.switch_to_block(body);
        self.scopes.push(true);
        self.scopes.level += 1;
        self.scopes.memory_written();
        self.clear_registers();
        // The last core loop varies fastest.
        let mut rest = chunk;
        for (n, core) in phase.cores.iter().enumerate().rev() {
            let index = if n == 0 {
                rest
            } else {
                let index = self.b.ins().urem(rest, passes[n]);
                rest = self.b.ins().udiv(rest, passes[n]);
                index
            };
            let scaled = self.b.ins().imul_imm_s(index, core.step);
            let counter = self.b.ins().iadd(lows[n], scaled);
            self.bind_counter(core.var, counter);
        }
        self.block(&phase.body);
        let next = self.b.ins().iadd_imm_s(chunk, 1);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, end);
        self.b.ins().brif(more, body, &[BlockArg::Value(next)], exit, []);
        self.scopes.level -= 1;
        self.scopes.pop();
        self.b.seal_block(body);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
    }

    /// Number of passes of a core loop, at least 1 so that it can divide.
    fn passes(&mut self, core: &CoreLoop) -> Value {
        let (lo, hi) = (self.uniform(core.lo), self.uniform(core.hi));
        let span = self.b.ins().isub(hi, lo);
        let padded = self.b.ins().iadd_imm_s(span, core.step - 1);
        let passes = if core.step == 1 {
            padded
        } else {
            let step = self.b.ins().iconst(types::I64, core.step);
            self.b.ins().sdiv(padded, step)
        };
        let one = self.b.ins().iconst(types::I64, 1);
        let enough = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, passes, 0);
        self.b.ins().select(enough, passes, one)
    }

    /// Binds a variable at the current position.
    pub(super) fn bind(&mut self, var: VarId, binding: Binding) {
        let dep = Dep { scope: self.scopes.innermost(), level: self.scopes.level, ..Dep::default() };
        self.bindings[var.index()] = (binding, dep);
    }

    /// Binds the counter of a loop that runs.
    pub(super) fn bind_counter(&mut self, var: VarId, counter: Value) {
        self.bind(var, Binding::Value(Val::Uniform(counter)));
        self.counters[var.index()] = true;
    }

    /// Number of lanes, where a value of its own per lane is wanted.
    pub(super) fn lane_count(&self) -> Option<usize> {
        self.lanes.as_ref().filter(|l| l.only.is_none()).map(|l| l.values.len())
    }
}
