//! Ways to run a lowered module or a compiled program.

use std::sync::OnceLock;

use rooftile_artifact::program::Bindings;
use rooftile_artifact::{HostTensor, Program, Target};
use rooftile_compiler::codegen;
use rooftile_compiler::nest::{VerifiedModule, interp};
use rooftile_compiler::oracle::{Inputs, values};
use rooftile_runtime::{CpuDevice, Device, Instance, InstanceOptions};

/// The CPU that suites run on.
#[must_use]
pub fn cpu() -> &'static CpuDevice {
    static DEVICE: OnceLock<CpuDevice> = OnceLock::new();
    DEVICE.get_or_init(CpuDevice::new)
}

fn bindings(inputs: &Inputs) -> Bindings {
    Bindings { sizes: inputs.sizes.clone(), scalars: inputs.scalars.clone() }
}

/// Interprets the nests.
///
/// # Errors
/// What the interpreter found, in words.
pub fn on_nests(module: &VerifiedModule, inputs: &Inputs, threads: usize) -> Result<Vec<HostTensor>, String> {
    interp::run_for_threads(module, &bindings(inputs), &inputs.tensors, threads).map_err(|e| e.to_string())
}

/// Code for a target.
///
/// # Errors
/// Why there is none, in words.
pub fn compiled(module: &VerifiedModule, target: &Target) -> Result<Program, String> {
    codegen::compile(module, target).map_err(|e| e.to_string())
}

/// Runs a program on the CPU; see [`on_device`].
///
/// # Errors
/// As [`on_device`].
pub fn on_cpu(program: &Program, inputs: &Inputs, threads: usize) -> Result<Vec<HostTensor>, String> {
    on_device(cpu(), program, inputs, threads)
}

/// Runs a program between guards, with outputs and temporaries poisoned. Twice, since the second run sees what the first
/// left behind.
///
/// # Errors
/// What the runtime reports, in words; a dead canary, a changed input, or two runs that differ are errors as well.
pub fn on_device(
    device: &dyn Device,
    program: &Program,
    inputs: &Inputs,
    threads: usize,
) -> Result<Vec<HostTensor>, String> {
    let say = |e: rooftile_runtime::Error| e.to_string();
    let loaded = device.load(program).map_err(say)?;
    let options =
        InstanceOptions { threads, guarded: true, poison: Some(0x5EED_CAFE), ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings(inputs), options).map_err(say)?;
    for (n, tensor) in inputs.tensors.iter().enumerate() {
        if let Some(tensor) = tensor
            && program.params[n].mode != rooftile_artifact::program::Mode::Out
        {
            instance.write_input(n, tensor).map_err(say)?;
        }
    }
    instance.save_inputs();
    let hashes = |instance: &Instance| -> Result<Vec<u64>, String> {
        let params = program.params.iter().enumerate();
        let read = params.filter(|(_, p)| p.mode == rooftile_artifact::program::Mode::In);
        read.map(|(n, _)| instance.input_hash(n).map_err(say)).collect()
    };
    let before = hashes(&instance)?;
    let outputs = |instance: &Instance| -> Result<Vec<HostTensor>, String> {
        (0..program.params.len()).map(|n| instance.read_output(n).map_err(say)).collect()
    };
    instance.run().map_err(say)?;
    let first = outputs(&instance)?;
    instance.restore_inputs();
    instance.poison(0x0BAD_F00D);
    instance.run().map_err(say)?;
    instance.check_canaries().map_err(say)?;
    if hashes(&instance)? != before {
        return Err("an input was overwritten".to_owned());
    }
    let second = outputs(&instance)?;
    let differs = |(a, b): (&HostTensor, &HostTensor)| (a.bytes() != b.bytes()).then(|| first_change(a, b));
    let change = first.iter().zip(&second).enumerate().find_map(|(n, pair)| Some((n, differs(pair)?)));
    match change {
        // What lists hold beyond their counts is whatever was there.
        Some((n, _)) if unordered(program, n, inputs) => Ok(first),
        Some((n, change)) => Err(format!("two runs differ in {}: {change}", program.params[n].name)),
        None => Ok(first),
    }
}

/// Whether a parameter is one that the oracle gives no full content for: an `out` that may stay partly unwritten.
fn unordered(program: &Program, param: usize, inputs: &Inputs) -> bool {
    program.buffers[param].dtype.is_int()
        && program.params[param].mode == rooftile_artifact::program::Mode::Out
        && inputs.tensors[param].is_none()
}

fn first_change(a: &HostTensor, b: &HostTensor) -> String {
    let at = (0..a.len()).find(|&i| a.get(i) != b.get(i)).unwrap_or(0);
    format!("element {at} is {:?}, then {:?}", a.get(at), b.get(at))
}

/// Runs a program of the compiled evaluator.
///
/// # Errors
/// As [`on_cpu`].
pub fn on_evaluator(program: &Program, inputs: &Inputs, threads: usize) -> Result<Vec<HostTensor>, String> {
    let tensors: Result<_, _> =
        inputs.tensors.iter().map(|t| t.as_ref().map(values::widen).transpose()).collect();
    let wide = Inputs {
        sizes: inputs.sizes.clone(),
        scalars: inputs.scalars.clone(),
        tensors: tensors.map_err(|e| e.to_string())?,
    };
    on_cpu(program, &wide, threads)
}
