//! Where an element is: index expressions taken apart into a constant displacement, a step per lane, and terms that
//! are added from the slowest to the fastest changing, so that what a loop does not change is computed outside it.

use std::collections::BTreeMap;

use rooftile_artifact::DType;

use super::super::ssa::{At, Bin, Ssa};
use super::Emitter;
use super::lanes::Val;
use super::scope::{Binding, Dep, Life};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, UnaryOp};

/// An index as `constant + lane * counter + sum of coefficient * expression`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Linear {
    pub(super) constant: i64,
    /// Multiple of the lane loop's counter.
    pub(super) lane: i64,
    pub(super) terms: BTreeMap<ExprId, i64>,
    /// Index of the innermost scope that binds a counter which became a constant or the lane part.
    pub(super) scope: usize,
}

impl Linear {
    pub(super) fn number(constant: i64) -> Linear {
        Linear { constant, ..Linear::default() }
    }

    fn scaled(mut self, factor: i64) -> Linear {
        self.constant = self.constant.wrapping_mul(factor);
        self.lane = self.lane.wrapping_mul(factor);
        self.terms.values_mut().for_each(|c| *c = c.wrapping_mul(factor));
        self.terms.retain(|_, c| *c != 0);
        self
    }

    pub(super) fn plus(mut self, other: &Linear, factor: i64) -> Linear {
        self.constant = self.constant.wrapping_add(other.constant.wrapping_mul(factor));
        self.lane = self.lane.wrapping_add(other.lane.wrapping_mul(factor));
        self.scope = self.scope.max(other.scope);
        for (&e, &c) in &other.terms {
            let mine = self.terms.entry(e).or_insert(0);
            *mine = mine.wrapping_add(c.wrapping_mul(factor));
        }
        self.terms.retain(|_, c| *c != 0);
        self
    }
}

/// A stride symbol times an expression.
type Product = (Option<u32>, Option<ExprId>);

/// A product of an address, written out: `coefficient * symbol * value`.
struct Term<V> {
    /// Number of real loops around the innermost binding that the value depends on.
    level: u32,
    symbol: Option<V>,
    value: Option<V>,
    coefficient: i64,
}

/// What an address is computed from, without its constant part: products and their coefficients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressKey {
    buffer: BufferId,
    terms: Vec<(Product, i64)>,
}

/// An address in the making.
pub(super) struct Sum<V> {
    /// Bytes that are known.
    pub(super) displacement: i64,
    /// What is the same for all lanes.
    pub(super) steady: Steady<V>,
    /// Parts of the index of which each lane has its own.
    pub(super) varying: Vec<Varying<V>>,
    /// Multiples of the lane counter: bytes, times a symbol.
    pub(super) lanes: Vec<(Option<V>, i64)>,
}

/// Terms of an address that are the same for all lanes, for [`Emitter::address`] to add up.
pub(super) struct Steady<V> {
    key: AddressKey,
    terms: Vec<Term<V>>,
    dep: Dep,
}

/// A part of an index in which lanes differ: bytes for one of it, times a symbol.
pub(super) struct Varying<V> {
    pub(super) part: ExprId,
    pub(super) bytes: i64,
    pub(super) symbol: Option<V>,
}

/// The place of an access.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<V> {
    /// `base + displacement`, and as far again per lane: the bytes from one lane to the next.
    Strided {
        /// An address.
        base: V,
        /// Bytes to add.
        displacement: i32,
        /// Bytes between neighbouring lanes.
        step: LaneStep<V>,
    },
    /// Each lane's index is computed on its own.
    Scattered,
}

/// Bytes between neighbouring lanes.
#[derive(Clone, Copy, Debug)]
pub(super) enum LaneStep<V> {
    /// A constant; 0 where all lanes access one element.
    Const(i64),
    /// A value.
    Value(V),
}

