//! A small generator of random numbers whose sequence never changes with a library's version.

/// SplitMix64: one 64-bit state, a fixed sequence for each seed.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The sequence of that seed.
    #[must_use]
    pub fn new(seed: u64) -> SplitMix {
        SplitMix(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An integer in `lo..hi`; `lo` where the range is empty. The bias of the remainder is of no consequence here.
    pub fn below(&mut self, lo: i64, hi: i64) -> i64 {
        let span = i128::from(hi) - i128::from(lo);
        if span <= 0 {
            return lo;
        }
        let offset = i128::from(self.next_u64()) % span;
        i64::try_from(i128::from(lo) + offset).unwrap_or(lo)
    }

    /// A float in `0..1`.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let mantissa = (self.next_u64() >> 11) as f64;
        mantissa * (-53f64).exp2()
    }

    /// A float of the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = usize::try_from(self.next_u64() % (i as u64 + 1)).unwrap_or(0);
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_and_permutations_permute() {
        let mut rng = SplitMix::new(7);
        assert!((0..1000).all(|_| (-3..5).contains(&rng.below(-3, 5))));
        assert_eq!(rng.below(4, 4), 4);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit())));
        let mut items: Vec<u32> = (0..50).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<u32>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<u32>>());
    }
}
