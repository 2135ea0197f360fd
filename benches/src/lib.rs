//! What the benches share: the examples, and the way from a text to something that runs.
//!
//! Failures panic: a bench that cannot run its subject has nothing to say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rooftile_artifact::program::{Bindings, Mode};
use rooftile_artifact::{Program, Target};
use rooftile_compiler::codegen;
use rooftile_compiler::driver::{self, Checked};
use rooftile_compiler::hir::ir::FuncId;
use rooftile_compiler::nest::{VerifiedModule, verify_module};
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::task;
use rooftile_runtime::{CpuDevice, Device, Instance, InstanceOptions};

/// Names and texts of the examples, sorted.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../dsl-examples"));
    let files = std::fs::read_dir(&folder).expect("dsl-examples is part of the repository");
    let mut out: Vec<(String, String)> = files
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "tile"))
        .map(|path| {
            let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            (name, std::fs::read_to_string(&path).expect("an example"))
        })
        .collect();
    out.sort();
    out
}

/// The checked text and the entry that its task names.
///
/// # Panics
/// If the text has errors or no such entry.
#[must_use]
pub fn checked(text: &str) -> (Checked, FuncId) {
    let checked = driver::check(text);
    assert!(!checked.has_errors(), "{:#?}", checked.diagnostics);
    let entry = checked.entry(None).expect("one kernel or pipeline is meant");
    (checked, entry)
}

/// The checked example of that name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn example(name: &str) -> (Checked, FuncId) {
    let texts = examples();
    let (_, text) = texts.iter().find(|(n, _)| n == name).expect("an example of that name");
    checked(text)
}

/// The compiler's choice within what the task allows.
#[must_use]
pub fn default_choice(checked: &Checked, entry: FuncId) -> Choice {
    let allow = checked.task(entry).map_or(Allow::default(), |task| Allow::from(&task.allow));
    Choice::Default { allow }
}

/// Lowers and verifies.
///
/// # Panics
/// If the schedule is refused or the nest breaks its rules.
#[must_use]
pub fn module(checked: &Checked, entry: FuncId, choice: &Choice, target: &Target) -> VerifiedModule {
    let module = lower(&checked.hir, entry, choice, target).expect("a legal schedule");
    verify_module(module).expect("a nest that keeps its rules")
}

/// Machine code.
///
/// # Panics
/// If the generator has none for the nest.
#[must_use]
pub fn program(module: &VerifiedModule, target: &Target) -> Program {
    codegen::compile(module, target).expect("code")
}

/// An instance at the given sizes with the task's data, ready to run.
///
/// # Panics
/// If anything on the way fails.
#[must_use]
pub fn instance(
    (checked, entry): &(Checked, FuncId),
    choice: &Choice,
    sizes: &[(&str, i64)],
    threads: usize,
) -> Instance {
    let device = CpuDevice::new();
    let target = device.target().clone().with_threads(threads);
    let program = program(&module(checked, *entry, choice, &target), &target);
    let given: BTreeMap<String, i64> = sizes.iter().map(|&(n, v)| (n.to_owned(), v)).collect();
    let sizes = checked.resolve_sizes(*entry, &given).expect("every size has a value");
    let data = task::inputs::generate(&checked.hir, checked.task(*entry), *entry, &sizes, 1).expect("data");
    let bindings = Bindings { sizes: data.inputs.sizes.clone(), scalars: data.inputs.scalars.clone() };
    let loaded = device.load(&program).expect("code that this machine runs");
    let options = InstanceOptions { threads, ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings, options).expect("memory");
    for (n, tensor) in data.inputs.tensors.iter().enumerate() {
        if let Some(tensor) = tensor
            && program.params[n].mode != Mode::Out
        {
            instance.write_input(n, tensor).expect("data of the right shape");
        }
    }
    instance.run().expect("a run");
    instance
}
