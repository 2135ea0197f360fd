//! Candidates whose times are made up, for tests of selection: the value of `id` in its assignment tells one from another.

use crate::archive::Descriptor;
use crate::bench::{Bench, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes, Verified};
use crate::candidate::{Class, Proposal, Recipe};
use crate::record::{Outcome, Record};

/// Seconds of a candidate measured alone; not a number for one that is wrong.
pub(super) type Alone = Box<dyn Fn(i64, &Sizes) -> f64>;
/// Seconds of two candidates in so many pairs.
pub(super) type Paired = Box<dyn Fn(i64, i64, &Sizes, usize) -> Vec<(f64, f64)>>;

/// What times candidates.
pub(super) struct MadeUp {
    pub(super) alone: Alone,
    pub(super) paired: Paired,
}

/// A candidate's number.
pub(super) fn id(recipe: &Recipe) -> i64 {
    recipe.assignment["id"]
}

/// The recipe of a candidate.
pub(super) fn recipe(id: u8) -> Recipe {
    Recipe { assignment: [("id".to_owned(), i64::from(id))].into(), ..Recipe::default() }
}

/// A problem size.
pub(super) fn size(n: i64) -> Sizes {
    Sizes::from([("N".to_owned(), n)])
}

/// A candidate that was right at all search sizes, of a kind of its own.
pub(super) fn record(id: u8, times: &[f64], score: f64) -> Record {
    Record {
        id: u64::from(id),
        proposal: Proposal {
            recipe: recipe(id),
            parents: Vec::new(),
            operator: String::new(),
            class: Class::X,
        },
        nest: Some(id.to_string()),
        descriptor: Some(Descriptor { form: id, ..Descriptor::default() }),
        outcome: Outcome::Measured,
        compiled: true,
        compile_s: None,
        times: times.iter().copied().map(Some).collect(),
        samples: times.iter().map(|t| vec![*t]).collect(),
        score: Some(score),
        challenge: None,
        at_s: 0.0,
    }
}

fn not_asked<T>() -> Result<T, Failure> {
    Err(Failure::new(Reason::Internal, "not asked for"))
}

impl Bench for MadeUp {
    fn size_info(&mut self, _: &Sizes) -> Result<SizeInfo, Failure> {
        not_asked()
    }

    fn prepare(&mut self, _: &Recipe, _: &[Sizes]) -> Result<Prepared, Failure> {
        not_asked()
    }

    fn verify(&mut self, _: &Recipe, _: u64) -> Result<Verified, Failure> {
        not_asked()
    }

    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, _: Effort) -> Result<Measured, Failure> {
        let time = (self.alone)(id(recipe), sizes);
        if time.is_nan() {
            return Err(Failure::new(Reason::WrongResult, "C[0] differs"));
        }
        Ok(Measured { samples: vec![time; 5], max_rel_err: 0.0 })
    }

    fn pair(&mut self, a: &Recipe, b: &Recipe, sizes: &Sizes, n: usize) -> Result<Vec<(f64, f64)>, Failure> {
        Ok((self.paired)(id(a), id(b), sizes, n))
    }
}
