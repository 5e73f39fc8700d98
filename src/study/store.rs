//! The file of a study: an SQLite database that several processes may use at once.
//!
//! One row a trial. A row is `running` from the moment its number is given; `owner` says who evaluates it, and nobody
//! (NULL) means that it waits to be handed out again. `told` is the order in which trials were told, which is the order
//! in which every process, now or after a restart, tells them to its search algorithm. `digest` chains them: each is a
//! hash of the row and of the digest before, so a replay that differs from what was told is noticed.
//!
//! `attempts` counts how often a trial was handed out and tells reports of an earlier attempt from those of the last;
//! `deaths` how often its owner died. `owners` holds the heartbeats (see `owner.rs`).
//!
//! Write-ahead log and `synchronous=FULL`: a commit is one fsync, and what was committed survives `kill -9` and power
//! loss; readers never wait for the writer. A report of a running trial is written without the fsync: it survives `kill -9`
//! at once and power loss with the next told trial, whose fsync covers it. Writers take turns by `BEGIN IMMEDIATE`. The file holds data only: reading
//! one from a stranger runs no code.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::identity::{Identity, UNKNOWN};
use super::owner::{self, BEAT, Census, LEASE};
use crate::error::{Error, Result};
use crate::space::{Point, SearchSpace};
use crate::trial::{Fidelity, Measurement, Outcome, Trial, TrialId};

/// "mnas"; marks the database as ours.
pub(super) const APPLICATION: i64 = 0x6d6e_6173;
/// The layout below. A file of an older one is migrated on opening, a newer one is refused.
pub(super) const SCHEMA: i64 = 2;
/// How long to wait for another process's transaction, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);
const WRITABLE: &str = "make the file and its folder writable, or give another storage";

pub(super) const TABLES: &str = "
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trials (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('running', 'complete', 'pruned', 'failed')),
    told INTEGER UNIQUE,
    point TEXT NOT NULL,
    codes BLOB NOT NULL,
    fidelity REAL,
    parent INTEGER,
    metrics TEXT,
    error TEXT,
    owner TEXT,
    started REAL,
    finished REAL,
    attempts INTEGER NOT NULL DEFAULT 1,
    deaths INTEGER NOT NULL DEFAULT 0,
    digest INTEGER
);
CREATE INDEX running ON trials (number) WHERE state = 'running';
";
/// What layout 2 has besides.
pub(super) const TABLES_2: &str = "
CREATE TABLE reports (
    entry INTEGER PRIMARY KEY,
    trial INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    UNIQUE (trial, step)
);
CREATE TABLE owners (name TEXT PRIMARY KEY, beats INTEGER NOT NULL) WITHOUT ROWID;
";
/// From layout 1 to 2.
const MIGRATION_2: &str = "
ALTER TABLE trials ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;
ALTER TABLE trials ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trials ADD COLUMN digest INTEGER;
";

/// The open file.
pub(super) struct Store {
    /// `None` only after a fork, where the parent's connection must not be touched, not even to close it.
    connection: Option<Connection>,
    path: PathBuf,
    file: FileIdentity,
    pid: u32,
    owner: String,
    census: Census,
    /// SQLite's count of others' commits, as last seen.
    version: Option<i64>,
    /// The last report that was read.
    entry: i64,
    heart: Option<Heart>,
}

