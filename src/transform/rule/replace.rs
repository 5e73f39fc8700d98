//! Rules `replace` and `slots`: a module becomes a choice between candidate ops.

use super::{Effect, Opening};
use crate::space::{Domain, Label};

/// The name of the candidate that is the given module itself.
pub(crate) const ORIGINAL: &str = "original";

pub(super) fn open(candidates: &[String]) -> Opening {
    Opening {
        suffix: "op",
        domain: Domain::Categorical(candidates.iter().map(|name| Label::Text(name.clone())).collect()),
        original: candidates.iter().position(|name| name == ORIGINAL).map(|code| code as i32),
        effect: Effect::Choice { candidates: candidates.to_vec() },
    }
}
