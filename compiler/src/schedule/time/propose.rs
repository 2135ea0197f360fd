//! How many steps of a repeat the default takes at once, and in which blocks.
//!
//! A wavefront goes along the outermost axis of the grid. Blocks along the others are so small that the rows which its
//! stages hand on stay in a cache: the first-level one where rows are long enough for that, else the second.

use super::Repeat;
use super::step::{self, Step};
use crate::hir::ir::{File, Func, StmtKind};
use crate::hir::walk::for_each_stmt;
use crate::schedule::form::Form;
use crate::schedule::plan::{Amount, Plan, TimeStyle, Verb};
use crate::schedule::{bounds, normal};
use rooftile_artifact::CpuTarget;

/// Steps that are taken at once, from most to fewest.
const STEPS: [i64; 4] = [8, 6, 4, 2];

/// Extents of blocks along the axis of the lanes, from long to short: the more is computed twice, the shorter they are.
const COLUMNS: [i64; 3] = [1024, 512, 256];

/// Rows of a block along an axis between that of the wavefront and that of the lanes.
const ROWS: i64 = 32;

/// Points of a block along the axis of the wavefront where blocks are shared out over the cores.
const SHARED: i64 = 128;

/// Bytes of a point of the state up to which it has few fields: rows of such points share what they read in registers.
const FEW_BYTES: i64 = 16;

/// Whether several steps of a repeat can be taken at once.
pub(crate) fn has_steps(file: &File, func: &Func) -> bool {
    !repeats(file, func).is_empty()
}

/// The repeats of which several steps can be taken at once.
fn repeats<'a>(file: &File, func: &'a Func) -> Vec<Repeat<'a>> {
    let mut repeats = Vec::new();
    for_each_stmt(&func.body, &mut |stmt| {
        if let StmtKind::Repeat { axis, pingpong, body } = &stmt.kind {
            repeats.push(Repeat { axis: *axis, pingpong, body, span: stmt.span });
        }
    });
    repeats.retain(|r| super::is_legal(file, func, r));
    repeats
}

/// The plan of a pipeline's kernels with what the default does in time: from many steps at once to few, which are less code.
pub(crate) fn proposals(file: &File, func: &Func, plan: &Plan, target: &CpuTarget) -> Vec<Plan> {
    let mut plans: Vec<Plan> =
        STEPS.into_iter().filter_map(|most| propose(file, func, plan, (target, most))).collect();
    plans.dedup();
    plans
}

/// The plan with at most so many steps at once; `None` where it takes one step after the other.
fn propose(file: &File, func: &Func, plan: &Plan, (target, most): (&CpuTarget, i64)) -> Option<Plan> {
    let mut plan = plan.clone();
    let mut found = false;
    for repeat in repeats(file, func) {
        let step = step::step(file, func, (repeat.axis, repeat.span), repeat.pingpong, repeat.body).ok()?;
        if let Some(verbs) = blocks(file, &step, &plan, (target, most)) {
            let said = |v: &Verb| verbs.iter().any(|own| speaks_of(own) == speaks_of(v));
            // All axes of the grid have a tile; what is written out of them is said anew.
            let cut = |axis: &String| {
                verbs.iter().any(|v| matches!(v, Verb::Tile { axis: own, .. } if own == axis))
            };
            plan.verbs.retain(|v| !said(v) && !matches!(v, Verb::Unroll { axis, .. } if cut(axis)));
            let steps = verbs.iter().find_map(|v| match v {
                Verb::TimeTile { steps, .. } => Some(steps.clone()),
                _ => None,
            });
            plan.verbs.extend(verbs.into_iter().filter(|v| !matches!(v, Verb::TimeTile { .. })));
            let axis = func.axes[repeat.axis].name.clone();
            plan.verbs.extend(steps.map(|steps| Verb::TimeTile { axis, steps, style: TimeStyle::Wavefront }));
            found = true;
        }
    }
    found.then_some(plan)
}

/// The kind of verb, and the axis that it speaks of.
fn speaks_of(verb: &Verb) -> Option<(u8, &str)> {
    match verb {
        Verb::Tile { axis, .. } => Some((0, axis)),
        Verb::Unroll { axis, .. } => Some((1, axis)),
        Verb::TimeTile { axis, .. } => Some((2, axis)),
        Verb::Vector { axis, .. } => Some((3, axis)),
        _ => None,
    }
}

