//! The error function: a polynomial in `x^2` up to 1/2; beyond, in f64, `erfc(x) = exp(-x^2) G(y) / (1 + 2x)` with
//! `y = (x - a) / (x + a)`, where `G` is nearly constant. In f32 `erfc(x) = exp(-x^2) r F(x r)` with `r = 1 / (x + a)`, for
//! which one division is enough: what is wrong with `r` nearly cancels out. With products that are not rounded this will do for
//! `erfc` from 0 on. The coefficients are Chebyshev fits made for this file.

use std::f64::consts::FRAC_2_SQRT_PI;

use super::{Machine, abs, copy_sign, exponential, neg, polynomial, quotient, reciprocal, two_product};

/// `erf(x) / x` in powers of `x^2`, for `x^2 <= 1/4`.
const NEAR_32: [f64; 5] = [
    1.128_379_165_601_791_5,
    -0.376_126_090_074_698_03,
    0.112_828_314_284_658_62,
    -0.026_757_732_755_035_016,
    0.004_719_082_567_218_814,
];
const NEAR_64: [f64; 9] = [
    FRAC_2_SQRT_PI,
    -0.376_126_389_031_834_74,
    0.112_837_916_709_253_53,
    -0.026_866_170_632_887_93,
    0.005_223_977_373_021_47,
    -0.000_854_829_775_367_496_7,
    0.000_120_533_351_243_537_41,
    -0.000_014_845_849_259_707_87,
    1.472_586_548_055_674_4e-6,
];

/// `erfc(x) exp(x^2) (x + A_32)` in powers of `x / (x + A_32) - CENTER_32`, for `x` from 0.
const FAR_32: [f64; 10] = [
    1.286_341_667_175_293,
    -2.130_600_214_004_516_6,
    2.365_631_341_934_204,
    -1.543_636_918_067_932_1,
    0.220_356_002_449_989_32,
    0.462_694_793_939_590_45,
    -0.190_118_730_068_206_8,
    -0.187_714_025_378_227_23,
    0.079_226_225_614_547_73,
    0.073_523_171_246_051_79,
];
const A_32: f64 = 2.5;
/// Near the middle, so that rounding takes the least.
const CENTER_32: f64 = 0.375;

/// `G` in powers of `y`, with `a = 3`.
const FAR_64: [f64; 22] = [
    1.253_008_058_269_729_7,
    -0.135_621_106_124_581_34,
    -0.047_562_294_353_450_05,
    0.129_645_158_702_782_85,
    -0.119_273_663_415_329_28,
    0.068_308_027_343_095_58,
    -0.023_770_514_917_911_44,
    0.002_529_391_832_233_425_8,
    0.001_888_690_345_016_053_9,
    -0.000_779_832_435_508_442_8,
    -0.000_105_159_640_699_060_3,
    0.000_125_100_346_857_882_7,
    4.948_402_609_450_152e-6,
    -0.000_020_104_354_772_617_37,
    -7.269_216_796_933_643e-7,
    3.481_443_986_513_932e-6,
    3.445_977_280_906_118e-7,
    -6.295_479_703_033_587e-7,
    -1.214_857_195_949_437_7e-7,
    1.114_661_426_287_752_1e-7,
    2.284_424_945_031_089_6e-8,
    -1.529_756_284_873_616_5e-8,
];

/// `erf(x)` for `|x| <= 1/2`.
fn near<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let z = m.mul(x, x);
    let p = if m.is_double() { polynomial(m, z, &NEAR_64) } else { polynomial(m, z, &NEAR_32) };
    m.mul(p, x)
}

/// `erfc(x)` for `x >= 1/2`.
fn far<M: Machine>(m: &mut M, x: M::F) -> M::F {
    if m.is_double() { far_64(m, x) } else { from_zero_32(m, x) }
}

/// `erfc(x)` for `x >= 0`.
fn from_zero_32<M: Machine>(m: &mut M, x: M::F) -> M::F {
    // Past it the result is zero.
    let x = super::at_most(m, x, 10.2);
    let (p, k) = exponential::exp_of_minus_square(m, x);
    let (a, minus_center) = (m.float(A_32), m.float(-CENTER_32));
    let below = m.add(x, a);
    let r = reciprocal(m, below);
    let t = m.mul_add(x, r, minus_center);
    let g = polynomial(m, t, &FAR_32);
    let p = m.mul(p, r);
    let g = m.mul(g, p);
    exponential::scale(m, g, k)
}

/// `erfc(x)` for `x >= 1/2`.
fn far_64<M: Machine>(m: &mut M, x: M::F) -> M::F {
    // Past it the result is zero.
    let x = super::at_most(m, x, 27.5);
    let (square, lost) = two_product(m, x, x);
    let e = exponential::exp_of_negative(m, square);
    let a = m.float(3.0);
    let (above, below) = (m.sub(x, a), m.add(x, a));
    let y = quotient(m, above, below);
    let g = polynomial(m, y, &FAR_64);
    // exp(-x^2) = e (1 - lost), with what rounding took from the square.
    let lost = neg(m, lost);
    let g = m.mul_add(g, lost, g);
    let (one, two) = (m.float(1.0), m.float(2.0));
    let below = m.mul_add(x, two, one);
    let g = quotient(m, g, below);
    m.mul(e, g)
}

fn is_near<M: Machine>(m: &mut M, size: M::F) -> M::M {
    let half = m.float(0.5);
    m.le(size, half)
}

pub(super) fn erf<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let size = abs(m, x);
    let small = near(m, x);
    let tail = far(m, size);
    let one = m.float(1.0);
    let large = m.sub(one, tail);
    let large = copy_sign(m, large, x);
    let use_small = is_near(m, size);
    m.select(use_small, small, large)
}

pub(super) fn erfc<M: Machine>(m: &mut M, x: M::F) -> M::F {
    // Of a float and its negation all is the same but what is selected.
    let (apart, turned) = m.signs_apart(x);
    let size = abs(m, apart);
    let (one, two, zero) = (m.float(1.0), m.float(2.0), m.float(0.0));
    let tail = far(m, size);
    let mirrored = m.sub(two, tail);
    let negative = m.lt(apart, zero);
    let (below, above) = if turned { (tail, mirrored) } else { (mirrored, tail) };
    let large = m.select(negative, below, above);
    // Where products are not rounded the tail is good enough from 0 on.
    if m.is_fused() && !m.is_double() {
        return large;
    }
    let small = near(m, x);
    let small = m.sub(one, small);
    let use_small = is_near(m, size);
    m.select(use_small, small, large)
}
