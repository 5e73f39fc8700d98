//! Rule `activation`: which activation is used.
//!
//! The kinds are the candidate ops of the family `activation`. The given one is the given module itself, so it must be
//! among the choices. An activation acts on each element alone, so the widths around it vary as without the choice.

use std::collections::BTreeMap;

use super::{Opening, replace};
use crate::network::{Kind, Node};

pub(super) fn open(
    node: &Node,
    kinds: &[String],
    unfit: &BTreeMap<String, String>,
) -> Result<Opening, String> {
    let Kind::Activation { name } = &node.kind else { return Err("it is no activation".into()) };
    replace::open_kinds("activation", name, kinds, unfit)
}
