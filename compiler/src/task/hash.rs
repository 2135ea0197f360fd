//! Random numbers by counter: every element is a function of the seed, the parameter's name and its flat index.

/// A stream of random numbers that is indexed, not drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of a parameter: the first eight bytes, little-endian, of the BLAKE3 hash of the seed (eight bytes,
    /// little-endian) followed by the name.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Stream {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Stream { key: u64::from_le_bytes(key) }
    }

    /// 64 random bits at `index`: [`mix`] of `key + (index + 1) * 0x9E3779B97F4A7C15`, the splitmix64 sequence.
    #[must_use]
    pub fn bits(self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// A float in `0..1`, a multiple of 2^-53.
    #[must_use]
    pub fn unit(self, index: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let v = (self.bits(index) >> 11) as f64;
        v * (-53.0f64).exp2()
    }

    /// An integer in `0..n`; 0 for an `n` of 0. The bias is below `n / 2^64`.
    #[must_use]
    pub fn below(self, index: u64, n: u64) -> u64 {
        ((u128::from(self.bits(index)) * u128::from(n)) >> 64) as u64
    }

    /// A float of the standard normal distribution.
    #[must_use]
    pub fn normal(self, index: u64) -> f64 {
        // Half a step off, so that neither 0 nor 1 occurs.
        normal_quantile(self.unit(index) + (-54.0f64).exp2())
    }
}

/// The finaliser of splitmix64.
#[must_use]
pub(crate) fn mix(v: u64) -> u64 {
    let v = (v ^ (v >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let v = (v ^ (v >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    v ^ (v >> 31)
}

/// The value below which a standard normal variable lies with probability `p`, to about 16 digits: algorithm AS 241
/// (PPND16) of Wichura, Applied Statistics 37 (1988). Only operations that IEEE 754 defines exactly are used, so the bits are
/// the same on every platform.
#[expect(clippy::excessive_precision, reason = "the published digits")]
fn normal_quantile(p: f64) -> f64 {
    #[rustfmt::skip]
    const CENTRE: ([f64; 8], [f64; 8]) = (
        [3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
         4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3],
        [1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
         2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3],
    );
    #[rustfmt::skip]
    const MIDDLE: ([f64; 8], [f64; 8]) = (
        [1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
         1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4],
        [1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
         1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9],
    );
    #[rustfmt::skip]
    const TAIL: ([f64; 8], [f64; 8]) = (
        [6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
         2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
        [1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
         7.86869131745613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15],
    );
    fn ratio((above, below): &([f64; 8], [f64; 8]), x: f64) -> f64 {
        let value = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
        value(above) / value(below)
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE, 0.180_625 - q * q);
    }
    let r = (-logarithm(if q < 0.0 { p } else { 1.0 - p })).sqrt();
    let v = if r <= 5.0 { ratio(&MIDDLE, r - 1.6) } else { ratio(&TAIL, r - 5.0) };
    v.copysign(q)
}

/// The natural logarithm of a positive normal number by the series of the inverse hyperbolic tangent. The standard
/// library's may differ from platform to platform.
pub(crate) fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = f64::from(((bits >> 52) & 0x7FF) as u16) - 1023.0;
    let mut m = f64::from_bits(bits & !(0x7FF << 52) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    // |s| <= 0.1716, so twelve terms leave less than 2^-60.
    let series = (0..12).rev().fold(0.0, |sum, n| sum * s2 + 1.0 / f64::from(2 * n + 1));
    2.0 * s * series + exponent * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_moments_are_those_of_the_normal_distribution() {
        for (p, z) in
            [(0.5, 0.0), (0.975, 1.959963984540054), (0.001, -3.090232306167813), (1e-9, -5.997807015007686)]
        {
            let got = normal_quantile(p);
            assert!((got - z).abs() < 1e-14 * z.abs().max(1.0), "{p}: {got} {z}");
        }
        let stream = Stream::new(1, "x");
        let n = 100_000u64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for i in 0..n {
            let v = stream.normal(i);
            sum += v;
            squares += v * v;
        }
        assert!((sum / n as f64).abs() < 0.02 && (squares / n as f64 - 1.0).abs() < 0.02);
    }

    #[test]
    fn streams_are_fixed_for_ever() {
        // Stored results refer to data by seed and name. The first number of splitmix64 from a state of 0:
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0xE220_A839_7B1D_CDAF);
        assert_ne!(Stream::new(0, "A"), Stream::new(0, "B"));
        assert_ne!(Stream::new(0, "A"), Stream::new(1, "A"));
    }

    #[test]
    fn logarithms_agree_with_the_standard_library() {
        for x in [1e-300, 1e-9, 0.1, 0.5, 0.999, 1.0, 1.001, 2.0, 1.5e10] {
            let expected = f64::ln(x);
            assert!((logarithm(x) - expected).abs() <= 4e-16 * expected.abs().max(1.0), "{x}");
        }
    }
}
