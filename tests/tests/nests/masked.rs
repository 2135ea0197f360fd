//! Random loops of lanes of which only some run: ragged ends of rows, and conditions on what lanes hold, one in the other.
//! What lies beyond a row's end belongs to the next row, or to nobody.

use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt};

use crate::nests::{Case, module};

/// A row of elements of one type: memory that is read, memory that is written, and a register for each lane.
#[derive(Clone, Copy)]
struct Row {
    dtype: DType,
    from: BufferId,
    to: BufferId,
    own: BufferId,
}

/// What a lane does at its point.
struct Body<'r> {
    rng: &'r mut StdRng,
    b: Builder,
    rows: Vec<Row>,
    /// Indices of the row, of the point and of the lane.
    row: ExprId,
    point: ExprId,
    lane: ExprId,
}

/// A nest over rows whose length is no multiple of the lanes: `for x { lanes v { if lo <= x + v < w { .. } } }`.
pub(crate) fn generate(rng: &mut StdRng) -> Case {
    let size = rng.random_range(1..4);
    let width: i64 = rng.random_range(1..80);
    let lanes = [4, 5, 8, 16, 16, 24, 32, 64][rng.random_range(0..8)];
    let types = [DType::F32, DType::F32, DType::F64, DType::U8, DType::I16, DType::I32, DType::Bool];
    let kinds: Vec<DType> = (0..rng.random_range(1..4)).map(|_| types[rng.random_range(0..7)]).collect();
    let mut b = Builder::new("masked");
    let n = b.add_size("n");
    let (zero, w, count) = (b.int(0), b.int(width), b.int(lanes));
    let mut decls = Vec::new();
    let mut rows = Vec::new();
    for dtype in &kinds {
        let mut memory = |b: &mut Builder| {
            let slot = decls.len();
            decls.push((*dtype, vec![HostExpr::Size(0), width.into()]));
            b.add_buffer(&format!("g{slot}"), *dtype, &[n, w], Space::Global(slot as u32))
        };
        let (from, to) = (memory(&mut b), memory(&mut b));
        let own = b.add_buffer("own", *dtype, &[count], Space::Register);
        rows.push(Row { dtype: *dtype, from, to, own });
    }
    let (core, row) = b.core_loop("i", (zero, n, 1));
    let (x, v) = (b.add_var("x", DType::I64), b.add_var("v", DType::I64));
    let (start, lane) = (b.var(x), b.var(v));
    let point = b.add(start, lane);
    let begins: Vec<Stmt> = rows
        .iter()
        .map(|r| {
            let (first, zero) = (b.int(0), constant(&mut b, 0, r.dtype));
            b.for_loop(LoopKind::Lanes, "l", (first, count, 1), |b, l| vec![b.store(r.own, &[l], zero)])
        })
        .collect();
    let mut body = Body { rng, b, rows, row, point, lane };
    let within = body.within(w);
    let inner = body.stmts(2);
    let body_of_lanes = if body.rng.random_bool(0.3) {
        // From a point on, too.
        let first = body.rng.random_range(0..8);
        let first = body.b.int(first);
        let after = body.b.le(first, point);
        let inner = vec![Stmt::If { cond: within, then: inner, otherwise: Vec::new() }];
        vec![Stmt::If { cond: after, then: inner, otherwise: Vec::new() }]
    } else {
        vec![Stmt::If { cond: within, then: inner, otherwise: Vec::new() }]
    };
    let Body { mut b, rows, .. } = body;
    let of_lanes =
        Stmt::Loop { var: v, lo: zero, hi: count, step: 1, kind: LoopKind::Lanes, body: body_of_lanes };
    let row_loop =
        Stmt::Loop { var: x, lo: zero, hi: w, step: lanes, kind: LoopKind::Serial, body: vec![of_lanes] };
    // What registers hold at last, as far as it fits the row.
    let least = b.int(lanes.min(width));
    let ends: Vec<Stmt> = rows
        .iter()
        .map(|r| {
            b.for_loop(LoopKind::Lanes, "l", (zero, least, 1), |b, l| {
                let (sum, there) = (b.load(r.own, &[l]), b.load(r.to, &[row, l]));
                let both = match r.dtype {
                    DType::Bool => b.binary(BinaryOp::Xor, sum, there),
                    _ => b.add(sum, there),
                };
                vec![b.store(r.to, &[row, l], both)]
            })
        })
        .collect();
    b.add_phase(vec![core], [begins, vec![row_loop], ends].concat());
    Case { module: module(b, &decls, &[]), size, functions: false, scalars: Vec::new() }
}

