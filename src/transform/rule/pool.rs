//! Rule `pool`: maximum or average over the same windows.

use std::collections::BTreeMap;

use super::{Opening, replace};
use crate::network::{Kind, Node};

pub(super) fn open(
    node: &Node,
    kinds: &[String],
    unfit: &BTreeMap<String, String>,
) -> Result<Opening, String> {
    let Kind::Pool { name } = &node.kind else { return Err("it is no pooling".into()) };
    replace::open_kinds("pool", name, kinds, unfit)
}
