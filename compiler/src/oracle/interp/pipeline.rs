//! Statements of pipelines.

use rooftile_artifact::Scalar;

use super::memory::Binding;
use super::{Exec, R};
use crate::diag::Span;
use crate::hir::ir::{AxisId, CallArg, ExprId, FuncId, ParamRef, Stmt, TensorId, View};
use crate::oracle::error::ErrorKind;

impl<'a> Exec<'_, 'a> {
    /// Launches a kernel.
    pub(super) fn call(&mut self, callee: FuncId, args: &[CallArg], sizes: &[ExprId], span: Span) -> R<()> {
        let Some(func) = self.m.file.funcs.get(callee) else {
            return self.fail(ErrorKind::Internal("a call of nothing"), span);
        };
        let sizes: Vec<i64> = sizes.iter().map(|&e| Ok(self.eval(e)?.as_i64())).collect::<R<_>>()?;
        let mut scalars = Vec::new();
        let mut bindings = vec![None; func.tensors.len()];
        for (param, arg) in func.params.iter().zip(args) {
            match (param, arg) {
                (ParamRef::Scalar(s), CallArg::Scalar(e)) => {
                    let v = self.eval(*e)?;
                    let from = self.func.exprs[*e].dtype;
                    scalars.push(self.m.arith.cast(v, from, func.scalars[*s].dtype));
                }
                (ParamRef::Tensor(t), CallArg::Tensor(view)) => {
                    bindings[t.index()] = Some(self.view(view, span)?);
                }
                _ => return self.fail(ErrorKind::Internal("an argument of the wrong kind"), span),
            }
        }
        self.m.launch += 1;
        self.m.races.clear();
        let mut kernel = Exec::new(self.m, func, sizes, scalars);
        kernel.bindings = bindings;
        for param in &func.params {
            if let ParamRef::Tensor(id) = *param {
                kernel.check_extents(id, span)?;
            }
        }
        kernel.body()?;
        self.m.launch += 1;
        self.m.races.clear();
        Ok(())
    }

    /// Whether a tensor parameter has the extents that it declares.
    fn check_extents(&mut self, id: TensorId, span: Span) -> R<()> {
        let tensor = &self.func.tensors[id];
        let want = self.extents(tensor)?;
        match &self.bindings[id.index()] {
            Some(binding) if binding.extents == want => Ok(()),
            Some(binding) => {
                let what = format!("`{}` gets extents {:?}, not {want:?}", tensor.name, binding.extents);
                self.fail(ErrorKind::BadInput(what), span)
            }
            None => self.fail(ErrorKind::Internal("an unbound tensor"), span),
        }
    }

    fn view(&mut self, view: &View, span: Span) -> R<Binding> {
        let Some(whole) = self.bindings[view.tensor.index()].clone() else {
            return self.fail(ErrorKind::Internal("an unbound tensor"), span);
        };
        let mut out = Binding {
            storage: whole.storage,
            offset: whole.offset,
            extents: Vec::new(),
            strides: Vec::new(),
        };
        let outside = |exec: &Self, lo, hi, n| {
            let what = format!("a view of {lo}..{hi} of a dimension of {n}");
            exec.fail(ErrorKind::BadInput(what), span)
        };
        for dim in &view.dims {
            let lo = match dim.lo {
                Some(e) => self.eval(e)?.as_i64(),
                None => 0,
            };
            let n = whole.extents[dim.source];
            let extent = match dim.extent {
                Some(e) => self.eval(e)?.as_i64(),
                None => n - lo,
            };
            if lo < 0 || extent < 0 || lo.checked_add(extent).is_none_or(|end| end > n) {
                return outside(self, lo, lo.saturating_add(extent), n);
            }
            out.offset += lo * whole.strides[dim.source];
            out.extents.push(extent);
            out.strides.push(whole.strides[dim.source]);
        }
        for &(source, e) in &view.fixed {
            let at = self.eval(e)?.as_i64();
            let n = whole.extents[source];
            if !(0..n).contains(&at) {
                return outside(self, at, at.saturating_add(1), n);
            }
            out.offset += at * whole.strides[source];
        }
        Ok(out)
    }

    /// Repeats, exchanging storages after every pass.
    pub(super) fn repeat(
        &mut self,
        axis: AxisId,
        pingpong: &[(TensorId, TensorId)],
        body: &'a [Stmt],
    ) -> R<()> {
        let (lo, hi) = self.whole(axis)?;
        for t in lo..hi {
            self.set(axis, t);
            self.block(body)?;
            for &(a, b) in pingpong {
                self.bindings.swap(a.index(), b.index());
            }
        }
        Ok(())
    }

    /// Sets every element.
    pub(super) fn fill(&mut self, tensor: TensorId, value: ExprId, span: Span) -> R<()> {
        let v = self.eval(value)?;
        let declared = &self.func.tensors[tensor];
        let v = self.m.arith.cast(v, self.func.exprs[value].dtype, declared.dtype);
        let Some(binding) = self.bindings[tensor.index()].clone() else {
            return self.fail(ErrorKind::Internal("an unbound tensor"), span);
        };
        for (_, at) in binding.positions() {
            self.m.storages[binding.storage].cells[at] = Some(v);
        }
        Ok(())
    }

    /// Copies every element.
    pub(super) fn copy(&mut self, from: TensorId, to: TensorId, span: Span) -> R<()> {
        let (Some(source), Some(target)) =
            (self.bindings[from.index()].clone(), self.bindings[to.index()].clone())
        else {
            return self.fail(ErrorKind::Internal("an unbound tensor"), span);
        };
        if source.extents != target.extents {
            let what = format!("a copy of extents {:?} to {:?}", source.extents, target.extents);
            return self.fail(ErrorKind::BadInput(what), span);
        }
        let content: Vec<Option<Scalar>> =
            source.positions().map(|(_, at)| self.m.storages[source.storage].cells[at]).collect();
        for ((_, at), v) in target.positions().zip(content) {
            self.m.storages[target.storage].cells[at] = v;
        }
        Ok(())
    }
}
