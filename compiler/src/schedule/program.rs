//! Kernels and pipelines as programs: buffers, launches, and the steps between them.

use std::collections::BTreeMap;

use rooftile_artifact::HostExpr;
use rooftile_artifact::program::{BufferDecl, Contract, Mode, Program, ScalarParam, Step, TensorParam};

use super::host;
use super::kernel::{KernelNest, ViewShape, ViewShapeDim};
use super::layout::{self, Order, OrderDim};
use super::time::{Repeat, TimePlan};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{
    AxisId, CallArg, ExprId, File, Func, FuncId, FuncKind, ParamRef, Role, Stmt, StmtKind, Tensor, TensorId,
    View, ViewDim,
};
use crate::nest::ir::{Module, Nest};

type Steps = BTreeMap<AxisId, usize>;

/// Makes the loops of a kernel whose parameters lie in their buffers as the views say.
pub(crate) type Kernels<'a> = dyn FnMut(FuncId, &[Option<ViewShape>]) -> Result<KernelNest, Diagnostic> + 'a;

/// The program of a kernel or pipeline, whose tensors lie in the orders given for their numbers, and whose repeats take
/// several steps at once as a plan says.
///
/// # Errors
/// What the kernels report, host expressions that cannot be computed, and E0504 for orders that do not go together.
pub(crate) fn program(
    file: &File,
    entry: FuncId,
    orders: &BTreeMap<usize, Order>,
    time: Option<TimePlan<'_>>,
    kernels: &mut Kernels<'_>,
) -> Result<Module, Diagnostic> {
    let func = &file.funcs[entry];
    let none = Steps::new();
    let mut params = Vec::new();
    let mut buffers = Vec::new();
    for (_, t) in func.tensors.iter() {
        let mode = match t.role {
            Role::In => Some(Mode::In),
            Role::Out => Some(Mode::Out),
            Role::InOut => Some(Mode::InOut),
            Role::Buf => None,
        };
        if let Some(mode) = mode {
            params.push(TensorParam { name: t.name.clone(), mode, contracts: contracts(func, t)? });
        }
        let (mut shape, mut packed) = (extents(func, t)?, t.packed);
        if let (Role::Buf, Some(order)) = (t.role, orders.get(&buffers.len())) {
            (shape, packed) = (order.extents(&shape), order.packed(packed));
        }
        buffers.push(BufferDecl { name: t.name.clone(), dtype: t.dtype, shape, packed });
    }
    let requires = func
        .wheres
        .iter()
        .map(|e| Ok((host::of_hir(func, *e, &none)?, host::text(func, *e))))
        .collect::<Result<_, Diagnostic>>()?;
    let mut maker = Maker {
        file,
        func,
        kernels,
        orders,
        time,
        places: (0..buffers.len()).collect(),
        made: Vec::new(),
        nests: Vec::new(),
        buffers,
        steps: Steps::new(),
        step_vars: 0,
    };
    let Around { once, before, after } = maker.reorder()?;
    let main = if func.kind == FuncKind::Pipeline {
        maker.block(&func.body)?
    } else {
        let sizes = func.sizes.handles().map(|s| HostExpr::Size(s.index())).collect();
        let scalars = func.scalars.handles().map(|s| HostExpr::Scalar(s.index())).collect();
        let views = (0..func.tensors.len()).map(|t| maker.whole(t)).collect();
        let slots = maker.places.clone();
        vec![maker.launch(Call { callee: entry, views, slots, sizes, scalars })?]
    };
    let steps = before.into_iter().chain(main).chain(after).collect();
    let program = Program {
        name: func.name.clone(),
        sizes: func.sizes.iter().map(|(_, s)| s.name.clone()).collect(),
        scalars: func
            .scalars
            .iter()
            .map(|(_, s)| ScalarParam { name: s.name.clone(), dtype: s.dtype })
            .collect(),
        params,
        buffers: maker.buffers,
        requires,
        kernels: Vec::new(),
        step_vars: maker.step_vars,
        prepare: once,
        steps,
    };
    Ok(Module { program, nests: maker.nests })
}

/// The extents of a tensor as its signature lists them.
fn extents(func: &Func, t: &Tensor) -> Result<Vec<HostExpr>, Diagnostic> {
    t.shape.iter().map(|e| host::of_hir(func, *e, &Steps::new())).collect()
}

