//! Runs probes on a Vulkan device in interleaved passes.

use std::time::Duration;

use rooftile_artifact::profile::{Level, Pattern};
use rooftile_artifact::program::{Bindings, BufferDecl, Kernel, Mode, Program, Step, TensorParam};
use rooftile_artifact::work::OpClass;
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};

use super::asm::Asm;
use super::{compute, memory, products};
use crate::device::{Device, Loaded};
use crate::error::{Error, malformed};
use crate::instance::{Instance, InstanceOptions};
use crate::stats;
use crate::timer::{Clock, Stopwatch};
use crate::vulkan::VulkanDevice;

/// Groups for each unit of the device: enough that all are busy to the end.
const GROUPS_PER_UNIT: u32 = 64;
/// A sample takes at least so many seconds.
const SAMPLE: f64 = 3e-3;
/// Samples of a pass.
const SAMPLES: usize = 4;
/// Empty kernels of one submission: enough that what the submission itself costs does not count.
const LAUNCHES: u32 = 64;

/// Bytes that the sweeps of each level go over in all, near the lower end of its class of working sets, so that no set of
/// the class moves faster.
const SWEPT: [(Level, usize); 4] =
    [(Level::L1, 64 << 10), (Level::L2, 768 << 10), (Level::L3, 9 << 20), (Level::Dram, 52 << 20)];
/// Bytes that keep a GPU busy, which smaller sweeps do not.
const SWEPT_BY_GPUS: [(Level, usize); 2] = [(Level::L1, 512 << 10), (Level::L2, 8 << 20)];

/// What an entry measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Work {
    /// Operations per second; so many in one round.
    Compute { class: OpClass, dtype: DType, operations: f64 },
    /// Bytes per second; so many in one pass.
    Memory { level: Level, pattern: Pattern, bytes: f64 },
    /// Launches per second.
    Launch,
}

/// A program at fixed sizes, and what it reached in each pass.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) work: Work,
    /// Rate of the fast samples of each pass.
    pub(super) rates: Vec<f64>,
    loaded: Loaded,
    bindings: Bindings,
    /// Rounds or passes of one sample; found in the first pass.
    rounds: i64,
}

/// Probes loaded on a device.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) entries: Vec<Entry>,
}

impl Bench {
    /// Loads every probe that the device can run.
    ///
    /// # Errors
    /// [`crate::DeviceError`] when the device does not take the code.
    pub(super) fn new(device: &VulkanDevice) -> Result<Bench, Error> {
        let found = device.context.found;
        let made = |e: rspirv::dr::Error| malformed(format!("a probe: {e}"));
        let units = found.target.units.max(1);
        let groups = units.saturating_mul(GROUPS_PER_UNIT).min(found.target.max_groups);
        let mut entries = vec![launch(device)?];
        let plain = compute::probes(found.target.features).map_err(made)?;
        let narrow = products::probes(&found.target).map_err(made)?;
        for probe in plain.into_iter().chain(narrow) {
            let threads = i64::from(groups) * i64::from(compute::GROUP);
            let operations = probe.operations * f64::from(groups) * f64::from(compute::GROUP);
            let [each, beside] = probe.array.map(i64::from);
            let arrays = u32::from(probe.array != [0; 2]);
            entries.push(Entry {
                work: Work::Compute { class: probe.class, dtype: probe.dtype, operations },
                rates: Vec::new(),
                loaded: device.load(&program(probe.kernel, arrays, 1))?,
                bindings: Bindings { sizes: vec![threads, threads * each + beside], scalars: Vec::new() },
                rounds: 1,
            });
        }
        let software = found.kind == ash::vk::PhysicalDeviceType::CPU;
        let swept = SWEPT.iter().chain(if software { &[][..] } else { &SWEPT_BY_GPUS });
        for probe in memory::probes(found.target.features).map_err(made)? {
            let loaded = device.load(&program(probe.kernel.clone(), probe.arrays, 4))?;
            for &(level, bytes) in swept.clone() {
                // A processor's caches outlive a launch, and its threads may meet the same part again; the near caches of
                // a GPU do neither, so there every pass gives a group the part of another.
                entries.extend(sweep(&probe, &loaded, level, bytes, groups, !software));
            }
        }
        Ok(Bench { entries })
    }

    /// Runs all entries pass by pass, so that a disturbance meets all alike: at least two passes, then as many of
    /// `passes` as fit the budget.
    pub(super) fn run(&mut self, passes: u32, budget: Duration) -> Result<(), Error> {
        // The driver may compile in the first run.
        for entry in &mut self.entries {
            entry.calibrate()?;
        }
        let watch = Stopwatch::start(Clock::Wall);
        for pass in 0..passes {
            // As long as the mean pass so far, another must fit.
            if pass >= 2 && watch.elapsed() * (pass + 1) / pass > budget {
                break;
            }
            for entry in &mut self.entries {
                let times = entry.samples(SAMPLES)?;
                // What else the machine does makes samples slower; the very fastest may be an error of the clock.
                let fast = stats::quantile(&stats::sorted(&times), 0.2);
                entry.rates.push(entry.amount() / fast);
            }
        }
        Ok(())
    }

    /// Seconds of so many samples of an entry.
    pub(super) fn samples(&self, entry: &Entry, count: usize) -> Result<Vec<f64>, Error> {
        entry.samples(count)
    }
}

impl Entry {
    /// Memory for the entry, all of it touched. It is let go after each use: all sweeps together are larger than many a
    /// device.
    fn instance(&self) -> Result<Instance, Error> {
        Instance::new(&self.loaded, &self.bindings, InstanceOptions::default())
    }