/// The thread that counts on; it ends when the sender is dropped.
struct Heart {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// A trial row: its number, order, and outcome by metric names.
pub(super) struct Told {
    pub(super) id: TrialId,
    pub(super) order: u64,
    pub(super) outcome: StoredOutcome,
    /// What the chain was with it, as stored; `None` in rows of layout 1.
    pub(super) digest: Option<u64>,
    /// What the chain is with it, by what is stored, after `digest` before it.
    pub(super) row: Row,
}

/// What of a told trial the chain covers.
pub(super) struct Row(Vec<u8>);

impl Row {
    fn new(id: i64, codes: &[u8], state: &str, metrics: Option<&str>, error: Option<&str>) -> Row {
        let mut bytes = id.to_le_bytes().to_vec();
        for part in
            [codes, state.as_bytes(), metrics.unwrap_or("").as_bytes(), error.unwrap_or("").as_bytes()]
        {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Row(bytes)
    }

    /// FNV-1a over the chain so far and this row.
    pub(super) fn chained(&self, before: u64) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        before
            .to_le_bytes()
            .iter()
            .chain(&self.0)
            .fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// A report: trial, step, metrics by name.
pub(super) type StoredReport = (TrialId, u64, Vec<(String, f64)>);

/// An outcome as stored: metrics by name.
pub(super) enum StoredOutcome {
    Complete(Vec<(String, f64)>),
    Pruned(Vec<(String, f64)>),
    Failed(String),
}

/// Who evaluates a running trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This study.
    Mine,
    /// Another live study.
    Other,
    /// Nobody: it is handed out again.
    Nobody,
}

impl Store {
    /// Opens or creates the file of this study, and checks that it is of this study.
    pub(super) fn open(path: &Path, identity: &Identity, facts: &[(String, String)]) -> Result<Store> {
        check_path(path)?;
        let connection = retry(path, || connect(path))?;
        let store = Store {
            connection: Some(connection),
            file: file_identity(path),
            path: path.to_path_buf(),
            pid: std::process::id(),
            owner: owner::new_name(),
            census: Census::default(),
            version: None,
            entry: 0,
            heart: None,
        };
        store.begin()?;
        let found = store.identify(identity).and_then(|()| store.note(facts));
        // Nothing was written if this fails; so a failed roll-back changes nothing either.
        match found {
            Ok(()) => store.commit()?,
            Err(e) => {
                store.roll_back();
                return Err(e);
            }
        }
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// [`Store::begin`] for what may wait for the fsync of a later commit.
    pub(super) fn begin_lightly(&self) -> Result<()> {
        self.sql(|db| db.execute_batch("PRAGMA synchronous = NORMAL"))?;
        self.begin()
    }

    /// Ends what [`Store::begin_lightly`] began.
    pub(super) fn commit_lightly(&self) -> Result<()> {
        self.commit()?;
        self.sql(|db| db.execute_batch("PRAGMA synchronous = FULL"))
    }

    /// Begins a transaction in which nobody else writes.
    pub(super) fn begin(&self) -> Result<()> {
        if file_identity(&self.path) != self.file {
            return Err(Error::Storage(format!(
                "'{}' was removed or replaced while the study was using it; what was told after that is lost. \
                 Put the file back, or open the study again to start a new file",
                self.path.display()
            )));
        }
        self.run("BEGIN IMMEDIATE")
    }

    /// Begins a transaction that only reads, from one consistent state of the file.
    pub(super) fn begin_reading(&self) -> Result<()> {
        self.run("BEGIN")
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.run("COMMIT")
    }

    /// Undoes the transaction, if one is open.
    pub(super) fn roll_back(&self) {
        if self.connection().is_ok_and(|connection| !connection.is_autocommit()) {
            // The only thing that can go wrong is that SQLite rolled back by itself.
            let _ = self.run("ROLLBACK");
        }
        let _ = self.sql(|db| db.execute_batch("PRAGMA synchronous = FULL"));
    }

    /// Whether others wrote since the last call; always at the first. To be called inside a transaction.
    pub(super) fn has_news(&mut self) -> Result<bool> {
        let version =
            self.sql(|db| db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0)))?;
        let news = self.version != Some(version);
        self.version = Some(version);
        Ok(news)
    }

    /// Trials numbered `first` or above, in order, without their outcomes.
    pub(super) fn trials_from(&self, first: TrialId, space: &SearchSpace) -> Result<Vec<Trial>> {
        let rows = self.rows(
            "SELECT number, codes, fidelity, parent FROM trials WHERE number >= ? ORDER BY number",
            [first as i64],
            |row| {
                let codes: Vec<u8> = row.get(1)?;
                let parent: Option<i64> = row.get(3)?;
                Ok((row.get::<_, i64>(0)?, codes, row.get::<_, Option<f64>>(2)?, parent))
            },
        )?;
        let mut trials = Vec::with_capacity(rows.len());
        for (next, (number, codes, fidelity, parent)) in (first..).zip(rows) {
            if number as u64 != next {
                return Err(self.damaged(&format!("trial {next} is missing")));
            }
            let point = unpack(&codes, space)
                .ok_or_else(|| self.damaged(&format!("trial {number} has no point of the search space")))?;
            trials.push(Trial {
                id: next,
                point,
                fidelity: fidelity.map_or(Fidelity::Full, Fidelity::Partial),
                parent: parent.map(|parent| parent as u64),
                outcome: None,
            });
        }
        Ok(trials)
    }

