//! Sizes for the final report that nobody chose.

use crate::hir::ir::File;

use super::bind::{Binder, Scalars};
use super::hash::Stream;
use super::{SizeSet, Task};

/// Tries to meet the conditions of `where`.
const TRIES: u64 = 4000;

/// `count` sets of sizes from the task's domains, or fewer where `where` leaves too few. A size without a domain keeps the
/// value that it has in one of the search sets, all of them from the same set; integer parameters (numbers of steps) likewise
/// unless they have a domain. Sets that the task lists already are not drawn. The sizes follow from the seed.
#[must_use]
pub fn draw(file: &File, task: &Task, count: usize, seed: u64) -> Vec<SizeSet> {
    let stream = Stream::new(seed, "sealed sizes");
    let func = &file.funcs[task.entry];
    let none = Scalars::new();
    let listed = |set: &SizeSet| {
        [&task.search, &task.heldout, &task.sealed].into_iter().flatten().any(|s| s.values == set.values)
    };
    let mut out: Vec<SizeSet> = Vec::new();
    let mut index = 0u64;
    let mut next = |n: u64| {
        index += 1;
        stream.below(index, n)
    };
    for _ in 0..TRIES {
        if out.len() == count {
            break;
        }
        let Some(base) = task.search.get(usize::try_from(next(task.search.len() as u64)).unwrap_or(0)) else {
            break;
        };
        let mut set = base.clone();
        for domain in &task.domains {
            let at = next(domain.values().unsigned_abs());
            set.values.insert(domain.name.clone(), domain.nth(i64::try_from(at).unwrap_or(0)));
        }
        set.span = task.span;
        let binder = Binder { func, tables: &file.tables, sizes: &set.values, scalars: &none };
        if binder.check_wheres().is_ok() && !listed(&set) && !out.iter().any(|s| s.values == set.values) {
            out.push(set);
        }
    }
    out
}
