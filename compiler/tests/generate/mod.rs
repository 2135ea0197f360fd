//! Random syntax trees, as the parser would build them, with empty spans.

use rooftile_artifact::DType;
use rooftile_compiler::diag::Span;
use rooftile_compiler::syntax::ast::*;

/// A small generator of random numbers (SplitMix64), the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A file of a few items.
pub(crate) fn file(r: &mut Random) -> File {
    let version = r.one_in(4).then(|| (1, Span::default()));
    File { version, items: some(r, 0, 5, item) }
}

/// Between `least` and `most` of them.
fn some<T>(r: &mut Random, least: usize, most: usize, mut one: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..least + r.below(most - least + 1)).map(|_| one(r)).collect()
}

fn maybe<T>(r: &mut Random, one: impl FnOnce(&mut Random) -> T) -> Option<T> {
    r.one_in(2).then(|| one(r))
}

fn at<K, T>(kind: K, node: impl FnOnce(K, Span) -> T) -> T {
    node(kind, Span::default())
}

fn ident(r: &mut Random) -> Ident {
    // Names, among them words with a meaning in some block and near misses of literals.
    const NAMES: &[&str] = &[
        "x",
        "y2",
        "acc",
        "A",
        "_t",
        "max",
        "min",
        "i",
        "u",
        "u1",
        "e3",
        "inf",
        "exact",
        "search",
        "heldout",
        "sealed",
        "init",
        "tol",
        "cost",
        "allow",
        "check",
        "sizes",
        "multiple",
        "of",
        "edge",
        "packed",
        "range",
        "when",
        "require",
        "rooftile",
        "pow2",
        "clamp",
        "a_name_that_is_long_enough_to_make_lines_break",
        "bag",
        "f33",
    ];
    Ident { name: (*r.pick(NAMES)).to_owned(), span: Span::default() }
}

fn dtype(r: &mut Random) -> DType {
    const NAMES: &[&str] = &[
        "f64", "f32", "tf32", "f16", "bf16", "e4m3", "e5m2", "e2m1", "e8m0", "c64", "c128", "bool", "i1",
        "i3", "i4", "i8", "i16", "i32", "i64", "u2", "u4", "u7", "u8", "u16", "u32", "u64",
    ];
    r.pick(NAMES).parse().expect("a type")
}

fn ty(r: &mut Random) -> Type {
    Type { dtype: dtype(r), shape: some(r, 0, 3, |r| expr(r, 2)), span: Span::default() }
}

fn item(r: &mut Random) -> Item {
    let kind = match r.below(9) {
        0 => ItemKind::Const(Const { name: ident(r), ty: ty(r), value: expr(r, 3) }),
        1 => ItemKind::Fn(Fn {
            name: ident(r),
            params: some(r, 0, 4, |r| (ident(r), dtype(r))),
            ret: dtype(r),
            lets: some(r, 0, 3, |r| (ident(r), expr(r, 3))),
            body: expr(r, 4),
        }),
        2 => ItemKind::Kernel(kernel(r)),
        3 => ItemKind::Pipeline(kernel(r)),
        4 => ItemKind::Reference(Reference { name: ident(r), body: stmts(r, 3) }),
        5 => {
            ItemKind::Tune(Tune { name: ident(r), target: maybe(r, ident), items: some(r, 0, 6, tune_item) })
        }
        6 => ItemKind::Variant(Variant { name: ident(r), of: ident(r) }),
        7 => ItemKind::Schedule(Schedule {
            name: ident(r),
            target: ident(r),
            when: maybe(r, |r| expr(r, 2)),
            verbs: some(r, 0, 8, |r| Verb { name: verb_name(r), args: args(r, 2), span: Span::default() }),
        }),
        _ => ItemKind::Task(Task { name: ident(r), items: some(r, 0, 6, task_item) }),
    };
    at(kind, |kind, span| Item { kind, span })
}

fn verb_name(r: &mut Random) -> Ident {
    const VERBS: &[&str] = &["tile", "parallel", "stage", "stage", "vector", "split", "keep", "mma"];
    if r.one_in(4) { ident(r) } else { Ident { name: (*r.pick(VERBS)).to_owned(), span: Span::default() } }
}

fn kernel(r: &mut Random) -> Kernel {
    Kernel {
        name: ident(r),
        params: some(r, 0, 6, param),
        wheres: some(r, 0, 2, |r| expr(r, 2)),
        body: stmts(r, 3),
    }
}

fn param(r: &mut Random) -> Param {
    let mode = *r.pick(&[None, Some(Mode::In), Some(Mode::Out), Some(Mode::InOut)]);
    Param { name: ident(r), mode, ty: ty(r), attrs: some(r, 0, 2, attr) }
}