    /// Up to `count` trials told after the first `told`, in order.
    pub(super) fn told_after(&self, told: u64, count: usize) -> Result<Vec<Told>> {
        let rows = self.rows(
            "SELECT number, told, state, metrics, error, codes, digest FROM trials WHERE told > ? ORDER BY told LIMIT ?",
            [told as i64, count as i64],
            |row| {
                let (state, metrics, error): (String, Option<String>, Option<String>) =
                    (row.get(2)?, row.get(3)?, row.get(4)?);
                let (codes, digest): (Vec<u8>, Option<i64>) = (row.get(5)?, row.get(6)?);
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, state, metrics, error, codes, digest))
            },
        )?;
        rows.into_iter()
            .map(|(number, order, state, metrics, error, codes, digest)| {
                let row = Row::new(number, &codes, &state, metrics.as_deref(), error.as_deref());
                let metrics = || {
                    parse_metrics(metrics.as_deref().unwrap_or_default())
                        .ok_or_else(|| self.damaged(&format!("trial {number} has unreadable metrics")))
                };
                let outcome = match state.as_str() {
                    "complete" => StoredOutcome::Complete(metrics()?),
                    "pruned" => StoredOutcome::Pruned(metrics()?),
                    "failed" => StoredOutcome::Failed(error.unwrap_or_default()),
                    state => return Err(self.damaged(&format!("trial {number} was told and is '{state}'"))),
                };
                let digest = digest.map(|digest| digest as u64);
                Ok(Told { id: number as u64, order: order as u64, outcome, digest, row })
            })
            .collect()
    }

    /// The numbers of the running trials, ascending, and who evaluates them.
    pub(super) fn running(&mut self) -> Result<Vec<(TrialId, Owner)>> {
        let rows = self.rows(
            "SELECT number, owner, beats FROM trials LEFT JOIN owners ON name = owner WHERE state = 'running'
             ORDER BY number",
            [],
            |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<i64>>(2)?))
            },
        )?;
        Ok(rows
            .into_iter()
            .map(|(number, owner, beats)| {
                let owner = match owner {
                    None => Owner::Nobody,
                    Some(owner) if owner == self.owner => Owner::Mine,
                    Some(owner) if self.census.is_dead(&owner, beats, LEASE) => Owner::Nobody,
                    Some(_) => Owner::Other,
                };
                (number as u64, owner)
            })
            .collect())
    }

    /// Enters a new trial, which this study evaluates.
    pub(super) fn insert(&self, trial: &Trial, space: &SearchSpace) -> Result<()> {
        let fidelity = match trial.fidelity {
            Fidelity::Full => None,
            Fidelity::Partial(amount) => Some(amount),
        };
        self.write(|db| {
            db.prepare_cached(
                "INSERT INTO trials (number, state, point, codes, fidelity, parent, owner, started)
                 VALUES (?, 'running', ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                trial.id as i64,
                space.point_to_json(&trial.point),
                pack(&trial.point),
                fidelity,
                trial.parent.map(|parent| parent as i64),
                self.owner,
                now(),
            ])
        })
    }

    /// Makes this study the owner of a running trial, which starts over.
    pub(super) fn take(&self, id: TrialId) -> Result<()> {
        self.write(|db| {
            db.prepare_cached(
                "UPDATE trials SET deaths = deaths + (owner IS NOT NULL), attempts = attempts + 1, owner = ?,
                 started = ? WHERE number = ? AND state = 'running'",
            )?
            .execute(params![self.owner, now(), id as i64])
        })
    }

    /// How often the owner of a running trial that nobody evaluates died, the last one included.
    pub(super) fn deaths(&self, id: TrialId) -> Result<u64> {
        self.sql(|db| {
            db.prepare_cached("SELECT deaths + (owner IS NOT NULL) FROM trials WHERE number = ?")?
                .query_row([id as i64], |row| row.get::<_, i64>(0))
        })
        .map(|deaths| deaths as u64)
    }

    /// Enters a report of a running trial.
    pub(super) fn report(&self, id: TrialId, step: u64, metrics: &[(String, f64)]) -> Result<()> {
        let metrics = json_of(metrics.iter().map(|(name, value)| (name.as_str(), *value)));
        self.write(|db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO reports (trial, attempt, step, metrics)
                 SELECT number, attempts, ?, ? FROM trials WHERE number = ?",
            )?
            .execute(params![step as i64, metrics, id as i64])
        })
    }

    /// The reports that were entered since the last call, of the last attempt of each trial.
    pub(super) fn new_reports(&mut self) -> Result<Vec<StoredReport>> {
        let rows = self.rows(
            "SELECT entry, trial, step, reports.metrics FROM reports JOIN trials ON number = trial
             WHERE entry > ? AND attempt = attempts ORDER BY entry",
            [self.entry],
            |row| {
                let metrics: String = row.get(3)?;
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, metrics))
            },
        )?;
        let mut reports = Vec::with_capacity(rows.len());
        for (entry, trial, step, metrics) in rows {
            let metrics = parse_metrics(&metrics)
                .filter(|_| step >= 0)
                .ok_or_else(|| self.damaged(&format!("a report of trial {trial} is unreadable")))?;
            self.entry = entry;
            reports.push((trial as u64, step as u64, metrics));
        }
        Ok(reports)
    }

    /// Lets the others see that this study lives, from now on.
    pub(super) fn beat(&mut self) {
        if self.heart.is_none() {
            let (path, owner) = (self.path.clone(), self.owner.clone());
            let (stop, stopped) = mpsc::channel();
            let thread = thread::Builder::new().name("modularnas heartbeat".into());
            // Without a heart the trials of this study are taken over by other hosts after a while, which is right.
            self.heart = thread
                .spawn(move || count_on(&path, &owner, &stopped))
                .ok()
                .map(|thread| Heart { stop, thread });
        }
    }

    /// Gives a running trial of this study back.
    pub(super) fn release(&self, id: TrialId) -> Result<()> {
        self.write(|db| {
            db.prepare_cached(
                "UPDATE trials SET owner = NULL WHERE number = ? AND state = 'running' AND owner = ?",
            )?
            .execute(params![id as i64, self.owner])
        })
    }

    /// Enters the outcome of a running trial as the `order`-th; returns the chain after `digest`.
    pub(super) fn finish(
        &self,
        trial: &Trial,
        order: u64,
        outcome: &Outcome,
        names: &[String],
        digest: u64,
    ) -> Result<u64> {
        let (state, metrics, error) = match outcome {
            Outcome::Complete(measurement) => ("complete", Some(write_metrics(measurement, names)), None),
            Outcome::Pruned(measurement) => ("pruned", Some(write_metrics(measurement, names)), None),
            Outcome::Failed(reason) => ("failed", None, Some(reason)),
        };
        let id = trial.id as i64;
        let error = error.map(String::as_str);
        let digest = Row::new(id, &pack(&trial.point), state, metrics.as_deref(), error).chained(digest);
        self.write(|db| {
            db.prepare_cached(
                "UPDATE trials SET state = ?, told = ?, metrics = ?, error = ?, finished = ?, digest = ?
                 WHERE number = ? AND state = 'running'",
            )?
            .execute(params![state, order as i64, metrics, error, now(), digest as i64, id])
        })?;
        Ok(digest)
    }

    /// Enters what is worth knowing of the study and decides nothing.
    fn note(&self, facts: &[(String, String)]) -> Result<()> {
        self.sql(|db| {
            for (key, value) in facts {
                db.execute(
                    "INSERT INTO study VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
                     WHERE value != excluded.value",
                    [key, value],
                )?;
            }
            db.execute(
                "DELETE FROM owners WHERE name NOT IN (SELECT owner FROM trials WHERE owner IS NOT NULL AND
                 state = 'running')",
                [],
            )
        })
        .map(|_| ())
    }

    /// Creates the tables in an empty file; in one of ours compares the study in it.
    fn identify(&self, opening: &Identity) -> Result<()> {
        let number = |query: &str| self.sql(|db| db.query_row::<i64, _, _>(query, [], |row| row.get(0)));
        let path = self.path.display();
        if self.sql(is_foreign)? {
            return Err(Error::Storage(format!(
                "'{path}' is an SQLite database of another program; give another storage"
            )));
        }
        if number("PRAGMA application_id")? != APPLICATION {
            return self.create(opening);
        }
        let schema = number("PRAGMA user_version")?;
        if schema > SCHEMA {
            return Err(Error::Storage(format!(
                "'{path}' was written by a newer modularnas (file layout {schema}; this one reads up to {SCHEMA}); \
                 update modularnas, or give another storage"
            )));
        }
        self.identity()?.expect(&path.to_string(), opening)?;
        if schema < 2 {
            self.sql(|db| {
                db.execute_batch(MIGRATION_2)?;
                db.execute_batch(TABLES_2)?;
                db.execute("INSERT INTO study VALUES ('costs', ?)", [&opening.costs])?;
                db.execute_batch(&format!("PRAGMA user_version = {SCHEMA}"))
            })?;
        }
        Ok(())
    }

    fn create(&self, identity: &Identity) -> Result<()> {
        let json = |value: serde_json::Result<String>| value.map_err(|e| Error::Internal(e.to_string()));
        let rows = [
            ("space", identity.space.to_json()),
            ("objectives", json(serde_json::to_string(&identity.objectives))?),
            ("constraints", json(serde_json::to_string(&identity.constraints))?),
            ("algorithm", identity.algorithm.clone()),
            ("settings", identity.settings.to_string()),
            ("seed", identity.seed.to_string()),
            ("costs", identity.costs.clone()),
            ("modularnas", env!("CARGO_PKG_VERSION").to_string()),
        ];
        self.sql(|db| {
            db.execute_batch(TABLES)?;
            db.execute_batch(TABLES_2)?;
            for (key, value) in &rows {
                db.execute("INSERT INTO study VALUES (?, ?)", [*key, value.as_str()])?;
            }
            db.execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}"
            ))
        })
    }

    fn identity(&self) -> Result<Identity> {
        let find = |key: &str| -> Result<Option<String>> {
            self.sql(|db| {
                db.query_row("SELECT value FROM study WHERE key = ?", [key], |row| row.get(0)).optional()
            })
        };
        let text = |key: &str| -> Result<String> {
            find(key)?.ok_or_else(|| self.damaged(&format!("the study's {key} is missing")))
        };
        let unreadable = |key: &str| self.damaged(&format!("the study's {key} is unreadable"));
        Ok(Identity {
            space: SearchSpace::from_json(&text("space")?).map_err(|_| unreadable("space"))?,
            objectives: serde_json::from_str(&text("objectives")?).map_err(|_| unreadable("objectives"))?,
            constraints: serde_json::from_str(&text("constraints")?)
                .map_err(|_| unreadable("constraints"))?,
            algorithm: text("algorithm")?,
            settings: serde_json::from_str(&text("settings")?).map_err(|_| unreadable("settings"))?,
            seed: text("seed")?.parse().map_err(|_| unreadable("seed"))?,
            // Layout 1 does not say.
            costs: find("costs")?.unwrap_or_else(|| UNKNOWN.to_string()),
        })
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::Storage(format!(
            "'{0}' is damaged: {what}; restore a copy, or keep what is readable by \"modularnas repair {0}\"",
            self.path.display()
        ))
    }

    fn connection(&self) -> Result<&Connection> {
        match &self.connection {
            Some(connection) if std::process::id() == self.pid => Ok(connection),
            _ => Err(Error::Study(format!(
                "the study on '{}' was opened by the process that this one was forked from; open it here as well",
                self.path.display()
            ))),
        }
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.sql(|db| db.prepare_cached(statement)?.execute([])).map(|_| ())
    }

    fn write(&self, statement: impl FnOnce(&Connection) -> rusqlite::Result<usize>) -> Result<()> {
        self.sql(statement).map(|_| ())
    }

    fn rows<T>(
        &self,
        query: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.sql(|db| db.prepare_cached(query)?.query_map(parameters, read)?.collect())
    }

    fn sql<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(self.connection()?).map_err(|e| explain(&self.path, &e))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if std::process::id() != self.pid {
            // Closing would take part in the parent's locking.
            std::mem::forget(self.connection.take());
            std::mem::forget(self.heart.take());
            return;
        }
        if let Some(Heart { stop, thread }) = self.heart.take() {
            drop(stop);
            // It does not panic, and if it did, nothing would be lost.
            let _ = thread.join();
        }
    }
}