fn constant(b: &mut Builder, v: i64, dtype: DType) -> ExprId {
    let v = if dtype.is_float() { Scalar::Float(v as f64) } else { Scalar::Int(v) };
    b.constant(v, dtype)
}

impl Body<'_> {
    fn within(&mut self, end: ExprId) -> ExprId {
        self.b.lt(self.point, end)
    }

    fn row(&mut self) -> Row {
        self.rows[self.rng.random_range(0..self.rows.len())]
    }

    /// A value of a row's type.
    fn value(&mut self, row: Row, depth: u32) -> ExprId {
        match self.rng.random_range(0..if depth == 0 { 4 } else { 7 }) {
            0 => self.b.load(row.from, &[self.row, self.point]),
            1 => self.b.load(row.own, &[self.lane]),
            2 => {
                // The same for all lanes.
                let first = self.b.int(0);
                self.b.load(row.from, &[self.row, first])
            }
            3 => {
                let v = self.rng.random_range(0..2);
                constant(&mut self.b, v, row.dtype)
            }
            4 => {
                let (a, b) = (self.value(row, depth - 1), self.value(row, depth - 1));
                let condition = self.condition(depth - 1);
                self.b.select(condition, a, b)
            }
            _ => {
                let (a, b) = (self.value(row, depth - 1), self.value(row, depth - 1));
                let op = match (row.dtype, self.rng.random_range(0..3)) {
                    (DType::Bool, _) => BinaryOp::Xor,
                    (_, 0) => BinaryOp::Mul,
                    (_, 1) => BinaryOp::Max,
                    _ => BinaryOp::Add,
                };
                self.b.binary(op, a, b)
            }
        }
    }

    fn condition(&mut self, depth: u32) -> ExprId {
        let row = self.row();
        let (a, b) = (self.value(row, depth.min(1)), self.value(row, depth.min(1)));
        if row.dtype == DType::Bool { a } else { self.b.lt(a, b) }
    }

    fn stmts(&mut self, depth: u32) -> Vec<Stmt> {
        (0..self.rng.random_range(1..4)).map(|_| self.stmt(depth)).collect()
    }

    fn stmt(&mut self, depth: u32) -> Stmt {
        let row = self.row();
        match self.rng.random_range(0..if depth == 0 { 4 } else { 6 }) {
            0 | 1 => {
                let v = self.value(row, 2);
                self.b.store(row.to, &[self.row, self.point], v)
            }
            2 => {
                // A sum that lanes which are off leave alone.
                let (sum, v) = (self.b.load(row.own, &[self.lane]), self.value(row, 1));
                let v = match row.dtype {
                    DType::Bool => self.b.binary(BinaryOp::Xor, sum, v),
                    _ if row.dtype.is_float() && self.rng.random_bool(0.5) => self.b.fma(v, v, sum),
                    _ => self.b.add(sum, v),
                };
                self.b.store(row.own, &[self.lane], v)
            }
            3 => {
                let v = self.value(row, 1);
                self.b.store(row.own, &[self.lane], v)
            }
            _ => {
                let cond = self.condition(1);
                let then = self.stmts(depth - 1);
                let otherwise = if self.rng.random_bool(0.5) { self.stmts(depth - 1) } else { Vec::new() };
                Stmt::If { cond, then, otherwise }
            }
        }
    }
}
