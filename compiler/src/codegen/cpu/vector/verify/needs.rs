//! What became part of the instruction that uses it: there must be one such; of a load, in the same block and with memory
//! as it was; of what is done in some lanes only, a choice between lanes in the same block; of a test, the end of some block.

use std::collections::HashSet;

use super::super::super::ssa::Region;
use super::super::ir::{Block, End, Function, Op, Value};
use super::super::needs::{Needs, is_by_lane, root};
use super::function::name;
use super::{Broken, Rule, hold};

/// Checks what is to be made where.
pub(in super::super) fn needs(f: &Function, needs: &Needs) -> Result<(), Broken> {
    let asked: HashSet<Value> = f.order.iter().filter_map(|b| asked(f, *b)).collect();
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
                // Nor do the lanes it asks.
                op if op.is_test() => {
                    hold(asked.contains(&v), Rule::Order, || format!("no block's end asks {}", name(f, v)))?;
                }
                _ => lanes(f, v, &insts[n + 1..])?,
            }
        }
    }
    Ok(())
}

/// What a block's end asks.
fn asked(f: &Function, block: Block) -> Option<Value> {
    match f.block(block).end {
        End::Branch(cond, ..) => Some(cond),
        _ => None,
    }
}

/// An operation that is done by a choice between its lanes and others, after it in its block, before memory is written.
fn lanes(f: &Function, v: Value, after: &[Value]) -> Result<(), Broken> {
    let user = after.iter().position(|w| f.inst(*w).args().contains(&v));
    let chooses = user.is_some_and(|n| {
        let inst = f.inst(after[n]);
        let by_lanes = || is_by_lane(f, v, inst.args()[2]);
        inst.op == Op::BlendBits && inst.args()[1] == v && inst.args()[2] != v && by_lanes()
    });
    hold(chooses, Rule::Order, || format!("{} is part of no choice in its block", name(f, v)))?;
    let past = after[..user.unwrap_or(0)].iter().find(|w| f.inst(**w).op.writes());
    hold(past.is_none(), Rule::Order, || {
        format!("{} is moved past {}", name(f, v), past.map_or(String::new(), |w| name(f, *w)))
    })
}

/// A load of a region that is done by one of the instructions after it in its block.
fn load(f: &Function, needs: &Needs, v: Value, region: Region, after: &[Value]) -> Result<(), Broken> {
    let uses = |w: &Value| {
        let is_made = needs.uses[w.index()] > 0 || f.inst(*w).op.acts();
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
