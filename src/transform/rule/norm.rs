//! Rule `norm`: which normalisation is used, for the same channels.
//!
//! The kinds are the candidate ops of the family `norm`. The given one is the given module itself, with its weights and
//! statistics; the others start as new ones. Which of them a place allows depends on where it has its channels.

use std::collections::BTreeMap;

use super::{Opening, replace};
use crate::network::{Kind, Node};

pub(super) fn open(
    node: &Node,
    kinds: &[String],
    unfit: &BTreeMap<String, String>,
) -> Result<Opening, String> {
    let Kind::Norm { name } = &node.kind else { return Err("it is no normalisation".into()) };
    replace::open_kinds("norm", name, kinds, unfit)
}
