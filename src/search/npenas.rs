//! NPENAS: evolution that makes many children and evaluates those that a predictor ranks first.
//!
//! Wei, Niu, Tang, Wang, Hu and Liang 2020, "NPENAS: Neural Predictor Guided Evolution for Neural Architecture Search",
//! arXiv 2003.12857, algorithm 1. Every `every` trials a predictor is fitted to all trials; the `parents` best points get
//! `children` children each by one or more mutations, and the children are tried in the order of their predicted loss.
//!
//! Deviations: the predictor is a Gaussian process on the one-hot encoding (the paper's graph network needs the graph of
//! a cell), whose mean ranks best of our surrogates at these sizes; several objectives and constraints as in `bananas`.
//! Defaults: 10 parents with 10 children, 10 trials a model are the paper's (section 4.1). A fit costs that of the
//! model (O(n^3) of a Gaussian process, 20 ms at 200 trials), due for every tenth part of the history at most.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates;
use super::history::{Past, weights};
use super::ranked::{Ranked, Ranker};
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::predict::{Model, Rows};
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::Goals;

/// NPENAS (Wei et al. 2020, arXiv 2003.12857): evolution whose many children are ranked by a predictor before the
/// first of them are evaluated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Npenas {
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// A new predictor is fitted after so many further trials; 1 or more.
    pub every: usize,
    /// Number of best points that get children; 1 or more.
    pub parents: usize,
    /// Children of each parent; 1 or more.
    pub children: usize,
    /// What predicts the loss.
    pub model: Model,
}

impl Default for Npenas {
    fn default() -> Self {
        Npenas { startup: 10, every: 10, parents: 10, children: 10, model: Model::Gp }
    }
}

impl Settings for Npenas {
    const NAME: &'static str = "npenas";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        for (name, value) in [
            ("startup", self.startup),
            ("every", self.every),
            ("parents", self.parents),
            ("children", self.children),
        ] {
            require(value >= 1, Self::NAME, || format!("{name} is {value}, expected 1 or more"))?;
        }
        let (startup, every) = (self.startup, self.every);
        Ok(Box::new(Ranked::new(self, startup, every, 0.0)))
    }
}

impl Ranker for Npenas {
    fn rank(&self, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Vec<Point>> {
        let targets = past.targets(&weights(goals.objectives().len(), rng));
        let rows = Rows::of(past.space, past.points);
        let fitted = self.model.surrogate(past.space).fit(&rows, &targets, rng)?;
        let parents = past.best(&targets, self.parents);
        let points = candidates::around(past, &parents, self.parents * self.children, rng);
        let believed = fitted.predict(&Rows::of(past.space, &points))?;
        Ok(candidates::descending(believed.iter().map(|belief| -belief.mean).zip(points).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::conformance::{digit_loss, gain_over_random, grid, mixed_gain};

    #[test]
    fn it_beats_random_search() {
        let settings = Npenas::default();
        assert!(gain_over_random(&settings, &grid(8, 10), digit_loss, 60) > 5.0);
        assert!(mixed_gain(&settings, 60) > 0.1);
    }
}
