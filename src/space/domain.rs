//! A domain: the set of values of one decision, numbered by codes.
//!
//! A discrete value is stored as its code, an `i32` in `0..count`. Codes follow the order the user gave
//! (categories), the size (integers) or the lexicographic order of positions (subsets).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::label::Label;
use crate::error::{Error, Result};

/// The set of values of one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// One of these labels; no order between them is assumed.
    Categorical(Vec<Label>),
    /// `low`, `low + step`, … up to `high` inclusive.
    Integer {
        /// The smallest value.
        low: i64,
        /// The largest value, included.
        high: i64,
        /// The distance of neighbouring values.
        step: i64,
    },
    /// A real number in `[low, high]`, spread evenly in its logarithm if `log`.
    Real {
        /// The smallest value.
        low: f64,
        /// The largest value, included.
        high: f64,
        /// Whether the logarithm is what varies evenly.
        log: bool,
    },
    /// Exactly `take` different labels of `from`, order ignored.
    Subset {
        /// What can be taken.
        from: Vec<Label>,
        /// How many are taken.
        take: usize,
    },
}

impl Domain {
    /// Checks the bounds of the domain; the error names the decision.
    pub fn validate(&self, decision: &str) -> Result<()> {
        let fail = |why: String| Err(Error::Space(format!("decision '{decision}': {why}")));
        match self {
            Domain::Categorical(labels) | Domain::Subset { from: labels, .. } if labels.is_empty() => {
                fail("has no choices; give at least one".into())
            }
            Domain::Categorical(labels) => unique(labels).or_else(fail),
            Domain::Integer { low, high, step } => {
                if *step < 1 {
                    fail(format!("step is {step}, expected 1 or more"))
                } else if low > high {
                    fail(format!("low {low} is above high {high}"))
                } else if (i128::from(*high) - i128::from(*low)) / i128::from(*step) >= i128::from(i32::MAX) {
                    fail("has more than 2^31 - 1 values; widen the step or use a real decision".to_string())
                } else {
                    Ok(())
                }
            }
            Domain::Real { low, high, log } => {
                if !low.is_finite() || !high.is_finite() {
                    fail(format!("bounds {low} and {high} must be finite"))
                } else if low > high {
                    fail(format!("low {low} is above high {high}"))
                } else if *log && *low <= 0.0 {
                    fail(format!("low is {low}, but a log scale needs low > 0"))
                } else {
                    Ok(())
                }
            }
            Domain::Subset { from, take } => {
                if *take > from.len() {
                    return fail(format!("takes {take} of only {} labels", from.len()));
                }
                if combinations(from.len(), *take).is_none_or(|n| n > i32::MAX as u64) {
                    return fail("has more than 2^31 - 1 subsets; split the decision".to_string());
                }
                unique(from).or_else(fail)
            }
        }
    }

    /// The number of values; `None` for a real domain.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self {
            Domain::Categorical(labels) => Some(labels.len() as u64),
            Domain::Integer { low, high, step } => Some(high.abs_diff(*low) / step.unsigned_abs() + 1),
            Domain::Real { .. } => None,
            Domain::Subset { from, take } => combinations(from.len(), *take),
        }
    }

    /// Whether it is a real interval.
    #[must_use]
    pub fn is_real(&self) -> bool {
        matches!(self, Domain::Real { .. })
    }

    /// `"categorical"`, `"integer"`, `"real"` or `"subset"`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Domain::Categorical(_) => "categorical",
            Domain::Integer { .. } => "integer",
            Domain::Real { .. } => "real",
            Domain::Subset { .. } => "subset",
        }
    }

    /// The label of a code of a discrete domain. `None` for a code out of range or a real domain.
    #[must_use]
    pub fn label(&self, code: i32) -> Option<Label> {
        let index = usize::try_from(code).ok()?;
        match self {
            Domain::Categorical(labels) => labels.get(index).cloned(),
            Domain::Integer { low, step, .. } => {
                (u64::try_from(code).ok()? < self.count()?).then(|| Label::Int(low + i64::from(code) * step))
            }
            Domain::Real { .. } => None,
            Domain::Subset { from, take } => {
                let picked = nth_combination(from.len(), *take, index as u64)?;
                Some(Label::List(picked.into_iter().map(|i| from[i].clone()).collect()))
            }
        }
    }

    /// The code of a label of a discrete domain, if it is in the domain.
    #[must_use]
    pub fn code(&self, label: &Label) -> Option<i32> {
        match self {
            Domain::Categorical(labels) => {
                labels.iter().position(|known| known.matches(label)).and_then(|i| i32::try_from(i).ok())
            }
            Domain::Integer { low, high, step } => {
                let value = match label {
                    Label::Int(n) => *n,
                    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
                    Label::Real(x) if x.fract() == 0.0 && x.abs() < 9e15 => *x as i64,
                    _ => return None,
                };
                (value >= *low && value <= *high && (value - low) % step == 0)
                    .then(|| i32::try_from((value - low) / step).ok())
                    .flatten()
            }
            Domain::Real { .. } => None,
            Domain::Subset { from, take } => {
                let Label::List(items) = label else { return None };
                let mut picked: Vec<usize> = items
                    .iter()
                    .map(|item| from.iter().position(|known| known.matches(item)))
                    .collect::<Option<_>>()?;
                picked.sort_unstable();
                picked.dedup();
                if picked.len() != *take || items.len() != *take {
                    return None;
                }
                i32::try_from(rank_combination(from.len(), &picked)).ok()
            }
        }
    }

    /// Positions in `from` of the subset with this code.
    #[must_use]
    pub fn subset(&self, code: i32) -> Option<Vec<usize>> {
        match self {
            Domain::Subset { from, take } => nth_combination(from.len(), *take, u64::try_from(code).ok()?),
            _ => None,
        }
    }

    /// Maps `[0, 1]` to the interval of a real domain (evenly, or evenly in the logarithm).
    #[must_use]
    pub fn from_unit(&self, unit: f64) -> f64 {
        match self {
            Domain::Real { low, high, log: false } => (low + unit * (high - low)).clamp(*low, *high),
            Domain::Real { low, high, log: true } => {
                (low.ln() + unit * (high.ln() - low.ln())).exp().clamp(*low, *high)
            }
            _ => f64::NAN,
        }
    }

    /// The inverse of [`Domain::from_unit`]; 0 for an interval of one point.
    #[must_use]
    pub fn to_unit(&self, value: f64) -> f64 {
        match self {
            Domain::Real { low, high, .. } if low == high => 0.0,
            Domain::Real { low, high, log: false } => (value - low) / (high - low),
            Domain::Real { low, high, log: true } => (value.ln() - low.ln()) / (high.ln() - low.ln()),
            _ => f64::NAN,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Categorical(labels) => write!(f, "one of {}", Label::List(labels.clone())),
            Domain::Integer { low, high, step: 1 } => write!(f, "an integer from {low} to {high}"),
            Domain::Integer { low, high, step } => {
                write!(f, "an integer from {low} to {high} in steps of {step}")
            }
            Domain::Real { low, high, log } => {
                write!(f, "a real number from {low:?} to {high:?}{}", if *log { " (log scale)" } else { "" })
            }
            Domain::Subset { from, take } => {
                write!(f, "{take} different ones of {}", Label::List(from.clone()))
            }
        }
    }
}

