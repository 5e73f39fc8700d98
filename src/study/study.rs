//! A study's books: which trials there are, who evaluates them, what the search algorithm was told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

use super::history::History;
use super::identity::Identity;
use super::pruner::{Pruner, View};
use super::reports::{Report, Reports};
use super::stop::Watch;
use super::store::{Owner, Store, StoredOutcome};
use crate::cost::Feasible;
use crate::error::{Error, Result};
use crate::search::{self, Context, SearchAlgorithm};
use crate::space::SearchSpace;
use crate::trial::{Goals, Measurement, Outcome, Proposal, Score, Trial, TrialId, front};

/// How many stored trials are read and told at once when a file is opened.
const REPLAYED_AT_ONCE: usize = 4096;

/// The search algorithm of a study, with the name and settings that its file is checked against.
pub struct Algorithm {
    name: String,
    settings: Value,
    state: Box<dyn SearchAlgorithm>,
}

impl Algorithm {
    /// The registered algorithm of this name, built with these settings; left-out ones have their defaults.
    ///
    /// # Errors
    /// [`Error::Search`] for an unknown name, unknown settings, or ones that do not fit the space and the goals.
    pub fn registered(name: &str, settings: &Value, space: &SearchSpace, goals: &Goals) -> Result<Self> {
        let entry = search::find(name)?;
        let settings = (entry.complete)(settings)?;
        let state = (entry.create)(&settings, space, goals)?;
        Ok(Algorithm { name: name.to_string(), settings, state })
    }

    /// Any other algorithm, before its first `tell`. A file remembers `name` and `settings` and refuses others.
    pub fn custom(name: impl Into<String>, settings: Value, state: Box<dyn SearchAlgorithm>) -> Self {
        Algorithm { name: name.into(), settings, state }
    }
}

/// What a study is made of.
pub struct Setup {
    /// Where it searches.
    pub space: Arc<SearchSpace>,
    /// What it is after.
    pub goals: Goals,
    /// The points to draw from at random, if constraints on costs in closed form say which; else all.
    pub feasible: Option<Feasible>,
    /// What costs `feasible` is of, in words that change when they do; empty without it. A file remembers it.
    pub costs: String,
    /// How it searches.
    pub algorithm: Algorithm,
    /// The only source of its randomness.
    pub seed: u64,
    /// Which running trials are ended early; `None`: none. May differ from run to run.
    pub pruner: Option<Pruner>,
    /// What the file should say besides, by key: the environment, the pruner.
    pub facts: Vec<(String, String)>,
    /// Its file; `None` keeps it in memory.
    pub storage: Option<PathBuf>,
}

/// A search: its trials, its algorithm, and the file that remembers them.
///
/// Every method may be called from any thread, and from inside an evaluator or observer. From inside the search
/// algorithm only the context may be used; the study says so.
pub struct Study {
    space: Arc<SearchSpace>,
    goals: Goals,
    seed: u64,
    books: Mutex<Books>,
    /// The thread that holds the lock (the address of a thread-local of it), 0 if none: to fail instead of hang when
    /// an algorithm calls its own study.
    holder: AtomicUsize,
}

/// Trials that were just recorded, and trials to evaluate next.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) told: Vec<Trial>,
    pub(super) asked: Vec<Trial>,
}

/// What a turn is to hand out.
pub(super) struct Want {
    pub(super) count: usize,
    /// After so many deaths of its owner a trial is recorded as failed instead of being handed out again.
    pub(super) deaths: Option<u64>,
}

impl From<usize> for Want {
    fn from(count: usize) -> Self {
        Want { count, deaths: None }
    }
}

/// Whether an outcome for a trial that another process has told meanwhile is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    Refuse,
    Drop,
}

impl Study {
    /// A study; if `storage` exists it is continued, so its trials are told to the algorithm first.
    ///
    /// # Errors
    /// [`Error::Study`] if the file holds another study, saying where it differs; [`Error::Storage`] if it cannot be
    /// read or written.
    pub fn create(setup: Setup) -> Result<Study> {
        let Setup { space, goals, feasible, costs, algorithm, seed, pruner, facts, storage } = setup;
        let Algorithm { name, settings, state } = algorithm;
        let store = match storage {
            None => None,
            Some(path) => {
                let identity = Identity::new(&space, &goals, &name, &settings, seed, &costs);
                Some(Store::open(&path, &identity, &facts)?)
            }
        };
        let books = Books {
            memory: Memory {
                history: History::new(&space),
                metrics: goals.metrics().to_vec(),
                space: Arc::clone(&space),
                goals: goals.clone(),
                feasible,
                seed,
                algorithm: state,
                running: VecDeque::new(),
                owners: VecDeque::new(),
                told: 0,
                digest: 0,
                best: None,
                pruner,
                reports: Reports::default(),
                watch: None,
            },
            store,
            broken: None,
        };
        let study = Study { space, goals, seed, books: Mutex::new(books), holder: AtomicUsize::new(0) };
        study.lock()?.refresh()?;
        Ok(study)
    }

    /// Where it searches.
    pub fn space(&self) -> &Arc<SearchSpace> {
        &self.space
    }

