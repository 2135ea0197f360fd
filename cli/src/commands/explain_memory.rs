//! In `rooftile explain`: what each level of memory delivers for the kernels, and how long it needs for that.

use rooftile_artifact::profile::{Level, Profile};
use rooftile_artifact::program::Bindings;
use rooftile_artifact::{HostTensor, Target};
use rooftile_compiler::nest::VerifiedModule;
use rooftile_compiler::nest::traffic::{self, Caches, GUESSED, KernelTraffic, Traffic};
use rooftile_runtime::roof::{Moved, level_time};
use rooftile_runtime::{Bound, RoofTime};
use serde_json::{Value, json};

use crate::output;
use crate::report::charts::si;

const LEVELS: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Dram];

/// What the kernels of a module move, one after the other; nothing on a GPU, whose caches nobody tells.
pub(super) fn of(
    module: &VerifiedModule,
    target: &Target,
    bindings: &Bindings,
    tensors: &[Option<HostTensor>],
) -> Vec<KernelTraffic> {
    let Target::Cpu(cpu) = target else { return Vec::new() };
    let threads = cpu.threads.max(1) as f64;
    let (l1, l2, l3) = (cpu.l1d as f64, cpu.l2 as f64, cpu.l3 as f64);
    let caches = Caches {
        chunk: [l1, l2, l3 / threads],
        launch: [l1 * threads, l2 * threads, l3],
        vector_bytes: cpu.vector_bytes,
    };
    traffic::of_module(module, bindings, tensors, &caches)
}

/// The least seconds that each level needs.
fn seconds(traffic: &Traffic, profile: &Profile, threads: usize, vector_bytes: usize) -> [Option<f64>; 4] {
    let mut out = [None; 4];
    for (n, level) in LEVELS.into_iter().enumerate() {
        let b = traffic.levels[n];
        let past = if level == Level::Dram { traffic.past } else { 0.0 };
        let moved = Moved { read: b.read, filled: b.filled, written: b.written, past };
        out[n] = level_time(profile, level, moved, threads);
        if level == Level::L1 {
            // An instruction that moves less than a vector takes as long as one that moves all of it.
            let whole = Moved {
                read: traffic.loads * vector_bytes as f64,
                written: traffic.stores * vector_bytes as f64,
                ..Moved::default()
            };
            let all = level_time(profile, level, whole, threads);
            out[n] = out[n].zip(all).map(|(a, b)| a.max(b));
        }
    }
    out
}

/// What takes longest: a level, or what the roof says of arithmetic.
fn slowest(rows: &[(String, Option<f64>)]) -> Option<&str> {
    let timed = rows.iter().filter_map(|(name, s)| s.map(|s| (name, s)));
    timed.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|r| r.1 > 0.0).map(|r| r.0.as_str())
}

fn name(level: Level) -> String {
    format!("{level:?}").to_lowercase()
}

/// Parts of the roof that are no memory.
fn arithmetic(roof: &RoofTime) -> Vec<(String, Option<f64>)> {
    let memory = |b: &Bound| matches!(b, Bound::L1 | Bound::L2 | Bound::L3 | Bound::Dram);
    roof.parts.iter().filter(|(b, _)| !memory(b)).map(|(b, s)| (b.to_string(), Some(*s))).collect()
}

/// A table for each kernel, and what bounds them.
pub(super) fn text(
    names: &[&str],
    kernels: &[KernelTraffic],
    (profile, roof): (&Profile, &RoofTime),
    threads: usize,
    vector_bytes: usize,
) -> String {
    let mut text = String::new();
    // What the roof says of arithmetic is that of all kernels together.
    let alone = kernels.len() == 1;
    for (kernel, of) in names.iter().zip(kernels).filter(|(_, of)| of.launches > 0.0) {
        let launches = if of.launches == 1.0 { String::new() } else { format!(", {} launches", of.launches) };
        text += &format!("memory of {kernel}{launches}\n");
        let Some(t) = &of.traffic else {
            text += "not followed: too many loops\n\n";
            continue;
        };
        let times = seconds(t, profile, threads, vector_bytes);
        let head = ["level", "reads", "fills", "writes", "instructions", "time", "of the roof"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let mut timed = Vec::new();
        let time = |s: Option<f64>| s.map_or_else(|| "?".to_owned(), |s| format!("{}s", si(s)));
        let share = |s: Option<f64>| match s {
            Some(s) if roof.seconds > 0.0 => format!("{:.0} %", 100.0 * s / roof.seconds),
            _ => String::new(),
        };
        for (n, level) in LEVELS.into_iter().enumerate() {
            let b = t.levels[n];
            let mut row = vec![name(level)];
            row.extend([b.read, b.filled, b.written].map(|v| format!("{}B", si(v))));
            row.push(if n == 0 { si(t.loads + t.stores) } else { String::new() });
            row.extend([time(times[n]), share(times[n])]);
            rows.push(row);
            timed.push((name(level), times[n]));
        }
        if alone {
            for (bound, s) in arithmetic(roof) {
                let mut row = vec![bound.clone()];
                row.extend(vec![String::new(); 4]);
                row.extend([time(s), share(s)]);
                rows.push(row);
                timed.push((bound, s));
            }
        }
        text += &output::table(&rows);
        if let Some(bound) = slowest(&timed) {
            text += &format!("bound by {bound}{}\n", if alone { "" } else { ", arithmetic apart" });
        }
        if !t.gathered.is_empty() {
            text += &format!("indices of {} are data: a line an access at most\n", t.gathered.join(", "));
        }
        if t.guessed {
            text += &format!(
                "bounds or conditions are data: {GUESSED} passes where nobody knows, conditions both ways\n"
            );
        }
        text.push('\n');
    }
    text
}

/// As [`text`], for programs.
pub(super) fn json(
    names: &[&str],
    kernels: &[KernelTraffic],
    (profile, roof): (&Profile, &RoofTime),
    threads: usize,
    vector_bytes: usize,
) -> Vec<Value> {
    let kernel = |(kernel, of): (&&str, &KernelTraffic)| {
        let Some(t) = &of.traffic else { return json!({ "name": kernel, "launches": of.launches }) };
        let times = seconds(t, profile, threads, vector_bytes);
        let mut timed: Vec<(String, Option<f64>)> = LEVELS.map(name).into_iter().zip(times).collect();
        let levels: Vec<Value> = timed
            .iter()
            .zip(t.levels)
            .map(|((level, s), b)| {
                json!({ "level": level, "read": b.read, "filled": b.filled, "written": b.written, "seconds": s })
            })
            .collect();
        if kernels.len() == 1 {
            timed.extend(arithmetic(roof));
        }
        json!({
            "name": kernel,
            "launches": of.launches,
            "loads": t.loads,
            "stores": t.stores,
            "past_caches": t.past,
            "levels": levels,
            "bound": slowest(&timed),
            "gathered": t.gathered,
            "guessed": t.guessed,
        })
    };
    names.iter().zip(kernels).map(kernel).collect()
}
