//! Programs: a kernel or reference is one launch, a pipeline a list of steps.

use indexmap::IndexMap;
use rooftile_artifact::HostExpr;
use rooftile_artifact::host_expr::HostBinary;
use rooftile_artifact::program::{BufferDecl, Contract, Mode, Program, ScalarParam, Step, TensorParam};

use super::host::Host;
use super::{R, internal, kernel, unsupported};
use crate::diag::Span;
use crate::hir::ir::{
    CallArg, ExprId, File, Func, FuncId, FuncKind, ParamRef, Role, Stmt, StmtKind, TensorId, View,
};
use crate::oracle::values::wide_type;

/// The program of a function.
pub(super) fn program(file: &File, func: &Func) -> R<Program> {
    let host = Host { file, func, steps: Vec::new() };
    let need = |e: ExprId, what: &str| match host.expr(e) {
        Some(e) => Ok(e),
        None => unsupported(what, func.exprs[e].span),
    };
    // A reference takes the scalars that its kernel takes, rounded to the kernel's types.
    let signature = match func.kind {
        FuncKind::Reference => file.entry(&func.name).map_or(func, |id| &file.funcs[id]),
        _ => func,
    };
    let mut params = Vec::new();
    let mut buffers = Vec::new();
    for (n, (_, tensor)) in func.tensors.iter().enumerate() {
        let shape = tensor.shape.iter().map(|&e| need(e, "an extent of this form")).collect::<R<_>>()?;
        buffers.push(BufferDecl {
            name: tensor.name.clone(),
            dtype: wide_type(tensor.dtype),
            shape,
            packed: None,
        });
        let mode = match tensor.role {
            Role::In => Mode::In,
            Role::Out => Mode::Out,
            Role::InOut => Mode::InOut,
            Role::Buf => continue,
        };
        if n != params.len() {
            return Err(internal("a parameter after a buffer"));
        }
        let mut contracts = Vec::new();
        if mode != Mode::Out {
            if let Some((lo, hi)) = tensor.range {
                contracts.push(Contract::Range(need(lo, "a range")?, need(hi, "a range")?));
            }
            contracts.extend(tensor.monotone.then_some(Contract::Monotone));
            contracts.extend(tensor.injective.then_some(Contract::Injective));
        }
        params.push(TensorParam { name: tensor.name.clone(), mode, contracts });
    }
    let requires = func.wheres.iter().filter_map(|&e| {
        let text = "a condition of `where`".to_owned();
        host.expr(e).map(|cond| (cond, text))
    });
    let mut program = Program {
        name: func.name.clone(),
        sizes: func.sizes.iter().map(|(_, s)| s.name.clone()).collect(),
        scalars: signature
            .scalars
            .iter()
            .map(|(_, s)| ScalarParam { name: s.name.clone(), dtype: s.dtype })
            .collect(),
        params,
        buffers,
        requires: requires.collect(),
        kernels: Vec::new(),
        step_vars: 0,
        prepare: Vec::new(),
        steps: Vec::new(),
    };
    if func.kind == FuncKind::Pipeline {
        let mut steps = Steps { file, host, kernels: IndexMap::new(), program: &mut program };
        let list = steps.list(&func.body)?;
        program.steps = list;
    } else {
        program.kernels.push(kernel(file, func, &[])?);
        program.steps.push(Step::Launch {
            kernel: 0,
            buffers: (0..func.tensors.len()).collect(),
            sizes: (0..func.sizes.len()).map(HostExpr::Size).collect(),
            scalars: (0..func.scalars.len()).map(HostExpr::Scalar).collect(),
        });
    }
    Ok(program)
}

struct Steps<'a, 'p> {
    file: &'a File,
    host: Host<'a>,
    /// Compiled kernels, by what they were compiled from and which tensors are strided.
    kernels: IndexMap<(FuncId, Vec<bool>), usize>,
    program: &'p mut Program,
}

impl Steps<'_, '_> {
    fn need(&self, e: ExprId, what: &str) -> R<HostExpr> {
        match self.host.expr(e) {
            Some(e) => Ok(e),
            None => unsupported(what, self.host.func.exprs[e].span),
        }
    }

    fn list(&mut self, body: &[Stmt]) -> R<Vec<Step>> {
        body.iter().map(|s| self.step(s)).collect()
    }

