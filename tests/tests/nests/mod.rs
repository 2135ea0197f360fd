//! Random nests that keep every rule: chunks write rows of their own, lanes elements of their own, indices stay inside,
//! local memory is written before it is read. A second phase reads what the first one wrote.

pub(crate) mod compare;

use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::abi::status;
use rooftile_artifact::program::{Mode, ScalarParam, Step};
use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{
    BinaryOp, BufferId, ExprId, ExprKind, LoopKind, MathFn, Module, Space, Stmt, UnaryOp,
};
use rooftile_tests::launch;

/// A module over one size.
pub(crate) struct Case {
    pub(crate) module: Module,
    /// The value of the size.
    pub(crate) size: i64,
    /// Types of the scalar parameters.
    pub(crate) scalars: Vec<DType>,
    /// Whether functions within an error bound are involved.
    pub(crate) functions: bool,
}

/// Buffers of these extents, over one size.
pub(crate) fn case_of(b: Builder, buffers: &[(DType, Vec<HostExpr>)], size: i64) -> Case {
    Case { module: module(b, buffers, &[]), size, scalars: Vec::new(), functions: false }
}

/// A loop over the threads of a group, of those below `hi`.
pub(crate) fn threads(
    b: &mut Builder,
    count: u32,
    hi: Option<ExprId>,
    body: impl FnOnce(&mut Builder, ExprId) -> Vec<Stmt>,
) -> Stmt {
    let (zero, all) = (b.int(0), b.int(count.into()));
    let hi = hi.map_or(all, |hi| b.min(hi, all));
    b.for_loop(LoopKind::Threads { count }, "t", (zero, hi, 1), body)
}

const TYPES: [DType; 13] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::Bf16,
    DType::Bool,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
];

/// A buffer that the generator may index: columns `0..width`, after a row.
#[derive(Clone, Copy)]
struct Table {
    id: BufferId,
    dtype: DType,
    width: i64,
    kind: Kind,
}

impl Table {
    fn is_writable(&self) -> bool {
        !matches!(self.kind, Kind::Input | Kind::Transposed | Kind::Bins)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Read only, of `n` rows.
    Input,
    /// Read only, of `n` columns: the column comes first.
    Transposed,
    /// Written by the chunk of its row.
    Output,
    /// `n` rows, in the chunk's scratch memory; it uses its own.
    Local,
    /// Two rows of registers.
    Register,
    /// Bins that an earlier phase counted in, without rows.
    Bins,
}

/// A counter and the values it takes, and whether it may index registers.
#[derive(Clone, Copy)]
struct Counter {
    value: ExprId,
    lo: i64,
    hi: i64,
    constant: bool,
    lane: bool,
}

struct Gen<'r> {
    rng: &'r mut StdRng,
    fused: bool,
    b: Builder,
    n: ExprId,
    row: ExprId,
    tables: Vec<Table>,
    counters: Vec<Counter>,
    /// In a lane loop: the one buffer that it writes, and the index it writes and reads it at.
    target: Option<(Table, Vec<ExprId>)>,
    in_lanes: bool,
    lets: Vec<(ExprId, DType)>,
}