    /// What it is after.
    pub fn goals(&self) -> &Goals {
        &self.goals
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Names of the columns of its measurements: [`Goals::metrics`], then what evaluators measured besides, in order of
    /// first appearance. Columns are only ever added.
    pub fn metrics(&self) -> Result<Vec<String>> {
        Ok(self.lock()?.memory.metrics.clone())
    }

    /// The column of a metric, added if it is new.
    pub fn column(&self, metric: &str) -> Result<usize> {
        Ok(self.lock()?.memory.column(metric))
    }

    /// Up to `count` trials to evaluate: first those that were handed out and came back without an outcome, then new
    /// ones. Fewer, or none, when the algorithm has no more.
    pub fn ask(&self, count: usize) -> Result<Vec<Trial>> {
        Ok(self.turn(Vec::new(), Late::Refuse, |_| count.into())?.asked)
    }

    /// Records the outcome of a running trial; returns the trial as recorded. A complete outcome without a finite value
    /// for each of [`Goals::metrics`] is recorded as failed.
    ///
    /// # Errors
    /// [`Error::Study`] for a trial that was not asked or is told already; nothing is recorded then.
    pub fn tell(&self, id: TrialId, outcome: Outcome) -> Result<Trial> {
        let told = self.turn(vec![(id, outcome)], Late::Refuse, |_| 0.into())?.told.pop();
        told.ok_or_else(|| Error::Internal("a told trial was not recorded".into()))
    }

    /// [`Study::tell`] and then [`Study::ask`] in one transaction.
    pub fn tell_and_ask(&self, outcomes: Vec<(TrialId, Outcome)>, count: usize) -> Result<Vec<Trial>> {
        Ok(self.turn(outcomes, Late::Refuse, |_| count.into())?.asked)
    }

    /// Gives running trials back, to be handed out again.
    pub fn release(&self, ids: &[TrialId]) -> Result<()> {
        self.lock()?.release(ids)
    }

    /// Enters trials that were evaluated elsewhere, and tells the algorithm; one transaction.
    ///
    /// # Errors
    /// [`Error::Space`] for a point that is not of the space; nothing is recorded then.
    pub fn add(&self, finished: Vec<(Proposal, Outcome)>) -> Result<Vec<Trial>> {
        finished.iter().try_for_each(|(proposal, _)| self.space.check(&proposal.point))?;
        self.lock()?.transaction(|books| books.add(finished))
    }

    /// Enters what a running trial reports at a step: columns and values. A later report of a step replaces it. Seen by
    /// others at once; it survives `kill -9` at once, and power loss with the next told trial.
    ///
    /// # Errors
    /// [`Error::Study`] for a trial that is not running, or a report without any of the objectives.
    pub fn report(&self, id: TrialId, step: u64, values: Vec<(usize, f64)>) -> Result<()> {
        self.lock()?.report(id, step, values)
    }

    /// Whether the pruner would end this running trial now.
    pub fn should_prune(&self, id: TrialId) -> Result<bool> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.should_prune(id))
    }

    /// What a trial reported, by step.
    pub fn reports(&self, id: TrialId) -> Result<Vec<Report>> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.reports.curve(id).to_vec())
    }

    /// All trials by number, running ones included.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.history.trials().collect())
    }

    /// The trial of this number.
    pub fn trial(&self, id: TrialId) -> Result<Trial> {
        let mut books = self.lock()?;
        books.refresh()?;
        books.memory.history.trial(id).ok_or_else(|| books.memory.no_trial(id))
    }

    /// How many trials are finished, in whichever way.
    pub fn finished(&self) -> Result<u64> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.told)
    }

    /// The best complete trial: feasible before infeasible, then by the first objective, the further ones, the number.
    pub fn best(&self) -> Result<Option<Trial>> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.best.as_ref().and_then(|(_, id)| books.memory.history.trial(*id)))
    }

    /// The complete trials that no other one dominates, by number: the feasible ones, or if there are none the nearest
    /// to being so.
    pub fn pareto_front(&self) -> Result<Vec<Trial>> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.pareto_front())
    }

    /// Whether any trial is with another process.
    pub(super) fn others_are_at_work(&self) -> Result<bool> {
        let mut books = self.lock()?;
        books.refresh()?;
        Ok(books.memory.owners.contains(&Owner::Other))
    }

    /// Tells, then asks for as many as `want` says when it has seen the books; one transaction.
    pub(super) fn turn(
        &self,
        outcomes: Vec<(TrialId, Outcome)>,
        late: Late,
        want: impl FnOnce(&Memory) -> Want,
    ) -> Result<Turn> {
        self.lock()?.transaction(|books| books.record_and_propose(outcomes, late, want))
    }

    /// Begins to keep what conditions to stop look at: the front, and the sums of these columns.
    pub(super) fn watch(&self, columns: &[usize]) -> Result<()> {
        let mut books = self.lock()?;
        books.refresh()?;
        books.memory.watch(columns);
        Ok(())
    }

    fn lock(&self) -> Result<Guard<'_>> {
        thread_local!(static MARK: u8 = const { 0 });
        let me = MARK.with(|mark| std::ptr::from_ref(mark).addr());
        if self.holder.load(Ordering::Relaxed) == me {
            return Err(Error::Study(
                "the study was used from inside its own search algorithm; use what ask and tell are given"
                    .into(),
            ));
        }
        let books = match self.books.lock() {
            Ok(books) => books,
            Err(poisoned) => {
                let mut books = poisoned.into_inner();
                books.break_off("an internal error interrupted it");
                self.books.clear_poison();
                books
            }
        };
        self.holder.store(me, Ordering::Relaxed);
        Ok(Guard { holder: &self.holder, books })
    }
}

impl Drop for Study {
    fn drop(&mut self) {
        // Trials asked and never told go to whoever opens the file next. If that fails now, they go there when this
        // process ends.
        if let Ok(books) = self.books.get_mut() {
            let mine = books.memory.of(Owner::Mine);
            if books.store.is_some() && !mine.is_empty() {
                let _ = books.release(&mine);
            }
        }
    }
}

struct Guard<'a> {
    holder: &'a AtomicUsize,
    books: MutexGuard<'a, Books>,
}

impl std::ops::Deref for Guard<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// What the lock protects. Outside a transaction, `memory` is what the file holds.
struct Books {
    memory: Memory,
    store: Option<Store>,
    /// Why `memory` can no longer be trusted to be what the file holds.
    broken: Option<String>,
}