fn contracts(func: &Func, t: &Tensor) -> Result<Vec<Contract>, Diagnostic> {
    let none = Steps::new();
    let mut out = Vec::new();
    if t.role == Role::Out {
        return Ok(out);
    }
    if let Some((lo, hi)) = t.range {
        out.push(Contract::Range(host::of_hir(func, lo, &none)?, host::of_hir(func, hi, &none)?));
    }
    if t.monotone {
        out.push(Contract::Monotone);
    }
    if t.injective {
        out.push(Contract::Injective);
    }
    Ok(out)
}

struct Made {
    callee: FuncId,
    views: Vec<Option<ViewShape>>,
    kernel: usize,
    nest: KernelNest,
}

/// The copies of parameters that lie in another order than their callers'.
#[derive(Default)]
struct Around {
    /// Those that all runs on the same content share.
    once: Vec<Step>,
    /// Those that come first in each run.
    before: Vec<Step>,
    /// Those that come last.
    after: Vec<Step>,
}

/// Makes the steps of a program.
pub(super) struct Maker<'a, 'k> {
    pub(super) file: &'a File,
    pub(super) func: &'a Func,
    kernels: &'a mut Kernels<'k>,
    /// The orders of dimensions that differ from the signature's.
    orders: &'a BTreeMap<usize, Order>,
    /// What says how many steps of a repeat are taken at once.
    time: Option<TimePlan<'a>>,
    /// The buffer of each tensor.
    pub(super) places: Vec<usize>,
    made: Vec<Made>,
    pub(super) nests: Vec<Nest>,
    pub(super) buffers: Vec<BufferDecl>,
    /// The step variable of each counter.
    pub(super) steps: Steps,
    step_vars: usize,
}

/// A launch of a kernel.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The kernel.
    callee: FuncId,
    /// How its tensors lie in the buffers.
    pub(super) views: Vec<Option<ViewShape>>,
    /// The buffer of each tensor.
    slots: Vec<usize>,
    /// Its sizes, then those of views.
    pub(super) sizes: Vec<HostExpr>,
    /// Its scalars.
    pub(super) scalars: Vec<HostExpr>,
}

impl Maker<'_, '_> {
    /// An expression of the pipeline for the host.
    pub(super) fn host(&self, e: ExprId) -> Result<HostExpr, Diagnostic> {
        host::of_hir(self.func, e, &self.steps)
    }

    /// Gives parameters that lie in another order than their callers' buffers of their own.
    fn reorder(&mut self) -> Result<Around, Diagnostic> {
        let mut around = Around::default();
        for (&t, order) in self.orders {
            let Some((_, tensor)) = self.func.tensors.iter().nth(t) else { continue };
            if tensor.role == Role::Buf {
                continue;
            }
            let sizes = extents(self.func, tensor)?;
            let place = self.buffers.len();
            self.buffers.push(BufferDecl {
                name: format!("{}.layout", tensor.name),
                dtype: tensor.dtype,
                shape: order.extents(&sizes),
                packed: order.packed(tensor.packed),
            });
            self.places[t] = place;
            let plain = Order::plain(tensor.shape.len());
            let mut copy = |from, to, buffers: [usize; 2]| -> Result<Step, Diagnostic> {
                self.nests.push(layout::copy(tensor, from, to)?);
                let kernel = self.nests.len() - 1;
                let (buffers, sizes) = (buffers.to_vec(), sizes.clone());
                Ok(Step::Launch { kernel, buffers, sizes, scalars: Vec::new() })
            };
            if tensor.role != Role::Out {
                let first = if order.once { &mut around.once } else { &mut around.before };
                first.push(copy(&plain, order, [t, place])?);
            }
            if tensor.role != Role::In {
                around.after.push(copy(order, &plain, [place, t])?);
            }
        }
        Ok(around)
    }

    /// A tensor as a whole, where its order is not the signature's.
    fn whole(&self, tensor: usize) -> Option<ViewShape> {
        let order = self.orders.get(&tensor)?;
        Some(ViewShape { dims: order.view() })
    }

