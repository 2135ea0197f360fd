//! The funnel: one candidate from proposal to record, cheap checks before dear ones.
//!
//! legality, canonical hash, static bound, code and small checks, the smallest search size, the larger ones, and for
//! whoever looks better than the incumbent the paired test.

use crate::bench::{Bench, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes};
use crate::candidate::Proposal;
use crate::fitness;
use crate::promote::{LOOKS, PairedTest, Verdict, median};
use crate::record::{Challenge, Outcome, Record};
use crate::rng::Rng;
use crate::state::State;

/// A candidate this much slower than the incumbent on its first run is not timed further.
const CUT: f64 = 1.5;
/// A candidate within this factor of the incumbent at the smallest size goes on to the larger ones.
const SURVIVES: f64 = 1.1;
/// Whoever falls short goes on all the same with this probability, lest the smallest size rule alone.
const LUCK: f64 = 0.02;
/// Seconds of pairs after which an undecided challenge ends; the first look is always reached.
const CHALLENGE_S: f64 = 1.5;

/// The search sizes with what is known of them, smallest roof first.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Sizes.
    pub sizes: Vec<Sizes>,
    /// Their roofs and work.
    pub infos: Vec<SizeInfo>,
    /// What a gain in log time must exceed to be one: measured by timing one candidate against itself.
    pub noise: f64,
}

impl Course {
    /// Orders sizes by their roofs.
    #[must_use]
    pub fn new(sizes: Vec<Sizes>, infos: Vec<SizeInfo>) -> Course {
        let mut both: Vec<(Sizes, SizeInfo)> = sizes.into_iter().zip(infos).collect();
        both.sort_by(|a, b| a.1.roof_s.total_cmp(&b.1.roof_s));
        let (sizes, infos) = both.into_iter().unzip();
        Course { sizes, infos, noise: 0.0 }
    }

    /// Seconds at the roof of each size.
    #[must_use]
    pub fn roofs(&self) -> Vec<f64> {
        self.infos.iter().map(|i| i.roof_s).collect()
    }
}

/// Evaluates a candidate.
pub fn evaluate(
    bench: &mut dyn Bench,
    course: &Course,
    state: &State,
    proposal: Proposal,
    rng: &mut Rng,
) -> Record {
    let n = course.sizes.len();
    let mut record = Record {
        id: state.next_id(),
        proposal,
        nest: None,
        descriptor: None,
        outcome: Outcome::Measured,
        compiled: false,
        compile_s: None,
        times: vec![None; n],
        samples: vec![Vec::new(); n],
        score: None,
        challenge: None,
        at_s: 0.0,
    };
    if let Err(failure) = run(bench, course, state, &mut record, rng) {
        // A candidate that fails at any size is no candidate.
        record.outcome = failure.into();
        record.score = None;
        record.challenge = None;
    }
    record
}

fn run(
    bench: &mut dyn Bench,
    course: &Course,
    state: &State,
    record: &mut Record,
    rng: &mut Rng,
) -> Result<(), Failure> {
    let recipe = record.proposal.recipe.clone();
    let Prepared { nest, descriptor, bound_s } = bench.prepare(&recipe, &course.sizes)?;
    record.descriptor = Some(descriptor);
    let twin = state.same_nest(&nest);
    record.nest = Some(nest);
    if let Some(of) = twin {
        record.outcome = Outcome::Duplicate { of };
        return Ok(());
    }
    let incumbent = state.incumbent();
    let rivals = &state.incumbent_s;
    check_bound(&bound_s, rivals)?;
    record.compiled = true;
    let verified = bench.verify(&recipe, record.id).inspect_err(|f| {
        record.compiled = !matches!(f.reason, Reason::Compile | Reason::Unsupported | Reason::Illegal);
    })?;
    record.compile_s = Some(verified.compile_s);
    for (s, sizes) in course.sizes.iter().enumerate() {
        let rival = rivals.get(s).copied().flatten();
        let effort = Effort::short(rival.map(|t| t * CUT), rival.map(|t| t * SURVIVES));
        let Measured { samples, .. } = bench.measure(&recipe, sizes, effort)?;
        let time = median(&samples)
            .ok_or_else(|| Failure::new(Reason::Internal, "a measurement without samples"))?;
        record.times[s] = Some(time);
        record.samples[s] = samples;
        let behind = rival.is_some_and(|t| time > t * SURVIVES);
        if behind && s + 1 < course.sizes.len() && !rng.chance(LUCK) {
            break;
        }
    }
    let rival_times = if incumbent.is_some() { rivals } else { &record.times };
    record.score = fitness::score(&record.times, &course.roofs(), rival_times);
    if let Some(incumbent) = incumbent
        && record.full()
        && let (Some(new), Some(old)) = (record.score, fitness::score(rivals, &course.roofs(), rivals))
        && (new / old).ln() > course.noise / 2.0
    {
        record.challenge = Some(challenge(bench, course, incumbent, &recipe)?);
    }
    Ok(())
}

