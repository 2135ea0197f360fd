//! Readable text of hir.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rooftile_artifact::Scalar;

use super::ir::{
    AssignOp, Axis, AxisId, AxisKind, BinaryOp, CallArg, Edge, ExprId, ExprKind, File, Func, FuncKind,
    Function, ParamRef, ReduceOp, Role, Stmt, StmtKind, StoreKind, Table, TileSize, UnaryOp, View,
};
use super::walk;

/// The whole file as text, one function after another.
#[must_use]
pub fn file_text(file: &File) -> String {
    let mut out = String::new();
    for table in &file.tables {
        let shape: Vec<String> = table.shape.iter().map(ToString::to_string).collect();
        let shape = if shape.is_empty() { String::new() } else { format!("[{}]", shape.join(",")) };
        let _ = writeln!(out, "table {}: {}{shape}", table.name, table.dtype);
    }
    for (_, func) in file.funcs.iter() {
        out.push_str(&func_text(file, func));
    }
    for &(a, b) in &file.variants {
        let _ = writeln!(out, "variant {} = {}", file.funcs[a].name, file.funcs[b].name);
    }
    out
}

/// One function as text.
#[must_use]
pub fn func_text(file: &File, func: &Func) -> String {
    let mut p = Printer {
        func,
        file: Some(file),
        tables: &file.tables,
        out: String::new(),
        named: BTreeSet::new(),
        user: false,
        left: Cell::new(MAX_NODES),
    };
    p.func();
    p.out
}

/// One expression as text.
#[must_use]
pub fn expr_text(func: &Func, tables: &[Table], e: ExprId) -> String {
    Printer {
        func,
        file: None,
        tables,
        out: String::new(),
        named: BTreeSet::new(),
        user: false,
        left: Cell::new(MAX_NODES),
    }
    .expr(e)
}

/// One expression as the user would write it: without the conversions between integers that the checker added.
#[must_use]
pub fn user_text(func: &Func, tables: &[Table], e: ExprId) -> String {
    Printer {
        func,
        file: None,
        tables,
        out: String::new(),
        named: BTreeSet::new(),
        user: true,
        left: Cell::new(MAX_NODES),
    }
    .expr(e)
}

struct Printer<'a> {
    func: &'a Func,
    file: Option<&'a File>,
    tables: &'a [Table],
    out: String,
    /// Expressions that the current statement uses more than once, printed on lines of their own.
    named: BTreeSet<ExprId>,
    /// Conversions between integers are left out.
    user: bool,
    /// Expressions that may still be printed on this line: shared ones count each time.
    left: Cell<usize>,
}

/// Longest line, in expressions.
const MAX_NODES: usize = 2000;

