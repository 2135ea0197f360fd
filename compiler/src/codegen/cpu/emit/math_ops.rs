//! The abstract machine of [`crate::codegen::math`] on values that are written: scalars, or vectors.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::Emitter;
use super::lanes::{Val, lane_of, scalar_of};
use crate::codegen::math::{self, Machine};
use crate::nest::ir::MathFn;

struct Ops<'e, 'a, B: Ssa> {
    e: &'e mut Emitter<'a, B>,
    float: Ty,
    int: Ty,
}

impl<'e, 'a, B: Ssa> Ops<'e, 'a, B> {
    fn new(e: &'e mut Emitter<'a, B>, float: Ty) -> Ops<'e, 'a, B> {
        Ops { e, float, int: float.as_int() }
    }
}

impl<B: Ssa> Machine for Ops<'_, '_, B> {
    type F = B::Value;
    type I = B::Value;
    type M = B::Value;

    fn is_double(&self) -> bool {
        self.float.lane == Lane::F64
    }
    fn is_fused(&self) -> bool {
        self.e.b.has_fma()
    }
    fn float(&mut self, v: f64) -> B::Value {
        self.e.b.float(self.float, v)
    }
    fn int(&mut self, v: i64) -> B::Value {
        self.e.b.int(self.int, v)
    }
    fn add(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Add, a, b)
    }
    fn sub(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Sub, a, b)
    }
    fn mul(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Mul, a, b)
    }
    fn div(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Div, a, b)
    }
    fn mul_add(&mut self, a: B::Value, b: B::Value, c: B::Value) -> B::Value {
        if self.e.b.has_fma() {
            return self.e.b.fma(a, b, c);
        }
        let product = self.e.b.binary(Bin::Mul, a, b);
        self.e.b.binary(Bin::Add, product, c)
    }
    fn sqrt(&mut self, a: B::Value) -> B::Value {
        self.e.b.unary(Un::Sqrt, a)
    }
    fn round(&mut self, a: B::Value) -> B::Value {
        self.e.b.unary(Un::Nearest, a)
    }
    fn trunc(&mut self, a: B::Value) -> B::Value {
        self.e.b.unary(Un::Trunc, a)
    }
    fn lt(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.compare(Cmp::Lt, a, b)
    }
    fn le(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.compare(Cmp::Le, a, b)
    }
    fn eq(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.compare(Cmp::Eq, a, b)
    }
    fn eq_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.compare(Cmp::Eq, a, b)
    }
    fn both(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::And, a, b)
    }
    fn select(&mut self, m: B::Value, a: B::Value, b: B::Value) -> B::Value {
        self.e.choose(m, a, b)
    }
    fn bits(&mut self, a: B::Value) -> B::Value {
        self.e.cast_bits(self.int, a)
    }
    fn of_bits(&mut self, a: B::Value) -> B::Value {
        self.e.cast_bits(self.float, a)
    }
    fn add_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Add, a, b)
    }
    fn sub_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Sub, a, b)
    }
    fn and_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::And, a, b)
    }
    fn or_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Or, a, b)
    }
    fn xor_int(&mut self, a: B::Value, b: B::Value) -> B::Value {
        self.e.b.binary(Bin::Xor, a, b)
    }
    fn shl(&mut self, a: B::Value, count: u32) -> B::Value {
        self.e.shift_const(Bin::Shl, a, count)
    }
    fn shr(&mut self, a: B::Value, count: u32) -> B::Value {
        self.e.shift_const(Bin::UShr, a, count)
    }
}

impl<B: Ssa> Emitter<'_, B> {
    /// `f(a)`.
    pub(super) fn math(&mut self, f: MathFn, a: &Val<B::Value>, t: DType) -> Val<B::Value> {
        match a {
            Val::Uniform(v) => Val::Uniform(math::apply(&mut Ops::new(self, scalar_of(t)), f, *v)),
            Val::Lanes(lanes) => {
                let ty = self.vector_of(lane_of(t));
                Val::Lanes(self.map1(lanes, ty.lane, |e, v| math::apply(&mut Ops::new(e, ty), f, v)))
            }
        }
    }

    /// `a` to the power `b`.
    pub(super) fn power(&mut self, a: &Val<B::Value>, b: &Val<B::Value>, t: DType) -> Val<B::Value> {
        if let (Val::Uniform(a), Val::Uniform(b)) = (a, b) {
            return Val::Uniform(math::pow(&mut Ops::new(self, scalar_of(t)), *a, *b));
        }
        let n = self.lane_count().unwrap_or(1);
        let ty = self.vector_of(lane_of(t));
        let (a, b) = (self.per_lane(a, t, ty.lane, n), self.per_lane(b, t, ty.lane, n));
        Val::Lanes(self.map2(&a, &b, ty.lane, |e, a, b| math::pow(&mut Ops::new(e, ty), a, b)))
    }
}