impl Books {
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Books) -> Result<T>) -> Result<T> {
        self.usable()?;
        if let Some(store) = &self.store {
            store.begin()?;
        }
        let done = work(self);
        let Some(store) = &self.store else { return done };
        match done {
            Err(Error::Storage(why)) => {
                self.break_off(&why);
                Err(Error::Storage(why))
            }
            // An algorithm that failed does not take the recorded outcomes with it.
            done => match store.commit() {
                Ok(()) => done,
                Err(e) => {
                    self.break_off(&e.to_string());
                    Err(e)
                }
            },
        }
    }

    fn record_and_propose(
        &mut self,
        mut outcomes: Vec<(TrialId, Outcome)>,
        late: Late,
        want: impl FnOnce(&Memory) -> Want,
    ) -> Result<Turn> {
        self.catch_up()?;
        match late {
            Late::Refuse => self.memory.refuse_untellable(&outcomes)?,
            Late::Drop => outcomes.retain(|(id, _)| self.memory.history.is_running(*id)),
        }
        let mut told = Vec::with_capacity(outcomes.len());
        for (id, outcome) in outcomes {
            let outcome = self.memory.accept(outcome)?;
            told.extend(self.finish(id, outcome)?);
        }
        self.learn(&told)?;
        let mut want = want(&self.memory);
        if let Some(deaths) = want.deaths.filter(|_| want.count > 0) {
            let lost = self.give_up(deaths)?;
            self.learn(&lost)?;
            want.count = want.count.saturating_sub(lost.len());
            told.extend(lost);
        }
        let asked = if want.count == 0 { Vec::new() } else { self.hand_out(want.count)? };
        Ok(Turn { told, asked })
    }

    fn finish(&mut self, id: TrialId, outcome: Outcome) -> Result<Option<Trial>> {
        let memory = &mut self.memory;
        if let Some(store) = &self.store {
            let trial = memory.history.trial(id).ok_or_else(|| memory.no_trial(id))?;
            memory.digest =
                store.finish(&trial, memory.told + 1, &outcome, &memory.metrics, memory.digest)?;
        }
        Ok(memory.finish(id, outcome))
    }

    /// Records those trials as failed whose owner died so often; they may well have been the cause.
    fn give_up(&mut self, deaths: u64) -> Result<Vec<Trial>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let mut lost = Vec::new();
        for id in self.memory.of(Owner::Nobody) {
            let died = store.deaths(id)?;
            if died >= deaths {
                lost.push((id, died));
            }
        }
        let mut failed = Vec::new();
        for (id, died) in lost {
            let times = if died == 1 { "once".to_string() } else { format!("{died} times") };
            let reason = format!("the process that evaluated it died {times} (killed, or out of memory)");
            failed.extend(self.finish(id, Outcome::Failed(reason))?);
        }
        Ok(failed)
    }

    fn add(&mut self, finished: Vec<(Proposal, Outcome)>) -> Result<Vec<Trial>> {
        self.catch_up()?;
        let mut told = Vec::with_capacity(finished.len());
        for (proposal, outcome) in finished {
            let outcome = self.memory.accept(outcome)?;
            let Proposal { point, fidelity, parent } = proposal;
            let id = self.memory.history.len();
            let trial = Trial { id, point, fidelity, parent, outcome: None };
            if let Some(store) = &self.store {
                store.insert(&trial, &self.memory.space)?;
            }
            self.memory.begin(&trial, Owner::Mine);
            told.extend(self.finish(id, outcome)?);
        }
        self.learn(&told)?;
        Ok(told)
    }

    fn report(&mut self, id: TrialId, step: u64, values: Vec<(usize, f64)>) -> Result<()> {
        self.usable()?;
        if let Some(store) = &self.store {
            store.begin_lightly()?;
        }
        let entered = self.enter_report(id, step, values);
        let Some(store) = &self.store else { return entered };
        let entered = entered.and_then(|()| store.commit_lightly());
        if entered.is_err() {
            store.roll_back();
        }
        entered
    }

    fn enter_report(&mut self, id: TrialId, step: u64, mut values: Vec<(usize, f64)>) -> Result<()> {
        self.catch_up()?;
        let memory = &mut self.memory;
        if !memory.history.is_running(id) {
            return Err(match memory.history.trial(id) {
                None => memory.no_trial(id),
                Some(_) => Error::Study(format!("trial {id} is finished; only a running trial reports")),
            });
        }
        values.sort_unstable_by_key(|(column, _)| *column);
        if values.first().is_none_or(|(column, _)| *column >= memory.goals.objectives().len()) {
            let names: Vec<String> =
                memory.goals.objectives().iter().map(|objective| format!("'{}'", objective.metric)).collect();
            return Err(Error::Study(format!(
                "trial {id} reports none of the objectives; report a number, or a dict with at least one of {}",
                names.join(", ")
            )));
        }
        if let Some(store) = &self.store {
            let named: Vec<(String, f64)> =
                values.iter().map(|&(column, value)| (memory.metrics[column].clone(), value)).collect();
            store.report(id, step, &named)?;
        }
        memory.reports.enter(id, Report { step, values: values.into() });
        Ok(())
    }

    /// Abandoned trials first, lowest number first, then new ones.
    fn hand_out(&mut self, count: usize) -> Result<Vec<Trial>> {
        if let Some(store) = &mut self.store {
            store.beat();
        }
        let memory = &mut self.memory;
        let mut asked = Vec::with_capacity(count);
        for (trial, owner) in memory.running.iter().zip(&mut memory.owners) {
            if *owner == Owner::Nobody && asked.len() < count {
                if let Some(store) = &self.store {
                    store.take(trial.id)?;
                }
                *owner = Owner::Mine;
                memory.reports.forget(trial.id);
                asked.push(trial.clone());
            }
        }
        if asked.len() < count {
            for trial in memory.propose(count - asked.len())? {
                if let Some(store) = &self.store {
                    store.insert(&trial, &memory.space)?;
                }
                memory.begin(&trial, Owner::Mine);
                asked.push(trial);
            }
        }
        Ok(asked)
    }

    /// Brings the memory to the state of the file, which others may have written to. Inside a transaction.
    fn catch_up(&mut self) -> Result<()> {
        let result = self.read_news();
        if let Err(e) = &result {
            self.broken = Some(e.to_string());
        }
        result
    }

    fn read_news(&mut self) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let memory = &mut self.memory;
        let news = store.has_news()?;
        if news {
            for trial in store.trials_from(memory.history.len(), &memory.space)? {
                memory.history.push(&trial);
            }
            loop {
                let rows = store.told_after(memory.told, REPLAYED_AT_ONCE)?;
                if rows.is_empty() {
                    break;
                }
                let mut told = Vec::with_capacity(rows.len());
                for row in rows {
                    if row.order != memory.told + 1 || !memory.history.is_running(row.id) {
                        return Err(store.damaged(&format!("trial {} is told out of order", row.id)));
                    }
                    memory.digest = row.row.chained(memory.digest);
                    if row.digest.is_some_and(|digest| digest != memory.digest) {
                        return Err(store.damaged(&format!("trial {} is not what was told", row.id)));
                    }
                    let outcome = memory.outcome(row.outcome);
                    told.extend(memory.finish(row.id, outcome));
                }
                memory.learn(&told)?;
            }
            for (trial, step, metrics) in store.new_reports()? {
                let values = metrics.into_iter().map(|(name, value)| (memory.column(&name), value));
                let mut values: Vec<(usize, f64)> = values.collect();
                values.sort_unstable_by_key(|(column, _)| *column);
                memory.reports.enter(trial, Report { step, values: values.into() });
            }
        }
        // Without news an owner may have died all the same.
        if news || memory.owners.contains(&Owner::Other) {
            memory.running.clear();
            memory.owners.clear();
            for (id, owner) in store.running()? {
                match memory.history.trial(id) {
                    Some(trial) if trial.outcome.is_none() => {
                        memory.running.push_back(trial);
                        memory.owners.push_back(owner);
                    }
                    _ => return Err(store.damaged(&format!("trial {id} is running and told"))),
                }
            }
        }
        Ok(())
    }

    /// [`Books::catch_up`] for those who only look. After a failure they see what was known before it.
    fn refresh(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        if self.broken.is_some() {
            return Ok(());
        }
        store.begin_reading()?;
        let result = self.catch_up();
        match &self.store {
            Some(store) if result.is_ok() => store.commit(),
            Some(store) => {
                store.roll_back();
                result
            }
            None => result,
        }
    }

    fn release(&mut self, ids: &[TrialId]) -> Result<()> {
        self.usable()?;
        if let Some(store) = &self.store {
            store.begin()?;
            let released = ids.iter().try_for_each(|&id| store.release(id)).and_then(|()| store.commit());
            if let Err(e) = released {
                store.roll_back();
                return Err(e);
            }
        }
        for (trial, owner) in self.memory.running.iter().zip(&mut self.memory.owners) {
            if *owner == Owner::Mine && ids.contains(&trial.id) {
                *owner = Owner::Nobody;
            }
        }
        Ok(())
    }

    fn learn(&mut self, told: &[Trial]) -> Result<()> {
        let result = self.memory.learn(told);
        if let Err(e) = &result {
            self.broken = Some(format!("its search algorithm failed to learn ({e})"));
        }
        result
    }

    fn usable(&self) -> Result<()> {
        let Some(why) = &self.broken else { return Ok(()) };
        Err(match &self.store {
            None => Error::Study(format!("the study cannot go on: {why}")),
            Some(store) => Error::Storage(format!(
                "the study on '{}' cannot go on after an earlier error ({why}); every trial told before it is in the \
                 file: open the study again",
                store.path().display()
            )),
        })
    }

    fn break_off(&mut self, why: &str) {
        if let Some(store) = &self.store {
            store.roll_back();
        }
        self.broken.get_or_insert_with(|| why.to_string());
    }
}

