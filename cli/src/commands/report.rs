//! `rooftile report`: the report of a run again, from its store.

use std::path::Path;

use rooftile_search::session::{self, Finished};
use rooftile_search::store::Store;

use super::run_folder;
use crate::args::ReportArgs;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::report::charts;

/// Writes the report.
///
/// # Errors
/// [`Failure::Input`] when there is no run, it has not ended, or there is no plot to write.
pub fn run(args: &ReportArgs) -> Outcome {
    let finished = finished(&args.dir)?;
    run_folder::write_report(&args.dir, &finished)?;
    if let Some(path) = &args.svg {
        let plot = charts::roofline(&run_folder::page(&finished));
        if plot.is_empty() {
            return Err(Failure::Input("nothing was measured, so there is no roofline to draw".to_owned()));
        }
        output::write_file(path, plot.as_bytes())?;
    }
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