/// A nest. With `fused`, a fused multiply-add is expected to round once, which not every device promises; else there is none.
pub(crate) fn generate(rng: &mut StdRng, fused: bool) -> Case {
    let size = rng.random_range(1..5);
    let mut b = Builder::new("random");
    let n = b.add_size("n");
    let zero = b.int(0);
    let (core, row) = b.core_loop("i", (zero, n, 1));
    let mut g = Gen {
        rng,
        fused,
        b,
        n,
        row,
        tables: Vec::new(),
        counters: Vec::new(),
        target: None,
        in_lanes: false,
        lets: Vec::new(),
    };
    for _ in 0..2 {
        let t = g.any_type();
        let e = g.b.add_scalar("s", t);
        g.lets.push((e, t));
    }
    let scalars: Vec<DType> = g.b.nest().scalars.iter().map(|s| s.1).collect();
    let mut decls = Vec::new();
    // Inputs and outputs.
    for slot in 0..g.rng.random_range(3u32..7) {
        let kind = match g.rng.random_range(0..10) {
            0..2 => Kind::Transposed,
            2..5 => Kind::Input,
            _ if slot < 2 => Kind::Input,
            _ => Kind::Output,
        };
        let dtype = g.any_type();
        let width = g.rng.random_range(1..24);
        let mut shape = [g.n, g.b.int(width)];
        let mut extents = vec![HostExpr::Size(0), width.into()];
        if kind == Kind::Transposed {
            shape.reverse();
            extents.reverse();
        }
        let id = g.b.add_buffer(&format!("g{slot}"), dtype, &shape, Space::Global(slot));
        decls.push((dtype, extents));
        if g.rng.random_bool(0.3) {
            g.b.store_past_caches(id, [0, i64::MAX][g.rng.random_range(0..2)]);
        }
        if g.rng.random_bool(0.3) {
            g.b.prefetch_as_said(id);
        }
        g.tables.push(Table { id, dtype, width, kind });
    }
    // A place for functions, which nothing reads, and one for atomics.
    let slot = decls.len() as u32;
    let float = if g.rng.random_bool(0.5) { DType::F32 } else { DType::F64 };
    let shape = [g.n, g.b.int(16)];
    let results = g.b.add_buffer("functions", float, &shape, Space::Global(slot));
    decls.push((float, vec![HostExpr::Size(0), 16.into()]));
    let counted = [DType::I32, DType::U32, DType::I64, DType::U64][g.rng.random_range(0..4)];
    let eight = g.b.int(8);
    let counts = g.b.add_buffer("counts", counted, &[eight], Space::Global(slot + 1));
    decls.push((counted, vec![8.into()]));
    // Elements that one pass alone changes: what was there before is the same in any order.
    let shape = [g.n, g.b.int(4)];
    let tickets = g.b.add_buffer("tickets", counted, &shape, Space::Global(slot + 2));
    let before = g.b.add_buffer("before", counted, &shape, Space::Global(slot + 3));
    for _ in 0..2 {
        decls.push((counted, vec![HostExpr::Size(0), 4.into()]));
    }

    let mut own = Vec::new();
    for (n, space) in [Space::Local, Space::Register, Space::Register].into_iter().enumerate() {
        let dtype = g.any_type();
        let width = g.rng.random_range(1..21);
        let kind = if space == Space::Local { Kind::Local } else { Kind::Register };
        let (two, w) = (g.b.int(2), g.b.int(width));
        let shape = if kind == Kind::Local { vec![g.n, w] } else { vec![two, w] };
        let id = g.b.add_buffer(&format!("own{n}"), dtype, &shape, space);
        let table = Table { id, dtype, width, kind };
        own.push(table);
    }
    let functions = g.rng.random_bool(0.5);
    let mut body = g.body(&own);
    if functions {
        body.push(g.functions(results, float));
    }
    body.push(g.atomics(counts, counted));
    body.push(g.tickets(tickets, before, counted));
    if g.rng.random_bool(0.1) {
        let cond = g.expr(DType::Bool, 2);
        let bit = if g.rng.random_bool(0.5) { status::APPEND_OVERFLOW } else { status::OUT_OF_BOUNDS };
        body.push(Stmt::If { cond, then: vec![Stmt::SetStatus(bit)], otherwise: Vec::new() });
    }
    g.b.add_phase(vec![core], body);
    if g.rng.random_bool(0.5) {
        let (core, row) = g.b.core_loop("i", (zero, n, 1));
        g.row = row;
        g.lets.truncate(scalars.len());
        g.tables.retain(|t| !matches!(t.kind, Kind::Local | Kind::Register));
        // Of what the first phase wrote, all rows may be read now.
        for n in 0..g.tables.len() {
            if g.tables[n].kind == Kind::Output && g.rng.random_bool(0.5) {
                g.tables[n].kind = Kind::Input;
            }
        }
        g.tables.push(Table { id: counts, dtype: counted, width: 8, kind: Kind::Bins });
        let body = g.body(&own);
        g.b.add_phase(vec![core], body);
    }
    let b = g.b;
    Case { module: module(b, &decls, &scalars), size, functions, scalars }
}

/// A program of one launch over one size, whose buffers are all read and written.
pub(crate) fn module(b: Builder, buffers: &[(DType, Vec<HostExpr>)], scalars: &[DType]) -> Module {
    let names: Vec<String> = (0..buffers.len()).map(|n| format!("g{n}")).collect();
    let named = names.iter().zip(buffers);
    let buffers: Vec<_> =
        named.map(|(name, (dtype, shape))| (name.as_str(), *dtype, shape.clone(), Mode::InOut)).collect();
    let mut module = launch::module(b.finish(), &buffers, &["n"]);
    module.program.scalars =
        scalars.iter().map(|&dtype| ScalarParam { name: "s".to_owned(), dtype }).collect();
    if let [Step::Launch { scalars: passed, .. }] = &mut module.program.steps[..] {
        *passed = (0..scalars.len()).map(HostExpr::Scalar).collect();
    }
    module
}