/// The trials and the algorithm that was told them.
pub(super) struct Memory {
    space: Arc<SearchSpace>,
    goals: Goals,
    feasible: Option<Feasible>,
    seed: u64,
    algorithm: Box<dyn SearchAlgorithm>,
    history: History,
    metrics: Vec<String>,
    /// Trials without an outcome, by number, and who evaluates each. Most are told in the order in which they were asked.
    running: VecDeque<Trial>,
    owners: VecDeque<Owner>,
    /// How many trials were told.
    pub(super) told: u64,
    /// The chain of what was told, as in the file.
    digest: u64,
    best: Option<(Score, TrialId)>,
    pruner: Option<Pruner>,
    reports: Reports,
    /// What conditions to stop look at, once somebody asked for it.
    pub(super) watch: Option<Watch>,
}

impl Memory {
    fn propose(&mut self, count: usize) -> Result<Vec<Trial>> {
        let next = self.history.len();
        let running = self.running.make_contiguous();
        let context = Context {
            space: &self.space,
            goals: &self.goals,
            seed: self.seed,
            next,
            running,
            feasible: self.feasible.as_ref(),
        };
        let proposals = self.algorithm.ask(&context, count)?;
        if proposals.len() > count {
            return Err(Error::Search(format!(
                "the search algorithm proposed {} points where {count} were asked; return at most as many",
                proposals.len()
            )));
        }
        let trial = |(id, p): (TrialId, crate::trial::Proposal)| Trial {
            id,
            point: p.point,
            fidelity: p.fidelity,
            parent: p.parent,
            outcome: None,
        };
        Ok((next..).zip(proposals).map(trial).collect())
    }

    fn begin(&mut self, trial: &Trial, owner: Owner) {
        self.history.push(trial);
        self.running.push_back(trial.clone());
        self.owners.push_back(owner);
    }

    /// Moves a running trial to the told ones.
    fn finish(&mut self, id: TrialId, outcome: Outcome) -> Option<Trial> {
        self.history.finish(id, &outcome);
        self.told += 1;
        if let Some(watch) = &mut self.watch {
            watch.see(&self.goals, &outcome);
        }
        if let Outcome::Complete(measurement) = &outcome {
            let score = self.goals.score(measurement);
            let better = |(best, holder): &(Score, TrialId)| score.compare(best).then(id.cmp(holder)).is_lt();
            if self.best.as_ref().is_none_or(better) {
                self.best = Some((score, id));
            }
        }
        // Of trials that another process asked and told, `running` may not know.
        match self.running.iter().position(|trial| trial.id == id) {
            Some(i) => {
                self.owners.remove(i);
                self.running.remove(i).map(|trial| Trial { outcome: Some(outcome), ..trial })
            }
            None => self.history.trial(id),
        }
    }

