//! The roof: the least time that counted work can take on a measured machine.

use std::fmt;

use rooftile_artifact::profile::{Figure, Level, Pattern, Profile};
use rooftile_artifact::work::{OpClass, Work};
use rooftile_artifact::{DType, Target};
use serde::{Deserialize, Serialize};

/// What bounds the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Bandwidth of main memory.
    Dram,
    /// Bandwidth of the third-level cache.
    L3,
    /// Bandwidth of the second-level cache.
    L2,
    /// Bandwidth of the first-level cache.
    L1,
    /// Sums and products of floats.
    Fma,
    /// Divisions.
    Div,
    /// Square roots.
    Sqrt,
    /// Special functions.
    Special,
    /// Integer operations.
    Int,
    /// Sums of products of narrow factors, by units that do nothing else.
    Product,
    /// Kernel launches.
    Launch,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Dram => "dram",
            Bound::L3 => "l3",
            Bound::L2 => "l2",
            Bound::L1 => "l1",
            Bound::Fma => "fma",
            Bound::Div => "div",
            Bound::Sqrt => "sqrt",
            Bound::Special => "special",
            Bound::Int => "int",
            Bound::Product => "product",
            Bound::Launch => "launch",
        })
    }
}

/// The least time of counted work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoofTime {
    /// Seconds: the largest of `parts`.
    pub seconds: f64,
    /// What they are due to.
    pub bound: Bound,
    /// Seconds that each ceiling asks for, largest first.
    pub parts: Vec<(Bound, f64)>,
    /// Whether the figure that decides was stable when it was measured.
    pub stable: bool,
}

/// The least time of `work` on `threads` threads of the profiled machine: the largest of operations of each class over
/// their throughput, compulsory bytes over the bandwidth of the smallest level that holds the working set, and launches
/// times their overhead. Rates are upper confidence limits, the launch overhead a lower one, so that no honest
/// measurement lies below. Work that the profile has no ceiling for adds nothing.
#[must_use]
pub fn roof_time(profile: &Profile, work: &Work, threads: usize) -> RoofTime {
    let threads = threads.max(1);
    let mut parts: Vec<(Bound, Ceiling)> = Vec::new();
    use OpClass::{Div, Fma, Int, Product, Special, Sqrt};
    for class in [Fma, Div, Sqrt, Special, Int, Product] {
        parts.push(compute(profile, work, class, threads));
    }
    parts.extend(bytes(profile, work, threads));
    if threads > 1 || profile.target.gpu().is_some() {
        // One thread of the processor is launched by a call.
        let seconds = work.launches * profile.launch.lo;
        parts.push((Bound::Launch, Ceiling { seconds, stable: profile.launch.stable }));
    }
    parts.retain(|(_, c)| c.seconds > 0.0 && c.seconds.is_finite());
    parts.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    let (bound, first) =
        parts.first().copied().unwrap_or((Bound::Launch, Ceiling { seconds: 0.0, stable: true }));
    let parts = parts.into_iter().map(|(bound, c)| (bound, c.seconds)).collect();
    RoofTime { seconds: first.seconds, bound, parts, stable: first.stable }
}

#[derive(Clone, Copy, Debug)]
struct Ceiling {
    seconds: f64,
    stable: bool,
}

/// Seconds of the operations of one class; those on several types share its units.
fn compute(profile: &Profile, work: &Work, class: OpClass, threads: usize) -> (Bound, Ceiling) {
    let mut all = Ceiling { seconds: 0.0, stable: true };
    for ops in &work.ops {
        let fastest = units(ops.class, ops.dtype).into_iter().flat_map(|(on, types)| {
            types.into_iter().filter_map(move |(dtype, factor)| {
                let rates = profile.compute.iter().filter(|r| (r.class, r.dtype) == (on, dtype));
                let rate = best(rates.map(|r| (r.threads, r.rate)), threads)?;
                Some((on, rate.hi * factor, rate.stable))
            })
        });
        let Some((on, rate, stable)) = fastest.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        if on == class {
            all.seconds += ops.count / rate;
            all.stable &= stable;
        }
    }
    let bound = match class {
        OpClass::Fma => Bound::Fma,
        OpClass::Div => Bound::Div,
        OpClass::Sqrt => Bound::Sqrt,
        OpClass::Special => Bound::Special,
        OpClass::Int => Bound::Int,
        OpClass::Product => Bound::Product,
    };
    (bound, all)
}