fn attr(r: &mut Random) -> Attr {
    let kind = match r.below(5) {
        0 => AttrKind::Edge(edge(r)),
        1 => AttrKind::EdgePerAxis(some(r, 1, 3, |r| {
            let position = Ident { name: r.below(3).to_string(), span: Span::default() };
            (if r.one_in(2) { position } else { ident(r) }, edge(r))
        })),
        2 => AttrKind::Packed(expr(r, 1)),
        3 => AttrKind::Range(expr(r, 2), expr(r, 2)),
        _ => AttrKind::Flag(Ident {
            name: (*r.pick(&["monotone", "injective", "const_", "bag"])).to_owned(),
            span: Span::default(),
        }),
    };
    at(kind, |kind, span| Attr { kind, span })
}

fn edge(r: &mut Random) -> Edge {
    match r.below(5) {
        0 => Edge::Clamp,
        1 => Edge::Wrap,
        2 => Edge::Reflect,
        3 => Edge::Symmetric,
        _ => Edge::Const(Box::new(expr(r, 2))),
    }
}

fn stmts(r: &mut Random, depth: usize) -> Vec<Stmt> {
    some(r, 0, 4, |r| stmt(r, depth))
}

fn stmt(r: &mut Random, depth: usize) -> Stmt {
    let kind = match r.below(if depth == 0 { 6 } else { 12 }) {
        0 => StmtKind::Let { name: ident(r), ty: maybe(r, ty), value: expr(r, 4) },
        1 => StmtKind::Var { name: ident(r), ty: ty(r), value: expr(r, 3) },
        2 => StmtKind::Buf { name: ident(r), ty: ty(r) },
        3 => StmtKind::Call { callee: ident(r), args: args(r, 3) },
        4 => StmtKind::Next(some(r, 1, 3, |r| (lvalue(r), expr(r, 3)))),
        5 | 6 => {
            use AssignOp::*;
            StmtKind::Assign {
                target: lvalue(r),
                op: *r.pick(&[Set, Add, Sub, Mul, Max, Min]),
                value: expr(r, 4),
            }
        }
        7 => {
            let axes = some(r, 1, 3, ident);
            let domains = axes.iter().map(|_| domain(r)).collect();
            let tiles = if r.one_in(3) { Vec::new() } else { axes.iter().map(|_| tile_size(r)).collect() };
            StmtKind::For { axes, domains, tiles, with: some(r, 0, 2, axis), body: stmts(r, depth - 1) }
        }
        8 => StmtKind::With { axes: some(r, 1, 3, axis), body: stmts(r, depth - 1) },
        9 => {
            let (name, carry) = (ident(r), some(r, 0, 3, carry));
            if r.one_in(2) {
                StmtKind::Seq { name, lo: expr(r, 2), hi: expr(r, 2), carry, body: stmts(r, depth - 1) }
            } else {
                let tile = maybe(r, tile_size);
                StmtKind::Fold { name, domain: domain(r), tile, carry, body: stmts(r, depth - 1) }
            }
        }
        10 => StmtKind::If { cond: expr(r, 3), then: stmts(r, depth - 1), otherwise: stmts(r, depth - 1) },
        _ => StmtKind::Repeat {
            name: ident(r),
            lo: expr(r, 1),
            hi: expr(r, 2),
            pingpong: some(r, 0, 2, |r| (ident(r), ident(r))),
            body: stmts(r, depth - 1),
        },
    };
    at(kind, |kind, span| Stmt { kind, span })
}

fn lvalue(r: &mut Random) -> LValue {
    LValue { name: ident(r), indices: maybe(r, |r| some(r, 0, 3, |r| expr(r, 2))), span: Span::default() }
}

fn domain(r: &mut Random) -> Domain {
    if r.one_in(2) { Domain::Extent(expr(r, 2)) } else { Domain::Range(expr(r, 2), expr(r, 2)) }
}

fn axis(r: &mut Random) -> AxisDecl {
    AxisDecl { name: ident(r), domain: domain(r) }
}

fn tile_size(r: &mut Random) -> TileSize {
    if r.one_in(2) {
        TileSize::Name(ident(r))
    } else {
        TileSize::Int(1 + r.below(256) as i64, Span::default())
    }
}

fn carry(r: &mut Random) -> CarryDecl {
    CarryDecl { name: ident(r), ty: ty(r), init: expr(r, 2) }
}

fn tune_item(r: &mut Random) -> TuneItem {
    if r.one_in(4) {
        return TuneItem::Require(expr(r, 3));
    }
    let domain = match r.below(3) {
        0 => TuneDomain::Set(some(r, 0, 5, |r| expr(r, 1))),
        1 => TuneDomain::Range(expr(r, 1), expr(r, 2)),
        _ => TuneDomain::Pow2(expr(r, 1), expr(r, 2)),
    };
    TuneItem::Var { name: ident(r), domain, value: maybe(r, |r| expr(r, 1)) }
}

