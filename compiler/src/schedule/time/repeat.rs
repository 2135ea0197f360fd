//! The steps of a program whose repeat is tiled in time: the repeat of many steps at once, and that of the rest.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::HostExpr;
use rooftile_artifact::host_expr::HostBinary;
use rooftile_artifact::program::{BufferDecl, Step as HostStep};

use super::TimePlan;
use super::compose::{self, Parts};
use super::memory::Slot;
use super::part::{self, Block, Places};
use super::stencil::refuse;
use super::step::{self, Step};
use super::trapezoid::Slopes;
use super::versions::{Stages, Version};
use crate::diag::{Diagnostic, Span};
use crate::hir::ir::{AxisId, Func, Role, Stmt, StmtKind, TensorId};
use crate::nest::ir::Nest;
use crate::schedule::form::Form;
use crate::schedule::kernel::Setup;
use crate::schedule::plan::TimeStyle;
use crate::schedule::program::{Call, Maker};
use crate::schedule::{code_size, host};

/// A repeat of a pipeline.
#[derive(Clone, Copy)]
pub(crate) struct Repeat<'a> {
    /// The counter.
    pub(crate) axis: AxisId,
    /// Tensors that take each other's place.
    pub(crate) pingpong: &'a [(TensorId, TensorId)],
    /// What is repeated.
    pub(crate) body: &'a [Stmt],
    /// Its place.
    pub(crate) span: Span,
}

/// Each tensor that must hold a new state in the end, with the tensor whose memory receives it, if one is free.
///
/// # Errors
/// E0504 where a tensor would get what another held before.
pub(super) fn results(
    func: &Func,
    step: &Step,
    stages: &Stages,
) -> Result<BTreeMap<TensorId, Option<TensorId>>, Diagnostic> {
    let mut state: BTreeSet<TensorId> = step.swaps.iter().flat_map(|(a, b)| [*a, *b]).collect();
    state.extend(step.calls.iter().flat_map(|c| c.stencil.state.keys().map(|t| c.tensors[t.index()])));
    let read = |t: &TensorId| stages.last.contains_key(&Version::Old(*t));
    let mut free: Vec<TensorId> = state
        .iter()
        .copied()
        .filter(|t| func.tensors[*t].role == Role::Buf)
        .filter(|t| !stages.results.contains_key(t) && !step.seen.contains(t) && !read(t))
        .collect();
    let mut out = BTreeMap::new();
    for (&tensor, version) in &stages.results {
        let t = &func.tensors[tensor];
        if let Version::Old(other) = version {
            let message = format!(
                "`{}` takes the place of `{}`, which no kernel writes",
                func.tensors[*other].name, t.name
            );
            return Err(refuse(t.span, &message).help("exchange tensors that the step writes"));
        }
        let pair = |f: &TensorId| step.swaps.iter().any(|p| *p == (tensor, *f) || *p == (*f, tensor));
        let at = free.iter().position(pair);
        out.insert(tensor, at.map(|at| free.remove(at)));
    }
    Ok(out)
}

/// How the steps of a repeat are taken, however many at once.
struct Tiling<'a> {
    repeat: &'a Repeat<'a>,
    step: &'a Step,
    style: TimeStyle,
    /// Each call of a step, and its loops over all of the grid.
    calls: &'a [Call],
    whole: &'a [Nest],
    /// The kernel of each call and its plan.
    setups: &'a [(Form, Setup)],
    /// The repeat's counter, in what the calls pass.
    counter: usize,
}

/// How many steps are taken at once of those that `n` at once leave over: their number should be small in the end, and what
/// takes them is more code.
fn at_once_of_rest(n: i64) -> i64 {
    if n < 4 { 1 } else { n.isqrt() }
}

impl Maker<'_, '_> {
    /// The steps of a repeat, `n` of whose passes are taken at once; then some of the rest at once; then the rest.
    ///
    /// # Errors
    /// E0504 with the place that is in the way, and what lowering reports.
    pub(crate) fn time_tiled(
        &mut self,
        plan: &TimePlan<'_>,
        (n, style): (i64, TimeStyle),
        repeat: &Repeat<'_>,
    ) -> Result<Vec<HostStep>, Diagnostic> {
        let (file, func) = (self.file, self.func);
        let step = step::step(file, func, (repeat.axis, repeat.span), repeat.pingpong, repeat.body)?;
        let (lo, hi) = (func.axes[repeat.axis].lo, func.axes[repeat.axis].hi);
        let (lo, hi) = (self.host(lo)?, self.host(hi)?);
        let one = self.new_step_var();
        self.steps.insert(repeat.axis, one);
        let mut calls = Vec::new();
        for stmt in repeat.body {
            if let StmtKind::Call { callee, args, sizes } = &stmt.kind {
                calls.push(self.arguments(*callee, args, sizes)?);
            }
        }
        let rest = calls.iter().map(|c| self.launch(c.clone())).collect::<Result<Vec<_>, _>>()?;
        let whole: Vec<Nest> = rest
            .iter()
            .map(|step| match step {
                HostStep::Launch { kernel, .. } => self.nests[*kernel].clone(),
                _ => Nest::default(),
            })
            .collect();
        let setups = step.calls.iter().map(|c| plan.setup(file, c.callee)).collect::<Result<Vec<_>, _>>()?;
        let tiling = Tiling {
            repeat,
            step: &step,
            style,
            calls: &calls,
            whole: &whole,
            setups: &setups,
            counter: one,
        };
        let mut beside = BTreeMap::new();
        let (many, mut next) = self.at_once(&tiling, n, (&lo, &hi), &mut beside)?;
        let mut out = vec![many];
        let few = at_once_of_rest(n);
        if few > 1
            && let Ok((repeat, after)) = self.at_once(&tiling, few, (&next, &hi), &mut beside)
        {
            out.push(repeat);
            next = after;
        }
        let swaps = self.swaps(repeat.pingpong)?;
        out.push(HostStep::Repeat { var: one, lo: next, hi, swaps, body: rest });
        Ok(out)
    }

