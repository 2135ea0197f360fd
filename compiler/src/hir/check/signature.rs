//! The head of a kernel or pipeline: sizes, scalars, tensors with their attributes, conditions.

use rooftile_artifact::{DType, Scalar};

use super::cx::{Bound, Cx};
use super::names::Names;
use super::text::{expr_text, strip};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{Edge, ParamRef, Role, ScalarParam, Size, Tensor};
use crate::syntax::ast;

impl Cx<'_> {
    /// Declares parameters and sizes, and checks shapes, attributes and conditions.
    pub(super) fn signature(&mut self, kernel: &ast::Kernel, names: &Names) {
        self.hidden.extend(names.tiles.iter().cloned());
        self.declare_sizes(kernel, names);
        // Scalars first: shapes may use those that stand behind the tensor.
        for param in &kernel.params {
            if param.mode.is_none() {
                self.scalar_param(param);
            }
        }
        let mut tensors = Vec::new();
        for param in &kernel.params {
            if let Some(mode) = param.mode {
                let role = match mode {
                    ast::Mode::In => Role::In,
                    ast::Mode::Out => Role::Out,
                    ast::Mode::InOut => Role::InOut,
                };
                tensors.push(self.tensor(&param.name, &param.ty, role, &param.attrs));
            }
        }
        let mut tensors = tensors.into_iter();
        let mut scalars = self.func.scalars.handles();
        for param in &kernel.params {
            let param_ref = if param.mode.is_some() {
                tensors.next().map(ParamRef::Tensor)
            } else {
                scalars.next().map(ParamRef::Scalar)
            };
            self.func.params.extend(param_ref);
        }
        for cond in &kernel.wheres {
            if let Some(id) = self.condition(cond) {
                self.func.wheres.push(id);
            }
        }
    }

    fn declare_sizes(&mut self, kernel: &ast::Kernel, names: &Names) {
        let scalars: Vec<&str> =
            kernel.params.iter().filter(|p| p.mode.is_none()).map(|p| p.name.name.as_str()).collect();
        for name in &names.extents {
            let text = name.name.as_str();
            let known = scalars.contains(&text)
                || names.bound.contains(text)
                || self.globals.consts.contains_key(text)
                || self.lookup(text).is_some();
            // A tunable that bounds something is an error, reported where it is read.
            if known || (self.hidden.contains(text) && !self.in_shape(kernel, text)) {
                continue;
            }
            let size = self.func.sizes.push(Size { name: text.to_owned(), span: name.span });
            self.bind(text, name.span, Bound::Size(size));
        }
    }

    fn in_shape(&self, kernel: &ast::Kernel, name: &str) -> bool {
        let shapes = kernel.params.iter().flat_map(|p| &p.ty.shape);
        shapes.into_iter().any(|e| matches!(&strip(e).kind, ast::ExprKind::Name(n) if n == name))
    }

    fn scalar_param(&mut self, param: &ast::Param) {
        let (name, span) = (param.name.name.clone(), param.name.span);
        if !param.ty.shape.is_empty() {
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    param.ty.span,
                    format!("`{name}` has dimensions but no direction"),
                )
                .help(format!("{name}: in {}[..]", param.ty.dtype)),
            );
        }
        if let Some(attr) = param.attrs.first() {
            self.error(Code::Misplaced, attr.span, "only tensors have attributes");
        }
        let scalar = self.func.scalars.push(ScalarParam { name: name.clone(), dtype: param.ty.dtype, span });
        self.bind(&name, span, Bound::Scalar(scalar));
    }

    /// Declares a tensor: a parameter or a `buf`.
    pub(super) fn tensor(
        &mut self,
        name: &ast::Ident,
        ty: &ast::Type,
        role: Role,
        attrs: &[ast::Attr],
    ) -> crate::hir::ir::TensorId {
        let mut shape = Vec::new();
        for extent in &ty.shape {
            let id = self.index(extent);
            let zero = self.int(1, extent.span);
            shape.push(id.unwrap_or(zero));
        }
        let rank = shape.len();
        let buffer = role == Role::Buf;
        let tensor = Tensor {
            name: name.name.clone(),
            dtype: if buffer { self.mapped(ty.dtype) } else { ty.dtype },
            shape,
            role,
            edges: vec![None; rank],
            packed: None,
            range: None,
            monotone: false,
            injective: false,
            constant: false,
            bag: false,
            span: name.span,
        };
        let id = self.func.tensors.push(tensor);
        self.bind(&name.name, name.span, Bound::Tensor(id));
        for attr in attrs {
            self.attribute(id, ty, attr);
        }
        id
    }

    fn attribute(&mut self, id: crate::hir::ir::TensorId, ty: &ast::Type, attr: &ast::Attr) {
        let dtype = ty.dtype;
        let rank = ty.shape.len();
        match &attr.kind {
            ast::AttrKind::Edge(edge) => {
                if let Some(edge) = self.edge(edge, dtype) {
                    self.func.tensors[id].edges = vec![Some(edge); rank];
                }
            }
            ast::AttrKind::EdgePerAxis(list) => {
                for (position, (name, edge)) in list.iter().enumerate() {
                    let edge = self.edge(edge, dtype);
                    let by_size = ty.shape.iter().position(|e| expr_text(strip(e)) == name.name);
                    let dim = by_size.or_else(|| (list.len() == rank).then_some(position));
                    match dim {
                        Some(dim) => self.func.tensors[id].edges[dim] = edge,
                        None => self.report(
                            Diagnostic::error(
                                Code::Arguments,
                                name.span,
                                format!("`{}` is not an extent of this tensor", name.name),
                            )
                            .help("name a size of its shape, or give one rule for each dimension"),
                        ),
                    }
                }
            }
            ast::AttrKind::Packed(e) => match &strip(e).kind {
                ast::ExprKind::Int { value, .. } if usize::try_from(*value).is_ok_and(|d| d < rank) => {
                    self.func.tensors[id].packed = usize::try_from(*value).ok();
                }
                ast::ExprKind::Error => self.bad = true,
                _ => self.error(Code::Arguments, e.span, format!("a dimension below {rank} is needed")),
            },
            ast::AttrKind::Range(lo, hi) => {
                self.needs_int("range", dtype, attr.span);
                let (lo, hi) = (self.index(lo), self.index(hi));
                if let (Some(lo), Some(hi)) = (lo, hi) {
                    self.func.tensors[id].range = Some((lo, hi));
                }
            }
            ast::AttrKind::Flag(name) => {
                let tensor = &mut self.func.tensors[id];
                match name.name.as_str() {
                    "monotone" => tensor.monotone = true,
                    "injective" => tensor.injective = true,
                    "const_" => tensor.constant = true,
                    "bag" => tensor.bag = true,
                    other => {
                        let message = format!("there is no attribute `{other}`");
                        self.error(Code::UnknownName, name.span, message);
                        return;
                    }
                }
                if matches!(name.name.as_str(), "monotone" | "injective") {
                    self.needs_int(&name.name, dtype, attr.span);
                }
            }
        }
    }

    fn needs_int(&mut self, what: &str, dtype: DType, span: Span) {
        if !dtype.is_int() {
            self.error(
                Code::TypeMismatch,
                span,
                format!("`{what}` is for tensors of integers, not of `{dtype}`"),
            );
        }
    }

    fn edge(&mut self, edge: &ast::Edge, dtype: DType) -> Option<Edge> {
        Some(match edge {
            ast::Edge::Clamp => Edge::Clamp,
            ast::Edge::Wrap => Edge::Wrap,
            ast::Edge::Reflect => Edge::Reflect,
            ast::Edge::Symmetric => Edge::Symmetric,
            ast::Edge::Const(e) => {
                let val = self.expr(e)?;
                let id = self.coerce(val, dtype)?;
                match self.expr_of(id).kind {
                    crate::hir::ir::ExprKind::Const(v) => Edge::Const(v),
                    _ => {
                        self.error(Code::Arguments, e.span, "a literal is needed");
                        Edge::Const(Scalar::Int(0).cast(dtype))
                    }
                }
            }
        })
    }
}
