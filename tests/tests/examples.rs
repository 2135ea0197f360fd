//! The examples as data: each is canonical, checks without a word, states its result independently, and is judged on
//! sizes that can tell.

use std::collections::BTreeSet;

use rooftile_compiler::driver::{self, Checked};
use rooftile_compiler::nest::verify_module;
use rooftile_compiler::oracle::cases::inputs_at;
use rooftile_compiler::oracle::deep::{check_agreement, first_apart};
use rooftile_compiler::oracle::{Inputs, Mode, Options, compiled as evaluator, run};
use rooftile_compiler::schedule::plan::Assignment;
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::task::Sizes;
use rooftile_compiler::{diag, syntax, task};
use rooftile_runtime::Device;
use rooftile_tests::backends::{compiled, cpu, on_cpu, on_evaluator};
use rooftile_tests::{examples, root};

/// The example that only its own roundings can judge.
const WITHOUT_REFERENCE: [&str; 1] = ["mandelbrot"];

/// Steps that the interpreter may take for a small case.
const BUDGET: u64 = 3_000_000;

/// Values of sizes.
type Values = &'static [(&'static str, i64)];

/// Published sizes of problems (search, then held out) that the examples must have.
const PUBLISHED: [(&str, &[Values], Values); 8] = [
    ("fft3d", &[&[("N", 32)], &[("N", 64)], &[("N", 128)]], &[("N", 256)]),
    ("saxpy", &[&[("N", 1 << 20)], &[("N", 1 << 24)], &[("N", 1 << 26)]], &[("N", 1 << 22)]),
    (
        "heat2d",
        &[
            &[("H", 256), ("W", 256), ("T", 50)],
            &[("H", 512), ("W", 512), ("T", 100)],
            &[("H", 1024), ("W", 1024), ("T", 50)],
        ],
        &[("H", 768), ("W", 768), ("T", 75)],
    ),
    (
        "wave3d",
        &[
            &[("D", 64), ("H", 64), ("W", 64), ("T", 30)],
            &[("D", 160), ("H", 160), ("W", 160), ("T", 20)],
            &[("D", 192), ("H", 192), ("W", 192), ("T", 15)],
        ],
        &[("D", 128), ("H", 128), ("W", 128), ("T", 20)],
    ),
    (
        "nbody",
        &[&[("N", 256), ("T", 10)], &[("N", 1024), ("T", 10)], &[("N", 2048), ("T", 10)]],
        &[("N", 512), ("T", 10)],
    ),
    (
        "lbm",
        &[
            &[("H", 64), ("W", 64), ("T", 50)],
            &[("H", 128), ("W", 128), ("T", 100)],
            &[("H", 256), ("W", 256), ("T", 100)],
        ],
        &[("H", 192), ("W", 192), ("T", 75)],
    ),
    (
        "ising",
        &[
            &[("H", 256), ("W", 256), ("T", 100)],
            &[("H", 1024), ("W", 1024), ("T", 50)],
            &[("H", 2048), ("W", 2048), ("T", 25)],
        ],
        &[("H", 1536), ("W", 1536), ("T", 40)],
    ),
    (
        "lj",
        &[&[("N", 1728), ("T", 20)], &[("N", 4096), ("T", 15)], &[("N", 10648)]],
        &[("N", 2744), ("T", 12)],
    ),
];

/// Names, texts and checked files.
fn all() -> Vec<(String, Checked)> {
    let load = |path: std::path::PathBuf| {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        (name, driver::check(&std::fs::read_to_string(&path).expect("an example")))
    };
    examples().into_iter().map(load).collect()
}

#[test]
fn every_example_checks_without_a_word() {
    for (name, checked) in all() {
        let text = diag::render(&checked.diagnostics, &name, &checked.source, false);
        assert!(text.is_empty(), "{text}");
        assert_eq!(checked.tasks.len(), 1, "{name}");
    }
}

#[test]
fn every_example_is_canonical() {
    for (name, checked) in all() {
        assert!(
            syntax::print(&checked.ast, &checked.source) == checked.source,
            "rooftile fmt dsl-examples/{name}.tile"
        );
    }
}

#[test]
fn every_example_is_judged_on_sizes_of_its_own() {
    for (name, checked) in all() {
        let task = &checked.tasks[0];
        assert!(task.search.len() >= 2 && !task.heldout.is_empty(), "{name}");
        let mut seen = BTreeSet::new();
        for set in task.search.iter().chain(&task.heldout).chain(&task.sealed) {
            assert!(seen.insert(&set.values), "{name} lists {:?} twice", set.values);
        }
        let drawn = task::sealed::draw(&checked.hir, task, 2, 1);
        assert!(task.sealed.len() + drawn.len() >= 1, "{name} has no sealed sizes");
    }
}

