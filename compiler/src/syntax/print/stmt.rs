//! Layout of statements.

use super::doc::{Doc, concat, fill, nest, rows, text};
use super::expr::{Set, axis, brackets, call, domain, expr, range, ty};
use super::{Open, Printer};
use crate::diag::Span;
use crate::syntax::ast::*;

impl Printer<'_> {
    pub(super) fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let span = stmt.span;
        match &stmt.kind {
            StmtKind::For { axes, domains, tiles, with, body } => {
                let mut docs =
                    vec![text(format!("for {} in tiles(", pattern(axes))), fill(domains.iter().map(domain))];
                let sizes: Vec<String> = tiles.iter().map(tile_size).collect();
                if !sizes.is_empty() {
                    docs.push(text(format!("; {}", sizes.join(", "))));
                }
                docs.push(text(")"));
                if !with.is_empty() {
                    docs.extend([text(" with "), fill(with.iter().map(axis))]);
                }
                self.block(span, Doc::Concat(docs), body, false);
            }
            StmtKind::With { axes, body } => {
                self.block(span, concat([text("with "), fill(axes.iter().map(axis))]), body, true);
            }
            StmtKind::Seq { name, lo, hi, carry, body } => {
                let mut docs = vec![text(format!("seq {} in ", name.name)), range(lo, hi)];
                if !carry.is_empty() {
                    docs.push(carried(carry));
                }
                self.block(span, Doc::Concat(docs), body, false);
            }
            StmtKind::Fold { name, domain: over, tile, carry, body } => {
                let size = tile.as_ref().map_or(String::new(), |t| format!("; {}", tile_size(t)));
                let head = text(format!("fold {} in tiles(", name.name));
                let docs = [head, domain(over), text(format!("{size})")), carried(carry)];
                self.block(span, concat(docs), body, false);
            }
            StmtKind::Repeat { name, lo, hi, pingpong, body } => {
                let mut docs = vec![text(format!("repeat {} in ", name.name)), range(lo, hi)];
                if !pingpong.is_empty() {
                    let pairs = pingpong.iter().map(|(a, b)| text(format!("({}, {})", a.name, b.name)));
                    docs.extend([text(" pingpong "), fill(pairs)]);
                }
                self.block(span, Doc::Concat(docs), body, true);
            }
            StmtKind::If { cond, then, otherwise } => {
                let head = concat([text("if "), expr(cond, Set::Loose)]);
                if otherwise.is_empty() {
                    self.block(span, head, then, true);
                } else {
                    self.if_else(span, cond, head, then, otherwise);
                }
            }
            _ => self.leaf(span, &simple(&stmt.kind)),
        }
    }

    /// `head { body }`; on one line if `may_join`, the body is one simple statement and it fits.
    fn block(&mut self, span: Span, head: Doc, body: &[Stmt], may_join: bool) {
        self.lead(span);
        if !self.has_comments(span) {
            match body {
                [] => return self.close_leaf(span, &concat([head, text(" {}")])),
                [only] if may_join && is_simple(&only.kind) => {
                    let doc = concat([head.clone(), text(" { "), simple(&only.kind), text(" }")]);
                    if self.fits(&doc) {
                        return self.close_leaf(span, &doc);
                    }
                }
                _ => {}
            }
        }
        self.line(&concat([head, text(" {")]));
        let open = self.open();
        self.stmts(body);
        self.close(open, span);
    }

    fn if_else(&mut self, span: Span, cond: &Expr, head: Doc, then: &[Stmt], otherwise: &[Stmt]) {
        self.lead(span);
        self.line(&concat([head, text(" {")]));
        let open = self.open();
        self.stmts(then);
        let then_end = then.last().map_or(cond.span, |s| s.span);
        let Open { indent } = open;
        if super::is_written(span) && super::is_written(then_end) {
            self.comments_to_else(then_end.end);
        }
        self.leave(indent);
        self.line(&text("} else {"));
        let open = self.open();
        self.stmts(otherwise);
        self.close(open, span);
    }
}

/// Statements without a block.
fn is_simple(kind: &StmtKind) -> bool {
    use StmtKind::*;
    matches!(kind, Let { .. } | Var { .. } | Assign { .. } | Next(_) | Call { .. } | Buf { .. })
}

fn simple(kind: &StmtKind) -> Doc {
    match kind {
        StmtKind::Let { name, ty: t, value } => {
            let head = text(format!("let {}", name.name));
            let annotation = t.as_ref().map_or(text(""), |t| concat([text(": "), ty(t)]));
            concat([head, annotation, text(" = "), expr(value, Set::Loose)])
        }
        StmtKind::Var { name, ty: t, value } => {
            concat([text(format!("var {}: ", name.name)), ty(t), text(" = "), expr(value, Set::Loose)])
        }
        StmtKind::Assign { target, op, value } => {
            let op = match op {
                AssignOp::Set => " = ",
                AssignOp::Add => " += ",
                AssignOp::Sub => " -= ",
                AssignOp::Mul => " *= ",
                AssignOp::Max => " max= ",
                AssignOp::Min => " min= ",
            };
            concat([lvalue(target), text(op), expr(value, Set::Loose)])
        }
        StmtKind::Next(items) => {
            let items = items.iter().map(|(lv, e)| concat([lvalue(lv), text(" = "), expr(e, Set::Loose)]));
            concat([text("next "), fill(items)])
        }
        StmtKind::Call { callee, args } => call(&callee.name, args),
        StmtKind::Buf { name, ty: t } => concat([text(format!("buf {}: ", name.name)), ty(t)]),
        _ => text("<error>"),
    }
}

fn lvalue(lv: &LValue) -> Doc {
    let name = text(lv.name.name.as_str());
    match &lv.indices {
        Some(indices) => concat([name, brackets(indices)]),
        None => name,
    }
}

fn pattern(axes: &[Ident]) -> String {
    match axes {
        [one] => one.name.clone(),
        many => {
            let names: Vec<&str> = many.iter().map(|a| a.name.as_str()).collect();
            format!("({})", names.join(", "))
        }
    }
}

fn tile_size(size: &TileSize) -> String {
    match size {
        TileSize::Name(n) => n.name.clone(),
        TileSize::Int(v, _) => v.to_string(),
    }
}

fn carried(carry: &[CarryDecl]) -> Doc {
    let carry = carry.iter().map(|c| {
        concat([
            text(format!("{}: ", c.name.name)),
            ty(&c.ty),
            text(" = "),
            nest(4, expr(&c.init, Set::Loose)),
        ])
    });
    concat([text(" "), rows("carry (", carry, ")")])
}
