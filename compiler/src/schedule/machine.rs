//! A small machine for tests: runs modules on host tensors, checking every access.

use std::collections::BTreeMap;

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::Step;
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};

use crate::nest::eval;
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, Module, Nest, Space, Stmt, VarId};

/// The content of the buffers of the parameters after a run. Those in `partly` need not be written whole.
pub(crate) fn run(
    module: &Module,
    sizes: &[i64],
    scalars: &[Scalar],
    inputs: &[Option<HostTensor>],
    partly: &[bool],
    threads: usize,
) -> Result<Vec<HostTensor>, String> {
    let program = &module.program;
    let env = HostEnv { sizes, scalars, steps: &[], threads };
    let mut buffers: Vec<Vec<Option<Scalar>>> = Vec::new();
    let mut shapes = Vec::new();
    for (n, decl) in program.buffers.iter().enumerate() {
        let shape: Vec<usize> = decl
            .shape
            .iter()
            .map(|e| e.eval_int(&env).map_err(|e| e.to_string()).map(|v| usize::try_from(v).unwrap_or(0)))
            .collect::<Result<_, _>>()?;
        let content = match inputs.get(n).and_then(Option::as_ref) {
            Some(t) => pack(t, decl.packed),
            None => vec![None; elements(decl.dtype, &shape, decl.packed)],
        };
        shapes.push(shape);
        buffers.push(content);
    }
    let mut host = Host { module, sizes, scalars, buffers, steps: vec![0; program.step_vars], threads };
    host.steps(&program.steps)?;
    program
        .params
        .iter()
        .enumerate()
        .map(|(n, p)| {
            let decl = &program.buffers[n];
            if decl.packed.is_some() {
                return inputs[n].clone().ok_or_else(|| "packed output".to_owned());
            }
            let data = &host.buffers[n];
            let missing = data.iter().position(Option::is_none);
            if let Some(at) = missing.filter(|_| !partly[n]) {
                return Err(format!("{}[{at}] was never written", p.name));
            }
            let get = |i: usize| data[i].unwrap_or(Scalar::Int(0));
            HostTensor::from_fn(decl.dtype, &shapes[n], |i| {
                if decl.dtype.is_complex() {
                    Scalar::Complex(get(2 * i).as_f64(), get(2 * i + 1).as_f64())
                } else {
                    get(i)
                }
            })
            .map_err(|e| e.to_string())
        })
        .collect()
}

fn elements(dtype: DType, shape: &[usize], packed: Option<usize>) -> usize {
    let mut shape = shape.to_vec();
    if let Some(p) = packed {
        shape[p] = shape[p].div_ceil(dtype.per_byte());
    }
    shape.iter().product::<usize>() * if dtype.is_complex() { 2 } else { 1 }
}

fn pack(t: &HostTensor, packed: Option<usize>) -> Vec<Option<Scalar>> {
    let Some(p) = packed else {
        return (0..t.len())
            .flat_map(|i| match t.get(i) {
                Scalar::Complex(re, im) => vec![Some(Scalar::Float(re)), Some(Scalar::Float(im))],
                v => vec![Some(v)],
            })
            .collect();
    };
    let DType::Int { bits, .. } = t.dtype() else { return Vec::new() };
    let per = t.dtype().per_byte();
    let shape = t.shape();
    let inner: usize = shape[p + 1..].iter().product();
    let outer: usize = shape[..p].iter().product();
    let bytes = shape[p].div_ceil(per);
    let mut out = vec![Some(Scalar::Int(0)); outer * bytes * inner];
    for o in 0..outer {
        for k in 0..shape[p] {
            for i in 0..inner {
                let v = t.get((o * shape[p] + k) * inner + i).as_i64() & ((1 << bits) - 1);
                let at = (o * bytes + k / per) * inner + i;
                let old = out[at].map_or(0, Scalar::as_i64);
                out[at] = Some(Scalar::Int(old | v << (usize::from(bits) * (k % per))));
            }
        }
    }
    out
}

struct Host<'a> {
    module: &'a Module,
    sizes: &'a [i64],
    scalars: &'a [Scalar],
    buffers: Vec<Vec<Option<Scalar>>>,
    steps: Vec<i64>,
    threads: usize,
}