#[test]
fn published_sizes_are_there() {
    let files = all();
    for (name, search, heldout) in PUBLISHED {
        let (_, checked) = files.iter().find(|(n, _)| n == name).expect("an example");
        let task = &checked.tasks[0];
        let has = |sets: &[task::SizeSet], wanted: &[(&str, i64)]| {
            sets.iter().any(|set| wanted.iter().all(|(n, v)| set.values.get(*n) == Some(v)))
        };
        for wanted in search {
            assert!(has(&task.search, wanted), "{name} does not search {wanted:?}");
        }
        assert!(has(&task.heldout, heldout), "{name} does not hold out {heldout:?}");
    }
}

/// The task's data at a few small sizes that the interpreter can afford.
fn small(checked: &Checked) -> Vec<Inputs> {
    let task = &checked.tasks[0];
    let options = Options { budget: BUDGET, check_races: false, ..Options::default() };
    let made = (0..12).filter_map(|seed| task::small_case(&checked.hir, task, seed, 5 + seed as i64 / 2));
    made.map(|(_, set)| set.inputs).filter(|i| run(&checked.hir, task.entry, i, &options).is_ok()).collect()
}

#[test]
fn references_state_what_the_kernels_compute() {
    for (name, checked) in all() {
        let task = &checked.tasks[0];
        let reference = checked.hir.reference(&task.name);
        assert_eq!(reference.is_none(), WITHOUT_REFERENCE.contains(&name.as_str()), "{name}");
        assert_eq!(reference.is_none(), task.judged_by_rounding(&checked.hir), "{name}");
        let cases = small(&checked);
        assert!(cases.len() >= 2, "{name} has {} small cases", cases.len());
        let found = check_agreement(&checked.hir, task.entry, &cases);
        let text = diag::render(&found, &name, &checked.source, false);
        assert!(text.is_empty(), "{text}");
    }
}

/// At real sizes the evaluator runs the references, so it must compile every one, and mean the same by it.
#[test]
fn references_are_evaluated_as_they_are_interpreted() {
    for (name, checked) in all() {
        let Some(reference) = checked.hir.reference(&checked.tasks[0].name) else { continue };
        let program = evaluator::compile(&checked.hir, reference)
            .unwrap_or_else(|e| panic!("the reference of {name}: {e}"));
        for case in small(&checked).iter().take(3) {
            let options = Options { mode: Mode::Exact, check_races: false, ..Options::default() };
            let want = run(&checked.hir, reference, case, &options).expect("a small case");
            let got = on_evaluator(&program, case, 2).unwrap_or_else(|e| panic!("{name}: {e}"));
            for (n, (want, got)) in want.tensors.iter().zip(&got).enumerate() {
                let got = rooftile_compiler::oracle::Values::from_host(got);
                assert_eq!(first_apart(&got, want, 1e-9), None, "parameter {n} of {name}");
            }
        }
    }
}

/// The ten lines that the README explains are a file that checks, compiles and computes what it says.
#[test]
fn the_readmes_kernel_runs() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let (_, rest) = readme.split_once("```tile\n").expect("a kernel");
    let (text, _) = rest.split_once("```").expect("its end");
    let checked = driver::check(text);
    assert!(checked.diagnostics.is_empty(), "{}", diag::render(&checked.diagnostics, "README", text, false));
    let entry = checked.entry(None).expect("one kernel");
    let plan = checked.schedule(entry, "cpu", &Sizes::new()).expect("a schedule").plan.clone();
    let choice = Choice::Planned { plan, assignment: Assignment::default(), allow: Allow::default() };
    let module = lower(&checked.hir, entry, &choice, cpu().target()).expect("a legal schedule");
    let module = verify_module(module).expect("loops that keep the rules");
    let program = compiled(&module, cpu().target()).expect("code");
    let inputs = inputs_at(&checked.hir, entry, &[7, 37], 1).expect("inputs");
    let want = run(&checked.hir, entry, &inputs, &Options::default()).expect("a small case");
    let got = on_cpu(&program, &inputs, 2).expect("a run");
    let got = rooftile_compiler::oracle::Values::from_host(&got[1]);
    assert_eq!(first_apart(&got, &want.tensors[1], 1e-5), None);
}
