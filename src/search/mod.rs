//! Search algorithms (the paper's Ω): what to try next, by ask and tell.
//!
//! An algorithm knows the space and the trials; it knows no network, no evaluator, no file and no loop. One algorithm
//! is one file (copy `regularized_evolution.rs`): a settings struct whose fields are the user's keyword arguments,
//! and a state struct behind [`SearchAlgorithm`]. It is registered by two words below: `mod x;` and its name in
//! `algorithms!`.
//!
//! The laws, which the conformance kit checks for every registered algorithm:
//! - state changes only in `tell`, so replaying the stored trials restores an algorithm exactly;
//! - `tell` of two trials equals `tell` of one and then of the other, and depends on nothing else that changes (not on
//!   `next` or `running`);
//! - randomness comes from [`Context::rng`] (in `tell`: [`stream`] of the told trial's number), so a run is a function
//!   of the seed and the told outcomes;
//! - an empty answer of `ask` means that the space is exhausted.

mod ageing;
mod asha;
mod bananas;
mod bohb;
mod brackets;
mod candidates;
mod cma_es;
mod dehb;
mod differential_evolution;
mod evolution;
mod generational;
mod genetic;
mod gp_bo;
mod grid;
mod history;
mod hyperband;
mod individual;
mod kde;
mod local_search;
mod mo_regularized_evolution;
mod model_based;
mod moead;
mod npenas;
mod nsga2;
mod nsga3;
pub mod operators;
mod path_encoding;
mod pbt;
mod policy;
mod ppo;
mod predictor_local;
mod random;
mod ranked;
mod regularized_evolution;
mod reinforce;
mod reward;
mod rungs;
mod simulated_annealing;
mod smac;
mod successive_halving;
mod tpe;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use asha::Asha;
pub use bananas::Bananas;
pub use bohb::Bohb;
pub use cma_es::CmaEs;
pub use dehb::Dehb;
pub use differential_evolution::DifferentialEvolution;
pub use evolution::Evolution;
pub use genetic::Genetic;
pub use gp_bo::GpBo;
pub use grid::Grid;
pub use hyperband::Hyperband;
pub use local_search::LocalSearch;
pub use mo_regularized_evolution::MoRegularizedEvolution;
pub use model_based::ModelBased;
pub use moead::Moead;
pub use npenas::Npenas;
pub use nsga2::Nsga2;
pub use nsga3::Nsga3;
pub use path_encoding::Cell;
pub use pbt::Pbt;
pub use ppo::Ppo;
pub use predictor_local::PredictorLocal;
pub use random::Random;
pub use regularized_evolution::RegularizedEvolution;
pub use reinforce::Reinforce;
pub use simulated_annealing::SimulatedAnnealing;
pub use smac::Smac;
pub use successive_halving::SuccessiveHalving;
pub use tpe::Tpe;

use crate::cost::Feasible;
use crate::error::{Error, Result, suggest};
use crate::rng::{Rng, stream};
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Proposal, Trial, TrialId};

/// What an algorithm may look at.
pub struct Context<'a> {
    /// Where it searches.
    pub space: &'a SearchSpace,
    /// What it is after.
    pub goals: &'a Goals,
    /// The seed of the run.
    pub seed: u64,
    /// The number that the next proposed trial will get.
    pub next: TrialId,
    /// Trials asked for and not yet told; for `ask` only.
    pub running: &'a [Trial],
    /// The points that keep those constraints whose costs are known in closed form, if there are such constraints.
    pub feasible: Option<&'a Feasible>,
}

impl Context<'_> {
    /// The generator of the `offset`-th proposal of this `ask`.
    #[must_use]
    #[inline]
    pub fn rng(&self, offset: usize) -> Rng {
        stream(self.seed, self.next + offset as u64, "ask")
    }

    /// A random point: one of the feasible ones, where they are known.
    #[must_use]
    pub fn draw(&self, rng: &mut Rng) -> Point {
        match self.feasible {
            Some(feasible) => feasible.draw(rng),
            None => self.space.draw(rng),
        }
    }

    /// [`Context::draw`], written over another point of the space.
    pub fn draw_into(&self, point: &mut Point, rng: &mut Rng) {
        match self.feasible {
            Some(feasible) => *point = feasible.draw(rng),
            None => self.space.draw_into(point, rng),
        }
    }
}

/// A search algorithm.
pub trait SearchAlgorithm: Send {
    /// Up to `count` points to evaluate next; fewer (or none) when the space has no more.
    ///
    /// # Errors
    /// [`Error::Search`] if the algorithm cannot go on.
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>>;

    /// One proposal of [`SearchAlgorithm::ask`], written over `proposal` so that its memory is used again; false: there
    /// is none. For loops in which an allocation counts; whoever writes it anew proposes exactly what `ask` does.
    ///
    /// # Errors
    /// As [`SearchAlgorithm::ask`].
    fn ask_into(&self, cx: &Context<'_>, proposal: &mut Proposal) -> Result<bool> {
        let Some(asked) = self.ask(cx, 1)?.pop() else { return Ok(false) };
        *proposal = asked;
        Ok(true)
    }