fn unique(labels: &[Label]) -> std::result::Result<(), String> {
    for (i, label) in labels.iter().enumerate() {
        if !label.is_finite() {
            return Err(format!("choice {label} is not finite"));
        }
        if labels[..i].iter().any(|earlier| earlier.matches(label)) {
            return Err(format!("choice {label} is given twice"));
        }
    }
    Ok(())
}

/// n over k; `None` when it does not fit 64 bits.
fn combinations(n: usize, k: usize) -> Option<u64> {
    if k > n {
        return Some(0);
    }
    let mut result: u128 = 1;
    for i in 0..k.min(n - k) {
        result = result * (n - i) as u128 / (i as u128 + 1);
        if result > u128::from(u64::MAX) {
            return None;
        }
    }
    u64::try_from(result).ok()
}

/// The `index`-th `k`-subset of `0..n` in lexicographic order.
fn nth_combination(n: usize, k: usize, mut index: u64) -> Option<Vec<usize>> {
    if index >= combinations(n, k)? {
        return None;
    }
    let mut picked = Vec::with_capacity(k);
    let mut next = 0;
    while picked.len() < k {
        let with_next = combinations(n - next - 1, k - picked.len() - 1)?;
        if index < with_next {
            picked.push(next);
        } else {
            index -= with_next;
        }
        next += 1;
    }
    Some(picked)
}

/// The inverse of [`nth_combination`] for sorted positions.
fn rank_combination(n: usize, picked: &[usize]) -> u64 {
    let mut rank = 0;
    let mut next = 0;
    for (i, &position) in picked.iter().enumerate() {
        for skipped in next..position {
            rank += combinations(n - skipped - 1, picked.len() - i - 1).unwrap_or(0);
        }
        next = position + 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_labels_are_inverse() {
        let domains = [
            Domain::Categorical(vec![Label::Text("a".into()), Label::Int(3), Label::None]),
            Domain::Integer { low: -3, high: 11, step: 2 },
            Domain::Subset { from: (0..7).map(Label::Int).collect(), take: 3 },
            Domain::Subset { from: (0..3).map(Label::Int).collect(), take: 0 },
        ];
        for domain in domains {
            domain.validate("d").unwrap();
            let count = i32::try_from(domain.count().unwrap()).unwrap();
            for code in 0..count {
                assert_eq!(domain.code(&domain.label(code).unwrap()), Some(code), "{domain}");
            }
            assert_eq!(domain.label(count), None);
            assert_eq!(domain.label(-1), None);
        }
    }

    #[test]
    fn units_and_reals_are_inverse() {
        for log in [false, true] {
            let domain = Domain::Real { low: 1e-4, high: 10.0, log };
            for i in 0..=10 {
                let unit = f64::from(i) / 10.0;
                assert!((domain.to_unit(domain.from_unit(unit)) - unit).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn wrong_bounds_are_named() {
        let cases = [
            (Domain::Categorical(vec![]), "decision 'd': has no choices; give at least one"),
            (
                Domain::Categorical(vec![Label::Int(1), Label::Real(1.0)]),
                "decision 'd': choice 1.0 is given twice",
            ),
            (Domain::Integer { low: 3, high: 1, step: 1 }, "decision 'd': low 3 is above high 1"),
            (
                Domain::Real { low: 0.0, high: 1.0, log: true },
                "decision 'd': low is 0, but a log scale needs low > 0",
            ),
            (Domain::Subset { from: vec![Label::Int(1)], take: 2 }, "decision 'd': takes 2 of only 1 labels"),
        ];
        for (domain, message) in cases {
            assert_eq!(domain.validate("d").unwrap_err().to_string(), message);
        }
    }
}