impl Printer<'_> {
    fn func(&mut self) {
        let func = self.func;
        let kind = match func.kind {
            FuncKind::Kernel => "kernel",
            FuncKind::Pipeline => "pipeline",
            FuncKind::Reference => "reference",
        };
        let params: Vec<String> = func
            .params
            .iter()
            .map(|param| match *param {
                ParamRef::Tensor(t) => self.tensor(t),
                ParamRef::Scalar(s) => format!("{}: {}", func.scalars[s].name, func.scalars[s].dtype),
            })
            .collect();
        let sizes: Vec<&str> = func.sizes.iter().map(|(_, s)| s.name.as_str()).collect();
        let _ = writeln!(self.out, "{kind} {}<{}>({})", func.name, sizes.join(", "), params.join(", "));
        for &cond in &func.wheres {
            let text = self.expr(cond);
            let _ = writeln!(self.out, "  where {text}");
        }
        for (t, tensor) in func.tensors.iter() {
            if tensor.role == Role::Buf {
                let text = self.tensor(t);
                let _ = writeln!(self.out, "  buf {text}");
            }
        }
        self.body(&func.body, 1);
    }

    fn tensor(&self, t: super::ir::TensorId) -> String {
        let tensor = &self.func.tensors[t];
        let role = match tensor.role {
            Role::In => "in ",
            Role::Out => "out ",
            Role::InOut => "inout ",
            Role::Buf => "",
        };
        let mut text = format!("{}: {role}{}[{}]", tensor.name, tensor.dtype, self.list(&tensor.shape));
        if tensor.edges.iter().any(Option::is_some) {
            let edges: Vec<String> =
                tensor.edges.iter().map(|e| e.as_ref().map_or("-".to_owned(), edge_text)).collect();
            let _ = write!(text, " edge ({})", edges.join(", "));
        }
        if let Some(dim) = tensor.packed {
            let _ = write!(text, " packed({dim})");
        }
        if let Some((lo, hi)) = tensor.range {
            let _ = write!(text, " range {}..{}", self.expr(lo), self.expr(hi));
        }
        for (flag, name) in [
            (tensor.monotone, " monotone"),
            (tensor.injective, " injective"),
            (tensor.constant, " const_"),
            (tensor.bag, " bag"),
        ] {
            if flag {
                text.push_str(name);
            }
        }
        text
    }

    fn body(&mut self, body: &[Stmt], depth: usize) {
        for stmt in body {
            self.stmt(stmt, depth);
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        self.left.set(MAX_NODES);
        let _ = writeln!(self.out, "{:width$}{text}", "", width = 2 * depth);
    }

    /// Prints what the statement uses more than once, as `%n = ..`, and refers to it by that name from then on.
    fn shared(&mut self, stmt: &Stmt, depth: usize) {
        let func = self.func;
        let mut uses: BTreeMap<ExprId, usize> = BTreeMap::new();
        let mut order: BTreeSet<ExprId> = BTreeSet::new();
        walk::stmt_exprs(stmt, |root| {
            *uses.entry(root).or_insert(0) += 1;
            walk::for_each_expr(func, root, |e, expr| {
                if order.insert(e) {
                    walk::operands(&expr.kind, |o| *uses.entry(o).or_insert(0) += 1);
                }
            });
        });
        self.named.clear();
        let shared: Vec<ExprId> = order
            .into_iter()
            .filter(|e| uses.get(e).is_some_and(|&n| n > 1))
            .filter(|&e| {
                let mut operands = 0;
                walk::operands(&func.exprs[e].kind, |_| operands += 1);
                operands > 0
            })
            .collect();
        for e in shared {
            let text = format!("%{} = {}", e.index(), self.expr(e));
            self.line(depth, &text);
            self.named.insert(e);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        self.shared(stmt, depth);
        match &stmt.kind {
            StmtKind::Define { value, init } => {
                let text = format!("define {} = {}", self.value(*value), self.expr(*init));
                self.line(depth, &text);
            }
            StmtKind::Update { value, op, expr } => {
                let name = &self.func.values[*value].name;
                let text = format!("{name} {} {}", op_text(*op), self.expr(*expr));
                self.line(depth, &text);
            }
            StmtKind::Store { tensor, index, op, expr, kind } => {
                let scatter = if *kind == StoreKind::Scatter { "scatter " } else { "" };
                let name = &self.func.tensors[*tensor].name;
                let text =
                    format!("{scatter}{name}[{}] {} {}", self.list(index), op_text(*op), self.expr(*expr));
                self.line(depth, &text);
            }
            StmtKind::Append { list, count, key, value, pred } => {
                let tensors = &self.func.tensors;
                let mut text = format!(
                    "append {}[{}] by {} <- {}",
                    tensors[*list].name,
                    self.list(key),
                    tensors[*count].name,
                    self.expr(*value)
                );
                if let Some(pred) = pred {
                    let _ = write!(text, " if {}", self.expr(*pred));
                }
                self.line(depth, &text);
            }
            StmtKind::For { axes, with, body } => {
                let words =
                    |list: &[AxisId]| list.iter().map(|&a| self.axis(a)).collect::<Vec<_>>().join(", ");
                let text = match (axes.is_empty(), with.is_empty()) {
                    (true, _) => format!("with {}", words(with)),
                    (false, true) => format!("for {}", words(axes)),
                    (false, false) => format!("for {} with {}", words(axes), words(with)),
                };
                self.line(depth, &text);
                self.body(body, depth + 1);
            }
            StmtKind::Seq { axis, carry, body } | StmtKind::Fold { axis, carry, body } => {
                let word = if matches!(stmt.kind, StmtKind::Seq { .. }) { "seq" } else { "fold" };
                let carry: Vec<String> =
                    carry.iter().map(|&(v, e)| format!("{} = {}", self.value(v), self.expr(e))).collect();
                let text = format!("{word} {} carry ({})", self.axis(*axis), carry.join(", "));
                self.line(depth, &text);
                self.body(body, depth + 1);
            }
            StmtKind::Next(items) => {
                for item in items {
                    let name = &self.func.values[item.value].name;
                    let at = item.index.as_ref().map_or(String::new(), |i| format!("[{}]", self.list(i)));
                    let text = format!("next {name}{at} = {}", self.expr(item.expr));
                    self.line(depth, &text);
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                let text = format!("if {}", self.expr(*cond));
                self.line(depth, &text);
                self.body(then, depth + 1);
                if !otherwise.is_empty() {
                    self.line(depth, "else");
                    self.body(otherwise, depth + 1);
                }
            }
            StmtKind::Call { callee, args, sizes } => {
                let args: Vec<String> = args
                    .iter()
                    .map(|arg| match arg {
                        CallArg::Tensor(view) => self.view(view),
                        CallArg::Scalar(e) => self.expr(*e),
                    })
                    .collect();
                let name = match self.file.and_then(|f| f.funcs.get(*callee)) {
                    Some(callee) => callee.name.clone(),
                    None => format!("{callee:?}"),
                };
                let text = format!("call {name}<{}>({})", self.list(sizes), args.join(", "));
                self.line(depth, &text);
            }
            StmtKind::Repeat { axis, pingpong, body } => {
                let pairs: Vec<String> = pingpong
                    .iter()
                    .map(|&(a, b)| format!(" ({}, {})", self.func.tensors[a].name, self.func.tensors[b].name))
                    .collect();
                let exchange = if pairs.is_empty() { "" } else { " pingpong" };
                let text = format!("repeat {}{exchange}{}", self.axis(*axis), pairs.join(","));
                self.line(depth, &text);
                self.body(body, depth + 1);
            }
            StmtKind::Fill { tensor, value } => {
                let text = format!("fill {} = {}", self.func.tensors[*tensor].name, self.expr(*value));
                self.line(depth, &text);
            }
            StmtKind::Copy { from, to } => {
                let tensors = &self.func.tensors;
                let text = format!("copy {} -> {}", tensors[*from].name, tensors[*to].name);
                self.line(depth, &text);
            }
        }
    }

    fn value(&self, v: super::ir::ValueId) -> String {
        let value = &self.func.values[v];
        let axes: Vec<&str> = value.axes.iter().map(|&a| self.func.axes[a].name.as_str()).collect();
        format!("{}: {}[{}]", value.name, value.dtype, axes.join(","))
    }

    fn axis(&self, a: AxisId) -> String {
        let Axis { name, kind, lo, hi, .. } = &self.func.axes[a];
        let tile = match kind {
            AxisKind::For(tile) | AxisKind::Fold(tile) => match tile {
                TileSize::Name(n) => format!(" by {n}"),
                TileSize::Int(n) => format!(" by {n}"),
                TileSize::Free => String::new(),
            },
            AxisKind::With | AxisKind::Seq | AxisKind::Bind | AxisKind::Repeat => String::new(),
        };
        format!("{name} in {}..{}{tile}", self.expr(*lo), self.expr(*hi))
    }

    fn view(&self, view: &View) -> String {
        let tensor = &self.func.tensors[view.tensor];
        if view.is_whole(tensor.shape.len()) {
            return tensor.name.clone();
        }
        let dims: Vec<String> = view
            .dims
            .iter()
            .map(|d| {
                let lo = d.lo.map_or(String::new(), |e| format!("+{}", self.expr(e)));
                let extent = d.extent.map_or(String::new(), |e| format!(":{}", self.expr(e)));
                format!("{}{lo}{extent}", d.source)
            })
            .collect();
        let fixed: Vec<String> = view.fixed.iter().map(|&(d, e)| format!("{d}={}", self.expr(e))).collect();
        let fixed = if fixed.is_empty() { String::new() } else { format!("; {}", fixed.join(", ")) };
        format!("{}{{{}{fixed}}}", tensor.name, dims.join(", "))
    }

    fn list(&self, list: &[ExprId]) -> String {
        list.iter().map(|&e| self.expr(e)).collect::<Vec<_>>().join(", ")
    }

    fn expr(&self, e: ExprId) -> String {
        self.bracketed(e, 0)
    }

    /// The expression, in brackets where its operator binds less tightly than `outer`.
    fn bracketed(&self, e: ExprId, outer: u8) -> String {
        if self.named.contains(&e) {
            return format!("%{}", e.index());
        }
        if self.left.get() == 0 {
            return "..".to_owned();
        }
        self.left.set(self.left.get() - 1);
        let func = self.func;
        let expr = &func.exprs[e];
        match &expr.kind {
            ExprKind::Const(v) => scalar_text(*v),
            ExprKind::Size(s) => func.sizes[*s].name.clone(),
            ExprKind::Scalar(s) => func.scalars[*s].name.clone(),
            ExprKind::Axis(a) => func.axes[*a].name.clone(),
            ExprKind::Value(v) => func.values[*v].name.clone(),
            ExprKind::ValueAt(v, index) => format!("{}[{}]", func.values[*v].name, self.list(index)),
            ExprKind::Load { tensor, index, leaves } => {
                let index: Vec<String> = index
                    .iter()
                    .zip(leaves)
                    .map(|(&e, &leaves)| format!("{}{}", self.expr(e), if leaves { "?" } else { "" }))
                    .collect();
                format!("{}[{}]", func.tensors[*tensor].name, index.join(", "))
            }
            ExprKind::Table { table, index } => {
                let name = self.tables.get(*table).map_or("table", |t| t.name.as_str());
                format!("{name}[{}]", self.list(index))
            }
            ExprKind::Unary(op, a) => {
                let sign = match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::Not => "!",
                    UnaryOp::BitNot => "~",
                };
                format!("{sign}{}", self.bracketed(*a, 10))
            }
            ExprKind::Binary(op, a, b) => {
                let level = precedence(*op);
                let text = format!(
                    "{} {} {}",
                    self.bracketed(*a, level),
                    op.symbol(),
                    self.bracketed(*b, level + 1)
                );
                if level < outer { format!("({text})") } else { text }
            }
            ExprKind::Call(f, args) => format!("{}({})", function_name(*f), self.list(args)),
            ExprKind::Select(c, a, b) => format!("select({})", self.list(&[*c, *a, *b])),
            ExprKind::Cast(a) => {
                if self.user && expr.dtype.is_int() && func.exprs[*a].dtype.is_int() {
                    return self.bracketed(*a, outer);
                }
                format!("{}({})", expr.dtype, self.expr(*a))
            }
            ExprKind::Reduce { op, axes, args } => {
                let axes: Vec<String> = axes
                    .iter()
                    .map(|&a| match func.axes[a].kind {
                        AxisKind::Bind => self.axis(a),
                        _ => func.axes[a].name.clone(),
                    })
                    .collect();
                format!("{}[{}]({})", reduce_name(*op), axes.join(", "), self.list(args))
            }
            ExprKind::Scan { op, axis, arg } => {
                format!("scan[{}]({}, {})", func.axes[*axis].name, self.expr(*arg), scan_name(*op))
            }
        }
    }
}

/// How tightly an operator binds.
fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 3,
        BinaryOp::Or => 4,
        BinaryOp::Xor => 5,
        BinaryOp::And => 6,
        BinaryOp::Shl | BinaryOp::Shr => 7,
        BinaryOp::Add | BinaryOp::Sub => 8,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 9,
    }
}