    /// Two tensors of which one is to hold what the other held: they must lie alike.
    fn alike(&self, a: TensorId, b: TensorId) -> Result<(usize, usize), Diagnostic> {
        if self.orders.get(&a.index()) != self.orders.get(&b.index()) {
            let (a, b) = (&self.func.tensors[a], &self.func.tensors[b]);
            let message =
                format!("`{}` and `{}` take each other's place, but lie in different orders", a.name, b.name);
            return Err(Diagnostic::error(Code::Illegal, a.span, message).help(format!(
                "give `layout` for one of them, and the other follows; or the same for `{}` and `{}`",
                a.name, b.name
            )));
        }
        Ok((self.places[a.index()], self.places[b.index()]))
    }

    /// A new counter of the program.
    pub(super) fn new_step_var(&mut self) -> usize {
        self.step_vars += 1;
        self.step_vars - 1
    }

    /// The buffers that change places after each pass of a repeat.
    pub(super) fn swaps(&self, pingpong: &[(TensorId, TensorId)]) -> Result<Vec<(usize, usize)>, Diagnostic> {
        pingpong.iter().map(|(a, b)| self.alike(*a, *b)).collect()
    }

    fn block(&mut self, body: &[Stmt]) -> Result<Vec<Step>, Diagnostic> {
        let mut steps = Vec::new();
        for stmt in body {
            if let StmtKind::Repeat { axis, pingpong, body } = &stmt.kind
                && let Some(plan) = self.time
            {
                let (n, style) = plan.steps(&self.func.axes[*axis].name, stmt.span)?;
                if n > 1 {
                    let repeat = Repeat { axis: *axis, pingpong, body, span: stmt.span };
                    steps.extend(self.time_tiled(&plan, (n, style), &repeat)?);
                    continue;
                }
            }
            steps.push(self.stmt(stmt)?);
        }
        Ok(steps)
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<Step, Diagnostic> {
        Ok(match &stmt.kind {
            StmtKind::Call { callee, args, sizes } => {
                let call = self.arguments(*callee, args, sizes)?;
                self.launch(call)?
            }
            StmtKind::Repeat { axis, pingpong, body } => {
                let (lo, hi) = (self.func.axes[*axis].lo, self.func.axes[*axis].hi);
                let (lo, hi) = (self.host(lo)?, self.host(hi)?);
                let var = self.new_step_var();
                self.steps.insert(*axis, var);
                let swaps = self.swaps(pingpong)?;
                Step::Repeat { var, lo, hi, swaps, body: self.block(body)? }
            }
            StmtKind::If { cond, then, otherwise } => Step::If {
                cond: self.host(*cond)?,
                then: self.block(then)?,
                otherwise: self.block(otherwise)?,
            },
            StmtKind::Fill { tensor, value } => {
                Step::Fill { buffer: self.places[tensor.index()], value: self.host(*value)? }
            }
            StmtKind::Copy { from, to } => {
                let (from, to) = self.alike(*from, *to)?;
                Step::Copy { from, to }
            }
            _ => {
                return Err(Diagnostic::error(Code::Misplaced, stmt.span, "this may stand in a kernel only"));
            }
        })
    }

    /// What a call hands to its kernel.
    pub(super) fn arguments(
        &self,
        callee: FuncId,
        args: &[CallArg],
        sizes: &[ExprId],
    ) -> Result<Call, Diagnostic> {
        let target = &self.file.funcs[callee];
        let mut host_sizes = sizes.iter().map(|e| self.host(*e)).collect::<Result<Vec<_>, _>>()?;
        let mut scalars: Vec<(usize, HostExpr)> = Vec::new();
        let mut tensors: Vec<(usize, &View)> = Vec::new();
        for (param, arg) in target.params.iter().zip(args) {
            match (param, arg) {
                (ParamRef::Scalar(s), CallArg::Scalar(e)) => {
                    let value = HostExpr::Cast(target.scalars[*s].dtype, Box::new(self.host(*e)?));
                    scalars.push((s.index(), value));
                }
                (ParamRef::Tensor(t), CallArg::Tensor(view)) => tensors.push((t.index(), view)),
                _ => {
                    return Err(Diagnostic::error(
                        Code::Arguments,
                        target.span,
                        "arguments in the wrong order",
                    ));
                }
            }
        }
        scalars.sort_by_key(|(n, _)| *n);
        tensors.sort_by_key(|(n, _)| *n);
        let mut views = Vec::new();
        let mut slots = Vec::new();
        for (_, view) in &tensors {
            slots.push(self.places[view.tensor.index()]);
            views.push(self.view(view, &mut host_sizes)?);
        }
        let scalars = scalars.into_iter().map(|(_, e)| e).collect();
        Ok(Call { callee, views, slots, sizes: host_sizes, scalars })
    }

    /// The shape of a view, and the sizes that it adds to the kernel's own.
    fn view(&self, view: &View, sizes: &mut Vec<HostExpr>) -> Result<Option<ViewShape>, Diagnostic> {
        let tensor: TensorId = view.tensor;
        let shape = &self.func.tensors[tensor].shape;
        if view.is_whole(shape.len()) {
            return Ok(self.whole(tensor.index()));
        }
        let mut dims = Vec::new();
        let plain = Order::plain(shape.len());
        for &dim in &self.orders.get(&tensor.index()).unwrap_or(&plain).dims {
            let s = match dim {
                OrderDim::Whole(s) => s,
                OrderDim::Panel(s, n) | OrderDim::InPanel(s, n) => {
                    let whole = |d: &ViewDim| d.source == s && d.lo.is_none() && d.extent.is_none();
                    let Some(at) = view.dims.iter().position(whole) else {
                        let tensor = &self.func.tensors[tensor];
                        let message =
                            format!("a part of `{}` along its panels is handed to a kernel", tensor.name);
                        return Err(Diagnostic::error(Code::Illegal, tensor.span, message)
                            .help("cut another dimension into panels: `prepack` takes the last, after `transpose` or `soa`"));
                    };
                    let panels = matches!(dim, OrderDim::Panel(..));
                    dims.push(if panels { ViewShapeDim::Panel(at, n) } else { ViewShapeDim::InPanel(at, n) });
                    continue;
                }
            };
            let extent = &shape[s];
            if let Some((_, at)) = view.fixed.iter().find(|(d, _)| *d == s) {
                sizes.push(self.host(*at)?);
                sizes.push(self.host(*extent)?);
                dims.push(ViewShapeDim::Fixed);
                continue;
            }
            let Some((n, d)) = view.dims.iter().enumerate().find(|(_, d)| d.source == s) else { continue };
            if d.lo.is_none() && d.extent.is_none() {
                dims.push(ViewShapeDim::Whole(n));
            } else {
                sizes.push(d.lo.map_or(Ok(0.into()), |e| self.host(e))?);
                sizes.push(self.host(*extent)?);
                dims.push(ViewShapeDim::Part(n));
            }
        }
        Ok(Some(ViewShape { dims }))
    }

    /// A launch of a kernel, whose loops are made if they are not there yet.
    pub(super) fn launch(&mut self, call: Call) -> Result<Step, Diagnostic> {
        let Call { callee, views, mut slots, sizes, scalars } = call;
        let at = match self.made.iter().position(|m| m.callee == callee && m.views == views) {
            Some(at) => at,
            None => {
                let nest = (self.kernels)(callee, &views)?;
                self.nests.push(nest.nest.clone());
                self.made.push(Made { callee, views, kernel: self.nests.len() - 1, nest });
                self.made.len() - 1
            }
        };
        let made = &self.made[at];
        let span = self.file.funcs[callee].span;
        for (n, scratch) in made.nest.scratch.iter().enumerate() {
            let shape = scratch
                .shape
                .iter()
                .map(|e| host::of_nest(&made.nest.nest, *e, &sizes, &scalars, span))
                .collect::<Result<_, _>>()?;
            let name = format!("{}.scratch{n}", self.file.funcs[callee].name);
            let decl = BufferDecl { name, dtype: scratch.dtype, shape, packed: None };
            let params = self.func.tensors.len();
            // Launches follow each other, so equal scratch is shared.
            let free = (params..self.buffers.len()).find(|b| self.buffers[*b] == decl && !slots.contains(b));
            slots.push(free.unwrap_or(self.buffers.len()));
            if free.is_none() {
                self.buffers.push(decl);
            }
        }
        Ok(Step::Launch { kernel: made.kernel, buffers: slots, sizes, scalars })
    }
}
