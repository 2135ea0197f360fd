//! `rooftile resume`: goes on with a search, after Ctrl-C, a crash or a power cut.

use std::path::Path;

use rooftile_artifact::profile::Fingerprint;
use rooftile_compiler::driver::check;
use rooftile_search::session::{self, How};
use rooftile_search::store::{Header, Store};

use super::run_folder;
use crate::args::ResumeArgs;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::progress::{Budget, Display};

/// Goes on with the run in a folder.
///
/// # Errors
/// [`Failure::Input`] when there is no run, or it is of another task or machine; else as `search`.
pub fn run(args: &ResumeArgs) -> Outcome {
    let header = header(&args.dir)?;
    same_task(&header)?;
    same_machine(&header)?;
    if header.cost == "model" && args.budget.is_some() {
        return Err(Failure::Usage("the run reads no clock; give --evals".to_owned()));
    }
    let budget = if args.budget.is_some() || args.evals.is_some() {
        Budget { seconds: args.budget, evaluations: args.evals }
    } else {
        Budget { seconds: header.budget_s, evaluations: header.evals }
    };
    let stop = interrupt::stop_flag();
    let how = How {
        worker: Some(run_folder::launch()?),
        workers: args.workers.workers.get(),
        cache: run_folder::oracle_cache(),
    };
    let mut display = Display::new(&header.entry, budget, args.json);
    let outcome = session::resume(&args.dir, &how, budget.seconds, budget.evaluations, &stop, &mut |event| {
        display.tell(event);
    });
    display.finish();
    let finished = outcome.map_err(|e| run_folder::failure(e, &header.file))?;
    run_folder::conclude(&args.dir, &finished, args.json)
}

/// What the run in a folder was started with.
///
/// # Errors
/// [`Failure::Input`] when there is no run.
pub fn header(folder: &Path) -> Result<Header, Failure> {
    Store::open(&folder.join(run_folder::STORE)).and_then(|s| s.header()).map_err(Failure::input)
}

/// Refuses a run whose task is not what it was: results before and after could not be compared.
fn same_task(header: &Header) -> Outcome {
    let hash = |text: &str| {
        let checked = check(text);
        let entry = checked.entry(Some(&header.entry)).ok().filter(|_| !checked.has_errors())?;
        Some(hex(&checked.task_hash(entry)))
    };
    if hash(&header.text).as_ref() != Some(&header.task_hash) {
        return Err(Failure::Input(format!(
            "the run was started by rooftile {}, which read its task otherwise; start a new search",
            header.version
        )));
    }
    // A file that is gone matters nothing: the run holds its text.
    match std::fs::read_to_string(&header.file) {
        Ok(text) if text != header.text && hash(&text).as_ref() != Some(&header.task_hash) => {
            Err(Failure::Input(format!(
                "the task of `{}` in {} is no longer the one that the run was started with; start a new search, \
                 or put the file back",
                header.entry, header.file
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses a run whose times were taken on another machine.
fn same_machine(header: &Header) -> Outcome {
    let (Some(profile), "clock") = (&header.profile, header.cost.as_str()) else { return Ok(()) };
    let here = rooftile_runtime::fingerprint();
    if profile.fingerprint == here {
        return Ok(());
    }
    let changes = differences(&profile.fingerprint, &here).join(", ");
    Err(Failure::Input(format!(
        "the run was timed on another machine, or on this one set up otherwise ({changes}); start a new search \
         here (--from takes its winner along)"
    )))
}

/// What tells two fingerprints apart.
fn differences(then: &Fingerprint, now: &Fingerprint) -> Vec<String> {
    let fields = [
        ("cpu", then.cpu.clone(), now.cpu.clone()),
        ("cpu id", then.cpu_id.clone(), now.cpu_id.clone()),
        ("cores", then.cores.to_string(), now.cores.to_string()),
        ("system", then.os.clone(), now.os.clone()),
        ("huge pages", then.huge_pages.clone(), now.huge_pages.clone()),
    ];
    let differ = fields.into_iter().filter(|(_, a, b)| a != b);
    differ.map(|(name, a, b)| format!("{name}: {a} then, {b} now")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
