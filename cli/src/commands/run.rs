//! `rooftile run`: once, on generated inputs or NumPy files.

use std::path::Path;

use rooftile_artifact::{CpuTarget, HostTensor, Room, Target};
use rooftile_compiler::nest::interp as nest_interp;
use rooftile_compiler::oracle::interp as oracle_interp;
use rooftile_compiler::task::InputSet;
use rooftile_runtime::Device;

use crate::args::RunArgs;
use crate::engine::{self, Subject};
use crate::failure::{Failure, Outcome};
use crate::{judge, npy, output};

/// Runs a kernel or pipeline.
///
/// # Errors
/// [`Failure`] of every kind; [`Failure::NotVerified`] when `--verify` finds a difference.
pub fn run(args: &RunArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    let tensors = subject.read_inputs(&args.inputs)?;
    for (name, _) in args.outputs.iter().flat_map(|p| &p.0) {
        subject.tensor(name)?;
    }
    let sizes = engine::sizes(&s.sizes)?;
    let scalars = engine::scalars(subject.func(), &s.set)?;
    let place = Place::open(&s.device)?;
    let set = subject.inputs(&sizes, &scalars, tensors, s.seed, place.room())?;
    let after = execute(&subject, args, &set, &place)?;
    let written = subject.written();
    let mut lines = String::new();
    if args.verify {
        let want = judge::expected(&subject, &set)?;
        let got: Vec<_> = written.iter().map(|&n| (n, after[n].clone())).collect();
        let error = judge::compare(&subject, &want, &got)?;
        lines +=
            &format!("verified: every element agrees with the oracle (largest relative error {error:.2e})\n");
    }
    let names = subject.tensor_names();
    for (name, file) in args.outputs.iter().flat_map(|p| &p.0) {
        let n = names.iter().position(|n| n == name).unwrap_or_default();
        npy::write(Path::new(file), &after[n])?;
        lines += &format!("{name} {:?} -> {file}\n", after[n].shape());
    }
    if args.outputs.is_empty() {
        for n in written {
            lines +=
                &format!("{} {}{:?} = {}\n", names[n], after[n].dtype(), after[n].shape(), glance(&after[n]));
        }
    }
    output::print(&lines)
}

/// What runs it.
enum Place {
    /// The interpreter of the language.
    Oracle,
    /// The interpreter of scheduled loops.
    Nest,
    /// Machine code.
    Device(Box<dyn Device>),
}

impl Place {
    fn open(name: &str) -> Result<Place, Failure> {
        Ok(match name {
            "oracle" => Place::Oracle,
            "nest" => Place::Nest,
            name => Place::Device(engine::open_device(name)?),
        })
    }

    fn room(&self) -> Room {
        match self {
            Place::Oracle | Place::Nest => engine::interpreter_room(),
            Place::Device(device) => device.room(),
        }
    }
}

/// All tensor parameters after the run.
fn execute(
    subject: &Subject,
    args: &RunArgs,
    set: &InputSet,
    place: &Place,
) -> Result<Vec<HostTensor>, Failure> {
    let s = &args.subject;
    let func = subject.func();
    match place {
        Place::Oracle => {
            let options = oracle_interp::Options { budget: u64::MAX, ..oracle_interp::Options::default() };
            let outputs = oracle_interp::run(&subject.checked.hir, subject.entry, &set.inputs, &options)
                .map_err(Failure::input)?;
            outputs.tensors.iter().map(|v| v.to_host(v.dtype).map_err(Failure::input)).collect()
        }
        Place::Nest => {
            let target = Target::Cpu(CpuTarget::default());
            let module = subject.module(&subject.choice(s.schedule, &set.sizes, &target), &target)?;
            let bindings = engine::bindings(func, module.program(), set)?;
            nest_interp::run(&module, &bindings, &set.inputs.tensors).map_err(Failure::bug)
        }
        Place::Device(device) => {
            let target = engine::target(device.as_ref(), s.threads);
            let module = subject.module(&subject.choice(s.schedule, &set.sizes, &target), &target)?;
            let program = engine::compile(&module, &target)?;
            let mut instance = engine::instance(device.as_ref(), func, &program, set, s.threads)?;
            instance.run()?;
            (0..program.params.len()).map(|n| instance.read_output(n).map_err(Failure::from)).collect()
        }
    }
}

/// The first elements of a tensor.
fn glance(tensor: &HostTensor) -> String {
    const SHOWN: usize = 6;
    let show = |i| match tensor.get(i) {
        rooftile_artifact::Scalar::Int(v) => v.to_string(),
        rooftile_artifact::Scalar::Float(v) => format!("{v:.6}"),
        rooftile_artifact::Scalar::Complex(re, im) => format!("{re:.5}{im:+.5}i"),
        rooftile_artifact::Scalar::Bool(v) => v.to_string(),
    };
    let shown: Vec<String> = (0..tensor.len().min(SHOWN)).map(show).collect();
    let more = if tensor.len() > SHOWN { ", .." } else { "" };
    format!("[{}{more}]", shown.join(", "))
}
