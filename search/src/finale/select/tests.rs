use super::*;
use crate::finale::made_up::{MadeUp, record, size};

/// By how much every other pair of these numbers of pairs is off, the other way: a machine whose few pairs look alike.
const WOBBLE: f64 = 0.05;

/// A search that found all candidates right; by number, their seconds when measured alone, and in pairs.
fn state(times: &[(f64, f64)]) -> State {
    let mut state = State::default();
    for (n, (alone, _)) in (0u8..).zip(times) {
        state.apply(record(n, &[*alone], if alone.is_nan() { 0.1 } else { 1e-3 / alone }));
    }
    state
}

fn bench(times: &[(f64, f64)]) -> MadeUp {
    let of = |id: i64, times: &[(f64, f64)]| times[usize::try_from(id).expect("small")];
    let (alone, paired) = (times.to_vec(), times.to_vec());
    MadeUp {
        alone: Box::new(move |id, _| of(id, &alone).0),
        paired: Box::new(move |a, b, _, n| {
            let off = |k: usize| if n > ROUNDS && k.is_multiple_of(2) { 1.0 + WOBBLE } else { 1.0 };
            (0..n).map(|k| (of(a, &paired).1, of(b, &paired).1 * off(k))).collect()
        }),
    }
}

/// Seed is candidate 0, default candidate 1.
fn select_of(times: &[(f64, f64)]) -> (Option<CandidateId>, Vec<Finalist>) {
    let info = SizeInfo { roof_s: 1e-3, bound: String::new(), flops: 1.0, bytes: 1.0 };
    let heldout = [(size(7), info.clone()), (size(9), info)];
    let rivals = Rivals { seed: 0, default: Some(1), others: &[] };
    let grounds = Grounds { search: &[size(5)], heldout: &heldout };
    let found = select(&mut bench(times), &state(times), rivals, grounds, 0.01, &|r| Some(r.clone()));
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