impl Host<'_> {
    fn eval(&self, e: &HostExpr) -> Result<Scalar, String> {
        let env =
            HostEnv { sizes: self.sizes, scalars: self.scalars, steps: &self.steps, threads: self.threads };
        e.eval(&env).map_err(|e| e.to_string())
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Launch { kernel, buffers, sizes, scalars } => {
                    let sizes: Vec<i64> =
                        sizes.iter().map(|e| self.eval(e).map(Scalar::as_i64)).collect::<Result<_, _>>()?;
                    let scalars: Vec<Scalar> =
                        scalars.iter().map(|e| self.eval(e)).collect::<Result<_, _>>()?;
                    let nest = &self.module.nests[*kernel];
                    let mut thread = Thread {
                        nest,
                        sizes,
                        scalars,
                        slots: buffers.clone(),
                        global: &mut self.buffers,
                        vars: vec![None; nest.vars.len()],
                        local: BTreeMap::new(),
                    };
                    thread.launch().map_err(|e| format!("{}: {e}", nest.name))?;
                }
                Step::Repeat { var, lo, hi, swaps, body } => {
                    let (lo, hi) = (self.eval(lo)?.as_i64(), self.eval(hi)?.as_i64());
                    for t in lo..hi {
                        self.steps[*var] = t;
                        self.steps(body)?;
                        for (a, b) in swaps {
                            self.buffers.swap(*a, *b);
                        }
                    }
                }
                Step::If { cond, then, otherwise } => {
                    if self.eval(cond)?.is_true() {
                        self.steps(then)?;
                    } else {
                        self.steps(otherwise)?;
                    }
                }
                Step::Fill { buffer, value } => {
                    let v = self.eval(value)?.cast(self.module.program.buffers[*buffer].dtype);
                    self.buffers[*buffer].fill(Some(v));
                }
                Step::Copy { from, to } => self.buffers[*to] = self.buffers[*from].clone(),
            }
        }
        Ok(())
    }
}

struct Thread<'a> {
    nest: &'a Nest,
    sizes: Vec<i64>,
    scalars: Vec<Scalar>,
    slots: Vec<usize>,
    global: &'a mut Vec<Vec<Option<Scalar>>>,
    vars: Vec<Option<Scalar>>,
    local: BTreeMap<BufferId, (Vec<i64>, Vec<Option<Scalar>>)>,
}

