//! What values may be used again, and where.
//!
//! A *control* scope is the body of a loop or a branch: what is computed inside is not known outside. An *iteration*
//! scope is one pass of a loop that is written out: what does not depend on its counter stays good after it.

use super::lanes::Val;

/// A scope around the current position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Different for every scope that ever was.
    pub(super) id: u64,
    /// Whether values computed inside are lost outside.
    pub(super) control: bool,
}

/// What a value depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dep {
    /// Index of the innermost scope in which something it depends on was bound.
    pub(super) scope: usize,
    /// Number of real loops around the innermost of those bindings.
    pub(super) level: u32,
    /// How long it stays the same.
    pub(super) life: Life,
}

/// How long a value stays the same, the longest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// As long as its scope lives.
    #[default]
    Scope,
    /// Until the next write to memory.
    Memory,
    /// For the current statement.
    Statement,
}

impl Dep {
    /// Depends on what either depends on.
    pub(super) fn and(self, other: Dep) -> Dep {
        Dep {
            scope: self.scope.max(other.scope),
            level: self.level.max(other.level),
            life: self.life.max(other.life),
        }
    }
}

/// A value that was computed.
#[derive(Clone, Debug)]
pub(super) struct Known<T> {
    value: T,
    dep: Dep,
    /// Position and id of the scope that it is good in.
    scope: (usize, u64),
    epoch: u64,
    statement: u64,
}

/// The scopes around the current position, and clocks that tell when memory was written.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    stack: Vec<Scope>,
    next_id: u64,
    /// Counts writes to memory.
    epoch: u64,
    /// Counts statements.
    statement: u64,
    /// Number of real loops around.
    pub(super) level: u32,
}

impl Scopes {
    pub(super) fn push(&mut self, control: bool) {
        self.next_id += 1;
        self.stack.push(Scope { id: self.next_id, control });
    }

    pub(super) fn pop(&mut self) {
        self.stack.pop();
    }

    /// Index of the innermost scope.
    pub(super) fn innermost(&self) -> usize {
        self.stack.len().saturating_sub(1)
    }

    /// Branches and real loops around the current position.
    pub(super) fn controls(&self) -> usize {
        self.stack.iter().filter(|s| s.control).count()
    }

    pub(super) fn memory_written(&mut self) {
        self.epoch += 1;
    }

    pub(super) fn next_statement(&mut self) {
        self.statement += 1;
    }

    /// Notes a value that was just computed.
    pub(super) fn note<T>(&self, value: T, dep: Dep) -> Known<T> {
        let control = self.stack.iter().rposition(|s| s.control).unwrap_or(0);
        let at = dep.scope.max(control);
        let id = self.stack.get(at).map_or(0, |s| s.id);
        Known { value, dep, scope: (at, id), epoch: self.epoch, statement: self.statement }
    }

    /// The value, if it is still good here.
    pub(super) fn recall<'k, T>(&self, known: &'k Known<T>) -> Option<(&'k T, Dep)> {
        let (at, id) = known.scope;
        let alive = self.stack.get(at).is_some_and(|s| s.id == id)
            && match known.dep.life {
                Life::Scope => true,
                Life::Memory => known.epoch == self.epoch,
                Life::Statement => known.statement == self.statement,
            };
        alive.then_some((&known.value, known.dep))
    }
}

/// What a variable stands for.
#[derive(Clone, Debug, Default)]
pub(super) enum Binding<V> {
    /// Nothing yet.
    #[default]
    Unbound,
    /// The counter of a pass that is written out.
    Const(i64),
    /// The counter of the current lane loop.
    Lane,
    /// A value.
    Value(Val<V>),
}