    /// Learns the outcomes of finished trials, in the order they finished.
    ///
    /// # Errors
    /// [`Error::Search`] if the algorithm cannot use them.
    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()>;
}

/// The settings of an algorithm: plain data with defaults, from which it is built.
pub trait Settings: Serialize + DeserializeOwned + JsonSchema + Default {
    /// The registered name.
    const NAME: &'static str;

    /// The algorithm for one study.
    ///
    /// # Errors
    /// [`Error::Search`] for settings out of range, or a space or goals that the algorithm cannot serve.
    fn build(self, space: &SearchSpace, goals: &Goals) -> Result<Box<dyn SearchAlgorithm>>;
}

/// A registered algorithm.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The JSON schema of its settings, with documentation and defaults.
    pub schema: fn() -> serde_json::Value,
    /// Its settings with defaults filled in, checked.
    pub complete: fn(&serde_json::Value) -> Result<serde_json::Value>,
    /// The algorithm with these settings.
    pub create: fn(&serde_json::Value, &SearchSpace, &Goals) -> Result<Box<dyn SearchAlgorithm>>,
}

macro_rules! algorithms {
    ($($settings:ty),* $(,)?) => {
        /// Every registered algorithm, by name.
        pub const ALGORITHMS: &[Entry] = &[$(Entry {
            name: <$settings as Settings>::NAME,
            schema: schema::<$settings>,
            complete: complete::<$settings>,
            create: create::<$settings>,
        }),*];
    };
}

algorithms![
    Asha,
    Bananas,
    Bohb,
    CmaEs,
    Dehb,
    DifferentialEvolution,
    Evolution,
    Genetic,
    GpBo,
    Grid,
    Hyperband,
    LocalSearch,
    MoRegularizedEvolution,
    ModelBased,
    Moead,
    Npenas,
    Nsga2,
    Nsga3,
    Pbt,
    Ppo,
    PredictorLocal,
    Random,
    RegularizedEvolution,
    Reinforce,
    SimulatedAnnealing,
    Smac,
    SuccessiveHalving,
    Tpe,
];

/// The registered algorithm of this name.
///
/// # Errors
/// [`Error::Search`] with near matches.
pub fn find(name: &str) -> Result<&'static Entry> {
    ALGORITHMS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known = ALGORITHMS.iter().map(|entry| entry.name);
        Error::Search(format!("there is no search algorithm '{name}'{}", suggest(name, known)))
    })
}

fn parse<S: Settings>(settings: &serde_json::Value) -> Result<S> {
    serde_json::from_value(settings.clone())
        .map_err(|e| Error::Search(format!("search algorithm '{}': {e}", S::NAME)))
}

fn schema<S: Settings>() -> serde_json::Value {
    schemars::schema_for!(S).to_value()
}

fn complete<S: Settings>(settings: &serde_json::Value) -> Result<serde_json::Value> {
    serde_json::to_value(parse::<S>(settings)?).map_err(|e| Error::Internal(e.to_string()))
}

fn create<S: Settings>(
    settings: &serde_json::Value,
    space: &SearchSpace,
    goals: &Goals,
) -> Result<Box<dyn SearchAlgorithm>> {
    parse::<S>(settings)?.build(space, goals)
}

/// `Error::Search` unless `holds`; for checks of settings.
pub(crate) fn require(holds: bool, algorithm: &str, why: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Search(format!("search algorithm '{algorithm}': {}", why()))) }
}

#[cfg(test)]
pub(crate) mod conformance;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::mixed;
    use crate::trial::{Direction, Objective};

    fn goals() -> Goals {
        Goals::new(vec![Objective { metric: "s".into(), direction: Direction::Maximize }], vec![]).unwrap()
    }

    #[test]
    fn every_name_is_unique_and_every_default_works() {
        for (i, entry) in ALGORITHMS.iter().enumerate() {
            assert!(ALGORITHMS[..i].iter().all(|earlier| earlier.name != entry.name));
            let settings = (entry.complete)(&serde_json::json!({})).unwrap();
            let numbers = conformance::numeric();
            (entry.create)(&settings, &mixed(), &goals())
                .or_else(|_| (entry.create)(&settings, &numbers, &goals()))
                .unwrap();
            assert!((entry.schema)()["description"].is_string(), "{} has no documentation", entry.name);
        }
    }

    #[test]
    fn wrong_names_and_settings_are_explained() {
        let message = find("regularised_evolution").err().unwrap().to_string();
        assert_eq!(
            message,
            "there is no search algorithm 'regularised_evolution'; did you mean 'regularized_evolution' or \
             'mo_regularized_evolution'?"
        );
        let entry = find("regularized_evolution").unwrap();
        let message = (entry.complete)(&serde_json::json!({"populaton": 3})).unwrap_err().to_string();
        assert!(message.contains("populaton") && message.contains("population"), "{message}");
        let message = (entry.create)(&serde_json::json!({"population": 0}), &mixed(), &goals())
            .err()
            .unwrap()
            .to_string();
        assert_eq!(message, "search algorithm 'regularized_evolution': population is 0, expected 1 or more");
    }
}
