//! A run as plain data: one JSON document with everything, and one CSV table of the candidates.

use std::io::{self, Write};

use serde::Serialize;

use super::{Header, Store, StoreError};
use crate::record::Record;
use crate::report::{Generation, RunReport};

/// Everything that a store holds.
#[derive(Clone, Debug, Serialize)]
pub struct Export {
    /// What the run was started with.
    pub header: Header,
    /// Candidates with samples and lineage.
    pub candidates: Vec<Record>,
    /// Periods.
    pub generations: Vec<Generation>,
    /// Events: seconds, kind, detail.
    pub events: Vec<(f64, String, serde_json::Value)>,
    /// The report, if the run ended.
    pub report: Option<RunReport>,
}

/// Reads a whole store.
///
/// # Errors
/// [`StoreError`].
pub fn export(store: &Store) -> Result<Export, StoreError> {
    let events = store
        .events()?
        .into_iter()
        .map(|(at, kind, detail)| Ok((at, kind, super::parse(&detail)?)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Export {
        header: store.header()?,
        candidates: store.records()?,
        generations: store.generations()?,
        events,
        report: store.report()?,
    })
}

/// The candidates as CSV with a header line; one column of time per search size.
///
/// # Errors
/// Those of the writer.
pub fn csv(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    let sizes = records.iter().map(|r| r.times.len()).max().unwrap_or(0);
    write!(out, "id,parents,operator,class,outcome,nest,score,compile_s,at_s,promoted")?;
    for n in 0..sizes {
        write!(out, ",time{n}_s")?;
    }
    writeln!(out, ",assignment,plan")?;
    for r in records {
        let parents: Vec<String> = r.proposal.parents.iter().map(u64::to_string).collect();
        let number = |v: Option<f64>| v.map(|v| format!("{v:e}")).unwrap_or_default();
        write!(
            out,
            "{},{},{},{},{},{},{},{},{},{}",
            r.id,
            quote(&parents.join(" ")),
            quote(&r.proposal.operator),
            r.proposal.class,
            r.label(),
            r.nest.as_deref().unwrap_or(""),
            number(r.score),
            number(r.compile_s),
            number(Some(r.at_s)),
            u8::from(r.promoted()),
        )?;
        for n in 0..sizes {
            write!(out, ",{}", number(r.times.get(n).copied().flatten()))?;
        }
        let json = |v: Result<String, serde_json::Error>| v.map_err(io::Error::other);
        let assignment = json(serde_json::to_string(&r.proposal.recipe.assignment))?;
        let plan = json(serde_json::to_string(&r.proposal.recipe.plan))?;
        writeln!(out, ",{},{}", quote(&assignment), quote(&plan))?;
    }
    Ok(())
}

fn quote(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
