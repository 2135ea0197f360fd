//! `rooftile report`: the report of a run again, from its store.

use std::path::Path;

use rooftile_search::session::{self, Finished};
use rooftile_search::store::Store;

use super::run_folder;
use crate::args::DirArgs;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Writes the report.
///
/// # Errors
/// [`Failure::Input`] when there is no run, or it has not ended.
pub fn run(args: &DirArgs) -> Outcome {
    run_folder::write_report(&args.dir, &finished(&args.dir)?)?;
    output::print(&format!("{}\n", args.dir.join(run_folder::REPORT).display()))
}

/// The finished run in a folder.
///
/// # Errors
/// [`Failure::Input`] when there is none, or it has not ended.
pub fn finished(folder: &Path) -> Result<Finished, Failure> {
    let store = Store::open(&folder.join(run_folder::STORE)).map_err(Failure::input)?;
    if store.report().map_err(Failure::input)?.is_none() {
        return Err(Failure::Input(format!(
            "the run in {0} has not ended; `rooftile resume {0}` goes on with it",
            folder.display()
        )));
    }
    session::read(folder).map_err(|e| run_folder::failure(e, &folder.display().to_string()))
}
