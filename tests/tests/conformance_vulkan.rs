//! Every kernel and pipeline of every sample and example on a Vulkan device, at tiny, prime, odd and ragged sizes: each
//! element agrees with the oracle.

use rooftile_compiler::schedule::plan::Verb;
use rooftile_compiler::schedule::{Allow, Choice};
use rooftile_runtime::Device;
use rooftile_tests::backends::{compiled, on_device};
use rooftile_tests::judge::compare;
use rooftile_tests::mark;
use rooftile_tests::prepared::{Prepared, prepared};
use rooftile_tests::schedules::{allowed, continuous, lowered, written};
use rooftile_tests::subject::Entry;
use rooftile_tests::tally::Tally;
use rooftile_tests::vulkan::in_children;

fn conform(suite: &str, device: &dyn Device, least: usize, choice: impl Fn(Entry) -> Option<Choice>) {
    let mut tally = Tally::default();
    for Prepared { entry, cases } in prepared() {
        let (entry, name) = (*entry, entry.label());
        let Some(choice) = choice(entry) else { continue };
        if asks_for_matrices(&choice) && !device.target().gpu().is_some_and(|gpu| gpu.features.matrix) {
            tally.skip(&name, "the device has no matrix unit");
            continue;
        }
        let program =
            lowered(entry, &choice, device.target()).and_then(|module| compiled(&module, device.target()));
        for (case, want) in cases {
            mark(suite, &format!("{name} at {}", case.what));
            let got = program.clone().and_then(|p| on_device(device, &p, &case.inputs, 1));
            let judged = got.and_then(|got| compare(entry.func(), want, &got));
            tally.note(&name, judged.map_err(|e| format!("vulkan at {}: {e}", case.what)));
        }
    }
    tally.finish(suite, &[], least);
}

fn asks_for_matrices(choice: &Choice) -> bool {
    matches!(choice, Choice::Planned { plan, .. } if plan.verbs.iter().any(|v| matches!(v, Verb::Mma(_))))
}

#[test]
fn naive() {
    in_children("naive", |device| conform("vulkan naive", device, 300, |_| Some(Choice::Naive)));
}

#[test]
fn default() {
    let choice = |entry| Some(Choice::Default { allow: allowed(entry) });
    in_children("default", |device| conform("vulkan default", device, 300, choice));
}

/// The default schedule where sums may be split, products fused with additions, and rows rescaled.
#[test]
fn default_with_all_rewrites() {
    let allow = Allow { contract: true, reassoc: true, online: true, atomics: false };
    let choice = |entry| continuous(entry).then_some(Choice::Default { allow });
    in_children("default_with_all_rewrites", |device| {
        conform("vulkan default with all rewrites", device, 200, choice);
    });
}

#[test]
fn written_schedules() {
    in_children("written_schedules", |device| {
        conform("vulkan written", device, 1, |entry| written(entry, device.target()));
    });
}