fn task_item(r: &mut Random) -> TaskItem {
    let sets = |r: &mut Random| some(r, 1, 4, size_set);
    let kind = match r.below(9) {
        0 => TaskItemKind::Search(sets(r)),
        1 => TaskItemKind::Heldout(sets(r)),
        2 => TaskItemKind::Sealed(sets(r)),
        3 => TaskItemKind::Sizes {
            name: ident(r),
            lo: expr(r, 1),
            hi: expr(r, 1),
            multiple: maybe(r, |r| expr(r, 1)),
        },
        4 => {
            let dist = match r.below(3) {
                0 => Init::Dist(expr(r, 3)),
                1 => Init::Range(expr(r, 1), expr(r, 1)),
                _ => Init::Value(expr(r, 1)),
            };
            TaskItemKind::Init { name: ident(r), dist }
        }
        5 => TaskItemKind::Tol { name: ident(r), bounds: some(r, 1, 3, |r| expr(r, 2)) },
        6 => TaskItemKind::Cost { name: ident(r), value: expr(r, 3) },
        7 => TaskItemKind::Allow(some(r, 1, 3, |r| expr(r, 2))),
        _ => TaskItemKind::Check(expr(r, 3)),
    };
    at(kind, |kind, span| TaskItem { kind, span })
}

fn size_set(r: &mut Random) -> SizeSet {
    SizeSet { entries: some(r, 0, 3, |r| (ident(r), expr(r, 1))), span: Span::default() }
}

fn args(r: &mut Random, depth: usize) -> Vec<Arg> {
    some(r, 0, 4, |r| match r.below(4) {
        0 => Arg::Range(expr(r, depth), expr(r, depth)),
        1 => {
            let key = Ident { name: "in".to_owned(), span: Span::default() };
            Arg::Named(if r.one_in(3) { key } else { ident(r) }, expr(r, depth))
        }
        _ => Arg::Expr(expr(r, depth)),
    })
}

fn expr(r: &mut Random, depth: usize) -> Expr {
    tier(r, depth, 0)
}

/// The operators, loosest first. Comparisons do not chain.
const TIERS: &[&[BinaryOp]] = {
    use BinaryOp::*;
    &[
        &[Or],
        &[And],
        &[Eq, Ne, Lt, Le, Gt, Ge],
        &[BitOr],
        &[BitXor],
        &[BitAnd],
        &[Shl, Shr],
        &[Add, Sub],
        &[Mul, Div, Rem],
    ]
};

/// An expression whose outermost operator binds at least as tightly as those of the tier.
fn tier(r: &mut Random, depth: usize, least: usize) -> Expr {
    let left = TIERS.len() - least;
    if depth == 0 || left == 0 || r.one_in(2) {
        return unary(r, depth);
    }
    let t = least + r.below(left);
    let op = *r.pick(TIERS[t]);
    let l = tier(r, depth - 1, if t == 2 { 3 } else { t });
    let e = tier(r, depth - 1, t + 1);
    at(ExprKind::Binary(op, Box::new(l), Box::new(e)), |kind, span| Expr { kind, span })
}

fn unary(r: &mut Random, depth: usize) -> Expr {
    if depth > 0 && r.one_in(6) {
        let op = *r.pick(&[UnaryOp::Neg, UnaryOp::Not, UnaryOp::BitNot]);
        let e = Box::new(unary(r, depth - 1));
        return at(ExprKind::Unary(op, e), |kind, span| Expr { kind, span });
    }
    operand(r, depth)
}

fn operand(r: &mut Random, depth: usize) -> Expr {
    let kind = match r.below(if depth == 0 { 6 } else { 12 }) {
        0 => ExprKind::Int { value: r.next() >> r.below(64), hex: r.one_in(3) },
        1 => {
            let text = (*r.pick(&["0.0", "1.0", "1e-3", "5.9604644775390625e-8", "1.50", "2E+2", "00.5"]))
                .to_owned();
            ExprKind::Float { value: text.parse().expect("a number"), text }
        }
        2 => ExprKind::Bool(r.one_in(2)),
        3 => ExprKind::DType(dtype(r)),
        4 | 5 => ExprKind::Name(ident(r).name),
        6 => {
            let base = Expr { kind: ExprKind::Name(ident(r).name), span: Span::default() };
            let level = Ident { name: r.below(3).to_string(), span: Span::default() };
            ExprKind::Field(Box::new(base), if r.one_in(2) { level } else { ident(r) })
        }
        7 => {
            let base = operand(r, depth - 1);
            ExprKind::Index(Box::new(base), some(r, 0, 3, |r| expr(r, depth - 1)))
        }
        8 => {
            let axes = some(r, 0, 3, |r| {
                if r.one_in(2) {
                    return ReduceAxis::Name(ident(r));
                }
                let (lo, hi) = (expr(r, depth - 1), expr(r, depth - 1));
                let domain = if r.one_in(2) { Domain::Extent(hi) } else { Domain::Range(lo, hi) };
                ReduceAxis::Bind(AxisDecl { name: ident(r), domain })
            });
            ExprKind::Reduce { op: ident(r), axes, args: some(r, 0, 2, |r| expr(r, depth - 1)) }
        }
        9 => ExprKind::Call(ident(r), args(r, depth - 1)),
        10 => ExprKind::Cast(dtype(r), Box::new(expr(r, depth - 1))),
        _ if r.one_in(2) => ExprKind::Array(some(r, 0, 5, |r| expr(r, depth - 1))),
        _ => ExprKind::Paren(Box::new(expr(r, depth - 1))),
    };
    at(kind, |kind, span| Expr { kind, span })
}