impl Gen<'_> {
    /// Statements of a chunk, with memory of its own.
    fn body(&mut self, own: &[Table]) -> Vec<Stmt> {
        let mut body = Vec::new();
        for table in own {
            body.extend(self.initialise(*table));
            self.tables.push(*table);
        }
        for _ in 0..self.rng.random_range(2..5) {
            let stmts = self.statement(0);
            body.extend(stmts);
        }
        body
    }

    fn any_type(&mut self) -> DType {
        // The common types come more often.
        if self.rng.random_bool(0.4) { DType::F32 } else { TYPES[self.rng.random_range(0..TYPES.len())] }
    }

    /// Writes every element of a buffer of the chunk's own.
    fn initialise(&mut self, t: Table) -> Option<Stmt> {
        let value = self.constant(t.dtype);
        let row = self.row;
        let (zero, two, width) = (self.b.int(0), self.b.int(2), self.b.int(t.width));
        let kind = if t.kind == Kind::Local { LoopKind::Serial } else { LoopKind::Unrolled };
        Some(self.b.for_loop(kind, "c", (zero, width, 1), |b, c| {
            if t.kind == Kind::Local {
                return vec![b.store(t.id, &[row, c], value)];
            }
            vec![b.for_loop(LoopKind::Unrolled, "r", (zero, two, 1), |b, r| {
                vec![b.store(t.id, &[r, c], value)]
            })]
        }))
    }

    fn statement(&mut self, depth: u32) -> Vec<Stmt> {
        match self.rng.random_range(0..10) {
            0 | 1 if depth < 2 => {
                let kind = if self.rng.random_bool(0.5) { LoopKind::Serial } else { LoopKind::Unrolled };
                let (lo, count) = (self.rng.random_range(0..3), self.rng.random_range(1..4));
                vec![self.looped(kind, lo, count, 1, |g| g.statement(depth + 1))]
            }
            2 if depth < 2 => {
                let cond = self.expr(DType::Bool, 2);
                let then = self.statement(depth + 1);
                let otherwise =
                    if self.rng.random_bool(0.5) { self.statement(depth + 1) } else { Vec::new() };
                vec![Stmt::If { cond, then, otherwise }]
            }
            3 => {
                let mut body = self.store();
                if self.rng.random_bool(0.3) {
                    body.extend(self.prefetch());
                }
                body
            }
            _ => vec![self.lane_loop()],
        }
    }

    fn looped(
        &mut self,
        kind: LoopKind,
        lo: i64,
        count: i64,
        step: i64,
        body: impl FnOnce(&mut Self) -> Vec<Stmt>,
    ) -> Stmt {
        let var = self.b.add_var("v", DType::I64);
        let value = self.b.var(var);
        let constant = kind != LoopKind::Serial;
        let lane = kind == LoopKind::Lanes;
        let hi = lo + (count - 1) * step;
        let lets = self.lets.len();
        self.counters.push(Counter { value, lo, hi, constant, lane });
        let body = body(self);
        self.counters.pop();
        self.lets.truncate(lets);
        let (lo, end) = (self.b.int(lo), self.b.int(hi + 1));
        Stmt::Loop { var, lo, hi: end, step, kind, body }
    }

    fn lane_loop(&mut self) -> Stmt {
        let count = [2, 3, 4, 4, 5, 8, 8, 16][self.rng.random_range(0..8)];
        let step = if self.rng.random_bool(0.1) { 2 } else { 1 };
        let lo = if self.rng.random_bool(0.2) { 1 } else { 0 };
        self.looped(LoopKind::Lanes, lo, count, step, |g| {
            let lane = *g.counters.last().expect("just pushed");
            let fits: Vec<Table> =
                g.tables.iter().copied().filter(|t| t.is_writable() && t.width > lane.hi).collect();
            if fits.is_empty() {
                return Vec::new();
            }
            let t = fits[g.rng.random_range(0..fits.len())];
            let shift = g.rng.random_range(0..t.width - lane.hi);
            let column = g.b.add_int(lane.value, shift);
            let index = g.full_index(t, column);
            g.target = Some((t, index));
            g.in_lanes = true;
            let mut body = g.lane_body(2);
            if g.rng.random_bool(0.3) {
                let cond = g.expr(DType::Bool, 2);
                let lets = g.lets.len();
                let then = g.lane_body(1);
                g.lets.truncate(lets);
                let otherwise = if g.rng.random_bool(0.5) { g.lane_body(1) } else { Vec::new() };
                g.lets.truncate(lets);
                body.push(Stmt::If { cond, then, otherwise });
            }
            g.in_lanes = false;
            g.target = None;
            body
        })
    }

    fn lane_body(&mut self, most: u32) -> Vec<Stmt> {
        let mut body = Vec::new();
        for _ in 0..self.rng.random_range(1..=most) {
            if self.rng.random_bool(0.4) {
                let dtype = self.any_type();
                let value = self.expr(dtype, 2);
                let (stmt, value) = self.b.bind("x", value);
                body.push(stmt);
                self.lets.push((value, dtype));
            }
            if let Some((t, index)) = self.target.clone() {
                let value = self.expr(t.dtype, 3);
                body.push(self.b.store(t.id, &index, value));
            }
        }
        body
    }

    /// A store outside lane loops.
    fn store(&mut self) -> Vec<Stmt> {
        let writable: Vec<Table> = self.tables.iter().copied().filter(|t| t.is_writable()).collect();
        let t = writable[self.rng.random_range(0..writable.len())];
        let column = self.column(t);
        let index = self.full_index(t, column);
        let value = self.expr(t.dtype, 3);
        vec![self.b.store(t.id, &index, value)]
    }

    /// An element that may be far beyond the end, or before the beginning.
    fn prefetch(&mut self) -> Option<Stmt> {
        let inputs: Vec<Table> = self.tables.iter().copied().filter(|t| t.kind == Kind::Input).collect();
        if inputs.is_empty() {
            return None;
        }
        let t = inputs[self.rng.random_range(0..inputs.len())];
        let far = [0, 1, 17, -3, 1 << 20, -(1 << 40), i64::MAX][self.rng.random_range(0..7)];
        let column = self.column(t);
        let column = self.b.add_int(column, far);
        let index = self.full_index(t, column);
        // Indices are read from what nobody writes.
        let written = |b| inputs.iter().all(|t| t.id != b);
        let read = index.iter().any(|i| self.b.nest().loads_from(*i, written));
        (!read).then_some(Stmt::Prefetch { buffer: t.id, index })
    }

    fn full_index(&mut self, t: Table, column: ExprId) -> Vec<ExprId> {
        match t.kind {
            Kind::Transposed => vec![column, self.row],
            Kind::Register => {
                let row = self.rng.random_range(0..2);
                vec![self.b.int(row), column]
            }
            Kind::Input if self.rng.random_bool(0.2) => {
                // From the other end.
                let last = self.b.add_int(self.n, -1);
                vec![self.b.sub(last, self.row), column]
            }
            Kind::Bins => vec![column],
            Kind::Input | Kind::Output | Kind::Local => vec![self.row, column],
        }
    }

    /// An index within a table's columns.
    fn column(&mut self, t: Table) -> ExprId {
        let registers = t.kind == Kind::Register;
        let usable: Vec<Counter> = self
            .counters
            .iter()
            .copied()
            .filter(|c| c.hi - c.lo < t.width && (c.constant || !registers))
            .collect();
        if !registers && self.rng.random_bool(0.1) {
            // An index from data, kept inside.
            let v = self.expr(DType::I32, 1);
            let v = self.b.cast(DType::I64, v);
            let (zero, last) = (self.b.int(0), self.b.int(t.width - 1));
            let v = self.b.max(v, zero);
            return self.b.min(v, last);
        }
        if usable.is_empty() || self.rng.random_bool(0.2) {
            let c = self.rng.random_range(0..t.width);
            return self.b.int(c);
        }
        let c = usable[self.rng.random_range(0..usable.len())];
        let shift = self.rng.random_range(-c.lo..t.width - c.hi);
        if !registers && !c.lane && self.rng.random_bool(0.2) {
            // Backwards.
            let top = self.b.int(c.hi + shift);
            let low = self.b.add_int(c.value, -c.lo);
            return self.b.sub(top, low);
        }
        self.b.add_int(c.value, shift)
    }

    fn constant(&mut self, t: DType) -> ExprId {
        let v = match t {
            DType::Bool => Scalar::Bool(self.rng.random()),
            _ if t.is_float() => Scalar::Float(f64::from(self.rng.random_range(-64i32..64)) / 8.0),
            _ => Scalar::Int(self.rng.random_range(-9..100)),
        };
        self.b.constant(v, t)
    }

    fn leaf(&mut self, t: DType) -> ExprId {
        let lets: Vec<ExprId> = self.lets.iter().filter(|(_, d)| *d == t).map(|(e, _)| *e).collect();
        if !lets.is_empty() && self.rng.random_bool(0.5) {
            return lets[self.rng.random_range(0..lets.len())];
        }
        if t == DType::I64 && !self.counters.is_empty() && self.rng.random_bool(0.6) {
            return self.counters[self.rng.random_range(0..self.counters.len())].value;
        }
        let written = self.target.as_ref().map(|(t, _)| t.id);
        let readable: Vec<Table> = self.tables.iter().copied().filter(|x| x.dtype == t).collect();
        if readable.is_empty() || self.rng.random_bool(0.15) {
            return self.constant(t);
        }
        let table = readable[self.rng.random_range(0..readable.len())];
        if written == Some(table.id) {
            let index = self.target.as_ref().map(|(_, i)| i.clone()).unwrap_or_default();
            return self.b.load(table.id, &index);
        }
        let column = self.column(table);
        let index = self.full_index(table, column);
        self.b.load(table.id, &index)
    }

    fn expr(&mut self, t: DType, depth: u32) -> ExprId {
        if depth == 0 || self.rng.random_bool(0.1) {
            return self.leaf(t);
        }
        if self.rng.random_bool(0.2) {
            let from = self.any_type();
            let v = self.expr(from, depth - 1);
            return self.b.cast(t, v);
        }
        if self.rng.random_bool(0.12) {
            let c = self.expr(DType::Bool, depth - 1);
            let (x, y) = (self.expr(t, depth - 1), self.expr(t, depth - 1));
            return self.b.select(c, x, y);
        }
        match t {
            DType::F16 | DType::Bf16 => self.leaf(t),
            DType::Bool => self.condition(depth),
            DType::F32 | DType::F64 => self.float(t, depth),
            _ => self.int(t, depth),
        }
    }

    fn condition(&mut self, depth: u32) -> ExprId {
        use BinaryOp as B;
        if self.rng.random_bool(0.3) {
            let (x, y) = (self.expr(DType::Bool, depth - 1), self.expr(DType::Bool, depth - 1));
            let op = [B::And, B::Or, B::Xor, B::Eq, B::Ne][self.rng.random_range(0..5)];
            let v = self.b.binary(op, x, y);
            return if self.rng.random_bool(0.3) { self.b.unary(UnaryOp::Not, v) } else { v };
        }
        let t = if self.rng.random_bool(0.4) {
            DType::I64
        } else {
            TYPES.map(|t| if t == DType::F16 || t == DType::Bf16 { DType::F64 } else { t })
                [self.rng.random_range(0..TYPES.len())]
        };
        let (x, y) = (self.expr(t, depth - 1), self.expr(t, depth - 1));
        let ops: &[BinaryOp] = if t == DType::Bool { &[B::Eq, B::Ne] } else { &[B::Eq, B::Ne, B::Lt, B::Le] };
        let op = ops[self.rng.random_range(0..ops.len())];
        self.b.binary(op, x, y)
    }

    fn float(&mut self, t: DType, depth: u32) -> ExprId {
        use BinaryOp as B;
        use UnaryOp as U;
        if self.rng.random_bool(0.3) {
            let ops = [U::Neg, U::Abs, U::Floor, U::Ceil, U::Round, U::Trunc, U::Sqrt];
            let op = ops[self.rng.random_range(0..ops.len())];
            let x = self.expr(t, depth - 1);
            return self.b.unary(op, x);
        }
        let (x, y) = (self.expr(t, depth - 1), self.expr(t, depth - 1));
        if self.rng.random_bool(0.1) {
            let z = self.expr(t, depth - 1);
            if !self.fused {
                let product = self.b.mul(x, y);
                return self.b.add(product, z);
            }
            return self.b.fma(x, y, z);
        }
        let op = [B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max][self.rng.random_range(0..6)];
        self.b.binary(op, x, y)
    }

    fn int(&mut self, t: DType, depth: u32) -> ExprId {
        use BinaryOp as B;
        use UnaryOp as U;
        let x = self.expr(t, depth - 1);
        if self.rng.random_bool(0.2) {
            let ops = [U::Neg, U::Not, U::Abs, U::Popcount, U::LeadingZeros, U::ReverseBits];
            return self.b.unary(ops[self.rng.random_range(0..ops.len())], x);
        }
        let y = self.expr(t, depth - 1);
        let ops = [B::Add, B::Sub, B::Mul, B::Min, B::Max, B::And, B::Or, B::Xor];
        let one = self.b.constant(Scalar::Int(1), t);
        match self.rng.random_range(0..10) {
            // Odd divisors are not zero.
            0 => {
                let y = if self.rng.random_bool(0.5) { self.constant(t) } else { y };
                let y = self.b.binary(B::Or, y, one);
                let op = if self.rng.random_bool(0.5) { B::Div } else { B::Rem };
                self.b.binary(op, x, y)
            }
            1 => {
                let mask = self.b.constant(Scalar::Int(0x7F), t);
                let (x, y) = (self.b.binary(B::And, x, mask), self.b.binary(B::And, y, mask));
                let y = self.b.binary(B::Or, y, one);
                let op = if self.rng.random_bool(0.5) { B::DivNonNeg } else { B::RemNonNeg };
                self.b.binary(op, x, y)
            }
            2 => {
                let bits = t.size() as i64 * 8;
                let y = if self.rng.random_bool(0.5) {
                    let count = self.rng.random_range(0..bits);
                    self.b.constant(Scalar::Int(count), t)
                } else {
                    let mask = self.b.constant(Scalar::Int(bits - 1), t);
                    self.b.binary(B::And, y, mask)
                };
                let op = if self.rng.random_bool(0.5) { B::Shl } else { B::Shr };
                self.b.raw(ExprKind::Binary(op, x, y), t)
            }
            _ => self.b.binary(ops[self.rng.random_range(0..ops.len())], x, y),
        }
    }

    /// A row of functions of bounded arguments.
    fn functions(&mut self, to: BufferId, t: DType) -> Stmt {
        let count = [1, 4, 8, 16][self.rng.random_range(0..4)];
        self.looped(LoopKind::Lanes, 0, count, 1, |g| {
            let lane = g.counters.last().expect("just pushed").value;
            let x = g.expr(t, 2);
            let (low, high) = (g.b.constant(Scalar::Float(-900.0), t), g.b.constant(Scalar::Float(900.0), t));
            let x = g.b.max(x, low);
            let x = g.b.min(x, high);
            let v = if g.rng.random_bool(0.2) {
                let y = g.expr(t, 2);
                g.b.binary(BinaryOp::Pow, x, y)
            } else {
                let f = MathFn::ALL[g.rng.random_range(0..MathFn::ALL.len())];
                g.b.math(f, x)
            };
            vec![g.b.store(to, &[g.row, lane], v)]
        })
    }

    /// Atomics of one operator, whose order does not matter.
    fn atomics(&mut self, to: BufferId, t: DType) -> Stmt {
        use BinaryOp as B;
        let op = [B::Add, B::Min, B::Max, B::And, B::Or, B::Xor][self.rng.random_range(0..6)];
        let kind = if self.rng.random_bool(0.5) { LoopKind::Lanes } else { LoopKind::Serial };
        self.looped(kind, 0, 4, 1, |g| {
            let value = g.expr(t, 2);
            let bin = g.expr(DType::I64, 1);
            let seven = g.b.int(7);
            let bin = g.b.binary(B::And, bin, seven);
            vec![Stmt::Atomic { op, buffer: to, index: vec![bin], value, old: None }]
        })
    }

    /// Atomics, each of an element of its own, that keep what was there before.
    fn tickets(&mut self, to: BufferId, before: BufferId, t: DType) -> Stmt {
        use BinaryOp as B;
        let op = [B::Add, B::Min, B::Max, B::And, B::Or, B::Xor][self.rng.random_range(0..6)];
        let kinds = [LoopKind::Lanes, LoopKind::Unrolled, LoopKind::Serial];
        let kind = kinds[self.rng.random_range(0..3)];
        self.looped(kind, 0, 4, 1, |g| {
            let lane = g.counters.last().expect("just pushed").value;
            let value = g.expr(t, 2);
            let var = g.b.add_var("old", t);
            let old = g.b.var(var);
            let index = vec![g.row, lane];
            let atomic = Stmt::Atomic { op, buffer: to, index: index.clone(), value, old: Some(var) };
            vec![atomic, g.b.store(before, &index, old)]
        })
    }
}
