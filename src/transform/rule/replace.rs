//! Rules `replace` and `slots`: a module becomes a choice between candidate ops.

use std::collections::BTreeMap;

use super::{Effect, Opening};
use crate::space::{Domain, Label};

/// The name of the candidate that is the given module itself.
const ORIGINAL: &str = "original";

pub(super) fn open(candidates: &[String]) -> Opening {
    Opening {
        suffix: "op",
        domain: Domain::Categorical(candidates.iter().map(|name| Label::Text(name.clone())).collect()),
        original: candidates.iter().position(|name| name == ORIGINAL).map(|code| code as i32),
        shares: None,
        effect: Effect::Choice {
            candidates: candidates.to_vec(),
            given: candidates.iter().position(|name| name == ORIGINAL),
        },
    }
}

/// A choice between kinds, one of which is that of the given module.
pub(super) fn open_kinds(
    suffix: &'static str,
    given: &str,
    kinds: &[String],
    unfit: &BTreeMap<String, String>,
) -> Result<Opening, String> {
    if !kinds.iter().any(|kind| kind == given) {
        return Err(format!("its {suffix} '{given}' is not among the choices {kinds:?}"));
    }
    let legal: Vec<String> = kinds.iter().filter(|kind| !unfit.contains_key(*kind)).cloned().collect();
    if legal.len() < 2 {
        let why: Vec<&str> = unfit.values().map(String::as_str).collect();
        return Err(format!("no other {suffix} of {kinds:?} fits ({})", why.join("; ")));
    }
    let given = legal.iter().position(|kind| kind == given);
    Ok(Opening {
        suffix,
        domain: Domain::Categorical(legal.iter().map(|kind| Label::Text(kind.clone())).collect()),
        original: given.map(|code| code as i32),
        shares: None,
        effect: Effect::Choice { candidates: legal, given },
    })
}