/// Measured types of a class, and how much faster than each operations can run.
type Measured = (OpClass, Vec<(DType, f64)>);

/// The units that can do the work: sums of integers are integer operations however they are counted, and products of narrow
/// factors are computed by units of their own where there are any.
fn units(class: OpClass, dtype: DType) -> Vec<Measured> {
    let whole = dtype.is_int() || dtype == DType::Bool;
    match class {
        OpClass::Fma if whole => vec![(OpClass::Int, measured(OpClass::Int, dtype))],
        OpClass::Product => {
            // Bytes with a sign and without have the same units. Plain arithmetic is that of the sum, of 32 bits.
            let own = if dtype.is_int() && dtype.size() == 1 { DType::I8 } else { dtype };
            let plain = if whole { (OpClass::Int, DType::I32) } else { (OpClass::Fma, DType::F32) };
            [(OpClass::Product, own), plain].map(|(class, t)| (class, vec![(t, 1.0)])).to_vec()
        }
        other => vec![(other, measured(other, dtype))],
    }
}

/// The measured types that operations on a type are held against, and how much faster than each they can run; the fastest
/// counts of those that the profile has. Narrow floats are computed in single precision, or as they are; integers, or the
/// bits of floats, fill vectors by their width, but a GPU may compute narrow ones as wide ones.
fn measured(class: OpClass, dtype: DType) -> Vec<(DType, f64)> {
    match dtype {
        DType::F64 | DType::C128 if class == OpClass::Int => vec![(DType::I32, 0.5)],
        _ if class == OpClass::Int && (dtype.is_float() || dtype.is_complex()) => vec![(DType::I32, 1.0)],
        DType::F64 | DType::C128 => vec![(DType::F64, 1.0)],
        DType::F16 => vec![(DType::F32, 1.0), (DType::F16, 1.0)],
        _ if dtype.is_float() || dtype.is_complex() => vec![(DType::F32, 1.0)],
        DType::Int { bits: 64, .. } => vec![(DType::I32, 0.5)],
        DType::Int { bits: 32, .. } => vec![(DType::I32, 1.0)],
        DType::Int { bits: 16, .. } => vec![(DType::I8, 0.5), (DType::I32, 1.0)],
        _ => vec![(DType::I8, 1.0), (DType::I32, 1.0)],
    }
}

/// Seconds of the compulsory bytes at the level that holds the working set.
fn bytes(profile: &Profile, work: &Work, threads: usize) -> Option<(Bound, Ceiling)> {
    let (read, written) = (work.bytes_read, work.bytes_written);
    let all = read + written;
    if all <= 0.0 {
        return None;
    }
    let level = level_of(&profile.target, work.working_set.max(all), threads);
    let (seconds, stable) = moving(profile, level, (read, written), &|p| p != Pattern::Read, threads)?;
    Some((bound_of(level), Ceiling { seconds, stable }))
}

/// What is said of a time that a level of memory takes.
#[must_use]
pub fn bound_of(level: Level) -> Bound {
    match level {
        Level::L1 => Bound::L1,
        Level::L2 => Bound::L2,
        Level::L3 => Bound::L3,
        Level::Dram => Bound::Dram,
    }
}

/// Seconds to read and write so many bytes in a level, and whether the rates were stable. Of those who write, the fastest
/// pattern counts that is `meant`.
fn moving(
    profile: &Profile,
    level: Level,
    (read, written): (f64, f64),
    meant: &dyn Fn(Pattern) -> bool,
    threads: usize,
) -> Option<(f64, bool)> {
    let all = read + written;
    let of = |wanted: &dyn Fn(Pattern) -> bool| {
        let found = profile.memory.iter().filter(|r| r.level == level && wanted(r.pattern));
        best(found.map(|r| (r.threads, r.rate)), threads)
    };
    let reads = of(&|p| p == Pattern::Read);
    let writes = of(meant).or_else(|| of(&|p| p != Pattern::Read));
    let (reads, writes) = (reads.or(writes)?, writes.or(reads)?);
    // The patterns write from a third of their bytes on. Between none and a third, the time per byte goes linearly from
    // the one to the other.
    let share = if all > 0.0 { (3.0 * written / all).min(1.0) } else { 0.0 };
    let seconds = all * ((1.0 - share) / reads.hi + share / writes.hi);
    Some((seconds, (share == 1.0 || reads.stable) && (share == 0.0 || writes.stable)))
}

