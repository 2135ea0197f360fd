//! Legality: what must hold so that a checked program means the same however it is run.
//!
//! * [`bounds`]: every index lies inside its tensor, or the tensor declares an edge.
//! * [`race`]: no element is written by two points of a statement, nor touched by two tiles, one of them writing.
//! * [`cover`]: an `out` is written whole.
//! * [`biject`]: the maps of a `next` are together a bijection.
//!
//! [`prove`] settles what it can for all sizes; the rest is tried at all points of small sizes ([`space`]), which finds
//! a counterexample to show or lets the program pass. Independence of a `fold` from its tile size is no part of this:
//! it is tested by running (`crate::oracle`).

mod abs;
mod biject;
mod bounds;
mod cover;
mod poly;
mod prove;
mod race;
mod space;

use self::space::Space;
use super::ir::{Func, FuncKind, Table};
use crate::diag::Diagnostic;

/// Checks one function. Marks reads whose edge rule applies and stores whose points may collide.
pub(super) fn check(func: &mut Func, tables: &[Table]) -> Vec<Diagnostic> {
    let mut diags = Vec::new();
    bounds::check(func, tables, &mut diags);
    if func.kind != FuncKind::Pipeline {
        let collisions = {
            let space = Space::new(func, tables);
            biject::check(&space, &mut diags);
            cover::check(&space, &mut diags);
            race::check(&space, &mut diags)
        };
        race::mark_stores(&mut func.body, &collisions);
    }
    diags
}
