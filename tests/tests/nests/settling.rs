//! Random loops that carry values in registers and change them under conditions: some may be left once nothing changes
//! any more, some look much the same and may not.

use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt, UnaryOp};

use crate::nests::{Case, module};

/// What a pass does at one point.
struct Body<'r> {
    rng: &'r mut StdRng,
    b: Builder,
    float: DType,
    /// Counter of the loop.
    t: ExprId,
    x: (BufferId, ExprId),
    z: (BufferId, ExprId),
    count: (BufferId, ExprId),
    alive: (BufferId, ExprId),
    at: ExprId,
}

/// A nest over rows: `x` and `z` of each point, carried on as long as something holds, and how long that was.
pub(crate) fn generate(rng: &mut StdRng) -> Case {
    let size = rng.random_range(1..4);
    let width = [1, 3, 4, 5, 8, 16, 20, 32][rng.random_range(0..8)];
    let float = if rng.random_bool(0.7) { DType::F32 } else { DType::F64 };
    let mut b = Builder::new("settling");
    let n = b.add_size("n");
    let (zero, w) = (b.int(0), b.int(width));
    let types = [float, float, DType::I32, DType::Bool];
    let decls: Vec<_> = types.iter().map(|t| (*t, vec![HostExpr::Size(0), width.into()])).collect();
    let memory: Vec<BufferId> = types
        .iter()
        .enumerate()
        .map(|(slot, t)| b.add_buffer(&format!("g{slot}"), *t, &[n, w], Space::Global(slot as u32)))
        .collect();
    let registers: Vec<BufferId> =
        types.iter().map(|t| b.add_buffer("own", *t, &[w], Space::Register)).collect();
    let (core, row) = b.core_loop("i", (zero, n, 1));
    let kind = if rng.random_bool(0.7) { LoopKind::Lanes } else { LoopKind::Unrolled };
    let moved = |b: &mut Builder, back: bool| {
        b.for_loop(kind, "p", (zero, w, 1), |b, p| {
            let pairs = memory.iter().zip(&registers);
            pairs
                .map(|(m, r)| {
                    let value = if back { b.load(*r, &[p]) } else { b.load(*m, &[row, p]) };
                    if back { b.store(*m, &[row, p], value) } else { b.store(*r, &[p], value) }
                })
                .collect()
        })
    };
    let first = moved(&mut b, false);
    let last = moved(&mut b, true);
    let (t, p) = (b.add_var("t", DType::I64), b.add_var("p", DType::I64));
    let (counter, at) = (b.var(t), b.var(p));
    let [x, z, count, alive] = [0, 1, 2, 3].map(|k| (registers[k], b.load(registers[k], &[at])));
    let mut body = Body { rng, b, float, t: counter, x, z, count, alive, at };
    let stmts = body.stmts();
    let passes = body.rng.random_range(0..40);
    let mut b = body.b;
    let hi = b.int(passes);
    let points = Stmt::Loop { var: p, lo: zero, hi: w, step: 1, kind, body: stmts };
    let repeat = Stmt::Loop { var: t, lo: zero, hi, step: 1, kind: LoopKind::Serial, body: vec![points] };
    b.add_phase(vec![core], vec![first, repeat, last]);
    Case { module: module(b, &decls, &[]), size, functions: false, scalars: Vec::new() }
}

impl Body<'_> {
    fn number(&mut self, v: f64) -> ExprId {
        self.b.constant(Scalar::Float(v), self.float)
    }

    /// Of the carried values, mostly; now and then of the counter.
    fn condition(&mut self) -> ExprId {
        let (x, z) = (self.x.1, self.z.1);
        let condition = match self.rng.random_range(0..6) {
            0 => {
                let ten = self.number(10.0);
                self.b.lt(x, ten)
            }
            1 => {
                let (xx, zz, four) = (self.b.mul(x, x), self.b.mul(z, z), self.number(4.0));
                let sum = self.b.add(xx, zz);
                self.b.le(sum, four)
            }
            2 => self.alive.1,
            3 => {
                let few = self.b.constant(Scalar::Int(7), DType::I32);
                self.b.lt(self.count.1, few)
            }
            4 => {
                let five = self.number(5.0);
                let beyond = self.b.le(five, x);
                self.b.unary(UnaryOp::Not, beyond)
            }
            _ => {
                let third = self.b.int(3);
                let place = self.b.binary(BinaryOp::RemNonNeg, self.t, third);
                let zero = self.b.int(0);
                self.b.eq(place, zero)
            }
        };
        if self.rng.random_bool(0.2) {
            let other = self.condition();
            return self.b.and(condition, other);
        }
        condition
    }

    /// `new` where the condition holds, else what was there.
    fn chosen(&mut self, on: ExprId, new: ExprId, old: ExprId) -> ExprId {
        if self.rng.random_bool(0.2) {
            let off = self.b.unary(UnaryOp::Not, on);
            return self.b.select(off, old, new);
        }
        self.b.select(on, new, old)
    }

    fn stmts(&mut self) -> Vec<Stmt> {
        let mut out = Vec::new();
        let mut on = self.condition();
        if self.rng.random_bool(0.7) {
            let (bound, value) = self.b.bind("on", on);
            out.push(bound);
            on = value;
        }
        let (x, z, count, alive) = (self.x, self.z, self.count, self.alive);
        let scale = self.number(1.5);
        let mut grown = self.b.mul(x.1, scale);
        if self.rng.random_bool(0.3) {
            let t = self.b.cast(self.float, self.t);
            grown = self.b.add(grown, t);
        }
        let mut values = vec![(x.0, self.chosen(on, grown, x.1))];
        let fell = self.b.sub(z.1, x.1);
        // Without a condition it may bring others back.
        let z_next = if self.rng.random_bool(0.8) { self.chosen(on, fell, z.1) } else { fell };
        if self.rng.random_bool(0.6) {
            values.push((z.0, z_next));
        }
        let one = self.b.constant(Scalar::Int(1), DType::I32);
        let more = match self.rng.random_range(0..3) {
            0 => {
                let more = self.b.add(count.1, one);
                self.chosen(on, more, count.1)
            }
            1 => {
                let step = self.b.cast(DType::I32, on);
                self.b.add(count.1, step)
            }
            _ => {
                let other = self.condition();
                let more = self.b.add(count.1, one);
                self.chosen(other, more, count.1)
            }
        };
        values.push((count.0, more));
        if self.rng.random_bool(0.4) {
            let near = self.condition();
            values.push((alive.0, self.b.and(alive.1, near)));
        }
        // Bound first, as lowering does, or each read where it is stored.
        let bind = self.rng.random_bool(0.5);
        let mut stores = Vec::new();
        for (buffer, mut value) in values {
            if bind {
                let (bound, named) = self.b.bind("next", value);
                out.push(bound);
                value = named;
            }
            stores.push(self.b.store(buffer, &[self.at], value));
        }
        out.extend(stores);
        out
    }
}
