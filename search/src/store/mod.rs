//! The store: one SQLite file per run. Every candidate is one transaction, so a process that is killed at any moment
//! loses at most the candidate in flight; reading the records back rebuilds the state of the search.

pub mod export;
mod schema;

use std::path::{Path, PathBuf};

use rooftile_artifact::Profile;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::candidate::Proposal;
use crate::record::{Outcome, Record};
use crate::report::{Generation, RunReport};

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store there.
    #[error("{} is not a run of rooftile search", .0.display())]
    Missing(PathBuf),
    /// A run is there already.
    #[error("{} holds a run already; `rooftile resume` goes on with it", .0.display())]
    Exists(PathBuf),
    /// Another version of the program wrote it.
    #[error("the run was written in format {found}, this program reads format {known}")]
    Version {
        /// The file's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The database failed: no space, no permission, or not a database.
    #[error("the store failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// What was read makes no sense.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// What a run was started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The file's name.
    pub file: String,
    /// The file's text.
    pub text: String,
    /// Kernel or pipeline.
    pub entry: String,
    /// Hash of what the search may not edit.
    pub task_hash: String,
    /// Version of the program that ran it.
    pub version: String,
    /// Device.
    pub device: String,
    /// Threads of the kernels.
    pub threads: usize,
    /// The run's seed.
    pub seed: u64,
    /// The strategy's name.
    pub strategy: String,
    /// `clock` or `model`.
    pub cost: String,
    /// Seconds that the search may take.
    pub budget_s: Option<f64>,
    /// Evaluations that it may make.
    pub evals: Option<u64>,
    /// The seeds by name, in the order of their numbers.
    pub seeds: Vec<(String, Proposal)>,
    /// The machine as measured.
    pub profile: Option<Profile>,
}

/// An open run.
#[derive(Debug)]
pub struct Store {
    db: Connection,
}

impl Store {
    /// Makes the store of a new run.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the file is there; [`StoreError::Database`].
    pub fn create(path: &Path, header: &Header) -> Result<Store, StoreError> {
        if path.exists() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        let store = Store { db: Connection::open(path)? };
        store.prepare()?;
        store.db.execute_batch(schema::TABLES)?;
        store.put("header", header)?;
        Ok(store)
    }