    /// The repeat of as many times `n` steps at once as there are from a counter on, and the counter after them. Where no
    /// tensor is free for a result, it gets a buffer beside its own.
    ///
    /// # Errors
    /// E0504 with the place that is in the way, and what lowering reports.
    fn at_once(
        &mut self,
        tiling: &Tiling<'_>,
        n: i64,
        (lo, hi): (&HostExpr, &HostExpr),
        beside: &mut BTreeMap<usize, usize>,
    ) -> Result<(HostStep, HostExpr), Diagnostic> {
        let Tiling { step, calls, whole, setups, .. } = *tiling;
        let stages = Stages::new(step, n);
        let slopes = (tiling.style == TimeStyle::Trapezoid).then(|| Slopes::new(step, &stages));
        let results = match slopes {
            Some(_) => BTreeMap::new(),
            None => results(self.func, step, &stages)?,
        };
        let many = self.new_step_var();

        // The scalars of step s: those of the repeat's counter lo + many * n + s.
        let counter = |s: i64| {
            let done = HostExpr::binary(HostBinary::Mul, HostExpr::Step(many), n.into());
            HostExpr::binary(HostBinary::Add, HostExpr::binary(HostBinary::Add, lo.clone(), done), s.into())
        };
        let mut scalars: Vec<HostExpr> = Vec::new();
        let mut params = Vec::new();
        let mut of_stage_scalars: Vec<Vec<usize>> = Vec::new();
        let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for stage in &stages.all {
            let call = &calls[stage.call];
            let mut own = Vec::new();
            for (k, scalar) in call.scalars.iter().enumerate() {
                let varies = mentions(scalar, tiling.counter);
                let at = match known.get(&(stage.call, k)) {
                    Some(at) if !varies => *at,
                    _ => {
                        scalars.push(with_counter(scalar, tiling.counter, &counter(stage.step)));
                        let (name, dtype) = whole[stage.call].scalars[k].clone();
                        params.push((if varies { format!("{name}.{}", stage.step) } else { name }, dtype));
                        scalars.len() - 1
                    }
                };
                known.insert((stage.call, k), at);
                own.push(at);
            }
            of_stage_scalars.push(own);
        }

        let views: Vec<_> = calls.iter().map(|c| c.views.clone()).collect();
        let mut grid = vec![Block::default(); step.axes];
        let mut names = vec![String::new(); step.axes];
        let mut rows = 1;
        for (call, (form, setup)) in step.calls.iter().zip(setups).rev() {
            for (own, axis) in call.stencil.axes.iter().zip(&call.axes) {
                grid[*axis] = part::block(&setup.specs[own.index()]);
                names[*axis].clone_from(&form.func.axes[*own].name);
                if *axis == compose::SWEPT {
                    rows = part::rows(&setup.specs[own.index()]);
                }
            }
        }
        if let Some(slopes) = &slopes {
            let axis = (&*names[compose::SWEPT], grid[compose::SWEPT]);
            slopes.fit(tiling.repeat.span, (step, &stages), &views, axis)?;
        }
        let mut made: Vec<(usize, Places, _)> = Vec::new();
        let mut of_stage = Vec::new();
        for stage in &stages.all {
            let call = &step.calls[stage.call];
            let windows = stage.reads.iter().filter(|(_, v)| matches!(v, Version::New(..)));
            let written = stage.writes.iter().filter(|v| stages.needs_window(**v));
            let places = match slopes {
                Some(_) => Places { in_place: true, ..Places::default() },
                None => Places {
                    read_windows: windows.map(|(t, _)| *t).collect(),
                    written_windows: written
                        .filter_map(|v| if let Version::New(_, t) = v { Some(*t) } else { None })
                        .collect(),
                    in_place: false,
                },
            };
            let at = match made.iter().position(|(c, p, _)| *c == stage.call && *p == places) {
                Some(at) => at,
                None => {
                    let setup = setups[stage.call].clone();
                    let nest = part::part(setup, (step, call), &places, &views[stage.call])?;
                    made.push((stage.call, places, nest));
                    made.len() - 1
                }
            };
            of_stage.push(at);
        }
        let parts = Parts {
            step,
            rows: (tiling.style == TimeStyle::Wavefront).then_some(rows),
            slopes: slopes.as_ref(),
            stages: &stages,
            blocks: &grid,
            names: &names,
            whole,
            views: &views,
            made: &made,
            of_stage: &of_stage,
            scalars: &of_stage_scalars,
            params: &params,
        };
        let names: Vec<&str> = whole.iter().map(|n| n.name.as_str()).collect();
        let name = format!("{}.time{n}", names.join("."));
        let (nest, slots) = compose::compose(&name, &parts);
        let lanes = setups.iter().map(|(_, s)| s.vector_lanes).min().unwrap_or(1);
        code_size::check_nest(&name, tiling.repeat.span, &nest, lanes)?;
        self.nests.push(nest);
        let kernel = self.nests.len() - 1;

        let mut swaps = Vec::new();
        let mut memory: BTreeMap<TensorId, usize> = BTreeMap::new();
        for (tensor, free) in results {
            let place = self.places[tensor.index()];
            let other = match free {
                Some(free) => self.places[free.index()],
                None => *beside.entry(place).or_insert_with(|| self.beside(place)),
            };
            swaps.push((place, other));
            memory.insert(tensor, other);
        }
        if slopes.is_some() && n % 2 == 1 {
            // Pairs are exchanged as often as there are steps.
            swaps = self.swaps(tiling.repeat.pingpong)?;
        }
        let buffers = slots
            .iter()
            .map(|slot| match slot {
                Slot::Read(t) => self.places[t.index()],
                Slot::Result(t) => memory.get(t).copied().unwrap_or(self.places[t.index()]),
            })
            .collect();
        let sizes = calls.iter().flat_map(|c| c.sizes.clone()).collect();
        let launch = HostStep::Launch { kernel, buffers, sizes, scalars };
        let times = times(tiling, slopes.as_ref(), n, (lo, hi))?;
        let done = HostExpr::binary(HostBinary::Mul, times.clone(), n.into());
        let after = HostExpr::binary(HostBinary::Add, lo.clone(), done);
        Ok((HostStep::Repeat { var: many, lo: 0.into(), hi: times, swaps, body: vec![launch] }, after))
    }

