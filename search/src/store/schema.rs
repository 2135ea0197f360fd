//! Tables of a run. Lists and plans are JSON; figures that a user may want to select by are columns.

/// Format of the file, kept in SQLite's `user_version`.
pub(super) const VERSION: i64 = 1;

/// Makes the tables and sets the version, all or nothing.
pub(super) const TABLES: &str = "
BEGIN;
CREATE TABLE value (key TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE candidate (
  id INTEGER PRIMARY KEY,
  parents TEXT NOT NULL,
  operator TEXT NOT NULL,
  class TEXT NOT NULL,
  plan TEXT NOT NULL,
  assignment TEXT NOT NULL,
  algorithm INTEGER NOT NULL,
  base TEXT NOT NULL,
  nest TEXT,
  descriptor TEXT NOT NULL,
  label TEXT NOT NULL,
  outcome TEXT NOT NULL,
  compiled INTEGER NOT NULL,
  compile_s REAL,
  times TEXT NOT NULL,
  score REAL,
  at_s REAL NOT NULL
);
CREATE TABLE sample (
  candidate INTEGER NOT NULL REFERENCES candidate(id),
  size INTEGER NOT NULL,
  n INTEGER NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (candidate, size, n)
) WITHOUT ROWID;
CREATE TABLE challenge (
  candidate INTEGER PRIMARY KEY REFERENCES candidate(id),
  incumbent INTEGER NOT NULL REFERENCES candidate(id),
  verdict TEXT NOT NULL,
  challenge TEXT NOT NULL
);
CREATE TABLE generation (
  id INTEGER PRIMARY KEY,
  at_s REAL NOT NULL,
  evaluations INTEGER NOT NULL,
  incumbent REAL,
  best REAL,
  cells INTEGER NOT NULL
);
CREATE TABLE event (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);
PRAGMA user_version = 1;
COMMIT;
";
