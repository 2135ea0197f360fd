//! `rooftile bench`: how long it takes, how long it would take at the roof.

use rooftile_artifact::{HostTensor, Target};
use rooftile_compiler::analysis;
use rooftile_compiler::oracle::Outputs;
use rooftile_compiler::schedule::Choice;
use rooftile_compiler::task::InputSet;
use rooftile_runtime::timer::{Clock, Stopwatch};
use rooftile_runtime::timing::{self, Cache};
use rooftile_runtime::{
    Device, Foreign, MeasureOptions, Measurement, PairedMeasurement, measure, measure_paired, roof_time,
};
use serde_json::{Value, json};

use crate::args::{Against, BenchArgs};
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
        let message =
            format!("`{}` interprets, and is never timed; `bench` times `cpu` and `vulkan`", s.device);
        return Err(Failure::Usage(message));
    }
    let device = engine::open_device(&s.device)?;
    let profile = super::machine::profile(&s.device, args.profile.as_deref(), false)?;
    let target = engine::target(device.as_ref(), s.threads);
    let threads = target.host_threads();
    let scalars = engine::scalars(subject.func(), &s.set)?;
    let no_sizes = Vec::new();
    let size_sets: Vec<&[_]> = match s.sizes.as_slice() {
        [] => vec![&no_sizes],
        sets => sets.iter().map(std::slice::from_ref).collect(),
    };
    let mut wrong = None;
    let mut results = Vec::new();
    for pairs in size_sets {
        let sizes = engine::sizes(pairs)?;
        let set = subject.inputs(&sizes, &scalars, Default::default(), s.seed, device.room())?;
        let watch = Stopwatch::start(Clock::Wall);
        let module = subject.module(&subject.choice(s.schedule, &set.sizes, &target), &target)?;
        let program = engine::compile(&module, &target)?;
        let compile_s = watch.seconds();
        let mut instance = engine::instance(device.as_ref(), subject.func(), &program, &set, Some(threads))?;
        instance.save_inputs();
        instance.run()?;
        let want = judge::expected(&subject, &set)?;
        let verdict = compare(&subject, &want, |n| instance.read_output(n))?;
        instance.restore_inputs();
        let cache = if args.cold { Cache::Cold } else { Cache::Warm };
        let options = MeasureOptions { cache, ..MeasureOptions::default() };
        let m = measure(&mut instance, &options)?;
        let rival = match &args.against {
            None => None,
            Some(against) => {
                let mut rival = foreign(&subject, against, device.as_ref(), &target, &set)?;
                rival.run()?;
                let verdict = compare(&subject, &want, |n| rival.read_output(n))?;
                timing::Subject::restore(&mut rival);
                let pairs = measure_paired(&mut rival, &mut instance, &options)?;
                let value = rival_json(against, &verdict, &pairs);
                wrong = verdict.err().or(wrong);
                Some(value)
            }
        };
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
        let mut result = json!({
            "size": set.sizes,
            "verified": verdict.is_ok(),
            "max_rel_err": verdict.as_ref().ok(),
            "time_s": time_json(&m),
            "flops": work.flops,
            "bytes": bytes,
            "gflops": work.flops / m.median / 1e9,
            "gbs": bytes / m.median / 1e9,
            "roof": { "time_s": roof.seconds, "bound": roof.bound, "stable": roof.stable },
            "fraction": roof.seconds / m.median,
            "compile_s": compile_s,
            "prepare_s": instance.prepare_seconds(),
        });
        if let Some(rival) = rival {
            result["against"] = rival;
        }
        results.push(result);
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

/// Compares what was written with the oracle's values: the largest relative error, or the failure to report at the end.
fn compare(
    subject: &Subject,
    want: &Outputs,
    read: impl Fn(usize) -> Result<HostTensor, rooftile_runtime::Error>,
) -> Result<Result<f64, Failure>, Failure> {
    let written = subject.written().into_iter();
    let got = written.map(|n| Ok((n, read(n)?))).collect::<Result<Vec<_>, Failure>>()?;
    Ok(judge::compare(subject, want, &got))
}

/// The user's kernel on memory of its own, with the same inputs.
fn foreign(
    subject: &Subject,
    against: &Against,
    device: &dyn Device,
    target: &Target,
    set: &InputSet,
) -> Result<Foreign, Failure> {
    // The plain loops want no more memory than the signature does.
    let program = engine::compile(&subject.module(&Choice::Naive, target)?, target)?;
    let mut memory = engine::instance(device, subject.func(), &program, set, Some(target.host_threads()))?;
    memory.save_inputs();
    Ok(Foreign::open(&against.library, &against.symbol, memory)?)
}

fn time_json(m: &Measurement) -> Value {
    json!({ "median": m.median, "lo": m.lo, "hi": m.hi, "samples": m.samples.len() })
}

/// How the user's kernel did, and how many times as long it took.
fn rival_json(against: &Against, verdict: &Result<f64, Failure>, pairs: &PairedMeasurement) -> Value {
    json!({
        "library": against.library,
        "symbol": against.symbol,
        "verified": verdict.is_ok(),
        "max_rel_err": verdict.as_ref().ok(),
        "time_s": time_json(&pairs.a),
        "ratio": { "median": pairs.median.exp(), "lo": pairs.lo.exp(), "hi": pairs.hi.exp() },
    })
}

/// Results as a table.
fn text(results: &[Value]) -> String {
    let cells = ["size", "time", "95 % limits", "Gflop/s", "GB/s", "roof", "bound", "of roof", "verified"];
    let mut rows = vec![cells.map(str::to_owned).to_vec()];
    let against = results.iter().any(|r| r["against"].is_object());
    if against {
        rows[0].extend(["rival's time", "over ours", "rival verified"].map(str::to_owned));
    }
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
            yes(&r["verified"]),
        ]);
        if against && let Some(row) = rows.last_mut() {
            let ratio = |key: &str| number(&format!("/against/ratio/{key}"));
            row.push(seconds("/against/time_s/median"));
            row.push(format!("{:.2}x [{:.2}, {:.2}]", ratio("median"), ratio("lo"), ratio("hi")));
            row.push(yes(&r["against"]["verified"]));
        }
    }
    let mut text = output::table(&rows);
    let prepared = results.iter().filter_map(|r| r["prepare_s"].as_f64()).map(|s| format!("{}s", si(s)));
    let prepared: Vec<String> = prepared.collect();
    if !prepared.is_empty() {
        text +=
            &format!("\npacked once before the first run, in none of these times: {}\n", prepared.join(", "));
    }
    text
}

fn yes(verified: &Value) -> String {
    if *verified == true { "yes" } else { "NO" }.to_owned()
}