/// Bytes that a level of memory delivers and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// Delivered because they are read.
    pub read: f64,
    /// Delivered because a part of their line is written.
    pub filled: f64,
    /// Taken.
    pub written: f64,
    /// Of those taken: past the caches.
    pub past: f64,
}

/// The least seconds in which a level of memory delivers and takes so many bytes, as `threads` threads of the profiled
/// machine were measured. The rates of what is written count the fills of its lines already. `None` where the profile does
/// not know the level.
#[must_use]
pub fn level_time(profile: &Profile, level: Level, moved: Moved, threads: usize) -> Option<f64> {
    use Pattern::{Axpy, Copy, CopyNonTemporal, Triad, TriadNonTemporal};
    let threads = threads.max(1);
    let meant: &dyn Fn(Pattern) -> bool = if moved.past > moved.written / 2.0 {
        &|p| matches!(p, CopyNonTemporal | TriadNonTemporal)
    } else if moved.filled < (moved.written - moved.past) / 2.0 {
        // What is written was read before.
        &|p| p == Axpy
    } else {
        &|p| matches!(p, Copy | Triad)
    };
    moving(profile, level, (moved.read, moved.written), meant, threads).map(|(seconds, _)| seconds)
}

/// Largest working sets of the levels of a GPU, bytes. What caches a GPU has no interface tells, so its levels are classes
/// of working sets, each measured near the lower end of its class: no set of a class moves faster.
const GPU_LEVELS: [(Level, usize); 3] = [(Level::L1, 512 << 10), (Level::L2, 8 << 20), (Level::L3, 48 << 20)];

/// The smallest level that holds so many bytes, of which each thread works on its part. On a GPU, where nothing tells how
/// large caches are, the class of working sets: up to 512 KiB, 8 MiB and 48 MiB are called the first to the third level.
#[must_use]
pub fn level_of(target: &Target, working_set: f64, threads: usize) -> Level {
    #[expect(clippy::cast_precision_loss, reason = "cache sizes are far below 2^52")]
    let holds = |bytes: usize| working_set <= bytes as f64;
    let Target::Cpu(target) = target else {
        return GPU_LEVELS.iter().find(|(_, most)| holds(*most)).map_or(Level::Dram, |(level, _)| *level);
    };
    if holds(target.l1d.saturating_mul(threads)) {
        Level::L1
    } else if holds(target.l2.saturating_mul(threads)) {
        Level::L2
    } else if holds(target.l3) {
        Level::L3
    } else {
        Level::Dram
    }
}