    fn step(&mut self, stmt: &Stmt) -> R<Step> {
        Ok(match &stmt.kind {
            StmtKind::Call { callee, args, sizes } => self.call(*callee, args, sizes, stmt.span)?,
            StmtKind::Repeat { axis, pingpong, body } => {
                let a = &self.host.func.axes[*axis];
                let (lo, hi) = (self.need(a.lo, "a bound")?, self.need(a.hi, "a bound")?);
                let var = self.program.step_vars;
                self.program.step_vars += 1;
                self.host.steps.push((*axis, var));
                let body = self.list(body)?;
                self.host.steps.pop();
                let swaps = pingpong.iter().map(|(a, b)| (a.index(), b.index())).collect();
                Step::Repeat { var, lo, hi, swaps, body }
            }
            StmtKind::If { cond, then, otherwise } => Step::If {
                cond: self.need(*cond, "a condition")?,
                then: self.list(then)?,
                otherwise: self.list(otherwise)?,
            },
            StmtKind::Fill { tensor, value } => {
                Step::Fill { buffer: tensor.index(), value: self.need(*value, "a value")? }
            }
            StmtKind::Copy { from, to } => Step::Copy { from: from.index(), to: to.index() },
            _ => return unsupported("statements of kernels in pipelines", stmt.span),
        })
    }

    fn call(&mut self, callee: FuncId, args: &[CallArg], sizes: &[ExprId], span: Span) -> R<Step> {
        let file = self.file;
        let func = file.funcs.get(callee).ok_or_else(|| internal("a call of nothing"))?;
        let mut scalars = Vec::new();
        let mut views: Vec<(TensorId, &View)> = Vec::new();
        for (param, arg) in func.params.iter().zip(args) {
            match (param, arg) {
                (ParamRef::Scalar(_), CallArg::Scalar(e)) => {
                    scalars.push(self.need(*e, "a scalar argument")?)
                }
                (ParamRef::Tensor(t), CallArg::Tensor(view)) => views.push((*t, view)),
                _ => return Err(internal("an argument of the wrong kind")),
            }
        }
        views.sort_by_key(|(t, _)| *t);
        if views.len() != func.tensors.len() {
            return unsupported("buffers in a kernel that a pipeline calls", span);
        }
        let strided: Vec<bool> =
            views.iter().map(|(_, v)| !v.is_whole(self.host.func.tensors[v.tensor].shape.len())).collect();
        let mut sizes: Vec<HostExpr> = sizes.iter().map(|&e| self.need(e, "a size")).collect::<R<_>>()?;
        for (_, view) in views.iter().zip(&strided).filter(|&(_, &s)| s).map(|(v, _)| v) {
            sizes.extend(self.layout(view)?);
        }
        let key = (callee, strided);
        let number = match self.kernels.get(&key) {
            Some(&n) => n,
            None => {
                let compiled = kernel(file, func, &key.1)?;
                self.program.kernels.push(compiled);
                let n = self.program.kernels.len() - 1;
                self.kernels.insert(key, n);
                n
            }
        };
        let buffers = views.iter().map(|(_, v)| v.tensor.index()).collect();
        Ok(Step::Launch { kernel: number, buffers, sizes, scalars })
    }

    /// Offset and strides of a view, in elements.
    fn layout(&self, view: &View) -> R<Vec<HostExpr>> {
        let tensor = &self.host.func.tensors[view.tensor];
        let mut strides = vec![HostExpr::from(1); tensor.shape.len()];
        for d in (1..tensor.shape.len()).rev() {
            let extent = self.need(tensor.shape[d], "an extent")?;
            strides[d - 1] = HostExpr::binary(HostBinary::Mul, strides[d].clone(), extent);
        }
        let mut offset = HostExpr::from(0);
        let held = view.dims.iter().filter_map(|d| d.lo.map(|lo| (d.source, lo)));
        for (source, at) in held.chain(view.fixed.iter().copied()) {
            let at = self.need(at, "an index of a view")?;
            let step = HostExpr::binary(HostBinary::Mul, at, strides[source].clone());
            offset = HostExpr::binary(HostBinary::Add, offset, step);
        }
        Ok(std::iter::once(offset).chain(view.dims.iter().map(|d| strides[d.source].clone())).collect())
    }
}
