//! Rule `depth`: how many blocks of a stage stay.
//!
//! A stage is a run of sibling modules of one class, each of which adds something to what it is given (a residual) and
//! so gives the same shape; it may start with one that changes the shape. Leaving out its last blocks leaves a network
//! that runs: Once-for-All (Cai et al. 2020, arXiv 1908.09791, section 3.3, "elastic depth": the first blocks stay).
//! Deviation: any residual network has stages, found from the data flow; blocks without a residual are left out only if
//! `where=` names them.

use std::collections::HashMap;

use super::{AppliedRule, Effect, Opening};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::space::{Domain, Label};

/// What can be opened, and which modules cannot be left out.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    pub(crate) open: Vec<Stage>,
    /// Module and reason.
    pub(crate) fixed: Vec<(usize, String)>,
}

/// A run of blocks.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The module that names it.
    pub(crate) node: usize,
    pub(crate) opening: Opening,
    /// The blocks that may be left out, in order.
    pub(crate) blocks: Vec<usize>,
}

pub(super) fn stages(
    network: &Network,
    applied: &AppliedRule,
    nodes: &HashMap<&str, usize>,
    min: u64,
) -> Result<Stages> {
    let mut targets = vec![false; network.nodes.len()];
    for path in &applied.targets {
        let index = nodes.get(path.as_str());
        targets[*index.ok_or_else(|| Error::Network(format!("the network has no module '{path}'")))?] = true;
    }
    let mut stages = Stages::default();
    let mut inside: Vec<&str> = Vec::new();
    for parent in 0..network.nodes.len() {
        let path = network.nodes[parent].path.as_str();
        // Blocks inside of a block of a stage stay with it.
        if inside.iter().any(|block| crate::network::is_within(path, block)) && !applied.named {
            continue;
        }
        let children: Vec<usize> = network.children(parent);
        let mut at = 0;
        while at < children.len() {
            let first = children[at];
            let class = &network.nodes[first].class;
            let head = usize::from(passes(network, first, applied.named).is_err());
            let mut end = at + 1;
            while end < children.len()
                && network.nodes[children[end]].class == *class
                && targets[children[end]]
                && passes(network, children[end], applied.named).is_ok()
            {
                end += 1;
            }
            let run = &children[at..end];
            at = end;
            if !targets[first] && head == 0 || !targets[*run.last().unwrap_or(&first)] {
                continue;
            }
            if run.len() < 2 {
                // Of the many modules that are no blocks only those are worth a word that the user named.
                if !applied.named {
                    continue;
                }
                if let Err(reason) = passes(network, first, applied.named) {
                    stages.fixed.push((first, reason));
                } else {
                    stages.fixed.push((first, "it is the only block of its stage".into()));
                }
                continue;
            }
            inside.extend(run.iter().map(|&node| network.nodes[node].path.as_str()));
            let most = run.len() as u64;
            let kept: Vec<u64> = (min.max(head as u64)..=most).collect();
            if kept.len() < 2 {
                stages.fixed.push((first, format!("its stage has {most} blocks, of which {min} must stay")));
                continue;
            }
            let all = run.len() == children.len();
            stages.open.push(Stage {
                node: if all { parent } else { first },
                opening: Opening {
                    suffix: "depth",
                    domain: Domain::Categorical(kept.iter().map(|&n| Label::Int(n as i64)).collect()),
                    original: Some(kept.len() as i32 - 1),
                    shares: None,
                    effect: Effect::Depth { kept, head },
                },
                blocks: run[head..].to_vec(),
            });
        }
    }
    Ok(stages)
}

/// Whether a module can be left out: everything that reads its output can read its input instead.
fn passes(network: &Network, node: usize, named: bool) -> std::result::Result<(), String> {
    let flow = &network.flow;
    let mut calls = flow.calls.iter().filter(|call| call.node == node).peekable();
    if calls.peek().is_none() {
        return Err("it did not run on the example".into());
    }
    for call in calls {
        let (Some(&input), [output]) = (call.inputs.first(), &call.outputs[..]) else {
            return Err(format!("it returns {} tensors", call.outputs.len()));
        };
        if flow.tensors[input] != flow.tensors[*output] {
            return Err(format!(
                "it gives {:?} for {:?}, so what comes next cannot do without it",
                flow.tensors[*output], flow.tensors[input]
            ));
        }
        if !call.residual && !named {
            return Err(
                "it adds nothing to its input (no residual); name it by where= to leave it out".into()
            );
        }
    }
    Ok(())
}