/// Refuses what SQLite would take for something else than a path, and says what it would only call "unable to open".
pub(super) fn check_path(path: &Path) -> Result<()> {
    let name = path.display();
    let refuse = |why: String| Err(Error::Storage(why));
    if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
        return refuse(format!(
            "storage is '{name}'; expected the path of a file, or None to keep the study in memory"
        ));
    }
    if path.is_dir() {
        return refuse(format!(
            "storage '{name}' is a folder; give the path of a file, such as '{}'",
            path.join("study.db").display()
        ));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return refuse(format!(
            "the folder '{}' of storage '{name}' does not exist; create it or give another path",
            folder.display()
        ));
    }
    // SQLite would open it for reading, and make files beside it that are read-only too and stay so.
    for file in ["", "-wal", "-shm"].map(|suffix| beside(path, suffix)) {
        if fs::metadata(&file).is_ok_and(|metadata| metadata.permissions().readonly()) {
            return refuse(format!("cannot write '{}': it is marked read-only; {WRITABLE}", file.display()));
        }
    }
    Ok(())
}

/// The file of this name with more at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// What the heart does, on a connection of its own: the study's may be busy for longer than a lease.
fn count_on(path: &Path, owner: &str, stopped: &Receiver<()>) {
    let Ok(connection) = connect(path) else { return };
    let beat = || {
        connection.execute(
            "INSERT INTO owners VALUES (?, 0) ON CONFLICT (name) DO UPDATE SET beats = beats + 1",
            [owner],
        )
    };
    let lightly = connection.pragma_update(None, "synchronous", "NORMAL");
    while lightly.is_ok() && beat().is_ok() && stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {}
    let _ = connection.execute("DELETE FROM owners WHERE name = ?", [owner]);
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    use rusqlite::OpenFlags;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_others))?;
    // Switching to write-ahead log rewrites the header: not in another program's file, which `identify` refuses.
    if !is_foreign(&connection)? {
        connection.pragma_update(None, "journal_mode", "WAL")?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    // A stranger's file may hold statements that are to run when we write.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    Ok(connection)
}

