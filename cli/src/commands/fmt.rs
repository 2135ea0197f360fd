//! `rooftile fmt`: files in canonical form.

use std::path::Path;

use rooftile_compiler::{diag, syntax};

use crate::args::FmtArgs;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Rewrites files, or with `--check` says which are not in canonical form. A file with errors is left alone.
///
/// # Errors
/// [`Failure::Reported`] when a file has errors or, with `--check`, is not in canonical form.
pub fn run(args: &FmtArgs) -> Outcome {
    let mut all_good = true;
    for path in &args.files {
        all_good &= format(path, args.check)?;
    }
    if all_good { Ok(()) } else { Err(Failure::Reported) }
}

/// Whether the file is now in canonical form.
fn format(path: &Path, check: bool) -> Result<bool, Failure> {
    let source = output::read_source(path)?;
    let (file, diagnostics) = syntax::parse(&source);
    if diag::has_errors(&diagnostics) {
        eprint!("{}", diag::render(&diagnostics, &path.display().to_string(), &source, output::colour()));
        return Ok(false);
    }
    let text = syntax::print(&file, &source);
    if text == source {
        return Ok(true);
    }
    if check {
        eprintln!("{}: not in canonical form; run `rooftile fmt {}`", path.display(), path.display());
        return Ok(false);
    }
    output::write_file(path, text.as_bytes())?;
    Ok(true)
}
