//! From a list of statements and an order of loops to a tree of loops.
//!
//! Loops are made from the outside in. At each level the statements that run over it are gathered, in order, into as
//! few loops as dependences allow; statements that lack the level go between those loops, as early as they can.
//! Two statements may share a loop when all their conflicts agree along it: each pass then touches elements of its own.
//! A value that is being accumulated along the loop may not be read in it.

use std::collections::BTreeSet;

use super::access::{Accesses, Object};
use super::form::{Action, Form, Item, StmtId};
use super::levels::{LevelId, LevelKind, Levels};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, AxisKind, ExprId, StoreKind};

/// Number of a node of the tree.
pub(crate) type NodeId = usize;

/// Loops around statements.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// A statement.
    Leaf(StmtId),
    /// A loop.
    Loop {
        /// Its number.
        node: NodeId,
        /// What it runs over.
        level: LevelId,
        /// For blocks: as lanes, or by threads. For loops to be shared out over the cores: the passes are independent.
        lanes: bool,
        /// What is repeated.
        body: Vec<Tree>,
    },
    /// `seq` or `fold`.
    Seq {
        /// Its number.
        node: NodeId,
        /// The counter, or the folded axis.
        axis: AxisId,
        /// The level that a `fold` runs over.
        level: Option<LevelId>,
        /// What is repeated.
        body: Vec<Tree>,
    },
    /// One of two lists.
    If {
        /// Numbers of the two lists.
        nodes: (NodeId, NodeId),
        /// The condition.
        cond: ExprId,
        /// Run when true.
        then: Vec<Tree>,
        /// Run when false.
        otherwise: Vec<Tree>,
    },
}

impl Tree {
    /// The conditions below some trees.
    pub(crate) fn conditions(trees: &[Tree]) -> Vec<ExprId> {
        let below = |tree: &Tree| match tree {
            Tree::Leaf(_) => Vec::new(),
            Tree::Loop { body, .. } | Tree::Seq { body, .. } => Tree::conditions(body),
            Tree::If { cond, then, otherwise, .. } => {
                [vec![*cond], Tree::conditions(then), Tree::conditions(otherwise)].concat()
            }
        };
        trees.iter().flat_map(below).collect()
    }

    /// The statements below some trees, in order.
    pub(crate) fn stmts(trees: &[Tree]) -> Vec<StmtId> {
        fn collect(tree: &Tree, out: &mut Vec<StmtId>) {
            match tree {
                Tree::Leaf(s) => out.push(*s),
                Tree::Loop { body, .. } | Tree::Seq { body, .. } => body.iter().for_each(|t| collect(t, out)),
                Tree::If { then, otherwise, .. } => {
                    then.iter().chain(otherwise).for_each(|t| collect(t, out));
                }
            }
        }
        let mut out = Vec::new();
        trees.iter().for_each(|t| collect(t, &mut out));
        out
    }
}

/// Which statements share loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Along `for` axes only; every statement has its own loops over the others.
    Naive,
    /// Wherever dependences allow.
    Greedy,
}

/// Makes the tree of loops.
pub(crate) struct Fuser<'a> {
    /// The kernel.
    pub(crate) form: &'a Form,
    /// Its loops.
    pub(crate) levels: &'a Levels,
    /// What statements touch.
    pub(crate) accesses: &'a Accesses,
    /// The levels of each statement.
    pub(crate) stmt_levels: &'a [Vec<LevelId>],
    /// Which statements share loops.
    pub(crate) policy: Policy,
    nodes: NodeId,
}

struct Cluster<'a> {
    is_loop: bool,
    lanes: bool,
    items: Vec<&'a Item>,
}

