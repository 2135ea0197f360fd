//! `rooftile machine`: the roofs of this machine.

use std::path::Path;

use rooftile_artifact::profile::Figure;
use rooftile_artifact::{Profile, Target};
use rooftile_runtime::{ProfileError, machine};
use serde_json::json;

use crate::args::MachineArgs;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::report::charts::si;

/// The profile to use: from a file where one is named, else this machine's, measured if it is not stored yet.
///
/// # Errors
/// [`Failure::Input`] when the file is not a profile, [`Failure::Device`] when measuring fails.
pub fn profile(device: &str, file: Option<&Path>, refresh: bool) -> Result<Profile, Failure> {
    if let Some(path) = file {
        return machine::load_profile(path).map_err(Failure::input);
    }
    if !matches!(device, "cpu" | "cranelift" | "null") {
        rooftile_runtime::open(device).map_err(|e| Failure::Device(e.to_string()))?;
        return Err(Failure::Device(format!("{device} has no roofs to measure")));
    }
    let fingerprint = rooftile_runtime::fingerprint();
    let stored = machine::profile_path(&fingerprint).is_some_and(|path| path.exists());
    if refresh || !stored {
        eprintln!("measuring this machine's roofs (once; about 15 s) ..");
    }
    machine::machine_profile(refresh).map_err(|e| match e {
        ProfileError::Measurement(e) => Failure::from(e),
        other => Failure::input(other),
    })
}

/// Measures or loads the profile and shows it.
///
/// # Errors
/// As [`profile`].
pub fn run(args: &MachineArgs) -> Outcome {
    let profile = profile(&args.device, None, args.refresh)?;
    if args.json {
        return output::print_json(&json!(profile));
    }
    output::print(&text(&profile))
}

/// The profile as tables.
#[must_use]
pub fn text(profile: &Profile) -> String {
    let f = &profile.fingerprint;
    let t = &profile.target;
    let mut out =
        format!("{} ({}), {} cores, {}, huge pages {}\n", f.cpu, f.cpu_id, f.cores, f.os, f.huge_pages);
    out += &match t {
        Target::Cpu(t) => format!("L1d {}, L2 {}, L3 {}\n\n", bytes(t.l1d), bytes(t.l2), bytes(t.l3)),
        Target::Vulkan(t) => format!(
            "{}: subgroups of {}, groups of up to {}, {} of shared memory, {} units\n\n",
            t.name,
            t.subgroup,
            t.group_threads,
            bytes(t.shared_bytes as usize),
            t.units
        ),
    };
    let mut rows = vec![row(["operations", "type", "vector", "threads", "rate", "95 % limits", ""])];
    for roof in &profile.compute {
        rows.push(row([
            &format!("{:?}", roof.class).to_lowercase(),
            &roof.dtype.to_string(),
            &format!("{} B", roof.vector_bytes),
            &roof.threads.to_string(),
            &format!("{}op/s", si(roof.rate.median)),
            &limits(&roof.rate),
            unstable(&roof.rate),
        ]));
    }
    out += &output::table(&rows);
    out.push('\n');
    let mut rows = vec![row(["memory", "pattern", "", "threads", "rate", "95 % limits", ""])];
    for roof in &profile.memory {
        rows.push(row([
            &format!("{:?}", roof.level).to_lowercase(),
            &pattern(&json!(roof.pattern)),
            "",
            &roof.threads.to_string(),
            &format!("{}B/s", si(roof.rate.median)),
            &limits(&roof.rate),
            unstable(&roof.rate),
        ]));
    }
    out += &output::table(&rows);
    out += &format!(
        "\nlaunch {}s   noise of repeated timings ±{:.1} %\n",
        si(profile.launch.median),
        profile.noise * 100.0
    );
    out
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|c| (*c).to_owned()).collect()
}

fn limits(f: &Figure) -> String {
    format!("{} .. {}", si(f.lo), si(f.hi))
}

fn unstable(f: &Figure) -> &'static str {
    if f.stable { "" } else { "unstable" }
}

fn pattern(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().replace('_', " ")
}

fn bytes(n: usize) -> String {
    if n >= 1 << 20 { format!("{} MiB", n >> 20) } else { format!("{} KiB", n >> 10) }
}
