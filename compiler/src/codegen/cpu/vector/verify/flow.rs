//! Dominators, from the jumps alone.

/// Which blocks all ways from block 0 to each block go through.
#[derive(Debug)]
pub(super) struct Dominators {
    /// The nearest other one; of block 0, itself. `None` where no way leads to.
    nearest: Vec<Option<usize>>,
    /// How many there are.
    depth: Vec<usize>,
}

impl Dominators {
    /// Of blocks with these successors.
    pub(super) fn of(succs: &[Vec<usize>]) -> Dominators {
        let order = reverse_postorder(succs);
        let mut number = vec![usize::MAX; succs.len()];
        let mut preds = vec![Vec::new(); succs.len()];
        for (n, &block) in order.iter().enumerate() {
            number[block] = n;
            for &to in &succs[block] {
                preds[to].push(block);
            }
        }
        let mut nearest = vec![None; succs.len()];
        if let Some(&first) = order.first() {
            nearest[first] = Some(first);
        }
        // Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm".
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().skip(1) {
                let mut known = preds[block].iter().copied().filter(|p| nearest[*p].is_some());
                let Some(first) = known.next() else { continue };
                let common = known.fold(first, |mut a, mut b| {
                    while a != b {
                        let later = if number[a] > number[b] { &mut a } else { &mut b };
                        *later = nearest[*later].unwrap_or(0);
                    }
                    a
                });
                changed |= nearest[block] != Some(common);
                nearest[block] = Some(common);
            }
        }
        let mut depth = vec![0; succs.len()];
        for &block in order.iter().skip(1) {
            depth[block] = nearest[block].map_or(0, |d| depth[d] + 1);
        }
        Dominators { nearest, depth }
    }

    /// Whether any way leads to a block.
    pub(super) fn is_reached(&self, block: usize) -> bool {
        self.nearest[block].is_some()
    }

    /// The nearest block that every way to another goes through.
    pub(super) fn nearest(&self, block: usize) -> Option<usize> {
        self.nearest[block].filter(|d| *d != block)
    }

    /// Whether all ways to `b` go through `a`.
    pub(super) fn dominates(&self, a: usize, b: usize) -> bool {
        let mut at = b;
        while self.depth[at] > self.depth[a] {
            match self.nearest[at] {
                Some(up) => at = up,
                None => return false,
            }
        }
        at == a
    }
}

/// Blocks that are come to, each before those that it jumps forward to.
fn reverse_postorder(succs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(succs.len());
    let mut seen = vec![false; succs.len()];
    let mut stack = Vec::new();
    if !succs.is_empty() {
        seen[0] = true;
        stack.push((0, 0));
    }
    while let Some((block, next)) = stack.last_mut() {
        match succs[*block].get(*next) {
            Some(&to) => {
                *next += 1;
                if !std::mem::replace(&mut seen[to], true) {
                    stack.push((to, 0));
                }
            }
            None => {
                order.push(*block);
                stack.pop();
            }
        }
    }
    order.reverse();
    order
}