impl<'a> Fuser<'a> {
    /// A fuser of a kernel.
    pub(crate) fn new(
        form: &'a Form,
        levels: &'a Levels,
        accesses: &'a Accesses,
        stmt_levels: &'a [Vec<LevelId>],
        policy: Policy,
    ) -> Fuser<'a> {
        Fuser { form, levels, accesses, stmt_levels, policy, nodes: 0 }
    }

    /// The tree of the kernel.
    ///
    /// # Errors
    /// E0504 when a `fold` or a loop cannot be placed inside the loops that its bounds depend on, or loops by threads do not
    /// nest.
    pub(crate) fn tree(&mut self) -> Result<Vec<Tree>, Diagnostic> {
        let items: Vec<&Item> = self.form.items.iter().collect();
        let trees = self.build(&items, &mut Vec::new())?;
        self.check_threads(&trees, None)?;
        Ok(trees)
    }

    /// Loops by threads nest without anything in between. `around` is the innermost of them, and whether the trees are all
    /// that it runs, and one.
    fn check_threads(&self, trees: &[Tree], around: Option<(LevelId, bool)>) -> Result<(), Diagnostic> {
        for tree in trees {
            let between = around.map(|(level, _)| (level, false));
            match tree {
                Tree::Leaf(_) => {}
                Tree::Loop { level, lanes: true, body, .. } if self.levels.is_threads(*level) => {
                    if let Some((outer, false)) = around {
                        return Err(self.threads_apart(outer, *level));
                    }
                    self.check_threads(body, Some((*level, body.len() == 1)))?;
                }
                Tree::Loop { body, .. } | Tree::Seq { body, .. } => self.check_threads(body, between)?,
                Tree::If { then, otherwise, .. } => {
                    self.check_threads(then, between)?;
                    self.check_threads(otherwise, between)?;
                }
            }
        }
        Ok(())
    }

    fn threads_apart(&self, outer: LevelId, inner: LevelId) -> Diagnostic {
        let axis = |l: LevelId| &self.form.func.axes[self.levels.all[l].axis];
        let (outer, inner) = (axis(outer), axis(inner));
        Diagnostic::error(
            Code::Illegal,
            inner.span,
            format!(
                "threads along `{}` would lie inside those along `{}` with something in order between them",
                inner.name, outer.name
            ),
        )
        .help("give one of the two no threads, or put what runs in order outside with `order`")
    }

    fn node(&mut self) -> NodeId {
        self.nodes += 1;
        self.nodes - 1
    }

    fn stmts(items: &[&Item]) -> Vec<StmtId> {
        items.iter().flat_map(|i| i.stmts()).collect()
    }

    fn build(&mut self, items: &[&Item], bound: &mut Vec<LevelId>) -> Result<Vec<Tree>, Diagnostic> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let Some(level) = self.next_level(items, bound) else {
            return items.iter().map(|i| self.plain(i, bound)).collect();
        };
        let clusters = self.cluster(items, level, bound);
        let mut out = Vec::new();
        for c in clusters {
            if c.is_loop {
                let node = self.node();
                bound.push(level);
                let body = self.build(&c.items, bound);
                bound.pop();
                out.push(Tree::Loop { node, level, lanes: c.lanes, body: body? });
            } else {
                out.extend(self.build(&c.items, bound)?);
            }
        }
        Ok(out)
    }

    /// The outermost level that any of the items still needs.
    fn next_level(&self, items: &[&Item], bound: &[LevelId]) -> Option<LevelId> {
        let wanted = |l: &LevelId| !bound.contains(l) && items.iter().any(|i| self.has(i, *l, bound));
        if self.policy == Policy::Naive
            && let [Item::Stmt(s)] = items
        {
            // A statement on its own: the axes of what it writes outside, reduced axes inside.
            let reduced = |l: LevelId| match self.form.stmts[*s].action.written_value() {
                Some(v) => !self.form.func.values[v].axes.contains(&self.levels.all[l].axis),
                None => false,
            };
            let mut left: Vec<LevelId> = self.levels.order.iter().copied().filter(wanted).collect();
            left.sort_by_key(|l| reduced(*l) && !self.is_for(*l));
            return left.iter().copied().find(|l| {
                let parents = &self.form.func.axes[self.levels.all[*l].axis].parents;
                parents
                    .iter()
                    .all(|p| self.levels.steps(*p).all(|x| bound.contains(&x) || !left.contains(&x)))
            });
        }
        self.levels.order.iter().copied().find(wanted)
    }

    fn is_for(&self, level: LevelId) -> bool {
        matches!(self.form.func.axes[self.levels.all[level].axis].kind, AxisKind::For(_))
    }

    fn plain(&mut self, item: &Item, bound: &mut Vec<LevelId>) -> Result<Tree, Diagnostic> {
        match item {
            Item::Stmt(s) => Ok(Tree::Leaf(*s)),
            Item::Seq { axis, fold, body } => {
                let level = if *fold { self.levels.steps(*axis).next() } else { None };
                let axis_ref = &self.form.func.axes[*axis];
                for p in axis_ref.parents.iter().filter(|p| self.form.is_dimension(**p)) {
                    if !self.levels.steps(*p).all(|l| bound.contains(&l)) {
                        let parent = &self.form.func.axes[*p].name;
                        return Err(Diagnostic::error(
                            Code::Illegal,
                            axis_ref.span,
                            format!(
                                "the bounds of `{}` depend on `{parent}`, of which several points would run at once",
                                axis_ref.name
                            ),
                        ));
                    }
                }
                let node = self.node();
                let depth = bound.len();
                bound.extend(level);
                let items: Vec<&Item> = body.iter().collect();
                let body = self.build(&items, bound);
                bound.truncate(depth);
                Ok(Tree::Seq { node, axis: *axis, level, body: body? })
            }
            Item::If { cond, then, otherwise } => {
                let nodes = (self.node(), self.node());
                let (a, b): (Vec<&Item>, Vec<&Item>) = (then.iter().collect(), otherwise.iter().collect());
                let (then, otherwise) = (self.build(&a, bound)?, self.build(&b, bound)?);
                Ok(Tree::If { nodes, cond: *cond, then, otherwise })
            }
        }
    }

    /// Whether an item runs inside a loop over the level.
    fn has(&self, item: &Item, level: LevelId, bound: &[LevelId]) -> bool {
        match item {
            Item::Stmt(s) => self.stmt_levels[s.index()].contains(&level),
            Item::Seq { axis, .. } if *axis == self.levels.all[level].axis => false,
            Item::Seq { .. } | Item::If { .. } => self.wraps(item, level, bound),
        }
    }

    /// Whether a whole `seq`, `fold` or `if` may run inside a loop over the level.
    pub(crate) fn wraps(&self, item: &Item, level: LevelId, bound: &[LevelId]) -> bool {
        if self.levels.all[level].kind.is_block() || (self.policy == Policy::Naive && !self.is_for(level)) {
            return false;
        }
        if !self.levels.outside(level).iter().all(|l| bound.contains(l)) {
            return false;
        }
        let stmts = item.stmts();
        let inside: BTreeSet<StmtId> = stmts.iter().copied().collect();
        let has = |s: &StmtId| self.stmt_levels[s.index()].contains(&level);
        if !stmts.iter().any(has) {
            return false;
        }
        // A loop that was asked to be outside of this one is inside the sequence, so this one is too.
        let stays = |l: LevelId| {
            !bound.contains(&l) && stmts.iter().any(|s| self.stmt_levels[s.index()].contains(&l))
        };
        if self.levels.asked_outside(level).any(stays) {
            return false;
        }
        let mut own = BTreeSet::new();
        for s in stmts.iter().filter(|s| !has(s)) {
            // A statement without the axis is repeated by every pass: only if nobody else sees what it writes.
            let Action::Set { value, .. } = &self.form.stmts[*s].action else { return false };
            let object = Object::Value(*value);
            let alone = self
                .form
                .stmts
                .handles()
                .all(|t| inside.contains(&t) || self.accesses.of(t).iter().all(|a| a.object != object));
            // What starts there and goes on from pass to pass of the level would start anew in each.
            let goes_on = stmts.iter().filter(|t| has(t)).any(|t| self.writes(*t, object));
            if !alone || goes_on {
                return false;
            }
            own.insert(object);
        }
        self.accesses.interchange(self.form, self.levels, &stmts, level, &own)
    }

    fn writes(&self, s: StmtId, object: Object) -> bool {
        self.accesses.of(s).iter().any(|a| a.write && a.object == object)
    }

    fn cluster<'i>(&self, items: &[&'i Item], level: LevelId, bound: &[LevelId]) -> Vec<Cluster<'i>> {
        let mut out: Vec<Cluster<'i>> = Vec::new();
        let mut copies: Vec<&'i Item> = Vec::new();
        for item in items {
            if matches!(item, Item::Stmt(s) if self.form.stmts[*s].copies) {
                copies.push(item);
                continue;
            }
            let at = self.place(&mut out, item, level, bound);
            // The copies that the item reads, and those that these read, go with it; nothing stands in their way.
            let mut near = vec![*item];
            for n in (0..copies.len()).rev() {
                if near.iter().any(|i| self.conflict(i, copies[n])) {
                    near.insert(0, copies.remove(n));
                }
            }
            let together = |c: &Cluster, copy: &Item| {
                let runs = self.has(copy, level, bound);
                // Whether passes are shared out over the cores is for the user to say.
                let alike = || {
                    self.levels.parallel.contains(&level)
                        || (self.lanes(copy, level) == c.lanes && self.threads_match(&c.items, copy, level))
                };
                runs == c.is_loop && (!runs || (alike() && self.share(&c.items, copy, level)))
            };
            near.pop();
            let (mut inside, mut outside): (Vec<&'i Item>, Vec<&'i Item>) = (Vec::new(), Vec::new());
            for copy in near.into_iter().rev() {
                let needed = outside.iter().any(|o| self.conflict(o, copy));
                if together(&out[at], copy) && !needed { &mut inside } else { &mut outside }.insert(0, copy);
            }
            let mut items = inside;
            items.extend(out[at].items.pop());
            let depends = |i: &&Item| outside.iter().any(|copy| self.conflict(i, copy));
            let mut before = at;
            if out[at].items.iter().any(depends) {
                // The copies come between the others of the cluster and the item.
                before = at + 1;
                let Cluster { is_loop, lanes, .. } = out[at];
                out.insert(before, Cluster { is_loop, lanes, items });
            } else {
                out[at].items.extend(items);
            }
            for (n, copy) in outside.into_iter().enumerate() {
                let is_loop = self.has(copy, level, bound);
                let lanes = is_loop && self.lanes(copy, level);
                out.insert(before + n, Cluster { is_loop, lanes, items: vec![copy] });
            }
        }
        for copy in copies {
            self.place(&mut out, copy, level, bound);
        }
        out
    }

    fn conflict(&self, a: &Item, b: &Item) -> bool {
        let b = b.stmts();
        a.stmts().iter().any(|a| b.iter().any(|b| self.accesses.conflict(*a, *b)))
    }

    /// Whether an item may run in one loop with others.
    fn share(&self, items: &[&Item], item: &Item, level: LevelId) -> bool {
        let stmts = item.stmts();
        Self::stmts(items)
            .iter()
            .all(|a| stmts.iter().all(|b| self.accesses.apart(self.form, self.levels, *a, *b, level)))
    }

    /// Puts an item last into the first cluster that may hold it, or into a new one. Gives the cluster's place.
    fn place<'i>(
        &self,
        out: &mut Vec<Cluster<'i>>,
        item: &'i Item,
        level: LevelId,
        bound: &[LevelId],
    ) -> usize {
        let may_share = self.policy == Policy::Greedy || self.is_for(level);
        let last = out.iter().rposition(|c| c.items.iter().any(|i| self.conflict(i, item)));
        let after = last.map_or(0, |p| p + 1);
        if self.has(item, level, bound) {
            let lanes = self.lanes(item, level);
            let alike =
                |c: &Cluster| c.lanes == lanes && (!lanes || self.threads_match(&c.items, item, level));
            let joins = |c: &Cluster| c.is_loop && alike(c) && self.share(&c.items, item, level);
            let from = last.unwrap_or(0);
            let target = if may_share { (from..out.len()).find(|n| joins(&out[*n])) } else { None };
            if let Some(n) = target {
                out[n].items.push(item);
                return n;
            }
            out.push(Cluster { is_loop: true, lanes, items: vec![item] });
            out.len() - 1
        } else if let Some(p) = last.filter(|p| !out[*p].is_loop) {
            out[p].items.push(item);
            p
        } else if out.get(after).is_some_and(|c| !c.is_loop) {
            out[after].items.push(item);
            after
        } else {
            out.insert(after, Cluster { is_loop: false, lanes: false, items: vec![item] });
            after
        }
    }

    /// Whether the points of a level may run by threads, each on its own.
    fn by_threads(&self, s: StmtId, level: LevelId) -> bool {
        let shares_bytes = match &self.form.stmts[s].action {
            Action::Store { tensor, .. } => self.form.func.tensors[*tensor].packed.is_some(),
            Action::Append { .. } => true,
            _ => false,
        };
        !shares_bytes && self.accesses.independent(self.form, self.levels, &[s], level, &BTreeSet::new())
    }

    /// The levels of a statement that run by threads.
    fn thread_levels(&self, s: StmtId) -> Vec<LevelId> {
        let levels = self.stmt_levels[s.index()].iter().copied();
        let mut out: Vec<LevelId> =
            levels.filter(|l| self.levels.is_threads(*l) && self.by_threads(s, *l)).collect();
        out.sort_unstable();
        out
    }

    /// Whether an item runs by the same threads as others, in the same loops over all of them: those nest without anything in
    /// between.
    fn threads_match(&self, items: &[&Item], item: &Item, level: LevelId) -> bool {
        if !self.levels.is_threads(level) {
            return true;
        }
        let (Some(Item::Stmt(a)), Item::Stmt(b)) = (items.first(), item) else { return true };
        let whole = |s: StmtId| self.form.stmts[s].whole;
        let all = self.thread_levels(*b);
        self.thread_levels(*a) == all
            && whole(*a) == whole(*b)
            && all.iter().all(|l| self.share(items, item, *l))
    }

    /// Whether an item may run as lanes of a block, by threads, or on several cores at once.
    fn lanes(&self, item: &Item, level: LevelId) -> bool {
        if self.levels.parallel.contains(&level) {
            return match item {
                // A scan's elements stay with what carries its result on.
                Item::Stmt(s) if self.form.stmts[*s].whole == Some(self.levels.all[level].axis) => false,
                Item::Stmt(s) => {
                    self.accesses.independent(self.form, self.levels, &[*s], level, &BTreeSet::new())
                }
                _ => true,
            };
        }
        let Item::Stmt(s) = item else { return false };
        if self.levels.is_threads(level) {
            return self.by_threads(*s, level);
        }
        let LevelKind::Block { lanes: true, .. } = self.levels.all[level].kind else { return false };
        let action = &self.form.stmts[*s].action;
        let simple = match action {
            Action::Set { .. } => true,
            Action::Accumulate { guard, .. } => guard.is_none(),
            Action::Store { kind, tensor, .. } => {
                *kind == StoreKind::Injective && self.form.func.tensors[*tensor].packed.is_none()
            }
            _ => false,
        };
        let apart =
            |l: LevelId| self.accesses.independent(self.form, self.levels, &[*s], l, &BTreeSet::new());
        // One lanes loop a statement: the innermost that it can have.
        let at = self.levels.position(level);
        let inner = self.stmt_levels[s.index()].iter().any(|l| {
            let lanes = matches!(self.levels.all[*l].kind, LevelKind::Block { lanes: true, .. });
            lanes && self.levels.position(*l) > at && apart(*l)
        });
        simple && !inner && apart(level)
    }
}

/// The threads of the largest group that any of the trees asks for; 0 if none does.
pub(crate) fn group_of(levels: &Levels, trees: &[Tree]) -> i64 {
    fn walk(levels: &Levels, tree: &Tree, around: i64) -> i64 {
        let inside = |body: &[Tree], around| body.iter().map(|t| walk(levels, t, around)).max().unwrap_or(0);
        match tree {
            Tree::Leaf(_) => 0,
            Tree::Loop { level, lanes: true, body, .. } if levels.is_threads(*level) => {
                let LevelKind::Threads { count } = levels.all[*level].kind else { return 0 };
                let all = around.saturating_mul(count);
                inside(body, all).max(all)
            }
            Tree::Loop { body, .. } | Tree::Seq { body, .. } => inside(body, around),
            Tree::If { then, otherwise, .. } => inside(then, around).max(inside(otherwise, around)),
        }
    }
    trees.iter().map(|t| walk(levels, t, 1)).max().unwrap_or(0)
}