/// Whether it is a database, and not ours.
fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let count = |query| connection.query_row::<i64, _, _>(query, [], |row| row.get(0));
    Ok(count("PRAGMA application_id")? != APPLICATION && count("SELECT count(*) FROM sqlite_master")? > 0)
}

/// SQLite's own handler backs off to 100 ms and starves under several busy writers; this one comes back every few.
fn wait_for_others(attempt: i32) -> bool {
    let pause = Duration::from_millis(1 + (attempt as u64).min(4));
    std::thread::sleep(pause);
    pause * attempt.unsigned_abs() < PATIENCE
}

/// SQLite does not call its busy handler where it fears a deadlock (changing to write-ahead log, recovery).
fn retry<T>(path: &Path, mut open: impl FnMut() -> rusqlite::Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match open() {
            Err(e) if is_busy(&e) && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result.map_err(|e| explain(path, &e)),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let name = path.display();
    Error::Storage(match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("'{name}' is not the file of a study (it is no SQLite database); give another storage")
        }
        Some(ErrorCode::DatabaseCorrupt) => format!(
            "'{name}' is damaged: {error}; restore a copy, or keep what is readable by \"modularnas repair {name}\""
        ),
        Some(ErrorCode::DiskFull) => format!(
            "no space left for '{name}'; every trial told before is in the file: free some space and open the study again"
        ),
        Some(ErrorCode::SystemIoFailure) => format!(
            "cannot use '{name}': {error}; every trial told before is in the file: see to the disk and open the study again"
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("cannot write '{name}': {error}; {WRITABLE}")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another process held '{name}' for {} s; end it if it hangs, then open the study again",
            PATIENCE.as_secs()
        ),
        _ => format!("'{name}': {error}"),
    })
}

