//! Schedules drawn at random for a Vulkan device: each that is legal agrees with the oracle. The suite runs for
//! `ROOFTILE_FUZZ_SECONDS`; `ROOFTILE_SCHEDULES=200` draws so many for each kernel and pipeline instead.

use std::collections::BTreeMap;
use std::time::Instant;

use rooftile_compiler::oracle::SplitMix;
use rooftile_compiler::schedule::anchors::anchors;
use rooftile_compiler::schedule::draw::random_plan;
use rooftile_compiler::schedule::plan::Plan;
use rooftile_compiler::schedule::print::verb_text;
use rooftile_compiler::schedule::{Allow, Choice};
use rooftile_runtime::Device;
use rooftile_tests::backends::{compiled, on_device};
use rooftile_tests::judge::compare;
use rooftile_tests::prepared::{Prepared, prepared};
use rooftile_tests::schedules::{allowed, continuous, lowered};
use rooftile_tests::tally::Tally;
use rooftile_tests::vulkan::in_children_of;
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

const SUITE: &str = "random_schedules_vulkan";

fn shown(plan: &Plan) -> String {
    plan.verbs.iter().map(verb_text).collect::<Vec<_>>().join(" ")
}

/// Draws one plan for an entry and runs it at one of its cases; whether it was legal.
fn draw(device: &dyn Device, subject: &Prepared, (round, seed): (u64, u64), tally: &mut Tally) -> bool {
    let Prepared { entry, cases } = subject;
    let (entry, name) = (*entry, entry.label());
    let mut rng = SplitMix::new(seed);
    let mut pick = |n: usize| usize::try_from(rng.next_u64() % n.max(1) as u64).unwrap_or(0);
    let names = anchors(entry.subject.file(), entry.id).on(device.target());
    let plan = random_plan(&names, &mut pick);
    let Some((case, want)) = cases.get(pick(cases.len())) else { return false };
    let allow = if continuous(entry) {
        Allow { contract: true, reassoc: true, online: true, atomics: false }
    } else {
        allowed(entry)
    };
    let text = shown(&plan);
    let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow };
    let failed = tally.failures.len();
    mark(SUITE, &format!("round {round}, {failed} failed; {name} at {}: {text}", case.what));
    let module = match lowered(entry, &choice, device.target()) {
        Ok(module) => module,
        Err(e) if e.starts_with("refused") => return false,
        Err(e) => {
            tally.note(&name, Err(format!("{text}: {e}")));
            return true;
        }
    };
    let judged = compiled(&module, device.target())
        .and_then(|program| on_device(device, &program, &case.inputs, 1))
        .and_then(|got| compare(entry.func(), want, &got));
    tally.note(&name, judged.map_err(|e| format!("{text} at {} (seed {seed}): {e}", case.what)));
    true
}

#[test]
fn drawn_schedules_agree_with_the_oracle() {
    // With vectors of 512 bits the software driver aborts while it compiles some kernels.
    in_children_of("drawn_schedules_agree_with_the_oracle", &["128", "256"], |device| {
        let each: Option<u64> = std::env::var("ROOFTILE_SCHEDULES").ok().and_then(|s| s.parse().ok());
        let (seed, time, start) = (fuzz_seed(SUITE), fuzz_time(), Instant::now());
        let (mut tally, mut rounds, mut legal) = (Tally::default(), 0u64, 0u64);
        let subjects = prepared();
        'all: for round in 0.. {
            for n in 0..subjects.len() as u64 {
                // Which entry comes first changes with the seed, so that short runs see all in time.
                let at = n.wrapping_add(seed) as usize % subjects.len();
                let own = seed.wrapping_add(round << 20).wrapping_add(at as u64).wrapping_mul(0x9e37_79b9);
                legal += u64::from(draw(device, &subjects[at], (round, own), &mut tally));
                rounds += 1;
                // One comparison is made in any case.
                if each.is_none() && legal > 0 && start.elapsed() > time {
                    break 'all;
                }
            }
            if each.is_some_and(|each| round + 1 >= each) {
                break;
            }
        }
        println!("{SUITE}: {rounds} drawn, {legal} legal");
        tally.finish(SUITE, &[], 1);
    });
}