impl Thread<'_> {
    fn launch(&mut self) -> Result<(), String> {
        for phase in &self.nest.phases {
            self.cores(&phase.cores, &phase.body)?;
        }
        Ok(())
    }

    fn cores(&mut self, cores: &[crate::nest::ir::CoreLoop], body: &[Stmt]) -> Result<(), String> {
        let Some((c, rest)) = cores.split_first() else {
            self.local.clear();
            return self.block(body);
        };
        let (lo, hi) = (self.int(c.lo)?, self.int(c.hi)?);
        // In descending order: chunks may not rely on one another.
        let count = if hi > lo { (hi - lo + c.step - 1) / c.step } else { 0 };
        for n in (0..count).rev() {
            self.vars[c.var.index()] = Some(Scalar::Int(lo + n * c.step));
            self.cores(rest, body)?;
        }
        Ok(())
    }

    fn block(&mut self, body: &[Stmt]) -> Result<(), String> {
        let mut bound: Vec<VarId> = Vec::new();
        for stmt in body {
            match stmt {
                Stmt::Loop { var, lo, hi, step, body, .. } => {
                    let (lo, hi) = (self.int(*lo)?, self.int(*hi)?);
                    let mut i = lo;
                    while i < hi {
                        self.vars[var.index()] = Some(Scalar::Int(i));
                        self.block(body)?;
                        i += step;
                    }
                    self.vars[var.index()] = None;
                }
                Stmt::Let { var, value } => {
                    self.vars[var.index()] = Some(self.eval(*value)?);
                    bound.push(*var);
                }
                Stmt::Store { buffer, index, value } => {
                    let v = self.eval(*value)?;
                    let v = v.cast(self.nest.buffers[*buffer].dtype);
                    *self.place(*buffer, index)? = Some(v);
                }
                Stmt::Atomic { op, buffer, index, value, old } => {
                    let v = self.eval(*value)?;
                    let dtype = self.nest.buffers[*buffer].dtype;
                    let place = self.place(*buffer, index)?;
                    let before = place.ok_or("atomic on nothing")?;
                    *place = eval::binary(*op, before, v, dtype);
                    if let Some(var) = old {
                        self.vars[var.index()] = Some(before);
                    }
                }
                Stmt::If { cond, then, otherwise } => {
                    if self.eval(*cond)?.is_true() {
                        self.block(then)?;
                    } else {
                        self.block(otherwise)?;
                    }
                }
                Stmt::SetStatus(bits) => return Err(format!("status {bits}")),
            }
        }
        for v in bound {
            self.vars[v.index()] = None;
        }
        Ok(())
    }

    fn int(&mut self, e: ExprId) -> Result<i64, String> {
        self.eval(e).map(Scalar::as_i64)
    }

    fn place(&mut self, buffer: BufferId, index: &[ExprId]) -> Result<&mut Option<Scalar>, String> {
        let b = &self.nest.buffers[buffer];
        let shape: Vec<i64> = if matches!(b.space, Space::Global(_)) || !self.local.contains_key(&buffer) {
            b.shape.clone().iter().map(|e| self.int(*e)).collect::<Result<_, _>>()?
        } else {
            self.local[&buffer].0.clone()
        };
        let mut at = 0;
        let mut where_ = Vec::new();
        for (ix, n) in index.iter().zip(&shape) {
            let i = self.int(*ix)?;
            where_.push(i);
            if i < 0 || i >= *n {
                return Err(format!("{}{where_:?} is outside {shape:?}", b.name));
            }
            at = at * n + i;
        }
        let at = usize::try_from(at).map_err(|e| e.to_string())?;
        match b.space {
            Space::Global(slot) => {
                let data = &mut self.global[self.slots[slot as usize]];
                let total: i64 = shape.iter().product();
                if i64::try_from(data.len()) != Ok(total) {
                    return Err(format!("{} has {} elements, the nest says {shape:?}", b.name, data.len()));
                }
                Ok(&mut data[at])
            }
            Space::Local | Space::Register => {
                let total = usize::try_from(shape.iter().product::<i64>()).map_err(|e| e.to_string())?;
                let entry = self.local.entry(buffer).or_insert_with(|| (shape, vec![None; total]));
                Ok(&mut entry.1[at])
            }
        }
    }

    fn eval(&mut self, e: ExprId) -> Result<Scalar, String> {
        let expr = &self.nest.exprs[e];
        let dtype = expr.dtype;
        let nest = self.nest;
        let ty = |e: ExprId| nest.exprs[e].dtype;
        Ok(match &expr.kind {
            ExprKind::Const(v) => *v,
            ExprKind::Var(v) => self.vars[v.index()]
                .ok_or_else(|| format!("variable {} is not bound", self.nest.vars[*v].name))?,
            ExprKind::Size(n) => Scalar::Int(self.sizes[*n]),
            ExprKind::Param(n) => self.scalars[*n].cast(dtype),
            ExprKind::Load { buffer, index } => {
                let name = &nest.buffers[*buffer].name;
                let indices: Vec<i64> = index.iter().map(|e| self.int(*e)).collect::<Result<_, _>>()?;
                self.place(*buffer, index)?
                    .ok_or_else(|| format!("{name}{indices:?} is read before it is written"))?
            }
            ExprKind::Unary(op, a) => eval::unary(*op, self.eval(*a)?, dtype),
            ExprKind::Math(f, a) => eval::math(*f, self.eval(*a)?, dtype),
            ExprKind::Binary(op, a, b) => {
                let (x, y) = (self.eval(*a)?, self.eval(*b)?);
                if matches!(op, BinaryOp::DivNonNeg | BinaryOp::RemNonNeg)
                    && (x.as_i64() < 0 || y.as_i64() <= 0)
                {
                    return Err(format!("{x:?} / {y:?} in a division of non-negative numbers"));
                }
                eval::binary(*op, x, y, ty(*a)).ok_or_else(|| format!("{op:?} of {x:?} and {y:?}"))?
            }
            ExprKind::Fma(a, b, c) => eval::fma(self.eval(*a)?, self.eval(*b)?, self.eval(*c)?, dtype),
            ExprKind::Select(c, a, b) => {
                // Both arms are computed, as a processor may.
                let (c, a, b) = (self.eval(*c)?, self.eval(*a)?, self.eval(*b)?);
                if c.is_true() { a } else { b }
            }
            ExprKind::Cast(a) => eval::cast(self.eval(*a)?, ty(*a), dtype),
        })
    }
}
