//! The abstract machine of [`super::super::math`] on Cranelift values: scalars, or 128-bit vectors.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use rooftile_artifact::DType;

use super::super::super::math::{self, Machine};
use super::Emitter;
use super::lanes::{Val, as_int, scalar_type, vector_of};
use crate::nest::ir::MathFn;

struct Ops<'e, 'a> {
    e: &'e mut Emitter<'a>,
    float: Type,
    int: Type,
}

impl<'e, 'a> Ops<'e, 'a> {
    fn new(e: &'e mut Emitter<'a>, float: Type) -> Ops<'e, 'a> {
        Ops { e, float, int: as_int(float) }
    }

    fn compare(&mut self, cc: FloatCC, a: Value, b: Value) -> Value {
        self.e.b.ins().fcmp(cc, a, b)
    }
}

impl Machine for Ops<'_, '_> {
    type F = Value;
    type I = Value;
    type M = Value;

    fn is_double(&self) -> bool {
        self.float.lane_type() == types::F64
    }
    fn is_fused(&self) -> bool {
        self.e.fma
    }
    fn float(&mut self, v: f64) -> Value {
        self.e.float_const(self.float, v)
    }
    fn int(&mut self, v: i64) -> Value {
        self.e.int_const(self.int, v)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().fadd(a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().fsub(a, b)
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().fmul(a, b)
    }
    fn div(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().fdiv(a, b)
    }
    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.e.fma {
            return self.e.b.ins().fma(a, b, c);
        }
        let product = self.e.b.ins().fmul(a, b);
        self.e.b.ins().fadd(product, c)
    }
    fn sqrt(&mut self, a: Value) -> Value {
        self.e.b.ins().sqrt(a)
    }
    fn round(&mut self, a: Value) -> Value {
        self.e.b.ins().nearest(a)
    }
    fn trunc(&mut self, a: Value) -> Value {
        self.e.b.ins().trunc(a)
    }
    fn lt(&mut self, a: Value, b: Value) -> Value {
        self.compare(FloatCC::LessThan, a, b)
    }
    fn le(&mut self, a: Value, b: Value) -> Value {
        self.compare(FloatCC::LessThanOrEqual, a, b)
    }
    fn eq(&mut self, a: Value, b: Value) -> Value {
        self.compare(FloatCC::Equal, a, b)
    }
    fn eq_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().icmp(IntCC::Equal, a, b)
    }
    fn both(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().band(a, b)
    }
    fn select(&mut self, m: Value, a: Value, b: Value) -> Value {
        self.e.choose(m, a, b)
    }
    fn bits(&mut self, a: Value) -> Value {
        self.e.cast_bits(self.int, a)
    }
    fn of_bits(&mut self, a: Value) -> Value {
        self.e.cast_bits(self.float, a)
    }
    fn add_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().iadd(a, b)
    }
    fn sub_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().isub(a, b)
    }
    fn and_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().band(a, b)
    }
    fn or_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().bor(a, b)
    }
    fn xor_int(&mut self, a: Value, b: Value) -> Value {
        self.e.b.ins().bxor(a, b)
    }
    fn shl(&mut self, a: Value, count: u32) -> Value {
        self.e.shift_left(a, count)
    }
    fn shr(&mut self, a: Value, count: u32) -> Value {
        self.e.shift_right(a, count)
    }
}

impl Emitter<'_> {
    /// `f(a)`.
    pub(super) fn math(&mut self, f: MathFn, a: &Val, t: DType) -> Val {
        let ty = scalar_type(t);
        match a {
            Val::Uniform(v) => Val::Uniform(math::apply(&mut Ops::new(self, ty), f, *v)),
            Val::Lanes(lanes) => {
                Val::Lanes(self.map1(lanes, ty, |e, v| math::apply(&mut Ops::new(e, vector_of(ty)), f, v)))
            }
        }
    }

    /// `a` to the power `b`.
    pub(super) fn power(&mut self, a: &Val, b: &Val, t: DType) -> Val {
        let ty = scalar_type(t);
        if let (Val::Uniform(a), Val::Uniform(b)) = (a, b) {
            return Val::Uniform(math::pow(&mut Ops::new(self, ty), *a, *b));
        }
        let n = self.lane_count().unwrap_or(1);
        let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
        Val::Lanes(self.map2(&a, &b, ty, |e, a, b| math::pow(&mut Ops::new(e, vector_of(ty)), a, b)))
    }
}
