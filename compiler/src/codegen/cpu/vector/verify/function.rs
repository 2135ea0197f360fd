//! Instructions in single assignment, after they were built: blocks, ways and definitions. What each operation takes is
//! in [`super::types`].

use super::super::ir::{Block, End, Function, Op, Value};
use super::flow::Dominators;
use super::types;
use super::{Broken, Rule, Set, hold};

/// Checks a function that was built for an instruction set.
pub(in super::super) fn function(f: &Function, set: Set) -> Result<(), Broken> {
    blocks(f)?;
    let check = Check { f, dominators: ways(f)?, places: definitions(f)? };
    for &block in &f.order {
        let data = f.block(block);
        for (n, &v) in data.insts.iter().enumerate() {
            for &arg in f.inst(v).args() {
                check.defined(arg, block, n, || name(f, v))?;
            }
            types::operation(f, set, v)?;
        }
        for &param in &data.params {
            types::operation(f, set, param)?;
        }
        check.end(block)?;
    }
    let constants = (0..f.insts.len() as u32).map(Value).filter(|v| f.inst(*v).op.is_constant());
    constants.into_iter().try_for_each(|v| types::operation(f, set, v))
}

/// A value and what makes it.
pub(super) fn name(f: &Function, v: Value) -> String {
    match f.insts.get(v.index()) {
        Some(inst) => {
            let args: Vec<String> = inst.args().iter().map(|a| format!("v{}", a.0)).collect();
            format!(
                "v{} = {:?} ({}) as {:?} x {}",
                v.0,
                inst.op,
                args.join(", "),
                inst.ty.lane,
                inst.ty.count
            )
        }
        None => format!("v{}, which is no value", v.0),
    }
}

/// Blocks in the order of the code.
fn blocks(f: &Function) -> Result<(), Broken> {
    let mut written = vec![false; f.blocks.len()];
    for &block in &f.order {
        hold(block.index() < f.blocks.len(), Rule::Blocks, || format!("block {} is none", block.0))?;
        let again = std::mem::replace(&mut written[block.index()], true);
        hold(!again, Rule::Blocks, || format!("block {} stands in the code twice", block.0))?;
        hold(f.block(block).end != End::Open, Rule::Blocks, || format!("block {} has no end", block.0))?;
    }
    let first = f.order.first() == Some(&Block(0));
    hold(first, Rule::Blocks, || "the code does not begin with block 0".to_owned())?;
    for &block in &f.order {
        for edge in f.block(block).end.edges() {
            let there = written.get(edge.to.index()) == Some(&true);
            hold(there, Rule::Blocks, || {
                format!("block {} jumps to block {}, which is not in the code", block.0, edge.to.0)
            })?;
        }
    }
    Ok(())
}

/// What is recorded of the ways, against the jumps.
fn ways(f: &Function) -> Result<Dominators, Broken> {
    let mut succs = vec![Vec::new(); f.blocks.len()];
    let mut preds = vec![Vec::new(); f.blocks.len()];
    for &block in &f.order {
        for edge in f.block(block).end.edges() {
            succs[block.index()].push(edge.to.index());
            preds[edge.to.index()].push(block);
        }
    }
    let dominators = Dominators::of(&succs);
    for &block in &f.order {
        let (data, from) = (f.block(block), &mut preds[block.index()]);
        let mut recorded = data.preds.clone();
        recorded.sort();
        from.sort();
        hold(recorded == *from, Rule::Ways, || {
            format!("block {} is come to from {from:?}, not from {recorded:?}", block.0)
        })?;
        let nearest = dominators.nearest(block.index());
        let reached = dominators.is_reached(block.index());
        hold(!reached || data.dominator.map(Block::index) == nearest, Rule::Ways, || {
            format!("the dominator of block {} is {nearest:?}, not {:?}", block.0, data.dominator)
        })?;
    }
    Ok(dominators)
}

/// Where each value is defined: its block, and the number of its instruction there; of parameters, `None`.
type Places = Vec<Option<(Block, Option<usize>)>>;

fn definitions(f: &Function) -> Result<Places, Broken> {
    let mut places: Places = vec![None; f.insts.len()];
    for &block in &f.order {
        let data = f.block(block);
        let params = data.params.iter().map(|v| (*v, None));
        for (v, n) in params.chain(data.insts.iter().enumerate().map(|(n, v)| (*v, Some(n)))) {
            hold(v.index() < places.len(), Rule::DefinedOnce, || name(f, v))?;
            let before = places[v.index()].replace((block, n));
            hold(before.is_none(), Rule::DefinedOnce, || format!("{} is made again", name(f, v)))?;
            let right = match f.inst(v).op {
                Op::Param(of) => of == block && n.is_none(),
                Op::Arg(_) => block == Block(0) && n.is_some(),
                op => !op.is_constant() && n.is_some(),
            };
            hold(right && f.home[v.index()] == block, Rule::DefinedOnce, || {
                format!("{} is made in block {}", name(f, v), block.0)
            })?;
        }
    }
    Ok(places)
}

struct Check<'f> {
    f: &'f Function,
    dominators: Dominators,
    places: Places,
}

impl Check<'_> {
    /// A value that instruction `n` of a block uses.
    fn defined(&self, v: Value, block: Block, n: usize, user: impl Fn() -> String) -> Result<(), Broken> {
        let place = self.places.get(v.index()).copied();
        let known = match place {
            None => false,
            Some(None) => self.f.inst(v).op.is_constant(),
            Some(Some((home, at))) if home == block => at.is_none_or(|at| at < n),
            // Nothing is asked of a block that no way leads to.
            Some(Some((home, _))) => {
                !self.dominators.is_reached(block.index())
                    || self.dominators.dominates(home.index(), block.index())
            }
        };
        hold(known, Rule::DefinedBefore, || format!("{} uses {}", user(), name(self.f, v)))
    }

    /// How a block ends.
    fn end(&self, block: Block) -> Result<(), Broken> {
        let data = self.f.block(block);
        let after = data.insts.len();
        let what = || format!("the end of block {}", block.0);
        if let End::Branch(cond, ..) = data.end {
            self.defined(cond, block, after, what)?;
            types::truth(self.f, cond, what)?;
        }
        for edge in data.end.edges() {
            let params = &self.f.block(edge.to).params;
            hold(params.len() == edge.args.len(), Rule::Passed, || {
                format!("{} passes {} values for {}", what(), edge.args.len(), params.len())
            })?;
            for (&arg, &param) in edge.args.iter().zip(params) {
                self.defined(arg, block, after, what)?;
                let fits = self.f.ty(arg) == self.f.ty(param) && !self.f.inst(arg).op.makes_bits();
                hold(fits, Rule::Passed, || {
                    format!("{} passes {} for {}", what(), name(self.f, arg), name(self.f, param))
                })?;
            }
        }
        Ok(())
    }
}
