//! `rooftile explain`: what a kernel must do, what bounds it, and what the schedule makes of it.

use rooftile_artifact::Target;
use rooftile_compiler::analysis;
use rooftile_compiler::codegen::cpu::{self, Pressure};
use rooftile_compiler::hir::ir::FuncKind;
use rooftile_runtime::roof::level_of;
use rooftile_runtime::roof_time;
use serde_json::json;

use super::explain_memory::Memory;
use crate::args::ExplainArgs;
use crate::engine::{self, Subject};
use crate::failure::Outcome;
use crate::output;
use crate::report::charts::si;

/// Most loops of a kernel that are listed: those with most arithmetic.
const LOOPS: usize = 5;

/// Explains a kernel or pipeline at a size.
///
/// # Errors
/// [`crate::failure::Failure`] of every kind.
pub fn run(args: &ExplainArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    let device = engine::open_device(&s.device)?;
    let target = engine::target(device.as_ref(), s.threads);
    let threads = target.host_threads();
    let scalars = engine::scalars(subject.func(), &s.set)?;
    let set =
        subject.inputs(&engine::sizes(&s.sizes)?, &scalars, Default::default(), s.seed, device.room())?;
    let mut work = analysis::work_on(
        &subject.checked.hir,
        subject.entry,
        &set.inputs.sizes,
        &set.inputs.scalars,
        &set.inputs.tensors,
    );
    if let Some(task) = subject.task() {
        work.flops = task.flops(&set.sizes).unwrap_or(work.flops);
    }
    let profile = super::machine::profile(&s.device, None, false)?;
    let roof = roof_time(&profile, &work, threads);
    let module = subject.module(&subject.choice(s.schedule, &set.sizes, &target), &target)?;
    let program = engine::compile(&module, &target)?;
    let instance = engine::instance(device.as_ref(), subject.func(), &program, &set, Some(threads))?;
    let nests: Vec<String> = module.nests().iter().map(|n| (**n).to_string()).collect();
    let code: usize = program.kernels.iter().map(|k| k.code.bytes()).sum();
    drop(instance);
    let mut pressures = Vec::new();
    if let Target::Cpu(cpu) = &target {
        for nest in module.nests() {
            let found = cpu::pressure(nest, cpu).map_err(engine::codegen_failure)?;
            pressures.extend(found.map(|p| (nest.name.clone(), p)));
        }
    }
    let bindings = engine::bindings(subject.func(), &program, &set)?;
    let memory = Memory::new(&module, (&target, &bindings), &set.inputs.tensors, (&profile, &roof), threads);
    let level = format!("{:?}", level_of(&target, work.working_set, threads)).to_lowercase();
    if args.json {
        return output::print_json(&json!({
            "name": subject.func().name,
            "size": set.sizes,
            "work": work,
            "level": level,
            "roof": roof,
            "code_bytes": code,
            "kernels": pressures.iter().map(|(name, p)| machine_code(name, p)).collect::<Vec<_>>(),
            "memory": memory.json(),
            "prepared": program.prepared(),
            "nests": nests,
        }));
    }
    let kind = match subject.func().kind {
        FuncKind::Pipeline => "pipeline",
        _ => "kernel",
    };
    let mut text = format!("{kind} {} at {}\n\n", subject.func().name, engine::size_text(&set.sizes));
    let mut rows = vec![];
    for ops in &work.ops {
        let name = format!("{} {}", format!("{:?}", ops.class).to_lowercase(), ops.dtype);
        rows.push(vec![name, format!("{}op", si(ops.count))]);
    }
    rows.push(vec!["read at least".into(), format!("{}B", si(work.bytes_read))]);
    rows.push(vec!["written at least".into(), format!("{}B", si(work.bytes_written))]);
    rows.push(vec!["moved without tiling".into(), format!("{}B", si(work.untiled_bytes))]);
    rows.push(vec!["working set".into(), format!("{}B, in {level}", si(work.working_set))]);
    rows.push(vec!["launches as written".into(), format!("{}", work.launches)]);
    text += &output::table(&rows);
    text += &format!("\nroof {}s, bound by {}\n", si(roof.seconds), roof.bound);
    text += &format!("code {code} bytes, {} threads\n\n", threads);
    text += &memory.text();
    if !program.prepare.is_empty() {
        text +=
            &format!("packed once for all runs on the same content: {}\n\n", program.prepared().join(", "));
    }
    for (name, pressure) in &pressures {
        text += &loops(name, pressure);
    }
    text += &nests.join("\n");
    output::print(&text)
}

/// What the machine code of a kernel asks, and a line for each of its largest innermost loops.
fn loops(name: &str, pressure: &Pressure) -> String {
    let Pressure { code, vectors, general, frame, .. } = pressure;
    let mut text = format!(
        "machine code of {name}: {code} bytes, {vectors} vector and {general} general registers, {frame} bytes spilled\n"
    );
    let mut largest: Vec<_> = pressure.loops.iter().collect();
    largest.sort_by_key(|l| std::cmp::Reverse((l.arithmetic, l.instructions)));
    if largest.is_empty() {
        return text + "\n";
    }
    let head = [
        "loop at",
        "instructions",
        "arithmetic",
        "shuffles",
        "loads",
        "stores",
        "spills",
        "cycles",
        "bound by",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for l in largest.iter().take(LOOPS) {
        let counts = [l.instructions, l.arithmetic, l.shuffles, l.loads, l.stores, l.spills];
        let mut row = vec![format!("{:x}", l.at)];
        row.extend(counts.map(|n| n.to_string()));
        row.extend([format!("{:.1}", l.cycles), l.bound.to_owned()]);
        rows.push(row);
    }
    text += &output::table(&rows);
    let rest = largest.len().saturating_sub(LOOPS);
    if rest > 0 {
        text += &format!("and {rest} smaller ones\n");
    }
    text + "\n"
}

fn machine_code(name: &str, pressure: &Pressure) -> serde_json::Value {
    let loops = pressure.loops.iter().map(|l| {
        json!({
            "at": l.at,
            "instructions": l.instructions,
            "arithmetic": l.arithmetic,
            "shuffles": l.shuffles,
            "loads": l.loads,
            "stores": l.stores,
            "spills": l.spills,
            "cycles": l.cycles,
            "bound": l.bound,
        })
    });
    json!({
        "name": name,
        "code_bytes": pressure.code,
        "vector_registers": pressure.vectors,
        "general_registers": pressure.general,
        "spilled_bytes": pressure.frame,
        "loops": loops.collect::<Vec<_>>(),
    })
}
