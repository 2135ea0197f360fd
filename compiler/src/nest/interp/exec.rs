//! One launch of one nest.

mod matrix;

use std::collections::BTreeMap;

use rooftile_artifact::Scalar;

use super::super::eval;
use super::super::ir::{BufferId, Expr, ExprId, ExprKind, LoopKind, Nest, Phase, Space, Stmt, VarId};
use super::InterpError;
use super::memory::{Access, Storage, Touch};

/// What a nest is run on.
pub(super) struct Launch<'a> {
    pub(super) nest: &'a Nest,
    pub(super) sizes: &'a [i64],
    pub(super) scalars: &'a [Scalar],
    /// The storage of each slot.
    pub(super) bound: &'a [usize],
}

/// Runs every phase; gives the status bits.
pub(super) fn launch(launch: &Launch<'_>, storages: &mut [Storage]) -> Result<u32, InterpError> {
    let nest = launch.nest;
    let mut run = Run {
        launch,
        storages,
        vars: vec![Value::Undefined(0); nest.vars.len()],
        memo: vec![(0, Value::Undefined(0)); nest.exprs.len()],
        statement: 0,
        views: Vec::new(),
        causes: vec!["an unbound variable".to_owned()],
        phase: 0,
        chunk: 0,
        chunks: 1,
        lanes: Vec::new(),
        status: 0,
    };
    run.bind_buffers()?;
    for phase in &nest.phases {
        run.run_phase(phase)?;
    }
    Ok(run.status)
}

/// The value of an expression. An undefined one carries the number of its cause.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Defined(Scalar),
    Undefined(u32),
}

/// A buffer during a launch.
struct View {
    extents: Vec<i64>,
    memory: Place,
}

enum Place {
    /// Number of a storage.
    Shared(usize),
    /// Elements of a buffer of the chunk.
    Own(Vec<Value>),
}

/// A loop over lanes, threads or subgroups: the pass that runs, counted from 1, and who touched each element.
struct Lane {
    number: u32,
    /// Whether each pass is run by several threads: then each statement touches memory for itself.
    subgroups: bool,
    touched: BTreeMap<(usize, usize), Touch>,
}

struct Run<'a> {
    launch: &'a Launch<'a>,
    storages: &'a mut [Storage],
    vars: Vec<Value>,
    /// Values computed for the statement of the given number.
    memo: Vec<(u64, Value)>,
    statement: u64,
    views: Vec<View>,
    /// Texts of causes of undefined values.
    causes: Vec<String>,
    /// Number of phases run in this process so far, to tell their accesses apart.
    phase: u64,
    chunk: u32,
    chunks: i64,
    lanes: Vec<Lane>,
    status: u32,
}

