//! Quotients of several vectors by one number, to the last bit: the number's reciprocal is computed once, and each quotient is a
//! product and its correction, which takes a fourth of the time of a division.
//!
//! With `r = 1 / d` rounded and `s = (1 - d r) r`, which is what `r` lacks to 47 bits, `q = x r + x s` is one of the two floats
//! beside `x / d`. Then `x - q d` is a float, and `q + (x - q d) r`, rounded once, is the quotient rounded (P. Markstein,
//! "Computation of elementary functions on the IBM RISC System/6000 processor", 1990). That holds as long as nothing
//! underflows or overflows on the way: other vectors are divided.

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::Emitter;
use super::lanes::Lanes;

/// Bits of a float without its sign, from the first on to before the last.
type Range = (i64, i64);

/// `2^e` as bits.
const fn power(e: i64) -> i64 {
    (127 + e) << 23
}

/// Dividends. The product with `s` stays a normal number, and `x - q d` is exact.
const DIVIDENDS: Range = (power(-80), power(80));
/// Divisors.
const DIVISORS: Range = (power(-40), power(20));
/// Bytes of vectors for which it pays: narrower ones are divided in half the time.
const VECTOR: usize = 64;

impl<B: Ssa> Emitter<'_, B> {
    /// `a / d` of several vectors of f32; `None` where a division each is better.
    pub(super) fn quotients(&mut self, a: &Lanes<B::Value>, d: B::Value) -> Option<Lanes<B::Value>> {
        if a.ty != Lane::F32 || a.chunks.len() < 2 || !self.b.has_fma() || self.b.vector_bytes() < VECTOR {
            return None;
        }
        let scalar = Ty::scalar(Lane::F32);
        let one = self.b.float(scalar, 1.0);
        let r = self.b.binary(Bin::Div, one, d);
        let minus = self.b.unary(Un::Neg, d);
        let lacks = self.b.fma(minus, r, one);
        let s = self.b.binary(Bin::Mul, lacks, r);
        let span = {
            let above = self.above(d, DIVISORS);
            let limit = self.b.int(Ty::scalar(Lane::I32), DIVISORS.1 - DIVISORS.0);
            let inside = self.b.compare(Cmp::ULt, above, limit);
            let (all, none) = (DIVIDENDS.1 - DIVIDENDS.0, 0);
            let [all, none] = [all, none].map(|n| self.b.int(Ty::scalar(Lane::I32), n));
            self.b.select(inside, all, none)
        };
        let [d, r, s, span] = [d, r, s, span].map(|v| self.b.splat(v));
        let most = a.chunks.iter().map(|x| self.above(*x, DIVIDENDS)).collect::<Vec<_>>();
        let most = most.into_iter().reduce(|m, v| self.b.binary(Bin::UMax, m, v))?;
        let inside = self.b.compare(Cmp::ULt, most, span);
        let inside = self.b.all_true(inside);
        let ty = self.vector_of(Lane::F32);
        let results: Vec<B::Variable> = a.chunks.iter().map(|_| self.b.variable(ty)).collect();
        let (product, divided, join) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch(inside, (product, &[]), (divided, &[]));
        self.arm(product, join, |e| {
            for (x, result) in a.chunks.iter().zip(&results) {
                let low = e.b.binary(Bin::Mul, *x, s);
                let q = e.b.fma(*x, r, low);
                let minus = e.b.unary(Un::Neg, q);
                let rest = e.b.fma(minus, d, *x);
                let q = e.b.fma(rest, r, q);
                e.b.def_var(*result, q);
            }
        });
        self.arm(divided, join, |e| {
            for (x, result) in a.chunks.iter().zip(&results) {
                let q = e.b.binary(Bin::Div, *x, d);
                e.b.def_var(*result, q);
            }
        });
        self.go_on(join);
        Some(Lanes { ty: a.ty, chunks: results.iter().map(|v| self.b.use_var(*v)).collect() })
    }

    /// How far the bits of a float without its sign lie above those that a range begins with, without sign itself.
    fn above(&mut self, x: B::Value, (first, _): Range) -> B::Value {
        let ty = self.b.ty(x).as_int();
        let bits = self.b.bitcast(ty, x);
        let bits = self.op_const(Bin::And, bits, i64::from(i32::MAX));
        self.op_const(Bin::Add, bits, -first)
    }
}

#[cfg(test)]
mod tests {
    use super::{DIVIDENDS, DIVISORS};

    /// What the instructions compute, on one lane.
    fn quotient(x: f32, d: f32) -> f32 {
        let r = 1.0 / d;
        let s = (-d).mul_add(r, 1.0) * r;
        let q = x.mul_add(r, x * s);
        (-q).mul_add(d, x).mul_add(r, q)
    }

    /// A float between bits of a range, of either sign.
    fn draw(random: &mut u64, (first, end): super::Range) -> f32 {
        *random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let word = *random >> 16;
        let bits = first as u64 + word % (end - first) as u64;
        f32::from_bits(bits as u32 | ((word >> 40) as u32 & 1) << 31)
    }

    /// `ROOFTILE_QUOTIENTS` pairs, two million without it.
    #[test]
    fn it_is_the_quotient() {
        let count = std::env::var("ROOFTILE_QUOTIENTS").ok().and_then(|n| n.parse().ok());
        let mut random = 1;
        for _ in 0..count.unwrap_or(2_000_000u64) {
            let (x, d) = (draw(&mut random, DIVIDENDS), draw(&mut random, DIVISORS));
            assert_eq!(quotient(x, d).to_bits(), (x / d).to_bits(), "{x:e} / {d:e}");
        }
    }

    /// Quotients that lie as near as they can to the middle between two floats, or to one: of neighbours of products.
    #[test]
    fn hard_quotients_are_right() {
        let mut random = 2;
        for _ in 0..200_000 {
            let (q, d) = (draw(&mut random, DIVIDENDS), draw(&mut random, DIVISORS));
            let middle = (f64::from(q) + f64::from(f32::from_bits(q.to_bits() + 1))) / 2.0;
            for product in [f64::from(q) * f64::from(d), middle * f64::from(d)] {
                for step in -1i32..=1 {
                    let x = f32::from_bits((product as f32).to_bits().wrapping_add_signed(step));
                    let bits = i64::from(x.abs().to_bits());
                    if (DIVIDENDS.0..DIVIDENDS.1).contains(&bits) {
                        assert_eq!(quotient(x, d).to_bits(), (x / d).to_bits(), "{x:e} / {d:e}");
                    }
                }
            }
        }
    }
}
