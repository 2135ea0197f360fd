//! Every kernel and pipeline of every sample and example, at tiny, prime, odd and ragged sizes, under every schedule
//! that always exists, on every device: each element agrees with the oracle.

use rooftile_artifact::{CpuTarget, Target};
use rooftile_compiler::oracle::{compiled, deep};
use rooftile_compiler::schedule::{Allow, Choice};
use rooftile_runtime::Device;
use rooftile_tests::backends::{self, on_cpu, on_evaluator, on_nests};
use rooftile_tests::judge::{compare, compare_exact};
use rooftile_tests::mark;
use rooftile_tests::prepared::{Prepared, prepared};
use rooftile_tests::schedules::{allowed, continuous, lowered, written};
use rooftile_tests::subject::Entry;
use rooftile_tests::tally::Tally;

/// What is known to fail, and why: (suite and entry, reason).
const KNOWN_FAILURES: &[(&str, &str)] = &[];

fn known(suite: &str) -> Vec<(&'static str, &'static str)> {
    let of_suite = |(name, why): &(&'static str, &'static str)| {
        name.strip_prefix(suite).and_then(|rest| rest.strip_prefix(' ')).map(|name| (name, *why))
    };
    KNOWN_FAILURES.iter().filter_map(of_suite).collect()
}

fn target(threads: usize) -> Target {
    backends::cpu().target().clone().with_threads(threads)
}

/// Runs every entry under a schedule on the nest interpreter and on the CPU with one and two threads.
fn conform(suite: &str, least: usize, choice: impl Fn(Entry) -> Option<Choice>) {
    conform_for(&target(2), suite, least, choice);
}

/// As [`conform`], with code for a target that the CPU includes.
fn conform_for(target: &Target, suite: &str, least: usize, choice: impl Fn(Entry) -> Option<Choice>) {
    let mut tally = Tally::default();
    for Prepared { entry, cases } in prepared() {
        let (entry, name) = (*entry, entry.label());
        let Some(choice) = choice(entry) else { continue };
        let module = match lowered(entry, &choice, target) {
            Ok(module) => module,
            Err(e) => {
                tally.note(&name, Err(e));
                continue;
            }
        };
        let program = backends::compiled(&module, target);
        for (case, want) in cases {
            let judge = |where_: &str, got: Result<_, String>| {
                got.and_then(|got: Vec<_>| compare(entry.func(), want, &got))
                    .map_err(|e| format!("{where_} at {}: {e}", case.what))
            };
            tally.note(&name, judge("nests", on_nests(&module, &case.inputs, 2)));
            for threads in [1, 2] {
                mark(suite, &format!("{name} at {} with {threads} threads", case.what));
                let got = program.clone().and_then(|p| on_cpu(&p, &case.inputs, threads));
                tally.note(&name, judge(&format!("cpu with {threads} threads"), got));
            }
        }
    }
    tally.finish(suite, &known(suite), least);
}

#[test]
fn naive() {
    conform("naive", 300, |_| Some(Choice::Naive));
}

#[test]
fn default() {
    conform("default", 300, |entry| Some(Choice::Default { allow: allowed(entry) }));
}

/// The default schedule with vectors of 256 bits, where the CPU has wider ones.
#[test]
fn default_with_narrower_vectors() {
    let narrower = CpuTarget { vector_bytes: 32, threads: 2, ..backends::cpu().cpu().clone() };
    if backends::cpu().cpu().vector_bytes <= narrower.vector_bytes {
        return println!("SKIPPED: code with vectors of 512 bits (this processor has no AVX-512)");
    }
    let choice = |entry| Some(Choice::Default { allow: allowed(entry) });
    conform_for(&narrower.into(), "default_with_narrower_vectors", 300, choice);
}

/// The default schedule where sums may be split, products fused with additions, and rows rescaled.
#[test]
fn default_with_all_rewrites() {
    let allow = Allow { contract: true, reassoc: true, online: true, atomics: false };
    conform("default_with_all_rewrites", 200, |entry| continuous(entry).then_some(Choice::Default { allow }));
}

#[test]
fn written_schedules() {
    conform("written", 150, |entry| written(entry, &target(2)));
}

/// The compiled evaluator, which judges sizes that the interpreter is too slow for.
#[test]
fn evaluator() {
    let mut tally = Tally::default();
    for Prepared { entry, cases } in prepared() {
        let name = entry.label();
        let program = match compiled::compile(entry.subject.file(), entry.id) {
            Ok(program) => program,
            Err(e) => {
                tally.note(&name, Err(e.to_string()));
                continue;
            }
        };
        for (case, want) in cases {
            for threads in [1, 2] {
                let got = on_evaluator(&program, &case.inputs, threads)
                    .and_then(|got| compare_exact(entry.func(), want, &got))
                    .map_err(|e| format!("at {}: {e}", case.what));
                tally.note(&name, got);
            }
        }
    }
    tally.finish("evaluator", &known("evaluator"), 200);
}

/// Kernels and pipelines compute what their references and variants say.
#[test]
fn references() {
    let mut tally = Tally::default();
    for Prepared { entry, cases } in prepared() {
        let inputs: Vec<_> = cases.iter().map(|(case, _)| case.inputs.clone()).collect();
        let found = deep::check_agreement(entry.subject.file(), entry.id, &inputs);
        let shown: Vec<_> = found.iter().map(|d| d.message.clone()).collect();
        tally.note(&entry.label(), if shown.is_empty() { Ok(()) } else { Err(shown.join("; ")) });
    }
    tally.finish("references", &known("references"), 40);
}