/// The best of figures that were measured on one and on all threads. For a number of threads that was not measured, as
/// many times one thread's rate as there are threads, but no more than all threads reach.
fn best(figures: impl Iterator<Item = (usize, Figure)>, threads: usize) -> Option<Figure> {
    let higher = |best: Option<Figure>, f: Figure| match best {
        Some(b) if b.hi >= f.hi => Some(b),
        _ => Some(f),
    };
    let (mut exact, mut single, mut most, mut most_threads) = (None, None, None, 0);
    for (count, figure) in figures {
        if count == threads {
            exact = higher(exact, figure);
        }
        if count == 1 {
            single = higher(single, figure);
        }
        if count > most_threads {
            (most, most_threads) = (None, count);
        }
        if count == most_threads {
            most = higher(most, figure);
        }
    }
    if exact.is_some() {
        // Two threads are never slower than one of them alone.
        return if threads > 1 { single.into_iter().chain(exact).fold(None, higher) } else { exact };
    }
    let (single, most) = (single?, most?);
    #[expect(clippy::cast_precision_loss, reason = "thread counts are small")]
    let factor = threads as f64;
    let scaled = single.hi * factor;
    if threads > most_threads || scaled >= most.hi {
        return Some(most);
    }
    Some(Figure { median: single.median * factor, lo: single.lo * factor, hi: scaled, ..single })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::profile::{ComputeRoof, MemoryRoof};
    use rooftile_artifact::{CpuTarget, GpuTarget};

    fn figure(rate: f64) -> Figure {
        Figure { median: rate, lo: 0.9 * rate, hi: rate, stable: true }
    }

    /// Rates in units of 10^9: f32 FMA 100 on one thread and 200 on two, memory by level.
    fn profile() -> Profile {
        let roof = |class, dtype, vector_bytes, threads, rate: f64| ComputeRoof {
            class,
            dtype,
            vector_bytes,
            threads,
            rate: figure(rate * 1e9),
        };
        let mut memory = Vec::new();
        for (level, rate) in [(Level::L1, 200.0), (Level::L2, 100.0), (Level::L3, 50.0), (Level::Dram, 20.0)]
        {
            for (pattern, factor) in
                [(Pattern::Read, 1.0), (Pattern::Copy, 0.5), (Pattern::CopyNonTemporal, 0.8)]
            {
                for threads in [1, 2] {
                    memory.push(MemoryRoof { level, pattern, threads, rate: figure(rate * factor * 1e9) });
                }
            }
        }
        Profile {
            fingerprint: Default::default(),
            target: CpuTarget { l1d: 32 << 10, l2: 512 << 10, l3: 16 << 20, ..CpuTarget::default() }.into(),
            compute: vec![
                roof(OpClass::Fma, DType::F32, 16, 1, 50.0),
                roof(OpClass::Fma, DType::F32, 32, 1, 100.0),
                roof(OpClass::Fma, DType::F32, 32, 2, 200.0),
                roof(OpClass::Fma, DType::F32, 32, 8, 300.0),
                roof(OpClass::Int, DType::I32, 32, 1, 80.0),
                roof(OpClass::Int, DType::I32, 32, 8, 80.0),
            ],
            memory,
            launch: Figure { median: 2e-6, lo: 1e-6, hi: 3e-6, stable: true },
            noise: 0.01,
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-12
    }

    #[test]
    fn the_widest_vectors_and_the_threads_count() {
        let mut work = Work::default();
        work.add_ops(OpClass::Fma, DType::F32, 1e9);
        for (threads, seconds) in [(1, 1e-2), (2, 5e-3), (4, 1.0 / 300.0), (8, 1.0 / 300.0), (9, 1.0 / 300.0)]
        {
            let roof = roof_time(&profile(), &work, threads);
            assert!(roof.bound == Bound::Fma && close(roof.seconds, seconds), "{threads}: {roof:?}");
        }
        work.add_ops(OpClass::Fma, DType::F16, 1e9);
        assert!(close(roof_time(&profile(), &work, 1).seconds, 2e-2));
        work.add_ops(OpClass::Fma, DType::I64, 2e9);
        let roof = roof_time(&profile(), &work, 1);
        assert!(roof.bound == Bound::Int && close(roof.seconds, 5e-2), "{roof:?}");
        assert_eq!(roof.parts.len(), 2);
        work.add_ops(OpClass::Int, DType::F32, 4e9);
        work.add_ops(OpClass::Div, DType::F32, 1e12);
        assert!(close(roof_time(&profile(), &work, 1).seconds, 1e-1), "what was not measured is no ceiling");
    }

    #[test]
    fn products_of_narrow_factors_run_on_the_fastest_units() {
        let mut work = Work::default();
        work.add_ops(OpClass::Product, DType::F16, 1e9);
        work.add_ops(OpClass::Fma, DType::F32, 1e9);
        let roof = roof_time(&profile(), &work, 1);
        assert!(roof.bound == Bound::Fma && close(roof.seconds, 2e-2), "no other unit: {roof:?}");
        let mut fast = profile();
        let roof = |dtype, rate| ComputeRoof {
            class: OpClass::Product,
            dtype,
            vector_bytes: 0,
            threads: 1,
            rate: figure(rate),
        };
        fast.compute.extend([roof(DType::F16, 400e9), roof(DType::I8, 160e9)]);
        let found = roof_time(&fast, &work, 1);
        assert!(close(found.seconds, 1e-2) && found.parts.len() == 2, "{found:?}");
        work.add_ops(OpClass::Product, DType::U8, 16e9);
        let found = roof_time(&fast, &work, 1);
        assert!(found.bound == Bound::Product && close(found.seconds, 0.1 + 1.0 / 400.0), "{found:?}");
    }

    #[test]
    fn working_sets_of_a_gpu_fall_into_classes() {
        let gpu = Target::from(GpuTarget::default());
        let kib = 1024.0;
        let sets = [(0.0, Level::L1), (512.0, Level::L1), (513.0, Level::L2), (8192.0, Level::L2)];
        for (size, level) in
            sets.into_iter().chain([(8193.0, Level::L3), (49152.0, Level::L3), (5e4, Level::Dram)])
        {
            assert_eq!(level_of(&gpu, size * kib, 1), level, "{size} KiB");
        }
        let profile = Profile { target: gpu, ..profile() };
        let mut work = Work { bytes_read: 1e6, launches: 1.0, ..Work::default() };
        assert_eq!(roof_time(&profile, &work, 1).bound, Bound::L2);
        work.launches = 100.0;
        assert_eq!(
            roof_time(&profile, &work, 1).bound,
            Bound::Launch,
            "its launches cost though one thread makes them"
        );
        work.add_ops(OpClass::Int, DType::I16, 8e9);
        assert!(
            close(roof_time(&profile, &work, 1).seconds, 0.1),
            "narrow integers are computed as wide ones"
        );
    }

    #[test]
    fn bytes_move_at_the_level_that_holds_them() {
        let read = |working_set: f64, written: f64| Work {
            bytes_read: 1e6 - written,
            bytes_written: written,
            working_set,
            ..Work::default()
        };
        let mib = f64::from(1 << 20);
        let cases = [
            // Compulsory bytes are part of the working set, whatever is said.
            (read(0.0, 0.0), 1, Bound::L3, 1e6 / 50e9),
            (read(8.0 * mib, 0.0), 1, Bound::L3, 1e6 / 50e9),
            (read(17.0 * mib, 0.0), 1, Bound::Dram, 1e6 / 20e9),
            (read(17.0 * mib, 5e5), 1, Bound::Dram, 1e6 / 16e9),
            (read(1.0 * mib, 0.0), 2, Bound::L2, 1e6 / 100e9),
        ];
        for (work, threads, bound, seconds) in cases {
            let roof = roof_time(&profile(), &work, threads);
            assert!(roof.bound == bound && close(roof.seconds, seconds), "{roof:?}, not {bound} {seconds}");
        }
        let some = roof_time(&profile(), &read(17.0 * mib, 1e5), 1).seconds;
        assert!(1e6 / 20e9 < some && some < 1e6 / 16e9);
    }

    #[test]
    fn levels_take_time_by_what_is_written() {
        let profile = profile();
        let time = |level, read, filled, written, past| {
            let moved = Moved { read, filled, written, past };
            level_time(&profile, level, moved, 1).map(|s| (s * 1e9).round())
        };
        assert_eq!(time(Level::L2, 100.0, 0.0, 0.0, 0.0), Some(1.0));
        // Copies run at half the rate, past the caches at 0.8 of it.
        assert_eq!(time(Level::L2, 100.0, 100.0, 100.0, 0.0), Some(4.0));
        assert_eq!(time(Level::Dram, 80.0, 0.0, 80.0, 80.0), Some(10.0));
        assert_eq!(time(Level::Dram, 0.0, 0.0, 0.0, 0.0), Some(0.0));
    }

    #[test]
    fn launches_bound_tiny_work_on_several_threads() {
        let work = Work { launches: 10.0, bytes_read: 64.0, ..Work::default() };
        let roof = roof_time(&profile(), &work, 2);
        assert!(roof.bound == Bound::Launch && close(roof.seconds, 1e-5));
        assert_eq!(roof_time(&profile(), &work, 1).bound, Bound::L1);
        assert_eq!(roof_time(&profile(), &Work::default(), 1).seconds, 0.0);
        assert_eq!(serde_json::to_string(&Bound::Special).expect("plain"), format!("\"{}\"", Bound::Special));
    }
}
