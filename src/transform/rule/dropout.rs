//! Rule `dropout`: the probability with which a dropout leaves out elements, or a stochastic depth paths.
//!
//! It changes training alone; in eval mode, and in what it costs, every choice is the same.

use super::{Effect, ModuleAttribute, Opening};
use crate::network::{Kind, Node};
use crate::space::{Domain, Label};

pub(super) fn open(node: &Node, ps: &[f64]) -> Result<Opening, String> {
    let Kind::Dropout { attribute, p } = &node.kind else { return Err("it is no dropout".into()) };
    let original = ps.iter().position(|other| other == p);
    if original.is_none() {
        return Err(format!("its probability {p} is not among the choices {ps:?}"));
    }
    let labels: Vec<Label> = ps.iter().map(|&p| Label::Real(p)).collect();
    let name = attribute.clone();
    Ok(Opening {
        suffix: "dropout",
        domain: Domain::Categorical(labels.clone()),
        original: original.map(|code| code as i32),
        shares: None,
        effect: Effect::Attributes(vec![ModuleAttribute { path: node.path.clone(), name, values: labels }]),
    })
}