impl<B: Ssa> Emitter<'_, B> {
    /// An `i64` expression taken apart, as far as its parts are the same for all lanes or multiples of the counter.
    pub(super) fn linear(&self, e: ExprId) -> Linear {
        let atom = || Linear { terms: BTreeMap::from([(e, 1)]), ..Linear::default() };
        match &self.nest.exprs[e].kind {
            ExprKind::Const(v) => Linear { constant: v.as_i64(), ..Linear::default() },
            ExprKind::Var(v) => {
                let (binding, dep) = &self.bindings[v.index()];
                let scope = dep.scope;
                match binding {
                    Binding::Const(c) => Linear { constant: *c, scope, ..Linear::default() },
                    Binding::Lane => Linear { lane: 1, scope, ..Linear::default() },
                    Binding::Value(_) | Binding::Unbound => match self.definitions[v.index()] {
                        Some(definition) => self.linear(definition),
                        None => atom(),
                    },
                }
            }
            ExprKind::Unary(UnaryOp::Neg, a) => self.linear(*a).scaled(-1),
            ExprKind::Binary(BinaryOp::Add, a, b) => self.linear(*a).plus(&self.linear(*b), 1),
            ExprKind::Binary(BinaryOp::Sub, a, b) => self.linear(*a).plus(&self.linear(*b), -1),
            ExprKind::Binary(BinaryOp::Mul, a, b) => {
                let (a, b) = (self.linear(*a), self.linear(*b));
                if b.terms.is_empty() && b.lane == 0 {
                    a.scaled(b.constant)
                } else if a.terms.is_empty() && a.lane == 0 {
                    b.scaled(a.constant)
                } else {
                    atom()
                }
            }
            _ => atom(),
        }
    }

    /// The place of an element of a buffer in memory.
    pub(super) fn place(&mut self, buffer: BufferId, index: &[ExprId]) -> (Place<B::Value>, Dep) {
        let (sum, dep) = self.address_sum(buffer, index);
        if !sum.varying.is_empty() {
            return (Place::Scattered, dep);
        }
        let mut displacement = sum.displacement;
        let mut base = self.address(sum.steady);
        // The lane counter's first value belongs to the address, its step to the lane step.
        let (first, step) = self.lane_range();
        let mut lane_step = LaneStep::Const(0);
        for (symbol, c) in sum.lanes {
            let (start, each) = (c.wrapping_mul(first), c.wrapping_mul(step));
            match symbol {
                None => {
                    displacement = displacement.wrapping_add(start);
                    lane_step = self.add_step(lane_step, LaneStep::Const(each));
                }
                Some(s) => {
                    if start != 0 {
                        let start = self.op_const(Bin::Mul, s, start);
                        base = self.b.binary(Bin::Add, base, start);
                    }
                    let each = self.op_const(Bin::Mul, s, each);
                    lane_step = self.add_step(lane_step, LaneStep::Value(each));
                }
            }
        }
        let (base, displacement) = self.displaced(base, displacement);
        (Place::Strided { base, displacement, step: lane_step }, dep)
    }

    /// What the address of an element is added up from, and what its index depends on.
    pub(super) fn address_sum(&mut self, buffer: BufferId, index: &[ExprId]) -> (Sum<B::Value>, Dep) {
        let size = self.nest.buffers[buffer].dtype.size() as i64;
        let mut displacement = 0i64;
        let mut terms: BTreeMap<Product, i64> = BTreeMap::new();
        let mut lanes: BTreeMap<Option<u32>, i64> = BTreeMap::new();
        let mut add = |key, c: i64| {
            let mine: &mut i64 = terms.entry(key).or_insert(0);
            *mine = mine.wrapping_add(c);
        };
        let mut symbols: BTreeMap<u32, B::Value> = BTreeMap::new();
        let mut dep = Dep::default();
        for (d, &i) in index.iter().enumerate() {
            let linear = self.linear(i);
            dep.scope = dep.scope.max(linear.scope);
            let stride = self.strides[buffer.index()][d];
            let factor = stride.factor.wrapping_mul(size);
            let symbol = stride.symbol.map(|(n, v)| {
                symbols.insert(n, v);
                n
            });
            match symbol {
                None => displacement = displacement.wrapping_add(linear.constant.wrapping_mul(factor)),
                Some(_) => add((symbol, None), linear.constant.wrapping_mul(factor)),
            }
            for (e, c) in linear.terms {
                add((symbol, Some(e)), c.wrapping_mul(factor));
            }
            let lane = lanes.entry(symbol).or_insert(0);
            *lane = lane.wrapping_add(linear.lane.wrapping_mul(factor));
        }
        terms.retain(|_, c| *c != 0);
        lanes.retain(|_, c| *c != 0);
        let mut steady = Steady {
            key: AddressKey { buffer, terms: Vec::with_capacity(terms.len()) },
            terms: Vec::with_capacity(terms.len()),
            dep: Dep::default(),
        };
        let mut varying = Vec::new();
        for ((number, atom), coefficient) in terms {
            let symbol = number.map(|s| symbols[&s]);
            let value = match atom {
                None => None,
                Some(e) => {
                    let (v, d) = self.eval_dep(e);
                    dep = dep.and(d);
                    match v {
                        Val::Lanes(_) if self.lane_count().is_some() => {
                            varying.push(Varying { part: e, bytes: coefficient, symbol });
                            continue;
                        }
                        v => {
                            steady.dep = steady.dep.and(d);
                            Some((self.extract(&v, DType::I64, 0), d.level))
                        }
                    }
                }
            };
            let level = value.map_or(0, |(_, level)| level);
            steady.terms.push(Term { level, symbol, value: value.map(|(v, _)| v), coefficient });
            steady.key.terms.push(((number, atom), coefficient));
        }
        let lanes = lanes.into_iter().map(|(symbol, c)| (symbol.map(|s| symbols[&s]), c)).collect();
        (Sum { displacement, steady, varying, lanes }, dep)
    }

    /// An address and a constant, as far as instructions hold one.
    pub(super) fn displaced(&mut self, base: B::Value, displacement: i64) -> (B::Value, i32) {
        match i32::try_from(displacement) {
            Ok(displacement) => (base, displacement),
            Err(_) => (self.op_const(Bin::Add, base, displacement), 0),
        }
    }

    fn add_step(&mut self, a: LaneStep<B::Value>, b: LaneStep<B::Value>) -> LaneStep<B::Value> {
        match (a, b) {
            (LaneStep::Const(a), LaneStep::Const(b)) => LaneStep::Const(a.wrapping_add(b)),
            (LaneStep::Const(0), v) | (v, LaneStep::Const(0)) => v,
            (LaneStep::Const(c), LaneStep::Value(v)) | (LaneStep::Value(v), LaneStep::Const(c)) => {
                LaneStep::Value(self.op_const(Bin::Add, v, c))
            }
            (LaneStep::Value(a), LaneStep::Value(b)) => LaneStep::Value(self.b.binary(Bin::Add, a, b)),
        }
    }

    fn lane_range(&self) -> (i64, i64) {
        match &self.lanes {
            Some(l) if l.values.len() > 1 => (l.values[0], l.values[1] - l.values[0]),
            _ => (0, 0),
        }
    }

    /// The base of a buffer plus all terms.
    pub(super) fn address(&mut self, steady: Steady<B::Value>) -> B::Value {
        let Steady { key, terms: mut parts, dep } = steady;
        if let Some((v, _)) = self.known_addresses.get(&key).and_then(|k| self.scopes.recall(k)) {
            return *v;
        }
        parts.sort_by_key(|p| p.level);
        let mut sum = match self.bases[key.buffer.index()] {
            Some(base) => base,
            None => self.int64(0),
        };
        for Term { symbol, value, coefficient, .. } in parts {
            let scale = match symbol {
                None => None,
                Some(s) if coefficient == 1 => Some(s),
                Some(s) => Some(self.op_const(Bin::Mul, s, coefficient)),
            };
            let term = match (value, scale) {
                (Some(v), Some(scale)) => self.b.binary(Bin::Mul, v, scale),
                (Some(v), None) if coefficient == 1 => v,
                (Some(v), None) if coefficient > 0 && coefficient.count_ones() == 1 => {
                    self.op_const(Bin::Shl, v, i64::from(coefficient.trailing_zeros()))
                }
                (Some(v), None) => self.op_const(Bin::Mul, v, coefficient),
                (None, Some(scale)) => scale,
                (None, None) => self.int64(coefficient),
            };
            sum = self.b.binary(Bin::Add, sum, term);
        }
        let life = if dep.life == Life::Scope { Life::Scope } else { Life::Statement };
        let known = self.scopes.note(sum, Dep { life, ..dep });
        self.known_addresses.insert(key, known);
        sum
    }

    /// The address and displacement of one element, for all lanes or in the lane that is written out alone.
    pub(super) fn element(&mut self, buffer: BufferId, index: &[ExprId]) -> At<B::Value> {
        match self.place(buffer, index).0 {
            Place::Strided { base, displacement, .. } => self.at(buffer, base, displacement),
            // Only lanes scatter, and there are none here.
            Place::Scattered => {
                let base = self.int64(0);
                self.at(buffer, base, 0)
            }
        }
    }
}
