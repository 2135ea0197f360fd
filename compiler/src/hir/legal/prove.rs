//! Proofs for all sizes: an inequality between polynomials holds if it holds after axes, innermost first, and data
//! are replaced by the end of their interval that is worse, and what remains is a polynomial over sizes (each at
//! least 1) without negative coefficients.
//!
//! Integers of 32 bits and more are taken not to wrap: sizes and indices are assumed to fit them.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, Scalar};

use super::poly::{Atom, Poly};
use super::space::Space;
use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, Function, ReduceOp, UnaryOp};

/// Substitutions tried for one inequality.
const MAX_STEPS: usize = 400;
/// Tile values and casts followed for one expression.
const MAX_DEPTH: usize = 200;

pub(super) struct Prover<'a> {
    space: &'a Space<'a>,
    steps: usize,
    where_facts: Option<Vec<Poly>>,
    polys: BTreeMap<ExprId, Option<Poly>>,
}

/// What an opaque expression is between.
struct Bounds {
    /// Each is at most the expression.
    lower: Vec<Poly>,
    /// Each is at least the expression.
    upper: Vec<Poly>,
    /// The expression equals one of these, where there are any.
    cases: Vec<Poly>,
}

impl<'a> Prover<'a> {
    pub(super) fn new(space: &'a Space<'a>) -> Prover<'a> {
        Prover { space, steps: 0, where_facts: None, polys: BTreeMap::new() }
    }

    /// Whether `lo <= index < hi` for all sizes, at all points where the conditions hold. `lo` is 0 where absent; `hi`
    /// may be a number, and `slack` is added to it.
    pub(super) fn inside(
        &mut self,
        index: ExprId,
        lo: Option<ExprId>,
        hi: Result<ExprId, i64>,
        slack: i64,
        conds: &[(ExprId, bool)],
    ) -> bool {
        let Some(index) = self.poly(index, 0) else { return false };
        let lo = match lo {
            Some(e) => self.poly(e, 0),
            None => Some(Poly::default()),
        };
        let hi = match hi {
            Ok(e) => self.poly(e, 0),
            Err(n) => Some(Poly::constant(n.into())),
        };
        let (Some(lo), Some(hi)) = (lo, hi) else { return false };
        let mut facts = self.where_facts();
        self.steps = 0;
        for &(cond, want) in conds {
            self.facts(cond, want, 0, &mut facts);
        }
        let below = index.plus(-1, &lo);
        let above = hi.plus(-1, &index).plus(1, &Poly::constant(i128::from(slack) - 1));
        [below, above].into_iter().all(|p| {
            self.steps = 0;
            self.holds(&p, &facts)
        })
    }

    /// Whether two integer expressions are equal for all sizes.
    pub(super) fn equal(&mut self, a: ExprId, b: ExprId) -> bool {
        match (self.poly(a, 0), self.poly(b, 0)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        }
    }

    fn where_facts(&mut self) -> Vec<Poly> {
        if let Some(facts) = &self.where_facts {
            return facts.clone();
        }
        let mut facts = Vec::new();
        for &cond in &self.space.func.wheres {
            self.facts(cond, true, 0, &mut facts);
        }
        self.where_facts = Some(facts.clone());
        facts
    }

    /// Polynomials that are not negative where the condition is as wanted.
    fn facts(&mut self, cond: ExprId, want: bool, depth: usize, out: &mut Vec<Poly>) {
        self.steps += 1;
        if depth > MAX_DEPTH || self.steps > MAX_STEPS {
            return;
        }
        let func = self.space.func;
        let expr = &func.exprs[cond];
        match expr.kind {
            ExprKind::Value(v) => {
                if let Some(def) = self.space.defs[v.index()] {
                    self.facts(def, want, depth + 1, out);
                }
            }
            ExprKind::Unary(UnaryOp::Not, a) => self.facts(a, !want, depth + 1, out),
            ExprKind::Binary(op, a, b)
                if func.exprs[a].dtype == DType::Bool
                    && ((op == BinaryOp::And && want) || (op == BinaryOp::Or && !want)) =>
            {
                self.facts(a, want, depth + 1, out);
                self.facts(b, want, depth + 1, out);
            }
            ExprKind::Binary(op, a, b) if func.exprs[a].dtype.is_int() => {
                let (Some(a), Some(b)) = (self.poly(a, depth + 1), self.poly(b, depth + 1)) else { return };
                let one = Poly::constant(1);
                // a < b is b - a - 1 >= 0.
                let lt = |a: &Poly, b: &Poly| b.plus(-1, a).plus(-1, &one);
                let le = |a: &Poly, b: &Poly| b.plus(-1, a);
                match (op, want) {
                    (BinaryOp::Lt, true) | (BinaryOp::Ge, false) => out.push(lt(&a, &b)),
                    (BinaryOp::Le, true) | (BinaryOp::Gt, false) => out.push(le(&a, &b)),
                    (BinaryOp::Gt, true) | (BinaryOp::Le, false) => out.push(lt(&b, &a)),
                    (BinaryOp::Ge, true) | (BinaryOp::Lt, false) => out.push(le(&b, &a)),
                    (BinaryOp::Eq, true) | (BinaryOp::Ne, false) => {
                        out.push(le(&a, &b));
                        out.push(le(&b, &a));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Whether the polynomial is not negative, given facts.
    fn holds(&mut self, p: &Poly, facts: &[Poly]) -> bool {
        self.nonneg(p) || facts.iter().any(|f| self.nonneg(&p.plus(-1, f)))
    }

    fn nonneg(&mut self, p: &Poly) -> bool {
        if p.plainly_nonneg() {
            return true;
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return false;
        }
        let Some(atom) = p.last_unknown() else { return false };
        let Some((c1, c0)) = p.split(atom) else { return false };
        let Some(bounds) = self.bounds(atom) else { return false };
        let at = |prover: &mut Self, bound: &Poly| {
            c1.times(bound).is_some_and(|product| prover.nonneg(&product.plus(1, &c0)))
        };
        if !bounds.cases.is_empty() && bounds.cases.iter().all(|case| at(self, case)) {
            return true;
        }
        let ends = if self.nonneg(&c1) {
            bounds.lower
        } else if self.nonneg(&Poly::default().plus(-1, &c1)) {
            bounds.upper
        } else {
            return false;
        };
        ends.iter().any(|end| at(self, end))
    }

    fn bounds(&mut self, atom: Atom) -> Option<Bounds> {
        match atom {
            Atom::Axis(a) => self.axis_bounds(a),
            Atom::Opaque(e) => self.opaque_bounds(e),
            Atom::Size(_) | Atom::Scalar(_) => None,
        }
    }

    fn axis_bounds(&mut self, a: AxisId) -> Option<Bounds> {
        let axis = &self.space.func.axes[a];
        let (lo, hi) = (axis.lo, axis.hi);
        let lower = self.poly(lo, 0).into_iter().collect();
        let upper = self.poly(hi, 0).map(|hi| hi.plus(-1, &Poly::constant(1))).into_iter().collect();
        Some(Bounds { lower, upper, cases: Vec::new() })
    }

    fn opaque_bounds(&mut self, e: ExprId) -> Option<Bounds> {
        let func = self.space.func;
        let expr = &func.exprs[e];
        let one = Poly::constant(1);
        let mut b = Bounds { lower: Vec::new(), upper: Vec::new(), cases: Vec::new() };
        match &expr.kind {
            ExprKind::Load { tensor, .. } => {
                if let Some((lo, hi)) = func.tensors[*tensor].range {
                    b.lower.extend(self.poly(lo, 0));
                    b.upper.extend(self.poly(hi, 0).map(|hi| hi.plus(-1, &one)));
                }
            }
            ExprKind::Table { table, .. } => {
                let data = &self.space.tables.get(*table)?.data;
                let ints =
                    || data.iter().map(|v| if let Scalar::Int(v) = v { Some(i128::from(*v)) } else { None });
                if ints().all(|v| v.is_some()) {
                    b.lower.extend(ints().flatten().min().map(Poly::constant));
                    b.upper.extend(ints().flatten().max().map(Poly::constant));
                }
            }
            ExprKind::Binary(op, x, y) => self.binary_bounds(*op, *x, *y, &mut b),
            ExprKind::Call(f, args) => {
                let polys: Option<Vec<Poly>> = args.iter().map(|&a| self.poly(a, 0)).collect();
                match (f, polys.as_deref()) {
                    (Function::Min, Some([x, y])) => {
                        b.upper.extend([x.clone(), y.clone()]);
                        b.cases.extend([x.clone(), y.clone()]);
                    }
                    (Function::Max, Some([x, y])) => {
                        b.lower.extend([x.clone(), y.clone()]);
                        b.cases.extend([x.clone(), y.clone()]);
                    }
                    // min(max(x, lo), hi): at least lo where lo <= hi, at most hi.
                    (Function::Clamp, Some([_, lo, hi])) => {
                        b.upper.push(hi.clone());
                        if self.nonneg(&hi.plus(-1, lo)) {
                            b.lower.push(lo.clone());
                        }
                    }
                    (Function::Ilog2 | Function::Popcount, _) => b.lower.push(Poly::default()),
                    _ => {}
                }
            }
            ExprKind::Select(_, x, y) => {
                if let (Some(x), Some(y)) = (self.poly(*x, 0), self.poly(*y, 0)) {
                    b.cases.extend([x, y]);
                }
            }
            ExprKind::Reduce { op: ReduceOp::Argmax | ReduceOp::Argmin, axes, .. } => {
                return self.axis_bounds(*axes.first()?);
            }
            _ => {}
        }
        if let Some((lo, hi)) = expr.dtype.int_range()
            && expr.dtype.size() <= 4
        {
            b.lower.push(Poly::constant(lo));
            b.upper.push(Poly::constant(hi));
        }
        if let ExprKind::Cast(inner) = expr.kind
            && func.exprs[inner].dtype == DType::Bool
        {
            b.lower.push(Poly::default());
            b.upper.push(one);
        }
        Some(b)
    }

    fn binary_bounds(&mut self, op: BinaryOp, x: ExprId, y: ExprId, b: &mut Bounds) {
        let (Some(x), Some(y)) = (self.poly(x, 0), self.poly(y, 0)) else { return };
        let one = Poly::constant(1);
        let zero = Poly::default();
        match op {
            BinaryOp::Rem if self.nonneg(&y.plus(-1, &one)) => {
                b.lower.push(zero);
                b.upper.push(y.plus(-1, &one));
                if self.nonneg(&x) {
                    b.upper.push(x);
                }
            }
            BinaryOp::Div if self.nonneg(&y.plus(-1, &one)) && self.nonneg(&x) => {
                b.lower.push(zero);
                // A constant bound of the dividend gives a constant bound of the quotient.
                if let (Some(d), Some(top)) = (y.as_constant(), self.constant_top(&x)) {
                    b.upper.push(Poly::constant(top.div_euclid(d)));
                }
                b.upper.push(x);
            }
            BinaryOp::And => {
                for side in [x, y] {
                    if self.nonneg(&side) {
                        b.upper.push(side);
                        if b.lower.is_empty() {
                            b.lower.push(zero.clone());
                        }
                    }
                }
            }
            BinaryOp::Or if self.nonneg(&x) && self.nonneg(&y) => b.lower.extend([x, y]),
            BinaryOp::Shr if self.nonneg(&x) && self.nonneg(&y) => {
                b.lower.push(zero);
                b.upper.push(x);
            }
            BinaryOp::Shl if self.nonneg(&x) && self.nonneg(&y) => b.lower.push(x),
            _ => {}
        }
    }

    /// A number that the polynomial never exceeds, where it is one axis or a number.
    fn constant_top(&mut self, p: &Poly) -> Option<i128> {
        if let Some(v) = p.as_constant() {
            return Some(v);
        }
        let atom = p.last_unknown()?;
        let (c1, c0) = p.split(atom)?;
        let (k, rest) = (c1.as_constant()?, c0.as_constant()?);
        let bounds = self.bounds(atom)?;
        let ends = if k >= 0 { bounds.upper } else { bounds.lower };
        ends.iter()
            .filter_map(Poly::as_constant)
            .filter_map(|end| k.checked_mul(end)?.checked_add(rest))
            .min()
    }

    /// The expression as a polynomial; `None` for what is no integer.
    fn poly(&mut self, e: ExprId, depth: usize) -> Option<Poly> {
        if let Some(known) = self.polys.get(&e) {
            return known.clone();
        }
        let made = self.make_poly(e, depth);
        self.polys.insert(e, made.clone());
        made
    }

    /// Whether a conversion keeps the value: to a wider type, or, sizes and indices being assumed to fit, to one of 32
    /// bits or more, if what becomes unsigned is not negative.
    fn keeps_value(&mut self, from: DType, to: DType, p: &Poly) -> bool {
        let (Some((a, b)), Some((c, d))) = (from.int_range(), to.int_range()) else { return false };
        let wider = c <= a && b <= d;
        wider || (to.size() >= 4 && (to.is_signed_int() || self.nonneg(p)))
    }

    fn make_poly(&mut self, e: ExprId, depth: usize) -> Option<Poly> {
        let func = self.space.func;
        let expr = &func.exprs[e];
        if !expr.dtype.is_int() {
            return None;
        }
        let opaque = || Some(Poly::atom(Atom::Opaque(e)));
        if depth > MAX_DEPTH {
            return opaque();
        }
        match &expr.kind {
            ExprKind::Const(Scalar::Int(v)) => Some(Poly::constant((*v).into())),
            ExprKind::Size(s) => Some(Poly::atom(Atom::Size(s.index()))),
            ExprKind::Scalar(s) => Some(Poly::atom(Atom::Scalar(s.index()))),
            ExprKind::Axis(a) => Some(Poly::atom(Atom::Axis(*a))),
            ExprKind::Value(v) => match self.space.defs[v.index()] {
                Some(def) => self.poly(def, depth + 1),
                None => opaque(),
            },
            ExprKind::Cast(inner) => {
                if !func.exprs[*inner].dtype.is_int() {
                    return opaque();
                }
                let p = self.poly(*inner, depth + 1)?;
                if self.keeps_value(func.exprs[*inner].dtype, expr.dtype, &p) { Some(p) } else { opaque() }
            }
            ExprKind::Unary(UnaryOp::Neg, a) => {
                self.poly(*a, depth + 1).map(|p| Poly::default().plus(-1, &p))
            }
            ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul), a, b) => {
                let (a, b) = (self.poly(*a, depth + 1)?, self.poly(*b, depth + 1)?);
                match op {
                    BinaryOp::Add => Some(a.plus(1, &b)),
                    BinaryOp::Sub => Some(a.plus(-1, &b)),
                    _ => a.times(&b).or_else(opaque),
                }
            }
            _ => opaque(),
        }
    }
}
