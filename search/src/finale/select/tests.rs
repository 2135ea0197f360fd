use super::*;
use crate::archive::Descriptor;
use crate::bench::{Measured, Prepared, Verified};
use crate::candidate::{Class, Proposal};
use crate::record::{Outcome, Record};

/// Candidates by number: seconds when measured alone, and in pairs.
struct Table(Vec<(f64, f64)>);

/// By how much every other pair of these numbers of pairs is off, the other way: a machine whose few pairs look alike.
const WOBBLE: f64 = 0.05;

impl Table {
    fn of(&self, recipe: &Recipe) -> (f64, f64) {
        self.0[usize::try_from(recipe.assignment["id"]).expect("small")]
    }
}

impl Bench for Table {
    fn size_info(&mut self, _: &Sizes) -> Result<SizeInfo, Failure> {
        Err(Failure::new(Reason::Internal, "not asked for"))
    }

    fn prepare(&mut self, _: &Recipe, _: &[Sizes]) -> Result<Prepared, Failure> {
        Err(Failure::new(Reason::Internal, "not asked for"))
    }

    fn verify(&mut self, _: &Recipe, _: u64) -> Result<Verified, Failure> {
        Err(Failure::new(Reason::Internal, "not asked for"))
    }

    fn measure(&mut self, recipe: &Recipe, _: &Sizes, _: Effort) -> Result<Measured, Failure> {
        let time = self.of(recipe).0;
        if time.is_nan() {
            return Err(Failure::new(Reason::WrongResult, "C[0] differs"));
        }
        Ok(Measured { samples: vec![time; 5], max_rel_err: 0.0 })
    }

    fn pair(&mut self, a: &Recipe, b: &Recipe, _: &Sizes, n: usize) -> Result<Vec<(f64, f64)>, Failure> {
        let off = |k: usize| if n > ROUNDS && k.is_multiple_of(2) { 1.0 + WOBBLE } else { 1.0 };
        Ok((0..n).map(|k| (self.of(a).1, self.of(b).1 * off(k))).collect())
    }
}

fn sizes(n: i64) -> Sizes {
    Sizes::from([("N".to_owned(), n)])
}

/// A search that found all candidates right, each of a kind of its own.
fn state(times: &[(f64, f64)]) -> State {
    let mut state = State::default();
    for (n, (alone, _)) in (0u8..).zip(times) {
        let assignment = [("id".to_owned(), i64::from(n))].into();
        state.apply(Record {
            id: u64::from(n),
            proposal: Proposal {
                recipe: Recipe { assignment, ..Recipe::default() },
                parents: Vec::new(),
                operator: String::new(),
                class: Class::X,
            },
            nest: Some(n.to_string()),
            descriptor: Some(Descriptor { form: n, ..Descriptor::default() }),
            outcome: Outcome::Measured,
            compiled: true,
            compile_s: None,
            times: vec![Some(*alone)],
            samples: vec![vec![*alone]],
            score: Some(if alone.is_nan() { 0.1 } else { 1e-3 / alone }),
            challenge: None,
            at_s: 0.0,
        });
    }
    state
}

/// Seed is candidate 0, default candidate 1.
fn select_of(times: &[(f64, f64)]) -> (Option<CandidateId>, Vec<Finalist>) {
    let info = SizeInfo { roof_s: 1e-3, bound: String::new(), flops: 1.0, bytes: 1.0 };
    let heldout = [(sizes(7), info.clone()), (sizes(9), info)];
    let rivals = Rivals { seed: 0, default: Some(1), others: &[] };
    let grounds = Grounds { search: &[sizes(5)], heldout: &heldout };
    let found =
        select(&mut Table(times.to_vec()), &state(times), rivals, grounds, 0.01, &|r| Some(r.clone()));
    assert_eq!(found.variants, [], "all sizes take the same time");
    (found.winner, found.finalists)
}

fn veto(finalists: &[Finalist], id: u64) -> Option<&str> {
    finalists.iter().find(|f| f.id == id).expect("a finalist").veto.as_deref()
}

#[test]
fn whoever_is_slower_than_the_default_in_pairs_is_vetoed() {
    // Candidate 2 looks fastest, and beats the seed, but not the default.
    let (winner, finalists) = select_of(&[(4e-3, 4e-3), (3e-3, 3e-3), (2e-3, 3.2e-3)]);
    assert_eq!(veto(&finalists, 2), Some("slower than the default at N=7"));
    assert_eq!(winner, Some(1));
}

#[test]
fn the_default_wins_when_everything_else_is_behind() {
    let (winner, finalists) = select_of(&[(4e-3, 4e-3), (2e-3, 2e-3), (3e-3, 3e-3)]);
    assert_eq!(winner, Some(1), "{finalists:?}");
    assert_eq!(veto(&finalists, 0), Some("slower than the default at N=7"));
}

#[test]
fn the_default_may_not_lose_to_the_seed_either() {
    let (winner, finalists) = select_of(&[(3e-3, 2e-3), (2e-3, 3e-3)]);
    assert_eq!((winner, veto(&finalists, 0)), (Some(0), None));
    assert_eq!(veto(&finalists, 1), Some("slower than the seed at N=7"));
}

#[test]
fn a_seed_that_fails_vetoes_nobody() {
    let (winner, finalists) = select_of(&[(f64::NAN, 1e-3), (2e-3, 2e-3)]);
    assert_eq!(winner, Some(1), "{finalists:?}");
    assert!(veto(&finalists, 0).is_some_and(|v| v.contains("C[0] differs")), "{finalists:?}");
}

#[test]
fn the_close_are_told_apart_in_pairs() {
    // By medians candidate 2 leads by three per cent; in pairs candidate 3 does, by five.
    let times = [(4e-3, 4e-3), (4e-3, 4e-3), (1.97e-3, 2.1e-3), (2.03e-3, 2e-3)];
    assert_eq!(select_of(&times).0, Some(3));
    // Within the noise the earlier one wins.
    let times = [(4e-3, 4e-3), (4e-3, 4e-3), (2.03e-3, 2.005e-3), (1.97e-3, 2e-3)];
    assert_eq!(select_of(&times).0, Some(2));
}

#[test]
fn what_is_not_ahead_of_the_default_beyond_doubt_does_not_win() {
    // Three per cent ahead in every one of a few pairs, but among more pairs half say the opposite.
    assert_eq!(select_of(&[(4e-3, 4e-3), (2e-3, 2e-3), (1.9e-3, 1.94e-3)]).0, Some(1));
    assert_eq!(select_of(&[(4e-3, 4e-3), (2e-3, 2e-3), (1.9e-3, 1.8e-3)]).0, Some(2));
}

#[test]
fn what_takes_long_is_compared_by_medians() {
    // Pairs would say otherwise, but nobody waits for them.
    let (winner, finalists) = select_of(&[(4.0, 4.0), (3.0, 3.0), (3.4, 1.0)]);
    assert_eq!(winner, Some(1));
    assert_eq!(veto(&finalists, 2), Some("slower than the default at N=7"));
}