    /// Doubles the rounds of a sample until it is long enough.
    fn calibrate(&mut self) -> Result<(), Error> {
        const MOST: i64 = 1 << 30;
        let mut instance = self.instance()?;
        if self.work == Work::Launch {
            timed(&mut instance)?;
            return Ok(());
        }
        // The first run may compile, or touch the memory.
        set(&mut instance, 1)?;
        timed(&mut instance)?;
        loop {
            set(&mut instance, self.rounds)?;
            if self.rounds >= MOST || timed(&mut instance)?.min(timed(&mut instance)?) >= SAMPLE {
                return Ok(());
            }
            self.rounds *= 2;
        }
    }

    fn samples(&self, count: usize) -> Result<Vec<f64>, Error> {
        let mut instance = self.instance()?;
        if self.work != Work::Launch {
            set(&mut instance, 1)?;
            timed(&mut instance)?;
            set(&mut instance, self.rounds)?;
        }
        (0..count).map(|_| timed(&mut instance)).collect()
    }

    /// Operations, bytes or launches of a sample.
    fn amount(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "rounds are far below 2^52")]
        let rounds = self.rounds as f64;
        match self.work {
            Work::Compute { operations, .. } => operations * rounds,
            Work::Memory { bytes, .. } => bytes * rounds,
            Work::Launch => f64::from(LAUNCHES),
        }
    }
}

/// Seconds of a run by the clock that measurements of programs go by.
fn timed(instance: &mut Instance) -> Result<f64, Error> {
    let watch = Stopwatch::start(Clock::Wall);
    instance.run()?;
    let wall = watch.seconds();
    Ok(instance.backend().device_seconds().unwrap_or(wall).max(1e-9))
}

/// Sets the number of rounds.
fn set(instance: &mut Instance, rounds: i64) -> Result<(), Error> {
    let rounds = HostTensor::from_fn(DType::I32, &[1], |_| Scalar::Int(rounds));
    instance.write_input(0, &rounds.map_err(|e| malformed(e.to_string()))?)
}

/// Many launches of an empty kernel of one phase, the least that a kernel can be.
fn launch(device: &VulkanDevice) -> Result<Entry, Error> {
    let made = |e: rspirv::dr::Error| malformed(format!("a probe: {e}"));
    let kernel = Asm::new(1, &[]).and_then(|a| a.finish("nothing", 0, 1)).map_err(made)?;
    let step = Step::Launch { kernel: 0, buffers: vec![], sizes: vec![1.into()], scalars: vec![] };
    let program = Program {
        name: "nothing".to_owned(),
        sizes: vec![],
        scalars: vec![],
        params: vec![],
        buffers: vec![],
        requires: vec![],
        kernels: vec![kernel],
        step_vars: 0,
        prepare: Vec::new(),
        steps: vec![step; LAUNCHES as usize],
    };
    Ok(Entry {
        work: Work::Launch,
        rates: Vec::new(),
        loaded: device.load(&program)?,
        bindings: Bindings::default(),
        rounds: 1,
    })
}

/// A sweep over so many bytes; `None` where they are too few for one step of each array.
fn sweep(
    probe: &memory::MemoryProbe,
    loaded: &Loaded,
    level: Level,
    bytes: usize,
    groups: u32,
    turns: bool,
) -> Option<Entry> {
    let blocks = u32::try_from(bytes / probe.arrays as usize / probe.block as usize).ok()?;
    // No group has more to do than another, nor, where there are few, a thread of a software device.
    let groups = match blocks.min(groups) {
        n if n > 4 => n / 4 * 4,
        n => n,
    };
    let each = blocks.checked_div(groups)?;
    let array = u64::from(groups) * u64::from(each) * u64::from(probe.block);
    let elements = i64::try_from(array).ok()? / 4;
    let threads = i64::from(groups) * i64::from(memory::GROUP);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let moved = (array * u64::from(probe.moves)) as f64;
    let turn = i64::from(turns && groups > 1);
    Some(Entry {
        work: Work::Memory { level, pattern: probe.pattern, bytes: moved },
        rates: Vec::new(),
        loaded: loaded.clone(),
        bindings: Bindings {
            sizes: vec![threads, elements, groups.into(), each.into(), turn],
            scalars: Vec::new(),
        },
        rounds: 1,
    })
}

/// A program of one launch: the number of rounds, four bytes for each thread, and arrays. Its sizes are the threads, the
/// length of each array, and what else of `sizes` the kernel takes.
fn program(kernel: Kernel, arrays: u32, sizes: usize) -> Program {
    let decl = |name: String, dtype, extent| BufferDecl { name, dtype, shape: vec![extent], packed: None };
    let mut buffers = vec![
        decl("rounds".to_owned(), DType::I32, 1.into()),
        decl("out".to_owned(), DType::F32, HostExpr::Size(0)),
    ];
    let arrays = (0..arrays).map(|n| decl(format!("array{n}"), DType::F32, HostExpr::Size(1)));
    buffers.extend(arrays);
    let rounds = TensorParam { name: "rounds".to_owned(), mode: Mode::In, contracts: vec![] };
    let used = std::iter::once(0).chain(2..).take(sizes);
    let step = Step::Launch {
        kernel: 0,
        buffers: (0..buffers.len()).collect(),
        sizes: used.map(HostExpr::Size).collect(),
        scalars: vec![],
    };
    Program {
        name: kernel.name.clone(),
        sizes: (0..=sizes).map(|n| format!("s{n}")).collect(),
        scalars: vec![],
        params: vec![rounds],
        buffers,
        requires: vec![],
        kernels: vec![kernel],
        step_vars: 0,
        prepare: Vec::new(),
        steps: vec![step],
    }
}
