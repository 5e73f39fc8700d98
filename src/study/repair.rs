//! Repair: a new file of what is readable in a damaged one.
//!
//! Rows are fetched one by one by their keys, so a page that is gone costs the rows on it and no others. What is left gets
//! new numbers without gaps, in the old order, because replaying needs every number; running trials wait to be handed
//! out again. The chain of digests begins anew: what it would have to prove is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::store::{
    APPLICATION, SCHEMA, TABLES, TABLES_2, beside, check_path, connect, explain, parse_metrics, unpack,
};
use crate::error::{Error, Result};
use crate::space::SearchSpace;

/// How many numbers in a row may be unreadable before the end of the trials is assumed.
const GAP: i64 = 10_000;
/// Less than a trial takes in the file.
const LEAST_BYTES: i64 = 32;
const REQUIRED: [&str; 6] = ["space", "objectives", "constraints", "algorithm", "settings", "seed"];
const COLUMNS: &str =
    "told, state, point, codes, fidelity, parent, metrics, error, started, finished, attempts, deaths";

/// What [`repair`] did.
#[derive(Debug)]
pub struct Repaired {
    /// How many trials are in the repaired file.
    pub kept: u64,
    /// How many were there and are not any more, as far as can be known.
    pub lost: u64,
    /// Where the damaged file is now.
    pub damaged: PathBuf,
}

/// Puts a repaired file in the place of a damaged one, which is kept under another name.
///
/// # Errors
/// [`Error::Storage`] if it is no study, or if what says which study it was is unreadable.
pub fn repair(path: &Path) -> Result<Repaired> {
    check_path(path)?;
    let refuse = |why: &str| Err(Error::Storage(format!("'{}' cannot be repaired: {why}", path.display())));
    if !path.is_file() {
        return refuse("it does not exist");
    }
    let (fresh, damaged) = (beside(path, ".repaired"), beside(path, ".damaged"));
    for taken in [&fresh, &damaged] {
        if taken.exists() {
            return refuse(&format!("'{}' is in the way; move it", taken.display()));
        }
    }
    let old = connect(path).map_err(|e| explain(path, &e))?;
    let facts = facts(&old);
    if let Some(missing) = REQUIRED.iter().find(|key| !facts.contains_key(**key)) {
        return refuse(&format!("the study's {missing} is unreadable; restore a copy"));
    }
    let Ok(space) = SearchSpace::from_json(&facts["space"]) else {
        return refuse("the study's space is unreadable; restore a copy");
    };
    let (rows, lost) = trials(&old, &space);
    let new = connect(&fresh).map_err(|e| explain(&fresh, &e))?;
    let kept = write(&old, &new, &facts, rows).map_err(|e| explain(&fresh, &e))?;
    drop(old);
    new.close().map_err(|(_, e)| explain(&fresh, &e))?;
    for suffix in ["", "-wal", "-shm"] {
        let from = beside(path, suffix);
        if from.exists() {
            rename(&from, &beside(&damaged, suffix))?;
        }
    }
    rename(&fresh, path)?;
    Ok(Repaired { kept, lost, damaged })
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .map_err(|e| Error::Storage(format!("cannot rename '{}' to '{}': {e}", from.display(), to.display())))
}

/// What is readable of the table `study`.
fn facts(old: &Connection) -> BTreeMap<String, String> {
    let read = |key: &str| {
        old.query_row("SELECT value FROM study WHERE key = ?", [key], |row| row.get::<_, String>(0)).ok()
    };
    ["modularnas", "costs", "environment", "pruner"]
        .iter()
        .chain(&REQUIRED)
        .filter_map(|key| Some(((*key).to_string(), read(key)?)))
        .collect()
}

struct Saved {
    number: i64,
    told: Option<i64>,
    cells: Vec<Cell>,
}

/// The readable trials by number, and how many are not.
fn trials(old: &Connection, space: &SearchSpace) -> (Vec<Saved>, u64) {
    let last = old.query_row("SELECT max(number) FROM trials", [], |row| row.get::<_, Option<i64>>(0));
    // Layout 1 has no counts.
    let layout_2 = old.prepare("SELECT attempts FROM trials").is_ok();
    let columns = if layout_2 { COLUMNS.to_string() } else { COLUMNS.replace("attempts, deaths", "1, 0") };
    let query = format!("SELECT {columns} FROM trials WHERE number = ?");
    let read = |number: i64| -> Option<Saved> {
        let mut statement = old.prepare_cached(&query).ok()?;
        let cells = statement
            .query_row([number], |row| {
                (0..12).map(|i| cell(row.get_ref(i)?)).collect::<rusqlite::Result<Vec<_>>>()
            })
            .optional()
            .ok()??;
        is_sound(&cells, space).then(|| {
            let told = if let Cell::Integer(told) = cells[0] { Some(told) } else { None };
            Saved { number, told, cells }
        })
    };
    let (mut rows, mut next, mut end) = (Vec::new(), 0, 0);
    // A number far above what the file has room for is damage as well.
    let pragma = |query| old.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap_or(0);
    let most = pragma("PRAGMA page_count").saturating_mul(pragma("PRAGMA page_size")) / LEAST_BYTES;
    let bound = last.ok().flatten().filter(|&last| (0..most).contains(&last));
    while bound.map_or(next < end + GAP, |last| next <= last) {
        if let Some(row) = read(next) {
            end = next + 1;
            rows.push(row);
        }
        next += 1;
    }
    let lost = bound.map_or(end, |last| last + 1) as u64 - rows.len() as u64;
    (rows, lost)
}