/// What tells a file from another one put in its place.
#[derive(PartialEq, Eq)]
struct FileIdentity(Option<(u64, u64)>);

#[cfg(unix)]
fn file_identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt as _;
    FileIdentity(fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn file_identity(path: &Path) -> FileIdentity {
    FileIdentity(fs::metadata(path).ok().map(|_| (0, 0)))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Codes as little-endian `i32`, then reals as little-endian `f64`: exact, and quick to read back.
fn pack(point: &Point) -> Vec<u8> {
    let codes = point.codes().iter().flat_map(|code| code.to_le_bytes());
    codes.chain(point.reals().iter().flat_map(|real| real.to_le_bytes())).collect()
}

pub(super) fn unpack(bytes: &[u8], space: &SearchSpace) -> Option<Point> {
    let (codes, reals) = bytes.split_at_checked(4 * space.len())?;
    let codes: Vec<i32> =
        codes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let reals: Vec<f64> =
        reals.chunks(8).map(|b| b.try_into().ok().map(f64::from_le_bytes)).collect::<Option<_>>()?;
    let point = Point::new(codes, reals);
    space.check(&point).ok().map(|()| point)
}

/// Metrics as a JSON object; those not measured are left out. JSON has no word for infinity, a text stands for it.
fn write_metrics(measurement: &Measurement, names: &[String]) -> String {
    let metrics = names.iter().zip(&measurement.values).filter(|(_, value)| !value.is_nan());
    json_of(metrics.map(|(name, &value)| (name.as_str(), value)))
}

fn json_of<'a>(metrics: impl Iterator<Item = (&'a str, f64)>) -> String {
    let json =
        |value: f64| if value.is_finite() { Value::from(value) } else { Value::from(value.to_string()) };
    Value::Object(metrics.map(|(name, value)| (name.to_string(), json(value))).collect()).to_string()
}

