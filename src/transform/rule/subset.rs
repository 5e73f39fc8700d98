//! Rule `subset`: which modules of a list stay.
//!
//! The choice of input edges in cell-based spaces: a node keeps the given number of its incoming edges (Liu, Simonyan
//! and Yang 2018, DARTS, arXiv 1806.09055, section 2.4, where it is 2; the `InputChoice` of other libraries). The
//! modules of a list, each an edge, stay or are left out whole; the model's forward goes over the list and is given
//! those that stay.

use std::collections::HashMap;

use super::depth::{Stage, Stages};
use super::{AppliedRule, Effect, Opening};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::space::{Domain, Label};

pub(super) fn stages(
    network: &Network,
    applied: &AppliedRule,
    nodes: &HashMap<&str, usize>,
    take: usize,
) -> Result<Stages> {
    let mut stages = Stages::default();
    for path in &applied.targets {
        let node = *nodes
            .get(path.as_str())
            .ok_or_else(|| Error::Network(format!("the network has no module '{path}'")))?;
        let blocks = network.children(node);
        if blocks.len() <= take {
            stages.fixed.push((node, format!("it has {} modules, of which {take} stay", blocks.len())));
            continue;
        }
        let from = (0..blocks.len() as i64).map(Label::Int).collect();
        let domain = Domain::Subset { from, take };
        let count = domain.count().and_then(|count| i32::try_from(count).ok()).unwrap_or(i32::MAX);
        if count > MOST {
            stages.fixed.push((node, format!("{take} of {} modules are too many choices", blocks.len())));
            continue;
        }
        let chosen: Vec<Vec<usize>> = (0..count).filter_map(|code| domain.subset(code)).collect();
        let present = (0..blocks.len())
            .map(|block| chosen.iter().map(|subset| subset.contains(&block)).collect())
            .collect();
        let opening = Opening {
            suffix: "subset",
            domain,
            original: None,
            shares: None,
            effect: Effect::Subset { present },
        };
        stages.open.push(Stage { node, opening, blocks });
    }
    Ok(stages)
}

/// Every choice is written out for every module.
const MOST: i32 = 100_000;