    /// A buffer like another one.
    fn beside(&mut self, place: usize) -> usize {
        let like = self.buffers[place].clone();
        self.buffers.push(BufferDecl { name: format!("{}.time", like.name), ..like });
        self.buffers.len() - 1
    }
}

/// How many times `n` steps at once there are. Trapezoids along an axis that wraps meet themselves: there have to be as many
/// points as a block needs.
///
/// # Errors
/// E0701 for an extent that the host cannot compute.
fn times(
    tiling: &Tiling<'_>,
    slopes: Option<&Slopes>,
    n: i64,
    (lo, hi): (&HostExpr, &HostExpr),
) -> Result<HostExpr, Diagnostic> {
    let steps = HostExpr::binary(HostBinary::Sub, hi.clone(), lo.clone());
    let steps = HostExpr::binary(HostBinary::Max, steps, 0.into());
    let times = HostExpr::binary(HostBinary::Div, steps, n.into());
    match slopes {
        Some(slopes) if tiling.step.wraps[compose::SWEPT] => {
            let fits = HostExpr::binary(HostBinary::Le, slopes.least.into(), extent(tiling)?);
            Ok(HostExpr::Select(Box::new(fits), Box::new(times), Box::new(0.into())))
        }
        _ => Ok(times),
    }
}

/// The extent of the outermost axis of the grid.
///
/// # Errors
/// E0701 where the host cannot compute it.
fn extent(tiling: &Tiling<'_>) -> Result<HostExpr, Diagnostic> {
    for ((call, args), (form, _)) in tiling.step.calls.iter().zip(tiling.calls).zip(tiling.setups) {
        if let Some(own) = call.axes.iter().position(|axis| *axis == compose::SWEPT) {
            let axis = &form.func.axes[call.stencil.axes[own]];
            let extent = host::of_hir(&form.func, axis.hi, &BTreeMap::new())?;
            return host::substitute(extent, &args.sizes, &args.scalars)
                .ok_or_else(|| refuse(axis.span, "the extent of the grid is not a size"));
        }
    }
    Ok(0.into())
}

/// Whether a host expression depends on a counter.
fn mentions(e: &HostExpr, var: usize) -> bool {
    match e {
        HostExpr::Step(n) => *n == var,
        HostExpr::Const(_) | HostExpr::Size(_) | HostExpr::Scalar(_) | HostExpr::Threads => false,
        HostExpr::Cast(_, a) | HostExpr::Unary(_, a) => mentions(a, var),
        HostExpr::Binary(_, a, b) => mentions(a, var) || mentions(b, var),
        HostExpr::Select(c, a, b) => mentions(c, var) || mentions(a, var) || mentions(b, var),
    }
}

/// The expression with a counter replaced.
fn with_counter(e: &HostExpr, var: usize, by: &HostExpr) -> HostExpr {
    let replaced = |leaf| if leaf == HostExpr::Step(var) { by.clone() } else { leaf };
    host::map_leaves(e.clone(), &|leaf| Some(replaced(leaf))).unwrap_or_else(|| e.clone())
}
