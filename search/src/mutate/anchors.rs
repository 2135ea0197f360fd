//! What a schedule of a kernel or pipeline can name, and what each name invites: read off the typed program.

use std::collections::BTreeMap;

use rooftile_compiler::hir::ir::{
    AxisKind, Expr, ExprId, ExprKind, File, Func, FuncId, FuncKind, ReduceOp, Role, Stmt, StmtKind,
    StoreKind, TileSize, ValueKind,
};

/// An axis name, over all kernels that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AxisAnchor {
    /// The name.
    pub name: String,
    /// Some kernel runs it unordered, a tile at a time.
    pub tiled: bool,
    /// Some kernel sees it whole.
    pub whole: bool,
    /// Some kernel runs it in order.
    pub ordered: bool,
    /// Some kernel reduces along it.
    pub reduced: bool,
    /// Some kernel scans along it.
    pub scanned: bool,
    /// Its extent depends on data.
    pub ragged: bool,
    /// It is the last index of a store, so that its points are neighbours in memory.
    pub inner: bool,
    /// The tunable or free name that the algorithm gives as its tile size.
    pub tile: Option<String>,
}

impl AxisAnchor {
    /// Whether points of the axis may be worked on at the same time.
    #[must_use]
    pub fn unordered(&self) -> bool {
        (self.tiled || self.whole) && !self.ordered
    }
}

/// A tensor name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorAnchor {
    /// The name.
    pub name: String,
    /// Some kernel reads it without writing it, so that a copy of a part can be made.
    pub read: bool,
    /// Some kernel writes it without reading it.
    pub written: bool,
    /// Dimensions.
    pub rank: usize,
    /// It is a buffer of a pipeline, so its storage is the program's own.
    pub own: bool,
    /// It is an input of constant content.
    pub constant: bool,
}

/// All names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    /// Axes, in order of first declaration.
    pub axes: Vec<AxisAnchor>,
    /// Tile values (`let`, `var`, carries).
    pub values: Vec<String>,
    /// Tile values computed by a statement of their own, which may be computed again instead.
    pub lets: Vec<String>,
    /// Tensors.
    pub tensors: Vec<TensorAnchor>,
    /// Tensors and values that receive a scan.
    pub scans: Vec<String>,
    /// Tensors that receive a scatter-reduction.
    pub scatters: Vec<String>,
    /// Lists that are appended to.
    pub lists: Vec<String>,
    /// Values that row reductions are taken of, for online rescaling.
    pub online: Vec<String>,
}

impl Anchors {
    /// The names of a kernel or pipeline and of all kernels that it launches.
    #[must_use]
    pub fn of(file: &File, entry: FuncId) -> Anchors {
        let mut anchors = Anchors::default();
        let mut funcs = file.kernels_of(entry);
        if !funcs.contains(&entry) {
            funcs.push(entry);
        }
        for id in funcs {
            Walk { func: &file.funcs[id], anchors: &mut anchors }.run();
        }
        anchors
    }

    /// The axis of that name.
    #[must_use]
    pub fn axis(&self, name: &str) -> Option<&AxisAnchor> {
        self.axes.iter().find(|a| a.name == name)
    }

    /// Axes that satisfy a condition, by name.
    pub fn axes_where(&self, f: impl Fn(&AxisAnchor) -> bool) -> Vec<&str> {
        self.axes.iter().filter(|a| f(a)).map(|a| a.name.as_str()).collect()
    }

    /// Tile names that the algorithm gives, each with whether it cuts a reduced axis.
    #[must_use]
    pub fn tile_names(&self) -> BTreeMap<&str, bool> {
        let mut names = BTreeMap::new();
        for axis in &self.axes {
            if let Some(tile) = &axis.tile {
                *names.entry(tile.as_str()).or_insert(false) |= axis.reduced;
            }
        }
        names
    }

    fn axis_mut(&mut self, name: &str) -> &mut AxisAnchor {
        let at = self.axes.iter().position(|a| a.name == name).unwrap_or_else(|| {
            self.axes.push(AxisAnchor { name: name.to_owned(), ..AxisAnchor::default() });
            self.axes.len() - 1
        });
        &mut self.axes[at]
    }
}

fn add(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|n| n == name) {
        list.push(name.to_owned());
    }
}

/// Operands of an expression.
fn operands(expr: &Expr) -> Vec<ExprId> {
    match &expr.kind {
        ExprKind::Const(_)
        | ExprKind::Size(_)
        | ExprKind::Scalar(_)
        | ExprKind::Axis(_)
        | ExprKind::Value(_) => Vec::new(),
        ExprKind::ValueAt(_, index) | ExprKind::Load { index, .. } | ExprKind::Table { index, .. } => {
            index.clone()
        }
        ExprKind::Unary(_, a) | ExprKind::Cast(a) | ExprKind::Scan { arg: a, .. } => vec![*a],
        ExprKind::Binary(_, a, b) => vec![*a, *b],
        ExprKind::Select(a, b, c) => vec![*a, *b, *c],
        ExprKind::Call(_, args) | ExprKind::Reduce { args, .. } => args.clone(),
    }
}

