//! `rooftile bench`: how long it takes, how long it would take at the roof.

use rooftile_artifact::HostTensor;
use rooftile_compiler::analysis;
use rooftile_runtime::timer::{Clock, Stopwatch};
use rooftile_runtime::timing::Cache;
use rooftile_runtime::{MeasureOptions, measure, roof_time};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::engine::{self, Subject};
use crate::failure::{Failure, Outcome};
use crate::report::charts::si;
use crate::{judge, output};

/// Times a kernel or pipeline at each size, every result compared whole with the oracle first.
///
/// # Errors
/// [`Failure`] of every kind; [`Failure::NotVerified`] when a result is wrong, after all sizes were run.
pub fn run(args: &BenchArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    if matches!(s.device.as_str(), "oracle" | "nest") {
        let message = format!("`{}` interprets, and is never timed; `bench` times `cpu`", s.device);
        return Err(Failure::Usage(message));
    }
    let device = engine::open_device(&s.device)?;
    let profile = super::machine::profile(args.profile.as_deref(), false)?;
    let threads = s.threads.unwrap_or(device.target().threads).max(1);
    let mut target = device.target().clone();
    target.threads = threads;
    let scalars = engine::scalars(subject.func(), &s.set)?;
    let no_sizes = Vec::new();
    let size_sets: Vec<&[_]> = match s.sizes.as_slice() {
        [] => vec![&no_sizes],
        sets => sets.iter().map(std::slice::from_ref).collect(),
    };
    let mut wrong = None;
    let mut results = Vec::new();
    for pairs in size_sets {
        let set = subject.inputs(&engine::sizes(pairs)?, &scalars, Default::default(), s.seed)?;
        let watch = Stopwatch::start(Clock::Wall);
        let module = subject.module(&subject.choice(s.schedule, &set.sizes), &target)?;
        let program = engine::compile(&module, &target)?;
        let compile_s = watch.seconds();
        let mut instance = engine::instance(device.as_ref(), subject.func(), &program, &set, Some(threads))?;
        instance.save_inputs();
        instance.run()?;
        let got: Vec<(usize, HostTensor)> = subject
            .written()
            .into_iter()
            .map(|n| Ok((n, instance.read_output(n)?)))
            .collect::<Result<_, Failure>>()?;
        let verdict = judge::compare(&subject, &judge::expected(&subject, &set)?, &got);
        instance.restore_inputs();
        let cache = if args.cold { Cache::Cold } else { Cache::Warm };
        let m = measure(&mut instance, &MeasureOptions { cache, ..MeasureOptions::default() })?;
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
        let roof = roof_time(&profile, &work, threads);
        let bytes = work.bytes_read + work.bytes_written;
        results.push(json!({
            "size": set.sizes,
            "verified": verdict.is_ok(),
            "max_rel_err": verdict.as_ref().ok(),
            "time_s": { "median": m.median, "lo": m.lo, "hi": m.hi, "samples": m.samples.len() },
            "flops": work.flops,
            "bytes": bytes,
            "gflops": work.flops / m.median / 1e9,
            "gbs": bytes / m.median / 1e9,
            "roof": { "time_s": roof.seconds, "bound": roof.bound, "stable": roof.stable },
            "fraction": roof.seconds / m.median,
            "compile_s": compile_s,
        }));
        wrong = verdict.err().or(wrong);
    }
    if args.json {
        output::print_json(&json!({
            "file": s.file.display().to_string(),
            "name": subject.func().name,
            "device": s.device,
            "threads": threads,
            "cache": if args.cold { "cold" } else { "warm" },
            "results": results,
        }))?;
    } else {
        output::print(&text(&results))?;
    }
    engine::finish(wrong)
}

/// Results as a table.
fn text(results: &[Value]) -> String {
    let cells = ["size", "time", "95 % limits", "Gflop/s", "GB/s", "roof", "bound", "of roof", "verified"];
    let mut rows = vec![cells.map(str::to_owned).to_vec()];
    for r in results {
        let number = |path: &str| r.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let seconds = |path: &str| format!("{}s", si(number(path)));
        let sizes = r["size"]
            .as_object()
            .map(|m| m.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","));
        rows.push(vec![
            sizes.unwrap_or_default(),
            seconds("/time_s/median"),
            format!("{} .. {}", seconds("/time_s/lo"), seconds("/time_s/hi")),
            format!("{:.2}", number("/gflops")),
            format!("{:.2}", number("/gbs")),
            seconds("/roof/time_s"),
            r["roof"]["bound"].as_str().unwrap_or_default().to_owned(),
            format!("{:.1} %", number("/fraction") * 100.0),
            if r["verified"] == true { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    output::table(&rows)
}
