//! One error type for every room, and the `Result` that carries it.
//!
//! A message says what was given, what was expected, where (decision name or module path) and what to do.
//! The bindings map each variant to one Python class; nothing else in the crate knows Python.

use std::fmt::Write as _;

/// What can go wrong, one variant a room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A search space, a decision or a point is not what it should be.
    #[error("{0}")]
    Space(String),
    /// A rewrite rule cannot be applied.
    #[error("{0}")]
    Rule(String),
    /// A network record is inconsistent, or a state does not fit it.
    #[error("{0}")]
    Network(String),
    /// A search algorithm got settings or results that it cannot use.
    #[error("{0}")]
    Search(String),
    /// A study was used wrongly, or its file belongs to another study.
    #[error("{0}")]
    Study(String),
    /// The file of a study cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// An evaluator broke its protocol.
    #[error("{0}")]
    Evaluation(String),
    /// A tensor operation failed below us.
    #[error("{0}")]
    Tensor(String),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// An error that is not ours and passes through unchanged (a Python exception of the user's code).
    #[error("{0}")]
    Foreign(Box<dyn std::error::Error + Send + Sync>),
    /// A broken invariant of this library.
    #[error("internal error of modularnas, please report it: {0}")]
    Internal(String),
}

/// The result of anything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// `"; did you mean 'x' or 'y'?"` for names close to `given`, else the list of what exists (at most twelve).
pub fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let mut scored: Vec<(f64, &str)> = known
        .iter()
        .map(|name| (strsim::jaro_winkler(given, name), *name))
        .filter(|(score, _)| *score > 0.84)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    if scored.is_empty() {
        let mut text = String::from("; known: ");
        if known.is_empty() {
            text.push_str("none");
        }
        for (i, name) in known.iter().take(12).enumerate() {
            let _ = write!(text, "{}'{name}'", if i == 0 { "" } else { ", " });
        }
        if known.len() > 12 {
            let _ = write!(text, " and {} more", known.len() - 12);
        }
        text
    } else {
        let close: Vec<String> = scored.iter().take(3).map(|(_, name)| format!("'{name}'")).collect();
        format!("; did you mean {}?", close.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_else_all_are_listed() {
        assert_eq!(suggest("conv_3x33", ["conv_3x3", "identity"]), "; did you mean 'conv_3x3'?");
        assert_eq!(suggest("zzz", ["conv", "pool"]), "; known: 'conv', 'pool'");
        assert_eq!(suggest("zzz", []), "; known: none");
    }
}