struct Walk<'a> {
    func: &'a Func,
    anchors: &'a mut Anchors,
}

impl Walk<'_> {
    fn run(&mut self) {
        let func = self.func;
        for (_, axis) in func.axes.iter() {
            let ragged = self.any(axis.lo, |e| matches!(e, ExprKind::Load { .. }))
                || self.any(axis.hi, |e| matches!(e, ExprKind::Load { .. }));
            let anchor = self.anchors.axis_mut(&axis.name);
            anchor.ragged |= ragged;
            match &axis.kind {
                AxisKind::For(tile) | AxisKind::Fold(tile) => {
                    anchor.tiled |= matches!(axis.kind, AxisKind::For(_));
                    anchor.ordered |= matches!(axis.kind, AxisKind::Fold(_));
                    if let TileSize::Name(name) = tile {
                        anchor.tile = Some(name.clone());
                    }
                }
                AxisKind::With => anchor.whole = true,
                AxisKind::Seq | AxisKind::Repeat => anchor.ordered = true,
                AxisKind::Bind => anchor.reduced = true,
            }
        }
        for (_, value) in func.values.iter() {
            add(&mut self.anchors.values, &value.name);
        }
        for (_, tensor) in func.tensors.iter() {
            let written = func.kind == FuncKind::Kernel && tensor.role == Role::Out;
            let own = tensor.role == Role::Buf;
            match self.anchors.tensors.iter_mut().find(|t| t.name == tensor.name) {
                Some(t) => {
                    t.own |= own;
                    t.constant |= tensor.constant;
                    t.written |= written;
                }
                None => self.anchors.tensors.push(TensorAnchor {
                    name: tensor.name.clone(),
                    read: tensor.role == Role::In,
                    written,
                    rank: tensor.shape.len(),
                    own,
                    constant: tensor.constant,
                }),
            }
        }
        for (_, expr) in func.exprs.iter() {
            if let ExprKind::Scan { axis, .. } = &expr.kind {
                self.anchors.axis_mut(&func.axes[*axis].name).scanned = true;
            }
            if let ExprKind::Reduce { axes, op, args } = &expr.kind {
                for axis in axes {
                    self.anchors.axis_mut(&func.axes[*axis].name).reduced = true;
                }
                if *op == ReduceOp::Sum
                    && let [arg] = args[..]
                    && let ExprKind::Value(v) = func.exprs[arg].kind
                {
                    add(&mut self.anchors.online, &func.values[v].name);
                }
            }
        }
        self.body(&func.body, &[]);
    }

    fn body(&mut self, body: &[Stmt], around: &[&str]) {
        let func = self.func;
        let is_scan = |e: &ExprKind| matches!(e, ExprKind::Scan { .. });
        for stmt in body {
            match &stmt.kind {
                StmtKind::Define { value, init } => {
                    let name = &func.values[*value].name;
                    if func.values[*value].kind == ValueKind::Let {
                        add(&mut self.anchors.lets, name);
                    }
                    if self.any(*init, is_scan) {
                        add(&mut self.anchors.scans, name);
                    }
                }
                StmtKind::Update { value, .. } => {
                    // The `for` axes around an update that its target lacks are summed over.
                    let own: Vec<&str> =
                        func.values[*value].axes.iter().map(|a| func.axes[*a].name.as_str()).collect();
                    for axis in around.iter().filter(|a| !own.contains(a)) {
                        self.anchors.axis_mut(axis).reduced = true;
                    }
                }
                StmtKind::Store { tensor, index, expr, kind, .. } => {
                    let name = &func.tensors[*tensor].name;
                    if *kind == StoreKind::Scatter {
                        add(&mut self.anchors.scatters, name);
                    }
                    if self.any(*expr, is_scan) {
                        add(&mut self.anchors.scans, name);
                    }
                    if let Some(last) = index.last() {
                        for axis in &func.exprs[*last].axes {
                            self.anchors.axis_mut(&func.axes[*axis].name).inner = true;
                        }
                    }
                }
                StmtKind::Append { list, .. } => add(&mut self.anchors.lists, &func.tensors[*list].name),
                StmtKind::For { axes, body, .. } => {
                    let mut around = around.to_vec();
                    around.extend(axes.iter().map(|a| func.axes[*a].name.as_str()));
                    self.body(body, &around);
                }
                StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } | StmtKind::Repeat { body, .. } => {
                    self.body(body, around);
                }
                StmtKind::If { then, otherwise, .. } => {
                    self.body(then, around);
                    self.body(otherwise, around);
                }
                StmtKind::Next(_) | StmtKind::Call { .. } | StmtKind::Fill { .. } | StmtKind::Copy { .. } => {
                }
            }
        }
    }

    /// Whether an expression or one below it is of a kind. Shared operands are looked at once.
    fn any(&self, root: ExprId, f: impl Fn(&ExprKind) -> bool) -> bool {
        let mut seen = vec![false; self.func.exprs.len()];
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            let expr = &self.func.exprs[id];
            if f(&expr.kind) {
                return true;
            }
            stack.extend(operands(expr));
        }
        false
    }
}
