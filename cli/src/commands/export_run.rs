//! `rooftile export-run`: a run as plain data.

use rooftile_search::store::Store;
use rooftile_search::store::export::{csv, export};

use super::run_folder::STORE;
use crate::args::DirArgs;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Writes `run.json` (everything) and `candidates.csv` (a table) into the run's folder.
///
/// # Errors
/// [`Failure::Input`] when there is no run, or the files cannot be written.
pub fn run(args: &DirArgs) -> Outcome {
    let store = Store::open(&args.dir.join(STORE)).map_err(Failure::input)?;
    let data = export(&store).map_err(Failure::input)?;
    let (json, table) = (args.dir.join("run.json"), args.dir.join("candidates.csv"));
    output::write_file(&json, &serde_json::to_vec(&data).map_err(Failure::bug)?)?;
    let mut text = Vec::new();
    csv(&mut text, &data.candidates).map_err(Failure::bug)?;
    output::write_file(&table, &text)?;
    output::print(&format!("{}\n{}\n", json.display(), table.display()))
}