/// A value of its own; a text that is none is an error (rusqlite's own conversion panics).
fn cell(value: ValueRef<'_>) -> rusqlite::Result<Cell> {
    Ok(match value {
        ValueRef::Text(_) => Cell::Text(value.as_str()?.to_string()),
        other => other.into(),
    })
}

fn is_sound(cells: &[Cell], space: &SearchSpace) -> bool {
    let (Cell::Text(state), Cell::Blob(codes)) = (&cells[1], &cells[3]) else { return false };
    let outcome = match (state.as_str(), &cells[0], &cells[6]) {
        ("running", Cell::Null, _) | ("failed", Cell::Integer(_), _) => true,
        ("complete" | "pruned", Cell::Integer(_), Cell::Text(metrics)) => parse_metrics(metrics).is_some(),
        _ => false,
    };
    outcome && unpack(codes, space).is_some()
}

fn write(
    old: &Connection,
    new: &Connection,
    facts: &BTreeMap<String, String>,
    mut rows: Vec<Saved>,
) -> rusqlite::Result<u64> {
    let numbers: BTreeMap<i64, i64> = (0..).zip(&rows).map(|(new, row)| (row.number, new)).collect();
    let mut order: Vec<(i64, i64)> = rows.iter().filter_map(|row| Some((row.told?, row.number))).collect();
    order.sort_unstable();
    let told: BTreeMap<i64, i64> = (1..).zip(order).map(|(new, (_, number))| (number, new)).collect();
    new.execute_batch("BEGIN IMMEDIATE")?;
    new.execute_batch(TABLES)?;
    new.execute_batch(TABLES_2)?;
    for (key, value) in facts {
        new.execute("INSERT INTO study VALUES (?, ?)", [key, value])?;
    }
    let marks = vec!["?"; 13].join(", ");
    let insert = format!("INSERT INTO trials (number, {COLUMNS}) VALUES ({marks})");
    for row in &mut rows {
        row.cells[0] = told.get(&row.number).map_or(Cell::Null, |&order| Cell::Integer(order));
        if let Cell::Integer(parent) = row.cells[5] {
            row.cells[5] = numbers.get(&parent).map_or(Cell::Null, |&parent| Cell::Integer(parent));
        }
        let number = Cell::Integer(numbers[&row.number]);
        new.prepare_cached(&insert)?.execute(params_from_iter(std::iter::once(&number).chain(&row.cells)))?;
        for (step, metrics) in reports(old, row.number) {
            new.prepare_cached(
                "INSERT INTO reports (trial, attempt, step, metrics)
                 SELECT number, attempts, ?, ? FROM trials WHERE number = ?",
            )?
            .execute(params_from_iter([
                Cell::Integer(step),
                Cell::Text(metrics),
                number.clone(),
            ]))?;
        }
    }
    new.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT"
    ))?;
    Ok(rows.len() as u64)
}

/// The readable reports of a trial's last attempt.
fn reports(old: &Connection, trial: i64) -> Vec<(i64, String)> {
    let read = || {
        old.prepare_cached(
            "SELECT step, reports.metrics FROM reports JOIN trials ON number = trial
             WHERE trial = ? AND attempt = attempts",
        )?
        .query_map([trial], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, String)>>>()
    };
    let mut found = read().unwrap_or_default();
    found.retain(|(step, metrics)| *step >= 0 && parse_metrics(metrics).is_some());
    found
}

#[cfg(test)]
mod tests {
    use super::super::study::tests::{study, sum};
    use super::super::{Plan, Quiet, Stop};
    use super::*;

    #[test]
    fn what_is_readable_is_kept_and_the_study_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let plan = |trials| Plan { stop: Stop::after(trials), workers: 1, batch: 50, deaths: None };
        let open = || study("regularized_evolution", Some(path.clone()), 0);
        let whole = open();
        whole.optimize(&sum, &plan(400), &Quiet).unwrap();
        whole.ask(1).unwrap();
        whole.report(400, 2, vec![(0, 1.0)]).unwrap();
        let trials = whole.trials().unwrap();
        drop(whole);

        // One page in the middle is gone.
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 4096 / 2 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        let create = || super::super::study::tests::open(Some(path.clone()));
        assert!(create().is_err());

        let repaired = repair(&path).unwrap();
        assert_eq!(repaired.kept + repaired.lost, 401, "{repaired:?}");
        assert!((200..401).contains(&repaired.kept), "{repaired:?}");
        assert!(repaired.damaged.exists());
        let again = open();
        let kept = again.trials().unwrap();
        assert_eq!(kept.len() as u64, repaired.kept);
        assert!(
            kept.iter().all(|one| trials.iter().any(|t| t.point == one.point && t.outcome == one.outcome))
        );
        again.optimize(&sum, &plan(450), &Quiet).unwrap();
        assert!(again.trials().unwrap().iter().all(|trial| trial.outcome.is_some()));
        assert!(repair(&path).unwrap_err().to_string().ends_with(".damaged' is in the way; move it"));
    }

    #[test]
    fn what_is_no_study_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |name: &str| repair(&folder.path().join(name)).unwrap_err().to_string();
        assert!(refusal("none.db").ends_with("cannot be repaired: it does not exist"));
        fs::write(folder.path().join("text.db"), "no database".repeat(100)).unwrap();
        assert!(refusal("text.db").contains("is not the file of a study"));
        Connection::open(folder.path().join("theirs.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        assert!(refusal("theirs.db").contains("the study's space is unreadable"));
    }
}
