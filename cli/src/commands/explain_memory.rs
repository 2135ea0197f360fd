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

/// What the kernels of a module move, one after the other, and what is needed to say how long that takes.
pub(super) struct Memory<'a> {
    /// With the kernels' names; nothing on a GPU, whose caches nobody tells.
    kernels: Vec<(&'a str, KernelTraffic)>,
    profile: &'a Profile,
    roof: &'a RoofTime,
    threads: usize,
    vector_bytes: usize,
}

impl<'a> Memory<'a> {
    /// Follows the loops of a module at the sizes that are bound.
    pub(super) fn new(
        module: &'a VerifiedModule,
        (target, bindings): (&Target, &Bindings),
        tensors: &[Option<HostTensor>],
        (profile, roof): (&'a Profile, &'a RoofTime),
        threads: usize,
    ) -> Memory<'a> {
        let mut memory = Memory { kernels: Vec::new(), profile, roof, threads, vector_bytes: 0 };
        if let Target::Cpu(cpu) = target {
            let all = cpu.threads.max(1) as f64;
            let (l1, l2, l3) = (cpu.l1d as f64, cpu.l2 as f64, cpu.l3 as f64);
            let caches = Caches {
                chunk: [l1, l2, l3 / all],
                launch: [l1 * all, l2 * all, l3],
                vector_bytes: cpu.vector_bytes,
            };
            let moved = traffic::of_module(module, bindings, tensors, &caches);
            memory.kernels = module.nests().iter().map(|n| n.name.as_str()).zip(moved).collect();
            memory.vector_bytes = cpu.vector_bytes;
        }
        memory
    }

    /// The least seconds that each level needs.
    fn seconds(&self, traffic: &Traffic) -> [Option<f64>; 4] {
        let time = |level, moved| level_time(self.profile, level, moved, self.threads);
        let mut out = [None; 4];
        for (n, level) in LEVELS.into_iter().enumerate() {
            let b = traffic.levels[n];
            let past = if level == Level::Dram { traffic.past } else { 0.0 };
            out[n] = time(level, Moved { read: b.read, filled: b.filled, written: b.written, past });
            if level == Level::L1 {
                // An instruction that moves less than a vector takes as long as one that moves all of it.
                let vector = self.vector_bytes as f64;
                let (read, written) = (traffic.loads * vector, traffic.stores * vector);
                let all = time(level, Moved { read, written, ..Moved::default() });
                out[n] = out[n].zip(all).map(|(a, b)| a.max(b));
            }
        }
        out
    }

    /// The levels with their times, and, as what the roof says of arithmetic is that of all kernels together, that beside
    /// those of a single one.
    fn times(&self, traffic: &Traffic) -> Vec<(String, Option<f64>)> {
        let mut times: Vec<_> = LEVELS.map(name).into_iter().zip(self.seconds(traffic)).collect();
        if self.kernels.len() == 1 {
            times.extend(arithmetic(self.roof));
        }
        times
    }

    /// A table for each kernel, and what bounds them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (kernel, of) in self.kernels.iter().filter(|(_, of)| of.launches > 0.0) {
            let launches =
                if of.launches == 1.0 { String::new() } else { format!(", {} launches", of.launches) };
            text += &format!("memory of {kernel}{launches}\n");
            match &of.traffic {
                Some(traffic) => text += &self.table(traffic),
                None => text += "not followed: too many loops\n",
            }
            text.push('\n');
        }
        text
    }

    fn table(&self, t: &Traffic) -> String {
        let times = self.times(t);
        let head = ["level", "reads", "fills", "writes", "instructions", "time", "of the roof"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (n, (name, s)) in times.iter().enumerate() {
            let mut row = vec![name.clone()];
            match t.levels.get(n) {
                Some(b) => row.extend([b.read, b.filled, b.written].map(|v| format!("{}B", si(v)))),
                None => row.extend(vec![String::new(); 3]),
            }
            row.push(if n == 0 { si(t.loads + t.stores) } else { String::new() });
            row.push(s.map_or_else(|| "?".to_owned(), |s| format!("{}s", si(s))));
            row.push(match s {
                Some(s) if self.roof.seconds > 0.0 => format!("{:.0} %", 100.0 * s / self.roof.seconds),
                _ => String::new(),
            });
            rows.push(row);
        }
        let mut text = output::table(&rows);
        if let Some(bound) = slowest(&times) {
            let apart = if self.kernels.len() == 1 { "" } else { ", arithmetic apart" };
            text += &format!("bound by {bound}{apart}\n");
        }
        if !t.gathered.is_empty() {
            text += &format!("indices of {} are data: a line an access at most\n", t.gathered.join(", "));
        }
        if t.guessed {
            text += &format!(
                "bounds or conditions are data: {GUESSED} passes where nobody knows, conditions both ways\n"
            );
        }
        text
    }

    /// As [`Memory::text`], for programs.
    pub(super) fn json(&self) -> Vec<Value> {
        let kernel = |(kernel, of): &(&str, KernelTraffic)| {
            let Some(t) = &of.traffic else { return json!({ "name": kernel, "launches": of.launches }) };
            let times = self.times(t);
            let levels: Vec<Value> = times
                .iter()
                .zip(t.levels)
                .map(|((level, s), b)| {
                    json!({ "level": level, "read": b.read, "filled": b.filled, "written": b.written, "seconds": s })
                })
                .collect();
            json!({
                "name": kernel,
                "launches": of.launches,
                "loads": t.loads,
                "stores": t.stores,
                "past_caches": t.past,
                "levels": levels,
                "bound": slowest(&times),
                "gathered": t.gathered,
                "guessed": t.guessed,
            })
        };
        self.kernels.iter().map(kernel).collect()
    }
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
