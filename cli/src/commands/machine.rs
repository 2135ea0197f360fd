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

/// The profile to use: from a file where one is named, else the device's, measured if it is not stored yet.
///
/// # Errors
/// [`Failure::Input`] when the file is not a profile, or one of another kind of device; [`Failure::Device`] when the
/// device is missing or measuring fails.
pub fn profile(device: &str, file: Option<&Path>, refresh: bool) -> Result<Profile, Failure> {
    if let Some(path) = file {
        let profile = machine::load_profile(path).map_err(Failure::input)?;
        let plain = Target::plain(device);
        let wanted = plain.name();
        if profile.target.name() != wanted {
            let (shown, of) = (path.display(), profile.target.name());
            return Err(Failure::Input(format!(
                "{shown} is the profile of a device of kind {of}, not {wanted}"
            )));
        }
        return Ok(profile);
    }
    let failed = |e| match e {
        ProfileError::Measurement(e) => Failure::from(e),
        other => Failure::input(other),
    };
    let device = match device {
        "avx2" | "cranelift" | "null" => "cpu",
        "oracle" | "nest" => return Err(Failure::Device(format!("{device} has no roofs to measure"))),
        other => other,
    };
    rooftile_runtime::open(device).map_err(|e| Failure::Device(e.to_string()))?;
    if refresh || !machine::has_profile(device).map_err(failed)? {
        let (whose, seconds) = if device == "cpu" { ("this machine", 15) } else { (device, 25) };
        eprintln!("measuring the roofs of {whose} (once; about {seconds} s) ..");
    }
    machine::device_profile(device, refresh).map_err(failed)
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
    if !f.device.is_empty() {
        out += &format!("{}\n", f.device);
    }
    out += &match t {
        Target::Cpu(t) => format!("L1d {}, L2 {}, L3 {}\n\n", bytes(t.l1d), bytes(t.l2), bytes(t.l3)),
        Target::Vulkan(t) => format!(
            "{}: subgroups of {}, groups of up to {}, {} of shared memory, {} units\n\
             levels of memory are classes of working sets: l1 up to 512 KiB, l2 up to 8 MiB, l3 up to 48 MiB\n\n",
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