/// Refuses a candidate that cannot reach the incumbent's mean over all sizes even at its own roof.
fn check_bound(bound_s: &[f64], incumbent: &[Option<f64>]) -> Result<(), Failure> {
    let ratios: Option<Vec<f64>> = bound_s
        .iter()
        .zip(incumbent)
        .map(|(&bound, time)| time.filter(|_| bound > 0.0).map(|t| bound / t))
        .collect();
    match ratios.as_deref().and_then(fitness::geometric_mean) {
        // The archive wants other kinds too, so only what is far behind is refused.
        Some(ratio) if ratio > CUT * 2.0 => Err(Failure::new(
            Reason::Bound,
            format!("cannot come closer to the incumbent than {ratio:.1} times its time"),
        )),
        _ => Ok(()),
    }
}

/// The paired test over all search sizes; each round's log ratio is the mean over them.
fn challenge(
    bench: &mut dyn Bench,
    course: &Course,
    incumbent: &Record,
    recipe: &crate::candidate::Recipe,
) -> Result<Challenge, Failure> {
    let mut test = PairedTest::new(course.noise);
    let mut spent = 0.0;
    let mut incumbent_s: Vec<Vec<f64>> = vec![Vec::new(); course.sizes.len()];
    while test.verdict() == Verdict::Undecided {
        let rounds = rounds_of(bench, course, &incumbent.proposal.recipe, recipe, test.wanted())?;
        for log in rounds.logs {
            test.push(log);
        }
        for (all, new) in incumbent_s.iter_mut().zip(rounds.first_s) {
            all.extend(new);
        }
        spent += rounds.seconds;
        if spent > CHALLENGE_S && test.logs().len() >= LOOKS[0].0 {
            test.give_up();
        }
    }
    Ok(Challenge {
        incumbent: incumbent.id,
        incumbent_s: incumbent_s.iter().filter_map(|s| median(s)).collect(),
        logs: test.logs().to_vec(),
        threshold: course.noise,
        verdict: test.verdict(),
    })
}

/// Some rounds of pairs.
struct Rounds {
    /// Mean log ratio over the sizes of each round.
    logs: Vec<f64>,
    /// Seconds of the first of the two at each size.
    first_s: Vec<Vec<f64>>,
    /// Seconds that all took.
    seconds: f64,
}

/// Times two candidates in turns at every size.
fn rounds_of(
    bench: &mut dyn Bench,
    course: &Course,
    a: &crate::candidate::Recipe,
    b: &crate::candidate::Recipe,
    rounds: usize,
) -> Result<Rounds, Failure> {
    let mut sums = vec![0.0; rounds];
    let (mut seconds, mut first_s) = (0.0, Vec::new());
    for sizes in &course.sizes {
        let pairs = bench.pair(a, b, sizes, rounds)?;
        if pairs.len() < rounds {
            return Err(Failure::new(Reason::Internal, "fewer pairs than were asked for"));
        }
        for (sum, (a, b)) in sums.iter_mut().zip(&pairs) {
            *sum += (a / b).ln();
            seconds += a + b;
        }
        first_s.push(pairs.iter().map(|p| p.0).collect());
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
    let n = course.sizes.len().max(1) as f64;
    Ok(Rounds { logs: sums.into_iter().map(|s| s / n).collect(), first_s, seconds })
}

/// Times a candidate against itself: how far from zero the median log ratio of a first look may lie by chance.
///
/// # Errors
/// [`Failure`] when the candidate fails now.
pub fn calibrate(
    bench: &mut dyn Bench,
    course: &Course,
    recipe: &crate::candidate::Recipe,
) -> Result<f64, Failure> {
    let smallest = Course { sizes: course.sizes[..1.min(course.sizes.len())].to_vec(), ..course.clone() };
    let Rounds { logs, .. } = rounds_of(bench, &smallest, recipe, recipe, 24)?;
    let sixes = logs.chunks(6).filter_map(median).map(f64::abs);
    // At most 5 %: a machine noisier than that is reported as such, not searched with a blunt knife.
    Ok(sixes.fold(0.002, f64::max).min(0.05))
}
