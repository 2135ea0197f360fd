//! Several evaluators as one: candidates are lowered, compiled and checked at small sizes side by side, before their turn
//! comes. Measurements stay one at a time, and nothing else runs while one is taken.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::bench::{Bench, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes, Upcoming, Verified};
use crate::candidate::Recipe;

/// One of the evaluators.
pub type Member = Box<dyn Bench + Send>;

/// What was found out about a candidate before its turn.
struct Known {
    prepared: Result<Prepared, Failure>,
    /// Absent where its nest had been seen before.
    verified: Option<Result<Verified, Failure>>,
    /// The member that has its code.
    home: usize,
}

/// Evaluators that share the work of each batch.
pub struct Crew {
    members: Vec<Member>,
    /// By the keys of the recipes of the last batch.
    known: BTreeMap<String, Known>,
}

impl Crew {
    /// A crew of at least one member.
    ///
    /// # Errors
    /// [`Reason::Internal`] of nobody.
    pub fn new(members: Vec<Member>) -> Result<Crew, Failure> {
        if members.is_empty() {
            return Err(Failure::new(Reason::Internal, "a search needs an evaluator"));
        }
        Ok(Crew { members, known: BTreeMap::new() })
    }

    /// Whoever has the code of a recipe, else the first.
    fn home(&mut self, recipe: &Recipe) -> &mut Member {
        let home = self.known.get(&recipe.key()).map_or(0, |k| k.home);
        &mut self.members[home]
    }
}

impl Bench for Crew {
    /// All members get ready for the size, so that none does so within the search's time.
    fn size_info(&mut self, sizes: &Sizes) -> Result<SizeInfo, Failure> {
        let (first, others) = self.members.split_at_mut(1);
        let info = first[0].size_info(sizes)?;
        for member in others {
            member.size_info(sizes)?;
        }
        Ok(info)
    }

    fn ahead(&mut self, sizes: &[Sizes], upcoming: &[Upcoming<'_>], seen: &(dyn Fn(&str) -> bool + Sync)) {
        self.known.clear();
        if self.members.len() == 1 {
            return;
        }
        let (next, found) = (Mutex::new(upcoming.iter()), Mutex::new(BTreeMap::new()));
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for (home, member) in self.members.iter_mut().enumerate() {
                let (take, found) = (&take, &found);
                scope.spawn(move || {
                    while let Some(Upcoming { recipe, draw }) = take() {
                        let prepared = member.prepare(recipe, sizes);
                        let fresh = prepared.as_ref().is_ok_and(|p| !seen(&p.nest));
                        let verified = fresh.then(|| member.verify(recipe, *draw));
                        let known = Known { prepared, verified, home };
                        found.lock().unwrap_or_else(PoisonError::into_inner).insert(recipe.key(), known);
                    }
                });
            }
        });
        self.known = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    fn prepare(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Prepared, Failure> {
        match self.known.get(&recipe.key()) {
            Some(known) => known.prepared.clone(),
            None => self.members[0].prepare(recipe, sizes),
        }
    }

    fn verify(&mut self, recipe: &Recipe, draw: u64) -> Result<Verified, Failure> {
        match self.known.get(&recipe.key()).and_then(|k| k.verified.clone()) {
            Some(verified) => verified,
            None => self.home(recipe).verify(recipe, draw),
        }
    }

    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, effort: Effort) -> Result<Measured, Failure> {
        self.home(recipe).measure(recipe, sizes, effort)
    }

    fn pair(
        &mut self,
        a: &Recipe,
        b: &Recipe,
        sizes: &Sizes,
        rounds: usize,
    ) -> Result<Vec<(f64, f64)>, Failure> {
        self.home(b).pair(a, b, sizes, rounds)
    }
}