    /// A run in memory, for tests and for runs that nobody will resume.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn in_memory(header: &Header) -> Result<Store, StoreError> {
        let store = Store { db: Connection::open_in_memory()? };
        store.db.execute_batch(schema::TABLES)?;
        store.put("header", header)?;
        Ok(store)
    }

    /// Opens the store of an earlier run.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store { db: Connection::open_with_flags(path, flags)? };
        let version: i64 = store.db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            return Err(StoreError::Missing(path.to_owned()));
        }
        if version != schema::VERSION {
            return Err(StoreError::Version { found: version, known: schema::VERSION });
        }
        store.prepare()?;
        Ok(store)
    }

    /// A write-ahead log that is flushed at checkpoints: a killed process loses nothing that was committed.
    fn prepare(&self) -> Result<(), StoreError> {
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        self.db.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(())
    }

    /// What the run was started with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn header(&self) -> Result<Header, StoreError> {
        self.get("header")?.ok_or_else(|| StoreError::Damaged("it has no header".to_owned()))
    }

    /// Commits a candidate.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        transaction
            .prepare_cached(
                "INSERT INTO candidate (id, parents, operator, class, plan, assignment, algorithm, nest, \
                 descriptor, label, outcome, compiled, compile_s, times, score, at_s, base) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)",
            )?
            .execute(params![
                record.id,
                json(&record.proposal.parents)?,
                record.proposal.operator,
                record.proposal.class.to_string(),
                json(&record.proposal.recipe.plan)?,
                json(&record.proposal.recipe.assignment)?,
                record.proposal.recipe.algorithm,
                record.nest,
                json(&record.descriptor)?,
                record.label(),
                json(&record.outcome)?,
                record.compiled,
                record.compile_s,
                json(&record.times)?,
                record.score,
                record.at_s,
                json(&record.proposal.recipe.base)?,
            ])?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO sample (candidate, size, n, seconds) VALUES (?1,?2,?3,?4)")?;
            for (size, samples) in record.samples.iter().enumerate() {
                for (n, seconds) in samples.iter().enumerate() {
                    insert.execute(params![record.id, size, n, seconds])?;
                }
            }
            if let Some(challenge) = &record.challenge {
                transaction
                    .prepare_cached(
                        "INSERT INTO challenge (candidate, incumbent, verdict, challenge) VALUES (?1,?2,?3,?4)",
                    )?
                    .execute(params![
                        record.id,
                        challenge.incumbent,
                        json(&challenge.verdict)?,
                        json(challenge)?
                    ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// All candidates in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut query = self.db.prepare(
            "SELECT id, parents, operator, class, plan, assignment, algorithm, nest, descriptor, outcome, \
             compiled, compile_s, times, score, at_s, \
             (SELECT challenge FROM challenge WHERE candidate = id), base FROM candidate ORDER BY id",
        )?;
        let mut rows = query.query([])?;
        let mut out: Vec<Record> = Vec::new();
        while let Some(row) = rows.next()? {
            let record = read(row)?;
            if record.id != out.len() as u64 {
                return Err(StoreError::Damaged(format!("candidate {} is missing", out.len())));
            }
            out.push(record);
        }
        let mut query =
            self.db.prepare("SELECT candidate, size, seconds FROM sample ORDER BY candidate, size, n")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (candidate, size): (usize, usize) = (row.get(0)?, row.get(1)?);
            let samples = out.get_mut(candidate).and_then(|r| r.samples.get_mut(size));
            let samples = samples
                .ok_or_else(|| StoreError::Damaged(format!("a sample of no candidate ({candidate})")))?;
            samples.push(row.get(2)?);
        }
        Ok(out)
    }

    /// Notes something that happened.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn event(&self, at_s: f64, kind: &str, detail: &impl Serialize) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT INTO event (at_s, kind, detail) VALUES (?1,?2,?3)")?
            .execute(params![at_s, kind, json(detail)?])?;
        Ok(())
    }

    /// Events: seconds into the search, kind, detail as JSON.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn events(&self) -> Result<Vec<(f64, String, String)>, StoreError> {
        let mut query = self.db.prepare("SELECT at_s, kind, detail FROM event ORDER BY id")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes the end of a period of the search.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn generation(&self, g: &Generation) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "INSERT INTO generation (at_s, evaluations, incumbent, best, cells) VALUES (?1,?2,?3,?4,?5)",
            )?
            .execute(params![g.at_s, g.evaluations, g.incumbent, g.best, g.cells])?;
        Ok(())
    }

    /// The periods so far.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let mut query = self
            .db
            .prepare("SELECT at_s, evaluations, incumbent, best, cells FROM generation ORDER BY id")?;
        let rows = query.query_map([], |row| {
            Ok(Generation {
                at_s: row.get(0)?,
                evaluations: row.get(1)?,
                incumbent: row.get(2)?,
                best: row.get(3)?,
                cells: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps a named value; an earlier one of the name is replaced.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn put(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO value (key, json) VALUES (?1,?2)")?
            .execute(params![key, json(value)?])?;
        Ok(())
    }

    /// A named value.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> =
            self.db.query_row("SELECT json FROM value WHERE key = ?1", [key], |row| row.get(0)).optional()?;
        text.map(|t| parse(&t)).transpose()
    }

    /// Keeps the final report.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn finish(&self, report: &RunReport) -> Result<(), StoreError> {
        self.put("report", report)
    }

    /// The final report, once the run has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn report(&self) -> Result<Option<RunReport>, StoreError> {
        self.get("report")
    }
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Damaged(e.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Damaged(e.to_string()))
}

fn read(row: &Row<'_>) -> Result<Record, StoreError> {
    let text = |n: usize| -> Result<String, StoreError> { Ok(row.get(n)?) };
    let times: Vec<Option<f64>> = parse(&text(12)?)?;
    let outcome: Outcome = parse(&text(9)?)?;
    let challenge: Option<String> = row.get(15)?;
    Ok(Record {
        id: row.get(0)?,
        proposal: Proposal {
            recipe: crate::candidate::Recipe {
                algorithm: row.get(6)?,
                base: parse(&text(16)?)?,
                plan: parse(&text(4)?)?,
                assignment: parse(&text(5)?)?,
            },
            parents: parse(&text(1)?)?,
            operator: text(2)?,
            class: parse(&format!("\"{}\"", text(3)?))?,
        },
        nest: row.get(7)?,
        descriptor: parse(&text(8)?)?,
        outcome,
        compiled: row.get(10)?,
        compile_s: row.get(11)?,
        samples: vec![Vec::new(); times.len()],
        times,
        score: row.get(13)?,
        challenge: challenge.map(|c| parse(&c)).transpose()?,
        at_s: row.get(14)?,
    })
}

#[cfg(test)]
mod tests;