fn scan_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "add",
        ReduceOp::Prod => "mul",
        other => reduce_name(other),
    }
}

fn scalar_text(v: Scalar) -> String {
    match v {
        Scalar::Int(v) => v.to_string(),
        Scalar::Float(v) => format!("{v:?}"),
        Scalar::Complex(re, im) => format!("({re:?} + {im:?}i)"),
        Scalar::Bool(v) => v.to_string(),
    }
}

fn edge_text(edge: &Edge) -> String {
    match edge {
        Edge::Clamp => "clamp".to_owned(),
        Edge::Wrap => "wrap".to_owned(),
        Edge::Reflect => "reflect".to_owned(),
        Edge::Symmetric => "symmetric".to_owned(),
        Edge::Const(v) => format!("const({})", scalar_text(*v)),
    }
}

fn op_text(op: AssignOp) -> &'static str {
    match op {
        AssignOp::Set => "=",
        AssignOp::Add => "+=",
        AssignOp::Sub => "-=",
        AssignOp::Mul => "*=",
        AssignOp::Max => "max=",
        AssignOp::Min => "min=",
    }
}

fn reduce_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::Any => "any",
        ReduceOp::All => "all",
        ReduceOp::Argmax => "argmax",
        ReduceOp::Argmin => "argmin",
        ReduceOp::Dot => "dot",
    }
}

