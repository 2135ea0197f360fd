//! The abstract machine of [`crate::codegen::math`] on values that are written: scalars, or vectors.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of, scalar_of};
use crate::codegen::math::{self, Machine};
use crate::nest::ir::MathFn;

/// `N` scalars or vectors at a time: each step of all of them before the next step, so that a processor that looks but a
/// few instructions ahead finds some that do not wait for each other.
struct Ops<'e, 'a, B: Ssa, const N: usize> {
    e: &'e mut Emitter<'a, B>,
    float: Ty,
    int: Ty,
}

impl<'e, 'a, B: Ssa, const N: usize> Ops<'e, 'a, B, N> {
    fn new(e: &'e mut Emitter<'a, B>, float: Ty) -> Ops<'e, 'a, B, N> {
        Ops { e, float, int: float.as_int() }
    }

    fn one(&mut self, a: [B::Value; N], f: impl Fn(&mut Self, B::Value) -> B::Value) -> [B::Value; N] {
        a.map(|a| f(self, a))
    }

    fn two(
        &mut self,
        a: [B::Value; N],
        b: [B::Value; N],
        f: impl Fn(&mut Self, B::Value, B::Value) -> B::Value,
    ) -> [B::Value; N] {
        std::array::from_fn(|n| f(self, a[n], b[n]))
    }

    fn binary(&mut self, op: Bin, a: [B::Value; N], b: [B::Value; N]) -> [B::Value; N] {
        self.two(a, b, |m, a, b| m.e.b.binary(op, a, b))
    }

    fn compare(&mut self, cmp: Cmp, a: [B::Value; N], b: [B::Value; N]) -> [B::Value; N] {
        self.two(a, b, |m, a, b| m.e.b.compare(cmp, a, b))
    }
}

impl<B: Ssa, const N: usize> Machine for Ops<'_, '_, B, N> {
    type F = [B::Value; N];
    type I = [B::Value; N];
    type M = [B::Value; N];

    fn is_double(&self) -> bool {
        self.float.lane == Lane::F64
    }
    fn is_fused(&self) -> bool {
        self.e.b.has_fma()
    }
    fn float(&mut self, v: f64) -> Self::F {
        [self.e.b.float(self.float, v); N]
    }
    fn int(&mut self, v: i64) -> Self::I {
        [self.e.b.int(self.int, v); N]
    }
    fn mul_add(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        if self.e.b.has_fma() {
            return std::array::from_fn(|n| self.e.b.fma(a[n], b[n], c[n]));
        }
        let product = self.binary(Bin::Mul, a, b);
        self.binary(Bin::Add, product, c)
    }
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F {
        self.binary(Bin::Add, a, b)
    }
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F {
        self.binary(Bin::Sub, a, b)
    }
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F {
        self.binary(Bin::Mul, a, b)
    }
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F {
        self.binary(Bin::Div, a, b)
    }
    fn sqrt(&mut self, a: Self::F) -> Self::F {
        self.one(a, |m, a| m.e.b.unary(Un::Sqrt, a))
    }
    fn scaled(&mut self, a: Self::F, k: Self::F) -> Option<Self::F> {
        let all: Option<Vec<_>> = a.into_iter().zip(k).map(|(a, k)| self.e.b.scaled(a, k)).collect();
        all?.try_into().ok()
    }
    fn has_within(&self) -> bool {
        self.e.b.has_within()
    }
    fn within(&mut self, a: Self::F, limit: Self::F) -> Self::F {
        std::array::from_fn(|n| self.e.b.within(a[n], limit[n]))
    }
    fn estimate(&mut self, root: bool, a: Self::F) -> Option<Self::F> {
        let all: Option<Vec<_>> = a.into_iter().map(|a| self.e.b.estimate(root, a)).collect();
        all?.try_into().ok()
    }
    fn parts(&mut self, a: Self::F) -> Option<(Self::F, Self::F)> {
        let all: Option<Vec<_>> = a.into_iter().map(|a| self.e.b.parts(a)).collect();
        let (exponents, significands): (Vec<_>, Vec<_>) = all?.into_iter().unzip();
        Some((exponents.try_into().ok()?, significands.try_into().ok()?))
    }
    fn signs_apart(&mut self, a: Self::F) -> (Self::F, bool) {
        let apart = a.map(|a| self.e.b.signs_apart(a));
        let odd = apart[0].1;
        if apart.iter().all(|(_, o)| *o == odd) { (apart.map(|(v, _)| v), odd) } else { (a, false) }
    }
    fn round(&mut self, a: Self::F) -> Self::F {
        self.one(a, |m, a| m.e.b.unary(Un::Nearest, a))
    }
    fn trunc(&mut self, a: Self::F) -> Self::F {
        self.one(a, |m, a| m.e.b.unary(Un::Trunc, a))
    }
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::M {
        self.compare(Cmp::Lt, a, b)
    }
    fn le(&mut self, a: Self::F, b: Self::F) -> Self::M {
        self.compare(Cmp::Le, a, b)
    }
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::M {
        self.compare(Cmp::Eq, a, b)
    }
    fn eq_int(&mut self, a: Self::I, b: Self::I) -> Self::M {
        self.compare(Cmp::Eq, a, b)
    }
    fn both(&mut self, a: Self::M, b: Self::M) -> Self::M {
        self.binary(Bin::And, a, b)
    }
    fn select(&mut self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|n| self.e.choose(m[n], a[n], b[n]))
    }
    fn bits(&mut self, a: Self::F) -> Self::I {
        self.one(a, |m, a| m.e.cast_bits(m.int, a))
    }
    fn of_bits(&mut self, a: Self::I) -> Self::F {
        self.one(a, |m, a| m.e.cast_bits(m.float, a))
    }
    fn add_int(&mut self, a: Self::I, b: Self::I) -> Self::I {
        self.binary(Bin::Add, a, b)
    }
    fn sub_int(&mut self, a: Self::I, b: Self::I) -> Self::I {
        self.binary(Bin::Sub, a, b)
    }
    fn and_int(&mut self, a: Self::I, b: Self::I) -> Self::I {
        self.binary(Bin::And, a, b)
    }
    fn or_int(&mut self, a: Self::I, b: Self::I) -> Self::I {
        self.binary(Bin::Or, a, b)
    }
    fn xor_int(&mut self, a: Self::I, b: Self::I) -> Self::I {
        self.binary(Bin::Xor, a, b)
    }
    fn shl(&mut self, a: Self::I, count: u32) -> Self::I {
        self.one(a, |m, a| m.e.shift_const(Bin::Shl, a, count))
    }
    fn shr(&mut self, a: Self::I, count: u32) -> Self::I {
        self.one(a, |m, a| m.e.shift_const(Bin::UShr, a, count))
    }
}