/// Tiles of the grid, and the number of steps.
fn blocks(file: &File, step: &Step, plan: &Plan, target: (&CpuTarget, i64)) -> Option<Vec<Verb>> {
    let call = step.calls.first()?;
    let form = normal::normalise(&file.funcs[call.callee], &file.tables).ok()?;
    let name = |n: usize| {
        let own = call.axes.iter().position(|axis| *axis == n)?;
        Some(form.func.axes[call.stencil.axes[own]].name.clone())
    };
    let names = (0..step.axes).map(name).collect::<Option<Vec<_>>>()?;
    let (lanes, others) = names.split_last()?;
    let (swept, between) = others.split_first()?;
    let vector = plan.verbs.iter().any(|v| matches!(v, Verb::Vector { axis, .. } if axis == lanes));
    let ordered = plan.verbs.iter().any(|v| matches!(v, Verb::Order(_) | Verb::Stage { .. }));
    if !vector || ordered || between.len() > 1 {
        return None;
    }
    // In three dimensions blocks have short rows and much around them. Where masks serve the ends of whole rows, plain steps
    // took 0.8 of the time at 128^3, and half of it at 192^3.
    if !between.is_empty() && target.0.masked_bytes() > 0 {
        return None;
    }
    let (bytes, widest) = bytes_written(file, step)?;
    let (cpu, _) = target;
    let (steps, columns) = size(step, bytes, between.len(), target)?;
    let tile = |axis: &String, n: i64| Verb::Tile { axis: axis.clone(), sizes: vec![Amount::Int(n)] };
    let shared = plan.verbs.iter().any(|v| v.shares_out());
    // Without a tile of its own an axis is one block.
    let mut verbs = vec![tile(swept, if shared { SHARED } else { 1 }), tile(lanes, columns)];
    verbs.extend(between.iter().map(|axis| tile(axis, ROWS)));
    // Two rows share what both read; in three dimensions there are more rows to read, and they are shorter.
    if bytes <= FEW_BYTES && between.is_empty() {
        verbs.push(Verb::Unroll { axis: swept.clone(), count: Some(Amount::Int(2)) });
    } else {
        // One vector at a time, where rows are short or a point has many fields.
        let per = i64::try_from(cpu.vector_bytes).ok()?.max(16) / widest.max(1);
        verbs.push(Verb::Vector { axis: lanes.clone(), lanes: Amount::Int(per.clamp(2, 64)) });
    }
    verbs.push(Verb::TimeTile {
        axis: String::new(),
        steps: Amount::Int(steps),
        style: TimeStyle::Wavefront,
    });
    Some(verbs)
}

/// Steps at once and the columns of a block, by what the caches hold.
fn size(step: &Step, bytes: i64, between: usize, (target, most): (&CpuTarget, i64)) -> Option<(i64, i64)> {
    let reach = step.calls.iter().flat_map(|c| c.stencil.state.values()).filter_map(|f| f.reads.as_ref());
    let far = reach.flatten().map(|(before, after)| before + after).max()?;
    let (l1, l2) = (i64::try_from(target.l1d).ok()?, i64::try_from(target.l2).ok()?);
    let stages = i64::try_from(step.calls.len()).ok()?;
    let between = i64::try_from(between).ok()?;
    let rows = 2 + far;
    // What the stages hand on, and what the first reads and the last writes.
    let held = |steps: i64, columns: i64| {
        let row = (columns + far * steps * stages) * bytes;
        let plane = if between > 0 { row * (ROWS + far * steps * stages) } else { row };
        plane * rows * (steps * stages + 1)
    };
    // With many fields what is computed counts for more than what is moved.
    let most = if bytes > FEW_BYTES { most.min(2) } else { most };
    let budgets = [(l1 * 7 / 8, 256), (l2 / 2, 256)];
    for (budget, least) in budgets {
        for steps in STEPS.into_iter().filter(|n| *n <= most) {
            for columns in COLUMNS.into_iter().filter(|n| *n >= least) {
                if held(steps, columns) <= budget {
                    return Some((steps, columns));
                }
            }
        }
    }
    None
}

/// Bytes of a point of the state that a step writes, and those of its widest element; `None` where their number is not known.
fn bytes_written(file: &File, step: &Step) -> Option<(i64, i64)> {
    let (mut bytes, mut widest) = (0i64, 1i64);
    for call in &step.calls {
        let form: Form = normal::normalise(&file.funcs[call.callee], &file.tables).ok()?;
        for (tensor, field) in call.stencil.state.iter().filter(|(_, f)| f.written) {
            let t = &form.func.tensors[*tensor];
            let mut elements = i64::try_from(t.dtype.size()).ok()?;
            widest = widest.max(elements);
            for (extent, axis) in t.shape.iter().zip(&field.dims) {
                if axis.is_none() {
                    elements = elements.checked_mul(bounds::literal(&form, *extent)?)?;
                }
            }
            bytes = bytes.checked_add(elements)?;
        }
    }
    Some((bytes, widest))
}