/// The name under which a function is called.
#[must_use]
pub fn function_name(f: Function) -> &'static str {
    match f {
        Function::Abs => "abs",
        Function::Min => "min",
        Function::Max => "max",
        Function::Floor => "floor",
        Function::Ceil => "ceil",
        Function::Round => "round",
        Function::Trunc => "trunc",
        Function::Sqrt => "sqrt",
        Function::Rsqrt => "rsqrt",
        Function::Exp => "exp",
        Function::Exp2 => "exp2",
        Function::Log => "log",
        Function::Log2 => "log2",
        Function::Log1p => "log1p",
        Function::Expm1 => "expm1",
        Function::Sin => "sin",
        Function::Cos => "cos",
        Function::Tan => "tan",
        Function::Tanh => "tanh",
        Function::Sigmoid => "sigmoid",
        Function::Erf => "erf",
        Function::Erfc => "erfc",
        Function::Pow => "pow",
        Function::Fma => "fma",
        Function::Clamp => "clamp",
        Function::Sign => "sign",
        Function::Popcount => "popcount",
        Function::Ilog2 => "ilog2",
        Function::Bitrev => "bitrev",
        Function::IsPow2 => "pow2",
        Function::Complex => "complex",
        Function::Re => "re",
        Function::Im => "im",
        Function::Conj => "conj",
        Function::Cis => "cis",
    }
}