impl<B: Ssa> Emitter<'_, B> {
    /// `f(a)`.
    pub(super) fn math(&mut self, f: MathFn, a: &Val<B::Value>, t: DType) -> Val<B::Value> {
        match a {
            Val::Uniform(v) => {
                let [v] = math::apply(&mut Ops::<_, 1>::new(self, scalar_of(t)), f, [*v]);
                Val::Uniform(v)
            }
            Val::Lanes(lanes) => {
                let ty = self.vector_of(lane_of(t));
                // The wider vectors have twice the registers.
                let at_once = if self.b.vector_bytes() == 64 { 4 } else { 2 };
                let chunks = lanes.chunks.chunks(at_once).flat_map(|group| match *group {
                    [a, b, c, d] => math::apply(&mut Ops::<_, 4>::new(self, ty), f, [a, b, c, d]).to_vec(),
                    [a, b, c] => math::apply(&mut Ops::<_, 3>::new(self, ty), f, [a, b, c]).to_vec(),
                    [a, b] => math::apply(&mut Ops::<_, 2>::new(self, ty), f, [a, b]).to_vec(),
                    _ => math::apply(&mut Ops::<_, 1>::new(self, ty), f, [group[0]]).to_vec(),
                });
                let chunks = chunks.collect();
                Val::Lanes(Lanes { ty: ty.lane, chunks })
            }
        }
    }

    /// `a` to the power `b`.
    pub(super) fn power(&mut self, a: &Val<B::Value>, b: &Val<B::Value>, t: DType) -> Val<B::Value> {
        if let (Val::Uniform(a), Val::Uniform(b)) = (a, b) {
            let [v] = math::pow(&mut Ops::<_, 1>::new(self, scalar_of(t)), [*a], [*b]);
            return Val::Uniform(v);
        }
        let n = self.lane_count().unwrap_or(1);
        let ty = self.vector_of(lane_of(t));
        let (a, b) = (self.per_lane(a, t, ty.lane, n), self.per_lane(b, t, ty.lane, n));
        Val::Lanes(self.map2(&a, &b, ty.lane, |e, a, b| {
            let [v] = math::pow(&mut Ops::<_, 1>::new(e, ty), [a], [b]);
            v
        }))
    }
}
