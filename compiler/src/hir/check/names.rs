//! Which names of a function are sizes, and which belong to the schedule.

use std::collections::BTreeSet;

use crate::syntax::ast::{
    Arg, AttrKind, AxisDecl, Domain, Expr, ExprKind, Ident, Kernel, ReduceAxis, Stmt, StmtKind, TileSize,
};

/// What a walk over a kernel's or pipeline's syntax gathers.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Names in shapes, attributes, conditions and bounds, in order of appearance: sizes, unless bound otherwise.
    pub(super) extents: Vec<Ident>,
    /// Names that the body binds.
    pub(super) bound: BTreeSet<String>,
    /// Names of tile sizes.
    pub(super) tiles: BTreeSet<String>,
}

impl Names {
    pub(super) fn of(kernel: &Kernel) -> Names {
        let mut names = Names::default();
        for param in &kernel.params {
            names.bound.insert(param.name.name.clone());
        }
        for param in &kernel.params {
            param.ty.shape.iter().for_each(|e| names.extent(e));
        }
        for param in &kernel.params {
            for attr in &param.attrs {
                match &attr.kind {
                    AttrKind::Range(lo, hi) => {
                        names.extent(lo);
                        names.extent(hi);
                    }
                    AttrKind::Edge(_)
                    | AttrKind::EdgePerAxis(_)
                    | AttrKind::Packed(_)
                    | AttrKind::Flag(_) => {}
                }
            }
        }
        kernel.wheres.iter().for_each(|e| names.extent(e));
        names.body(&kernel.body);
        names
    }

    /// Gathers from the statements.
    pub(super) fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn bind(&mut self, name: &Ident) {
        self.bound.insert(name.name.clone());
    }

    fn tile(&mut self, tile: &TileSize) {
        if let TileSize::Name(name) = tile {
            self.tiles.insert(name.name.clone());
        }
    }

    fn axis(&mut self, axis: &AxisDecl) {
        self.bind(&axis.name);
        self.domain(&axis.domain);
    }

    fn domain(&mut self, domain: &Domain) {
        match domain {
            Domain::Extent(e) => self.extent(e),
            Domain::Range(a, b) => {
                self.extent(a);
                self.extent(b);
            }
        }
    }

    /// Names in a place where an integer known before the launch is expected.
    fn extent(&mut self, e: &Expr) {
        self.walk(e, true);
    }

    fn expr(&mut self, e: &Expr) {
        self.walk(e, false);
    }

    fn walk(&mut self, e: &Expr, extent: bool) {
        match &e.kind {
            ExprKind::Name(name) if extent => self.extents.push(Ident { name: name.clone(), span: e.span }),
            ExprKind::Unary(_, a) | ExprKind::Cast(_, a) | ExprKind::Paren(a) => self.walk(a, extent),
            ExprKind::Binary(_, a, b) => {
                self.walk(a, extent);
                self.walk(b, extent);
            }
            // The indexed name is a tensor, table or tile value, never a size.
            ExprKind::Index(_, index) => index.iter().for_each(|i| self.walk(i, extent)),
            ExprKind::Call(_, args) => {
                for arg in args {
                    match arg {
                        Arg::Expr(a) | Arg::Named(_, a) => self.walk(a, extent),
                        Arg::Range(a, b) => {
                            self.walk(a, extent);
                            self.walk(b, extent);
                        }
                    }
                }
            }
            ExprKind::Reduce { axes, args, .. } => {
                for axis in axes {
                    if let ReduceAxis::Bind(decl) = axis {
                        self.axis(decl);
                    }
                }
                args.iter().for_each(|a| self.walk(a, extent));
            }
            ExprKind::Array(items) => items.iter().for_each(|a| self.walk(a, extent)),
            ExprKind::Name(_)
            | ExprKind::Int { .. }
            | ExprKind::Float { .. }
            | ExprKind::Bool(_)
            | ExprKind::Field(..)
            | ExprKind::DType(_)
            | ExprKind::Error => {}
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let { name, value, .. } | StmtKind::Var { name, value, .. } => {
                self.bind(name);
                self.expr(value);
            }
            StmtKind::Assign { target, value, .. } => {
                target.indices.iter().flatten().for_each(|e| self.expr(e));
                self.expr(value);
            }
            StmtKind::For { axes, domains, tiles, with, body } => {
                axes.iter().for_each(|a| self.bind(a));
                domains.iter().for_each(|d| self.domain(d));
                tiles.iter().for_each(|t| self.tile(t));
                with.iter().for_each(|a| self.axis(a));
                self.body(body);
            }
            StmtKind::With { axes, body } => {
                axes.iter().for_each(|a| self.axis(a));
                self.body(body);
            }
            StmtKind::Seq { name, lo, hi, carry, body } => {
                self.bind(name);
                self.extent(lo);
                self.extent(hi);
                for c in carry {
                    self.bind(&c.name);
                    self.expr(&c.init);
                }
                self.body(body);
            }
            StmtKind::Fold { name, domain, tile, carry, body } => {
                self.bind(name);
                self.domain(domain);
                tile.iter().for_each(|t| self.tile(t));
                for c in carry {
                    self.bind(&c.name);
                    self.expr(&c.init);
                }
                self.body(body);
            }
            StmtKind::Next(items) => items.iter().for_each(|(_, e)| self.expr(e)),
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.body(then);
                self.body(otherwise);
            }
            StmtKind::Call { args, .. } => {
                for arg in args {
                    if let Arg::Expr(e) = arg {
                        self.expr(e);
                    }
                }
            }
            StmtKind::Repeat { name, lo, hi, body, .. } => {
                self.bind(name);
                self.extent(lo);
                self.extent(hi);
                self.body(body);
            }
            StmtKind::Buf { name, ty } => {
                self.bind(name);
                ty.shape.iter().for_each(|e| self.extent(e));
            }
            StmtKind::Error => {}
        }
    }
}
