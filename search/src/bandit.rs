//! Which operator to try next: each is chosen in proportion to what it gained lately, with a floor for all, so that
//! operators that matter only late in a search are not forgotten (probability matching with decay).

use crate::rng::Rng;

/// What a choice of operators has learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Bandit {
    quality: Vec<f64>,
    floor: f64,
    rate: f64,
}

impl Bandit {
    /// A choice among operators that are worth this much at first.
    #[must_use]
    pub fn new(priors: Vec<f64>) -> Bandit {
        Bandit { quality: priors, floor: 0.2, rate: 0.08 }
    }

    /// The probability of every arm; they sum to 1.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen arms")]
        let even = 1.0 / self.quality.len() as f64;
        let total: f64 = self.quality.iter().sum();
        self.quality
            .iter()
            .map(|q| self.floor * even + (1.0 - self.floor) * if total > 0.0 { q / total } else { even })
            .collect()
    }

    /// Draws an arm; 0 where there are none.
    pub fn choose(&self, rng: &mut Rng) -> usize {
        let mut left = rng.unit();
        for (arm, p) in self.probabilities().into_iter().enumerate() {
            left -= p;
            if left < 0.0 {
                return arm;
            }
        }
        self.quality.len().saturating_sub(1)
    }

    /// Tells what an arm's last use was worth, 0 (nothing) to 1 (a new best).
    pub fn reward(&mut self, arm: usize, worth: f64) {
        if let Some(q) = self.quality.get_mut(arm) {
            *q += self.rate * (worth.clamp(0.0, 1.0) - *q);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewarded_arm_is_drawn_more_often_and_none_is_starved() {
        let mut bandit = Bandit::new(vec![1.0; 4]);
        for _ in 0..200 {
            for arm in 0..4 {
                bandit.reward(arm, if arm == 2 { 0.8 } else { 0.0 });
            }
        }
        let p = bandit.probabilities();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(p[2] > 0.7 && p[0] > 0.04, "{p:?}");
        let mut rng = Rng::for_step(3, 0);
        let drawn = (0..1000).filter(|_| bandit.choose(&mut rng) == 2).count();
        assert!(drawn > 650, "{drawn}");
    }
}
