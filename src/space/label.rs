//! A label: one value that a decision can take, as the user wrote it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value as plain data. JSON keeps the type: `3` is an integer, `3.0` a real, `[3, 5]` a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// Python's `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite real number.
    Real(f64),
    /// A text.
    Text(String),
    /// A tuple or list of labels.
    List(Vec<Label>),
}

impl Label {
    /// The number in it, if it is one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "labels beyond 2^53 are compared as integers first")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Label::Int(n) => Some(*n as f64),
            Label::Real(x) => Some(*x),
            _ => None,
        }
    }

    /// Whether both mean the same value: `3` and `3.0` do, `True` and `1` do not.
    #[must_use]
    pub fn matches(&self, other: &Label) -> bool {
        match (self, other) {
            (Label::List(a), Label::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(b))
            }
            (Label::Int(_), Label::Real(_)) | (Label::Real(_), Label::Int(_)) => {
                self.number() == other.number()
            }
            _ => self == other,
        }
    }

    /// Whether every number in it is finite (JSON has no word for the others).
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Label::Real(x) => x.is_finite(),
            Label::List(items) => items.iter().all(Label::is_finite),
            _ => true,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::None => write!(f, "None"),
            Label::Bool(true) => write!(f, "True"),
            Label::Bool(false) => write!(f, "False"),
            Label::Int(n) => write!(f, "{n}"),
            Label::Real(x) => write!(f, "{x:?}"),
            Label::Text(text) => write!(f, "'{text}'"),
            Label::List(items) => {
                write!(f, "(")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, ")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_type() {
        let labels = vec![
            Label::None,
            Label::Bool(true),
            Label::Int(3),
            Label::Real(3.0),
            Label::Text("3".into()),
            Label::List(vec![Label::Int(1), Label::Text("a".into())]),
        ];
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"[null,true,3,3.0,"3",[1,"a"]]"#);
        assert_eq!(serde_json::from_str::<Vec<Label>>(&json).unwrap(), labels);
    }

    #[test]
    fn numbers_match_across_types_but_truth_values_do_not() {
        assert!(Label::Int(3).matches(&Label::Real(3.0)));
        assert!(!Label::Int(1).matches(&Label::Bool(true)));
        assert!(!Label::Text("3".into()).matches(&Label::Int(3)));
    }
}