pub(super) fn parse_metrics(json: &str) -> Option<Vec<(String, f64)>> {
    let Ok(Value::Object(metrics)) = serde_json::from_str(json) else { return None };
    metrics
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.parse().ok(),
                value => value.as_f64(),
            };
            value.map(|value| (name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::space::tests::any_space;

    proptest! {
        #[test]
        fn points_are_packed_exactly(space in any_space(), seed in any::<u64>(), junk in proptest::collection::vec(any::<u8>(), 0..80)) {
            let point = space.sample(seed, 0);
            prop_assert_eq!(unpack(&pack(&point), &space), Some(point));
            if let Some(point) = unpack(&junk, &space) {
                space.check(&point).unwrap();
            }
        }

        #[test]
        fn metrics_are_kept_to_the_last_bit(values in proptest::collection::vec(any::<f64>(), 0..5)) {
            let names: Vec<String> = (0..values.len()).map(|i| format!("metric \"{i}\"")).collect();
            let json = write_metrics(&Measurement { values: values.clone().into() }, &names);
            let expected: Vec<(String, u64)> =
                names.into_iter().zip(values).filter(|(_, v)| !v.is_nan()).map(|(n, v)| (n, v.to_bits())).collect();
            let read: Vec<(String, u64)> =
                parse_metrics(&json).unwrap().into_iter().map(|(n, v)| (n, v.to_bits())).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn junk_metrics_are_refused_quietly(json in ".{0,40}") {
            let _ = parse_metrics(&json);
        }
    }
}
