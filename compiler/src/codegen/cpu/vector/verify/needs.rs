//! Loads and comparisons that became part of the instruction that uses them: there must be one such; of a load, in the
//! same block and with memory as it was.

use super::super::super::ssa::Region;
use super::super::ir::{Function, Op, Value};
use super::super::needs::{Needs, root};
use super::function::name;
use super::{Broken, Rule, hold};

/// Checks what is to be made where.
pub(in super::super) fn needs(f: &Function, needs: &Needs) -> Result<(), Broken> {
    for &block in &f.order {
        let insts = &f.block(block).insts;
        for (n, &v) in insts.iter().enumerate() {
            let uses = needs.uses[v.index()];
            if !needs.inside[v.index()] || uses == 0 {
                continue;
            }
            hold(uses == 1, Rule::Order, || format!("{} is part of {uses} others", name(f, v)))?;
            match f.inst(v).op {
                // What it compares does not change.
                Op::Cmp(_) => {}
                Op::Load { region, .. } => load(f, needs, v, region, &insts[n + 1..])?,
                _ => hold(false, Rule::Order, || format!("{} is part of another", name(f, v)))?,
            }
        }
    }
    Ok(())
}

/// A load of a region that is done by one of the instructions after it in its block.
fn load(f: &Function, needs: &Needs, v: Value, region: Region, after: &[Value]) -> Result<(), Broken> {
    let uses = |w: &Value| {
        let is_made = needs.uses[w.index()] > 0 || f.inst(*w).op.writes();
        is_made && root(f, *w) != v && f.inst(*w).args().iter().any(|a| root(f, *a) == v)
    };
    let user = after.iter().position(uses);
    hold(user.is_some(), Rule::Order, || format!("{} is part of nothing in its block", name(f, v)))?;
    after[..user.unwrap_or(0)].iter().try_for_each(|w| {
        let op = f.inst(*w).op;
        let same = op.memory().is_some_and(|a| a.writes && a.region == region);
        hold(!same && !matches!(op, Op::Atomic { .. }), Rule::Order, || {
            format!("{} is moved past {}", name(f, v), name(f, *w))
        })
    })
}