/// Numbers for phases: storages outlive launches, so the numbers must differ between launches too.
fn next_phase() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl<'a> Run<'a> {
    fn nest(&self) -> &'a Nest {
        self.launch.nest
    }

    fn bind_buffers(&mut self) -> Result<(), InterpError> {
        let nest = self.nest();
        for (_, buffer) in nest.buffers.iter() {
            self.statement += 1;
            let mut extents = Vec::with_capacity(buffer.shape.len());
            for &e in &buffer.shape {
                extents.push(self.int(e, "an extent")?.max(0));
            }
            let count = extents.iter().try_fold(1i64, |n, &e| n.checked_mul(e));
            let fits = |bytes: usize| {
                count
                    .and_then(|n| n.checked_mul(buffer.dtype.size() as i64))
                    .is_some_and(|n| usize::try_from(n).is_ok_and(|n| n <= bytes))
            };
            let memory = match buffer.space {
                Space::Global(slot) => {
                    let storage = self.launch.bound[slot as usize];
                    let bytes = self.storages[storage].bytes.len();
                    if !fits(bytes) {
                        let (nest, name) = (nest.name.clone(), buffer.name.clone());
                        return Err(InterpError::Memory { nest, buffer: name, extents, bytes });
                    }
                    Place::Shared(storage)
                }
                Space::Local | Space::Shared | Space::Register | Space::Matrix => Place::Own(Vec::new()),
            };
            self.views.push(View { extents, memory });
        }
        Ok(())
    }

    fn run_phase(&mut self, phase: &Phase) -> Result<(), InterpError> {
        self.phase = next_phase();
        let mut ranges = Vec::with_capacity(phase.cores.len());
        for core in &phase.cores {
            self.statement += 1;
            let (lo, hi) = (self.int(core.lo, "a bound")?, self.int(core.hi, "a bound")?);
            ranges.push((
                core.var,
                lo,
                core.step,
                (hi - lo).max(0).saturating_add(core.step - 1) / core.step,
            ));
        }
        self.chunks = ranges.iter().map(|r| r.3).product();
        for chunk in 0..self.chunks {
            self.chunk = u32::try_from(chunk + 1).unwrap_or(u32::MAX);
            let mut rest = chunk;
            for &(var, lo, step, passes) in ranges.iter().rev() {
                self.vars[var.index()] = Value::Defined(Scalar::Int(lo + rest % passes * step));
                rest /= passes;
            }
            self.forget_own_buffers();
            self.block(&phase.body)?;
        }
        Ok(())
    }

    /// Local and register buffers start every chunk without content.
    fn forget_own_buffers(&mut self) {
        for (n, view) in self.views.iter_mut().enumerate() {
            if let Place::Own(elements) = &mut view.memory {
                let count = view.extents.iter().product::<i64>();
                let cause = u32::try_from(n + 1).unwrap_or(0);
                elements.clear();
                elements.resize(usize::try_from(count).unwrap_or(0), Value::Undefined(cause));
            }
        }
        if self.causes.len() == 1 {
            let names = self.nest().buffers.iter().map(|(_, b)| format!("`{}` before it is written", b.name));
            self.causes.extend(names);
            self.causes.push("a division by zero or a shift out of range".to_owned());
        }
    }

    fn block(&mut self, block: &[Stmt]) -> Result<(), InterpError> {
        block.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), InterpError> {
        self.statement += 1;
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => {
                let (lo, hi) = (self.int(*lo, "a bound")?, self.int(*hi, "a bound")?);
                // Nested loops over threads are one loop over all of them; lanes of a thread are apart.
                let at_once = !matches!(kind, LoopKind::Serial | LoopKind::Unrolled);
                let outermost = at_once && (*kind == LoopKind::Lanes || self.lanes.is_empty());
                if outermost {
                    let subgroups = matches!(kind, LoopKind::Subgroups { .. });
                    self.lanes.push(Lane { number: 1, subgroups, touched: BTreeMap::new() });
                }
                let mut i = lo;
                while i < hi {
                    self.vars[var.index()] = Value::Defined(Scalar::Int(i));
                    self.block(body)?;
                    i = i.saturating_add(*step);
                    if let Some(lane) = self.lanes.last_mut().filter(|_| at_once) {
                        lane.number += 1;
                    }
                }
                if outermost {
                    self.lanes.pop();
                }
            }
            Stmt::Let { var, value } => self.vars[var.index()] = self.eval(*value)?,
            Stmt::Store { buffer, index, value } => {
                let v = self.eval(*value)?;
                let at = self.element(*buffer, index)?;
                self.touch(*buffer, at, Access::Write)?;
                self.write(*buffer, at, v)?;
            }
            Stmt::Atomic { op, buffer, index, value, old } => {
                let dtype = self.nest().buffers[*buffer].dtype;
                let v = self.eval(*value)?;
                let v = self.defined(v, "an atomic's operand")?;
                let at = self.element(*buffer, index)?;
                self.touch(*buffer, at, Access::Atomic)?;
                let found = self.read(*buffer, at);
                let before = self.defined(found, "what an atomic changes")?;
                let after = eval::binary(*op, before, v, dtype).unwrap_or(before);
                self.write(*buffer, at, Value::Defined(after))?;
                if let Some(old) = old {
                    self.vars[old.index()] = Value::Defined(before);
                }
            }
            // It has no effect; what its indices read is checked as any other read.
            Stmt::Prefetch { index, .. } => {
                for &i in index {
                    self.eval(i)?;
                }
            }
            Stmt::If { cond, then, otherwise } => {
                let c = self.eval(*cond)?;
                let chosen = if self.defined(c, "a condition")?.is_true() { then } else { otherwise };
                self.block(chosen)?;
            }
            Stmt::SetStatus(bits) => self.status |= bits,
            Stmt::Matrix(op) => self.matrix(op)?,
        }
        Ok(())
    }

    fn defined(&self, v: Value, what: &str) -> Result<Scalar, InterpError> {
        match v {
            Value::Defined(v) => Ok(v),
            Value::Undefined(cause) => Err(InterpError::Undefined {
                nest: self.nest().name.clone(),
                what: what.to_owned(),
                cause: self.causes.get(cause as usize).cloned().unwrap_or_default(),
            }),
        }
    }

    fn int(&mut self, e: ExprId, what: &str) -> Result<i64, InterpError> {
        let v = self.eval(e)?;
        Ok(self.defined(v, what)?.as_i64())
    }

    /// Flat position of an element, checked.
    fn element(&mut self, buffer: BufferId, index: &[ExprId]) -> Result<usize, InterpError> {
        let index = self.indices(index)?;
        self.element_at(buffer, &index)
    }

    fn indices(&mut self, index: &[ExprId]) -> Result<Vec<i64>, InterpError> {
        index.iter().map(|&e| self.int(e, "an index")).collect()
    }

    /// As [`Run::element`], of values of the indices.
    fn element_at(&self, buffer: BufferId, index: &[i64]) -> Result<usize, InterpError> {
        let mut at = 0i64;
        let mut inside = true;
        for (&i, &extent) in index.iter().zip(&self.views[buffer.index()].extents) {
            inside &= (0..extent).contains(&i);
            at = at.wrapping_mul(extent).wrapping_add(i);
        }
        if inside {
            return Ok(usize::try_from(at).unwrap_or(0));
        }
        Err(InterpError::OutOfBounds {
            nest: self.nest().name.clone(),
            buffer: self.nest().buffers[buffer].name.clone(),
            index: index.to_vec(),
            extents: self.views[buffer.index()].extents.clone(),
        })
    }

    fn touch(&mut self, buffer: BufferId, at: usize, access: Access) -> Result<(), InterpError> {
        let size = self.nest().buffers[buffer].dtype.size();
        let race = |who: &str| InterpError::Race {
            nest: self.launch.nest.name.clone(),
            buffer: self.launch.nest.buffers[buffer].name.clone(),
            who: who.to_owned(),
        };
        let in_memory = self.nest().buffers[buffer].space != Space::Matrix;
        // Of the statements of one loop no two have the same, unless there are billions.
        let statement = u32::try_from(self.statement % u64::from(u32::MAX)).unwrap_or(0) + 1;
        for lane in &mut self.lanes {
            // Global buffers of one storage are told apart by slot here; chunks see the storage.
            let who = if lane.subgroups && in_memory { statement } else { lane.number };
            if lane.touched.entry((buffer.index(), at)).or_default().note(who, access) {
                return Err(race("lanes or threads"));
            }
        }
        if let Place::Shared(storage) = self.views[buffer.index()].memory
            && self.chunks > 1
            && self.storages[storage].touch(at * size, self.phase, self.chunk, access)
        {
            return Err(race("chunks"));
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, at: usize) -> Value {
        let dtype = self.nest().buffers[buffer].dtype;
        let undefined = Value::Undefined(buffer.index() as u32 + 1);
        match &self.views[buffer.index()].memory {
            Place::Shared(n) => {
                self.storages[*n].read(at * dtype.size(), dtype).map_or(undefined, Value::Defined)
            }
            Place::Own(elements) => elements[at],
        }
    }

    fn write(&mut self, buffer: BufferId, at: usize, v: Value) -> Result<(), InterpError> {
        let b = &self.nest().buffers[buffer];
        match &mut self.views[buffer.index()].memory {
            Place::Shared(n) => {
                let n = *n;
                let v = self.defined(v, &format!("a store to `{}`", b.name))?;
                self.storages[n].write(at * b.dtype.size(), b.dtype, v);
            }
            Place::Own(elements) => elements[at] = v,
        }
        Ok(())
    }

    fn eval(&mut self, e: ExprId) -> Result<Value, InterpError> {
        let (statement, v) = self.memo[e.index()];
        if statement == self.statement {
            return Ok(v);
        }
        let nest = self.nest();
        let v = self.compute(&nest.exprs[e])?;
        self.memo[e.index()] = (self.statement, v);
        Ok(v)
    }

    fn compute(&mut self, expr: &'a Expr) -> Result<Value, InterpError> {
        let t = expr.dtype;
        let nest = self.nest();
        Ok(match &expr.kind {
            ExprKind::Const(v) => Value::Defined(*v),
            ExprKind::Var(v) => self.var(*v),
            ExprKind::Size(n) => Value::Defined(Scalar::Int(self.launch.sizes[*n])),
            ExprKind::Param(n) => Value::Defined(self.launch.scalars[*n]),
            ExprKind::Load { buffer, index } => {
                let at = self.element(*buffer, index)?;
                self.touch(*buffer, at, Access::Read)?;
                self.read(*buffer, at)
            }
            ExprKind::Unary(op, a) => self.eval(*a)?.map(|a| eval::unary(*op, a, t)),
            ExprKind::Math(f, a) => self.eval(*a)?.map(|a| eval::math(*f, a, t)),
            ExprKind::Cast(a) => self.eval(*a)?.map(|v| eval::cast(v, nest.exprs[*a].dtype, t)),
            ExprKind::Binary(op, a, b) => match (self.eval(*a)?, self.eval(*b)?) {
                (Value::Defined(x), Value::Defined(y)) => {
                    match eval::binary(*op, x, y, nest.exprs[*a].dtype) {
                        Some(v) => Value::Defined(v),
                        None => Value::Undefined(nest.buffers.len() as u32 + 1),
                    }
                }
                (Value::Undefined(n), _) | (_, Value::Undefined(n)) => Value::Undefined(n),
            },
            ExprKind::Fma(a, b, c) => match (self.eval(*a)?, self.eval(*b)?, self.eval(*c)?) {
                (Value::Defined(a), Value::Defined(b), Value::Defined(c)) => {
                    Value::Defined(eval::fma(a, b, c, t))
                }
                (Value::Undefined(n), ..) | (_, Value::Undefined(n), _) | (.., Value::Undefined(n)) => {
                    Value::Undefined(n)
                }
            },
            ExprKind::Select(c, a, b) => {
                // Both arms are evaluated, so that both stay within bounds; only the chosen one need be defined.
                let (a, b) = (self.eval(*a)?, self.eval(*b)?);
                match self.eval(*c)? {
                    Value::Defined(c) => {
                        if c.is_true() {
                            a
                        } else {
                            b
                        }
                    }
                    undefined => undefined,
                }
            }
        })
    }

    fn var(&self, v: VarId) -> Value {
        self.vars[v.index()]
    }
}

impl Value {
    fn map(self, f: impl FnOnce(Scalar) -> Scalar) -> Value {
        match self {
            Value::Defined(v) => Value::Defined(f(v)),
            undefined => undefined,
        }
    }
}
