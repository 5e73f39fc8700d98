//! Random search: every proposal drawn independently of all results.
//!
//! The baseline that every search must beat at equal budget (Li and Talwalkar 2019, arXiv 1902.07638; Yu et al. 2020,
//! arXiv 1902.08142). Each decision is uniform over its values, so points repeat in small spaces, as in the
//! published baselines. An ask costs one draw and no memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, SearchAlgorithm, Settings};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::{Fidelity, Goals, Proposal, Trial};

/// Random search: every decision uniform over its values, independent of all results (Li and Talwalkar 2019,
/// arXiv 1902.07638). The baseline that a search must beat at equal budget.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Random {}

impl Settings for Random {
    const NAME: &'static str = "random";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        Ok(Box::new(Memoryless))
    }
}

struct Memoryless;

impl SearchAlgorithm for Memoryless {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        Ok((0..count).map(|i| Proposal::new(cx.draw(&mut cx.rng(i)))).collect())
    }

    fn ask_into(&self, cx: &Context<'_>, proposal: &mut Proposal) -> Result<bool> {
        cx.draw_into(&mut proposal.point, &mut cx.rng(0));
        (proposal.fidelity, proposal.parent) = (Fidelity::Full, None);
        Ok(true)
    }

    fn tell(&mut self, _: &Context<'_>, _: &[Trial]) -> Result<()> {
        Ok(())
    }
}
