use super::*;
use crate::bench::SizeInfo;
use crate::finale::made_up::{MadeUp, id, recipe, record, size};
use crate::finale::{Grounds, Rivals, Selected, select};
use crate::state::State;

/// Seconds of a candidate at a size, measured alone or (`true`) in pairs.
type Times = fn(i64, i64, bool) -> f64;

/// Three candidates, the first of them seed and default; searched at 100 and 1000, held out 120 and 900.
fn selected(times: Times, spell: Spell<'_>) -> Selected {
    let mut state = State::default();
    for n in 0..3 {
        state.apply(record(n, &[100, 1000].map(|size| times(i64::from(n), size, false)), 0.5));
    }
    let mut bench = MadeUp {
        alone: Box::new(move |id, sizes| times(id, sizes["N"], false)),
        paired: Box::new(move |a, b, sizes, n| {
            let time = |id| times(id, sizes["N"], true);
            vec![(time(a), time(b)); n]
        }),
    };
    let info = SizeInfo { roof_s: 1e-4, bound: String::new(), flops: 1.0, bytes: 1.0 };
    let heldout = [(size(120), info.clone()), (size(900), info)];
    let grounds = Grounds { search: &[size(100), size(1000)], heldout: &heldout };
    let rivals = Rivals { seed: 0, default: Some(0), others: &[] };
    select(&mut bench, &state, rivals, grounds, 0.01, spell)
}

fn as_it_is(recipe: &Recipe) -> Option<Recipe> {
    Some(recipe.clone())
}

/// Candidate 1 is faster than the default below 500 and slower above.
fn crossing(id: i64, n: i64, _: bool) -> f64 {
    1e-3 * if id == 1 { if n < 500 { 0.8 } else { 1.5 } } else { 1.0 + id as f64 }
}

#[test]
fn who_is_ahead_on_one_side_runs_there() {
    let found = selected(crossing, &as_it_is);
    assert_eq!(found.winner, Some(0));
    let [variant] = &found.variants[..] else { panic!("{:?}", found.variants) };
    assert_eq!((variant.candidate, variant.when.to_string().as_str()), (1, "N < 256"));
    assert!((variant.over_winner.median - 1.25).abs() < 1e-9, "{variant:?}");
    let runs = |n| id(choose(&found.variants, &recipe(0), &size(n)));
    assert_eq!((runs(255), runs(256)), (1, 0));
}

#[test]
fn what_cannot_be_written_down_is_no_variant() {
    assert_eq!(selected(crossing, &|_| None).variants, []);
}

#[test]
fn a_promise_is_put_to_the_proof() {
    // In pairs nothing is left of the gain at the held-out size.
    let times: Times = |id, n, pairs| {
        if pairs && n == 120 {
            1e-3
        } else {
            crossing(id, n, pairs) * if pairs && n == 100 && id == 1 { 1.26 } else { 1.0 }
        }
    };
    assert_eq!(selected(times, &as_it_is).variants, []);
    // Slower at one of the sizes, though ahead on the whole.
    let times: Times =
        |id, n, pairs| crossing(id, n, pairs) * if pairs && n == 120 && id == 1 { 1.3 } else { 1.0 };
    assert_eq!(selected(times, &as_it_is).variants, []);
}

#[test]
fn what_takes_too_long_for_pairs_is_not_believed() {
    assert_eq!(selected(|id, n, pairs| 3e3 * crossing(id, n, pairs), &as_it_is).variants, []);
}

#[test]
fn who_is_wrong_somewhere_runs_nowhere() {
    let times: Times = |id, n, pairs| if id == 1 && n == 900 { f64::NAN } else { crossing(id, n, pairs) };
    assert_eq!(selected(times, &as_it_is).variants, []);
}

#[test]
fn conditions_have_evidence_on_their_side() {
    let all = [size(100), size(150), size(1000), size(120)];
    let points: Vec<Point<'_>> =
        all.iter().enumerate().map(|(at, sizes)| Point { sizes, heldout: at == 3, at }).collect();
    // One size is held out: every condition holds for it and for one at least that was searched.
    let texts: Vec<String> = conditions(&points).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["N >= 110", "N < 128", "N < 256"]);
    for (a, b) in [(1, 2), (7, 8), (100, 120), (120, 150), (500, 512), (1000, 100_000)] {
        let cut = between(a, b);
        assert!(a < cut && cut <= b, "{a} {cut} {b}");
    }
}