    fn learn(&mut self, told: &[Trial]) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        // A number that depends on what was told and on nothing else, so that replaying in larger pieces arrives at
        // the same state.
        let context = Context {
            space: &self.space,
            goals: &self.goals,
            seed: self.seed,
            next: self.told,
            running: &[],
            feasible: self.feasible.as_ref(),
        };
        self.algorithm.tell(&context, told)
    }

    fn should_prune(&self, trial: TrialId) -> bool {
        let is_complete = |id: TrialId| self.history.measurement(id).is_some();
        let view = View {
            goals: &self.goals,
            seed: self.seed,
            trial,
            reports: &self.reports,
            is_complete: &is_complete,
        };
        self.pruner.as_ref().is_some_and(|pruner| pruner.prunes(&view))
    }

    fn watch(&mut self, columns: &[usize]) {
        let mut watch = Watch::new(columns);
        let outcomes = self.history.trials().filter_map(|trial| trial.outcome);
        outcomes.for_each(|outcome| watch.see(&self.goals, &outcome));
        self.watch = Some(watch);
    }

    fn column(&mut self, metric: &str) -> usize {
        self.metrics.iter().position(|known| known == metric).unwrap_or_else(|| {
            self.metrics.push(metric.to_string());
            self.metrics.len() - 1
        })
    }

    fn outcome(&mut self, stored: StoredOutcome) -> Outcome {
        let mut measurement = |metrics: Vec<(String, f64)>| {
            let mut values = vec![f64::NAN; self.metrics.len()];
            for (name, value) in metrics {
                let column = self.column(&name);
                values.resize(values.len().max(column + 1), f64::NAN);
                values[column] = value;
            }
            Measurement { values: values.into() }
        };
        match stored {
            StoredOutcome::Complete(metrics) => Outcome::Complete(measurement(metrics)),
            StoredOutcome::Pruned(metrics) => Outcome::Pruned(measurement(metrics)),
            StoredOutcome::Failed(reason) => Outcome::Failed(reason),
        }
    }

    /// A complete outcome as it is recorded: failed if a metric that the study is about is missing or not finite.
    fn accept(&self, outcome: Outcome) -> Result<Outcome> {
        let (Outcome::Complete(measurement) | Outcome::Pruned(measurement)) = &outcome else {
            return Ok(outcome);
        };
        if measurement.values.len() > self.metrics.len() {
            return Err(Error::Evaluation(format!(
                "a measurement has {} values; the study has {} metrics",
                measurement.values.len(),
                self.metrics.len()
            )));
        }
        if let Outcome::Pruned(_) = outcome {
            return Ok(outcome);
        }
        for (i, metric) in self.goals.metrics().iter().enumerate() {
            match measurement.values.get(i) {
                None => return Ok(Outcome::Failed(format!("metric '{metric}' is missing"))),
                Some(value) if !value.is_finite() => {
                    let value = if value.is_nan() { "nan".to_string() } else { value.to_string() };
                    return Ok(Outcome::Failed(format!(
                        "metric '{metric}' is {value}, expected a finite number"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(outcome)
    }

    fn refuse_untellable(&self, outcomes: &[(TrialId, Outcome)]) -> Result<()> {
        for (id, _) in outcomes {
            if !self.history.is_running(*id) {
                let state = match self.history.trial(*id).and_then(|trial| trial.outcome) {
                    None => return Err(self.no_trial(*id)),
                    Some(Outcome::Complete(_)) => "complete",
                    Some(Outcome::Pruned(_)) => "pruned",
                    Some(Outcome::Failed(_)) => "failed",
                };
                return Err(Error::Study(format!(
                    "trial {id} was told already and is {state}; a trial is told once"
                )));
            }
        }
        let mut ids: Vec<TrialId> = outcomes.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        if let Some(&[id, ..]) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Study(format!("trial {id} is told twice in one call; a trial is told once")));
        }
        Ok(())
    }

    fn no_trial(&self, id: TrialId) -> Error {
        Error::Study(match self.history.len() {
            0 => format!("there is no trial {id}: none was asked yet; ask before telling"),
            n => format!("there is no trial {id}; the study has trials 0 to {}", n - 1),
        })
    }

    fn of(&self, owner: Owner) -> Vec<TrialId> {
        let owned = self.running.iter().zip(&self.owners).filter(|(_, of)| **of == owner);
        owned.map(|(trial, _)| trial.id).collect()
    }

    fn pareto_front(&self) -> Vec<Trial> {
        let mut scored: Vec<(TrialId, Score)> = (0..self.history.len())
            .filter_map(|id| {
                self.history.measurement(id).map(|measurement| (id, self.goals.score(&measurement)))
            })
            .collect();
        let nearest = scored.iter().map(|(_, score)| score.violation).fold(f64::INFINITY, f64::min);
        scored.retain(|(_, score)| score.violation <= nearest);
        let losses: Vec<&[f64]> = scored.iter().map(|(_, score)| &*score.losses).collect();
        front(&losses).into_iter().filter_map(|i| self.history.trial(scored[i].0)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::space::{Decision, Domain, Label};
    use crate::trial::{Constraint, Direction, Objective, Proposal};

    /// Six digits 0..5.
    pub(crate) fn digits() -> SearchSpace {
        let digit = || Domain::Categorical((0..5).map(Label::Int).collect());
        SearchSpace::new((0..6).map(|i| Decision::new(format!("d{i}"), digit())).collect()).unwrap()
    }

    /// Evaluates to the sum of the digits.
    #[expect(clippy::unnecessary_wraps, reason = "what an evaluator returns")]
    pub(crate) fn sum(trial: &Trial) -> Result<Outcome> {
        Ok(complete(&[trial.point.codes().iter().copied().map(f64::from).sum()]))
    }

    pub(crate) fn goals(constraints: Vec<Constraint>) -> Goals {
        Goals::new(vec![Objective { metric: "sum".into(), direction: Direction::Maximize }], constraints)
            .unwrap()
    }

    fn create(algorithm: Algorithm, goals: Goals, storage: Option<PathBuf>, seed: u64) -> Result<Study> {
        pruned(algorithm, goals, storage, seed, None)
    }

    fn pruned(
        algorithm: Algorithm,
        goals: Goals,
        storage: Option<PathBuf>,
        seed: u64,
        pruner: Option<Pruner>,
    ) -> Result<Study> {
        Study::create(Setup {
            space: Arc::new(digits()),
            goals,
            feasible: None,
            costs: String::new(),
            algorithm,
            seed,
            pruner,
            facts: vec![("environment".into(), "{}".into())],
            storage,
        })
    }

    fn named(name: &str) -> Algorithm {
        let settings = if name == "random" { json!({}) } else { json!({"population": 20, "sample": 5}) };
        Algorithm::registered(name, &settings, &digits(), &goals(vec![])).unwrap()
    }

    pub(crate) fn open(storage: Option<PathBuf>) -> Result<Study> {
        create(named("regularized_evolution"), goals(vec![]), storage, 0)
    }

    pub(crate) fn study(name: &str, storage: Option<PathBuf>, seed: u64) -> Study {
        create(named(name), goals(vec![]), storage, seed).unwrap()
    }

    fn complete(values: &[f64]) -> Outcome {
        Outcome::Complete(Measurement { values: values.into() })
    }

    #[test]
    fn telling_is_checked() {
        let study = study("random", None, 0);
        let message = |result: Result<Trial>| result.unwrap_err().to_string();
        assert_eq!(
            message(study.tell(0, complete(&[1.0]))),
            "there is no trial 0: none was asked yet; ask before telling"
        );
        assert_eq!(study.ask(3).unwrap().iter().map(|trial| trial.id).collect::<Vec<_>>(), [0, 1, 2]);
        study.tell(1, complete(&[1.0])).unwrap();
        assert_eq!(
            message(study.tell(1, complete(&[2.0]))),
            "trial 1 was told already and is complete; a trial is told once"
        );
        assert_eq!(
            message(study.tell(3, complete(&[1.0]))),
            "there is no trial 3; the study has trials 0 to 2"
        );
        assert_eq!(
            study
                .tell_and_ask(vec![(0, complete(&[1.0])), (0, complete(&[1.0]))], 1)
                .unwrap_err()
                .to_string(),
            "trial 0 is told twice in one call; a trial is told once"
        );
        assert_eq!(
            message(study.tell(0, complete(&[1.0, 2.0]))),
            "a measurement has 2 values; the study has 1 metrics"
        );
        assert_eq!(study.finished().unwrap(), 1);
        assert_eq!(
            study.trial(9).unwrap_err().to_string(),
            "there is no trial 9; the study has trials 0 to 2"
        );
    }

    #[test]
    fn an_outcome_without_its_metrics_is_a_failure() {
        let study = study("random", None, 0);
        study.ask(5).unwrap();
        let reason = |id, outcome| match study.tell(id, outcome).unwrap().outcome {
            Some(Outcome::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(0, complete(&[])), "metric 'sum' is missing");
        assert_eq!(reason(1, complete(&[f64::NAN])), "metric 'sum' is nan, expected a finite number");
        assert_eq!(
            reason(2, complete(&[f64::NEG_INFINITY])),
            "metric 'sum' is -inf, expected a finite number"
        );
        assert_eq!(study.best().unwrap(), None);
        let pruned = Outcome::Pruned(Measurement { values: [].into() });
        assert_eq!(study.tell(3, pruned.clone()).unwrap().outcome, Some(pruned));
        study.column("extra").unwrap();
        let told = study.tell(4, complete(&[1.0, f64::INFINITY])).unwrap();
        assert_eq!(study.best().unwrap(), Some(told));
    }

    #[test]
    fn the_front_is_of_feasible_trials_unless_there_are_none() {
        let limit = Constraint { metric: "cost".into(), low: None, high: Some(1.0) };
        let study = create(named("random"), goals(vec![limit]), None, 0).unwrap();
        study.ask(4).unwrap();
        let front = || study.pareto_front().unwrap().iter().map(|trial| trial.id).collect::<Vec<_>>();
        assert!(front().is_empty());
        study.tell(0, complete(&[9.0, 3.0])).unwrap();
        study.tell(1, complete(&[8.0, 2.0])).unwrap();
        assert_eq!((front(), study.best().unwrap().unwrap().id), (vec![1], 1));
        study.tell(2, complete(&[5.0, 1.0])).unwrap();
        study.tell(3, complete(&[5.0, 0.0])).unwrap();
        assert_eq!((front(), study.best().unwrap().unwrap().id), (vec![2, 3], 2));
    }

    #[test]
    fn everything_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let first = study("regularized_evolution", Some(path.clone()), 5);
        first.ask(6).unwrap();
        first.column("extra metric").unwrap();
        first.tell(4, complete(&[0.1 + 0.2, 1e-300])).unwrap();
        first.tell(0, Outcome::Failed("out of memory".into())).unwrap();
        first.tell(2, Outcome::Pruned(Measurement { values: [f64::NAN, 1.0].into() })).unwrap();
        let trials = first.trials().unwrap();
        drop(first);
        let again = study("regularized_evolution", Some(path.clone()), 5);
        // NaN is unequal to itself, so compare what is printed.
        assert_eq!(format!("{:?}", again.trials().unwrap()), format!("{trials:?}"));
        assert_eq!(again.metrics().unwrap(), ["sum", "extra metric"]);
        let asked: Vec<TrialId> = again.ask(4).unwrap().iter().map(|trial| trial.id).collect();
        assert_eq!(asked, [1, 3, 5, 6], "those given back come first");

        let third = study("regularized_evolution", Some(path), 5);
        let asked: Vec<TrialId> = third.ask(1).unwrap().iter().map(|trial| trial.id).collect();
        assert_eq!(asked, [7], "those of a living study are not taken");
        third.tell(3, complete(&[1.0])).unwrap();
        assert_eq!(
            again.tell(3, complete(&[2.0])).unwrap_err().to_string(),
            "trial 3 was told already and is complete; a trial is told once"
        );
    }

    #[test]
    fn another_study_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        drop(study("random", Some(path.clone()), 5));
        let error = create(named("random"), goals(vec![]), Some(path.clone()), 6).err().unwrap();
        let start = format!("'{}' holds another study:\n  seed: 5 in the file, 6 given\n", path.display());
        assert!(matches!(&error, Error::Study(why) if why.starts_with(&start)), "{error}");
    }

    #[test]
    fn files_that_are_no_studies_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: PathBuf| match create(named("random"), goals(vec![]), Some(path), 0) {
            Err(Error::Storage(why)) => why,
            other => panic!("{:?}", other.map(|_| ())),
        };
        let text = folder.path().join("text.db");
        std::fs::write(&text, "not a database at all, only some text that is long enough".repeat(20))
            .unwrap();
        assert!(open(text.clone()).contains("is not the file of a study"), "{}", open(text));

        let foreign = folder.path().join("foreign.db");
        rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(
            open(foreign.clone()).ends_with("is an SQLite database of another program; give another storage")
        );

        let newer = folder.path().join("newer.db");
        drop(study("random", Some(newer.clone()), 0));
        rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(
            open(newer)
                .contains("was written by a newer modularnas (file layout 99; this one reads up to 2)")
        );

        assert!(open(folder.path().to_path_buf()).contains("is a folder"));
        assert!(open(folder.path().join("no/run.db")).contains("does not exist; create it"));
        assert!(open(PathBuf::from(":memory:")).contains("None to keep the study in memory"));
        // Root may write anywhere but here.
        #[cfg(target_os = "linux")]
        assert!(open(PathBuf::from("/proc/run.db")).starts_with("cannot write '/proc/run.db'"));
    }

    #[test]
    fn damage_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let edits = [
            ("UPDATE trials SET codes = x'00' WHERE number = 2", "trial 2 has no point of the search space"),
            ("DELETE FROM trials WHERE number = 1", "trial 1 is missing"),
            ("UPDATE trials SET metrics = '[]' WHERE number = 1", "trial 1 has unreadable metrics"),
            ("UPDATE trials SET told = 9 WHERE number = 1", "trial 2 is told out of order"),
            ("UPDATE trials SET metrics = '{\"sum\": 2.0}' WHERE number = 1", "trial 1 is not what was told"),
            ("UPDATE trials SET state = 'running' WHERE number = 1", "trial 1 was told and is 'running'"),
            ("DELETE FROM study WHERE key = 'seed'", "the study's seed is missing"),
            ("UPDATE study SET value = '{' WHERE key = 'space'", "the study's space is unreadable"),
        ];
        for (i, (edit, expected)) in edits.into_iter().enumerate() {
            let path = folder.path().join(format!("{i}.db"));
            let whole = study("random", Some(path.clone()), 0);
            whole.ask(3).unwrap();
            for id in 0..3 {
                whole.tell(id, complete(&[1.0])).unwrap();
            }
            drop(whole);
            rusqlite::Connection::open(&path).unwrap().execute_batch(edit).unwrap();
            let error = create(named("random"), goals(vec![]), Some(path), 0).err().unwrap();
            assert!(matches!(&error, Error::Storage(why) if why.contains(expected)), "{error}");
        }
    }

    #[test]
    fn reports_are_there_after_opening_again_and_of_the_last_attempt_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let open = || study("random", Some(path.clone()), 0);
        let first = open();
        first.ask(2).unwrap();
        first.report(0, 1, vec![(0, 2.0)]).unwrap();
        first.report(0, 0, vec![(0, f64::INFINITY)]).unwrap();
        first.report(0, 1, vec![(0, 3.0)]).unwrap();
        first.report(1, 0, vec![(0, 1.0)]).unwrap();
        first.tell(0, complete(&[3.0])).unwrap();
        let other = open();
        assert_eq!(other.reports(0).unwrap()[1], Report { step: 1, values: Box::new([(0, 3.0)]) });
        assert_eq!(other.reports(0).unwrap(), first.reports(0).unwrap());
        drop(first);
        assert_eq!(other.ask(1).unwrap()[0].id, 1);
        assert!(other.reports(1).unwrap().is_empty() && open().reports(1).unwrap().is_empty());
        assert_eq!(
            other.report(0, 5, vec![(0, 1.0)]).unwrap_err().to_string(),
            "trial 0 is finished; only a running trial reports"
        );
        let column = other.column("more").unwrap();
        assert_eq!(
            other.report(1, 5, vec![(column, 1.0)]).unwrap_err().to_string(),
            "trial 1 reports none of the objectives; report a number, or a dict with at least one of 'sum'"
        );
    }

    #[test]
    fn a_pruner_sees_the_reports_of_every_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let rule = || Some(Pruner::read(&json!({"name": "percentile", "startup_trials": 2})).unwrap());
        let open = || pruned(named("random"), goals(vec![]), Some(path.clone()), 0, rule()).unwrap();
        let (one, two) = (open(), open());
        one.ask(2).unwrap();
        for id in 0..2 {
            one.report(id, 3, vec![(0, 5.0)]).unwrap();
            one.tell(id, complete(&[5.0])).unwrap();
        }
        two.ask(1).unwrap();
        two.report(2, 3, vec![(0, 4.0)]).unwrap();
        assert!(two.should_prune(2).unwrap() && one.should_prune(2).unwrap());
        two.report(2, 4, vec![(0, 4.0)]).unwrap();
        assert!(!two.should_prune(2).unwrap());
    }

    #[test]
    fn trials_from_elsewhere_are_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let open = || study("regularized_evolution", Some(path.clone()), 0);
        let given = |i| (Proposal::new(digits().sample(9, i)), complete(&[i as f64]));
        let first = open();
        let added = first.add((0..30).map(given).collect()).unwrap();
        assert_eq!((added[29].id, first.best().unwrap().unwrap().id), (29, 29));
        let next = first.ask(1).unwrap();
        assert_eq!(next[0].id, 30);
        drop(first);
        assert_eq!(open().ask(1).unwrap(), next);
    }

    #[test]
    fn a_file_of_the_first_layout_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let open = || study("regularized_evolution", Some(path.clone()), 0);
        let first = open();
        let asked = first.ask(4).unwrap();
        for id in 0..3 {
            first.tell(id, complete(&[id as f64])).unwrap();
        }
        drop(first);
        let downgrade = "ALTER TABLE trials DROP COLUMN attempts; ALTER TABLE trials DROP COLUMN deaths;
            ALTER TABLE trials DROP COLUMN digest; DROP TABLE reports; DROP TABLE owners;
            DELETE FROM study WHERE key IN ('costs', 'environment'); PRAGMA user_version = 1";
        rusqlite::Connection::open(&path).unwrap().execute_batch(downgrade).unwrap();
        let again = open();
        assert_eq!(again.finished().unwrap(), 3);
        assert_eq!(again.ask(1).unwrap(), asked[3..]);
        again.report(3, 0, vec![(0, 1.0)]).unwrap();
        again.tell(3, complete(&[1.0])).unwrap();
        drop(again);
        assert_eq!(open().finished().unwrap(), 4);
    }

    #[test]
    fn a_trial_whose_owner_dies_again_and_again_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let open = || study("random", Some(path.clone()), 0);
        let want = |count| move |_: &Memory| Want { count, deaths: Some(2) };
        for death in 0..2 {
            let here = open();
            let turn = here.turn(Vec::new(), Late::Drop, want(1)).unwrap();
            assert_eq!((turn.asked[0].id, turn.told.len()), (0, 0), "death {death}");
            // What a process leaves behind that did not come to give its trials back.
            rusqlite::Connection::open(&path)
                .unwrap()
                .execute("UPDATE trials SET owner = replace(owner, ':', ':0')", [])
                .unwrap();
        }
        let turn = open().turn(Vec::new(), Late::Drop, want(2)).unwrap();
        assert_eq!((turn.told[0].id, turn.asked[0].id), (0, 1));
        let reason = "the process that evaluated it died 2 times (killed, or out of memory)".to_string();
        assert_eq!(turn.told[0].outcome, Some(Outcome::Failed(reason)));
    }

    #[test]
    fn bytes_turned_over_never_panic_or_hang() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let whole = study("random", Some(path.clone()), 0);
        whole.ask(40).unwrap();
        for id in 0..40 {
            whole.tell(id, complete(&[1.0])).unwrap();
        }
        drop(whole);
        let bytes = std::fs::read(&path).unwrap();
        let mut rng = crate::rng::stream(0, 0, "test");
        for _ in 0..200 {
            use rand::Rng as _;
            let mut damaged = bytes.clone();
            for _ in 0..rng.random_range(1..30) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] = rng.random();
            }
            damaged.truncate(if rng.random() { damaged.len() } else { rng.random_range(0..damaged.len()) });
            std::fs::write(&path, damaged).unwrap();
            match create(named("random"), goals(vec![]), Some(path.clone()), 0) {
                Ok(_) | Err(Error::Storage(_) | Error::Study(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_removed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let study = study("random", Some(path.clone()), 0);
        study.ask(1).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = study.tell(0, complete(&[1.0])).unwrap_err().to_string();
        assert!(error.contains("was removed or replaced while the study was using it"), "{error}");
    }

    #[test]
    fn a_failing_algorithm_takes_no_outcome_with_it() {
        struct Grumpy(u64);
        impl SearchAlgorithm for Grumpy {
            fn ask(&self, cx: &Context<'_>, _: usize) -> Result<Vec<Proposal>> {
                if cx.next == self.0 {
                    Err(Error::Search("no".into()))
                } else {
                    Ok(vec![Proposal::new(cx.space.sample(0, 0))])
                }
            }

            fn tell(&mut self, _: &Context<'_>, finished: &[Trial]) -> Result<()> {
                if finished[0].id == 5 { Err(Error::Search("no idea".into())) } else { Ok(()) }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.db");
        let open = |refused| {
            create(
                Algorithm::custom("grumpy", json!(null), Box::new(Grumpy(refused))),
                goals(vec![]),
                Some(path.clone()),
                0,
            )
            .unwrap()
        };
        let study = open(1);
        study.ask(1).unwrap();
        assert_eq!(study.tell_and_ask(vec![(0, complete(&[1.0]))], 1).unwrap_err().to_string(), "no");
        assert_eq!(study.finished().unwrap(), 1);
        drop(study);
        let study = open(u64::MAX);
        assert_eq!(study.finished().unwrap(), 1);
        for id in 1..6 {
            study.ask(1).unwrap();
            let told = study.tell(id, complete(&[1.0]));
            assert_eq!(told.is_err(), id == 5);
        }
        let error = study.ask(1).unwrap_err().to_string();
        assert!(error.contains("its search algorithm failed to learn (no idea)"), "{error}");
        assert_eq!(study.finished().unwrap(), 6);
    }

    #[test]
    fn an_algorithm_that_calls_its_own_study_is_told_so() {
        use std::sync::OnceLock;
        struct Nosy(Arc<OnceLock<Study>>);
        impl SearchAlgorithm for Nosy {
            fn ask(&self, _: &Context<'_>, _: usize) -> Result<Vec<Proposal>> {
                self.0.get().unwrap().trials().map(|_| Vec::new())
            }

            fn tell(&mut self, _: &Context<'_>, _: &[Trial]) -> Result<()> {
                Ok(())
            }
        }
        let cell = Arc::new(OnceLock::new());
        let algorithm = Algorithm::custom("nosy", json!(null), Box::new(Nosy(Arc::clone(&cell))));
        cell.set(create(algorithm, goals(vec![]), None, 0).unwrap()).ok().unwrap();
        let error = cell.get().unwrap().ask(1).unwrap_err().to_string();
        assert!(error.starts_with("the study was used from inside its own search algorithm"), "{error}");
        assert!(cell.get().unwrap().trials().unwrap().is_empty());
    }
}
