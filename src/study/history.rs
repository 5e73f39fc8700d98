//! The history: every trial that a study ever numbered, packed.
//!
//! A trial of six small decisions and one objective takes about 16 bytes here instead of 160 as a [`Trial`]: codes are
//! stored in the narrowest integer that holds them, and a column that most trials leave at its default (parents,
//! fidelities, further metrics) is only as long as its last used entry.

use std::collections::BTreeMap;

use crate::space::{Point, SearchSpace};
use crate::trial::{Fidelity, Measurement, Outcome, Trial, TrialId};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    Pruned,
    Failed,
}

/// Trials by number, without gaps.
pub(super) struct History {
    n_codes: usize,
    n_reals: usize,
    /// Bytes a code: 1, 2 or 4. The largest value stands for [`crate::space::INACTIVE`].
    width: usize,
    codes: Vec<u8>,
    reals: Vec<f64>,
    states: Vec<State>,
    /// `TrialId::MAX`: none.
    parents: Vec<TrialId>,
    /// Infinity: full.
    fidelities: Vec<f64>,
    /// One column a metric.
    values: Vec<Vec<f64>>,
    reasons: BTreeMap<TrialId, Box<str>>,
}

impl History {
    pub(super) fn new(space: &SearchSpace) -> Self {
        let largest = (0..space.len()).map(|i| space.count(i)).max().unwrap_or(0);
        History {
            n_codes: space.len(),
            n_reals: space.n_reals(),
            width: match largest {
                ..=255 => 1,
                256..=65_535 => 2,
                _ => 4,
            },
            codes: Vec::new(),
            reals: Vec::new(),
            states: Vec::new(),
            parents: Vec::new(),
            fidelities: Vec::new(),
            values: Vec::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// How many trials were numbered.
    pub(super) fn len(&self) -> u64 {
        self.states.len() as u64
    }

    /// Appends a running trial; its number must be [`History::len`].
    pub(super) fn push(&mut self, trial: &Trial) {
        debug_assert_eq!(trial.id, self.len());
        let i = self.states.len();
        for code in trial.point.codes() {
            self.codes.extend_from_slice(&code.to_le_bytes()[..self.width]);
        }
        self.reals.extend_from_slice(trial.point.reals());
        self.states.push(State::Running);
        if let Some(parent) = trial.parent {
            set(&mut self.parents, i, parent, TrialId::MAX);
        }
        if let Fidelity::Partial(amount) = trial.fidelity {
            set(&mut self.fidelities, i, amount, f64::INFINITY);
        }
    }

    /// Enters the outcome of a trial.
    pub(super) fn finish(&mut self, id: TrialId, outcome: &Outcome) {
        let i = id as usize;
        let (state, measurement) = match outcome {
            Outcome::Complete(measurement) => (State::Complete, Some(measurement)),
            Outcome::Pruned(measurement) => (State::Pruned, Some(measurement)),
            Outcome::Failed(reason) => {
                self.reasons.insert(id, reason.as_str().into());
                (State::Failed, None)
            }
        };
        self.states[i] = state;
        let values = measurement.map_or(&[][..], |measurement| &measurement.values);
        for (column, &value) in values.iter().enumerate() {
            if column == self.values.len() {
                self.values.push(Vec::new());
            }
            if !value.is_nan() {
                set(&mut self.values[column], i, value, f64::NAN);
            }
        }
    }

    /// Whether a trial was numbered and has no outcome yet.
    pub(super) fn is_running(&self, id: TrialId) -> bool {
        self.states.get(id as usize) == Some(&State::Running)
    }

    /// The measurement of a complete trial.
    pub(super) fn measurement(&self, id: TrialId) -> Option<Measurement> {
        (self.states.get(id as usize) == Some(&State::Complete)).then(|| self.row(id as usize))
    }

    /// A trial, unpacked; `None` for a number that was not given.
    pub(super) fn trial(&self, id: TrialId) -> Option<Trial> {
        let i = id as usize;
        let outcome = match self.states.get(i)? {
            State::Running => None,
            State::Complete => Some(Outcome::Complete(self.row(i))),
            State::Pruned => Some(Outcome::Pruned(self.row(i))),
            State::Failed => {
                Some(Outcome::Failed(self.reasons.get(&id).map(ToString::to_string).unwrap_or_default()))
            }
        };
        let codes: Box<[i32]> = self.codes[i * self.n_codes * self.width..][..self.n_codes * self.width]
            .chunks_exact(self.width)
            .map(|bytes| match *bytes {
                [a] => {
                    if a == u8::MAX {
                        -1
                    } else {
                        i32::from(a)
                    }
                }
                [a, b] => match u16::from_le_bytes([a, b]) {
                    u16::MAX => -1,
                    code => i32::from(code),
                },
                _ => i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            })
            .collect();
        Some(Trial {
            id,
            point: Point::new(codes, &self.reals[i * self.n_reals..][..self.n_reals]),
            fidelity: match self.fidelities.get(i) {
                Some(&amount) if amount != f64::INFINITY => Fidelity::Partial(amount),
                _ => Fidelity::Full,
            },
            parent: self.parents.get(i).copied().filter(|&parent| parent != TrialId::MAX),
            outcome,
        })
    }

    /// All trials, unpacked, by number.
    pub(super) fn trials(&self) -> impl Iterator<Item = Trial> {
        (0..self.len()).filter_map(|id| self.trial(id))
    }

    fn row(&self, i: usize) -> Measurement {
        Measurement {
            values: self.values.iter().map(|column| column.get(i).copied().unwrap_or(f64::NAN)).collect(),
        }
    }
}

/// Writes one entry of a column whose entries past its end have the value `default`.
fn set<T: Clone>(column: &mut Vec<T>, i: usize, value: T, default: T) {
    if column.len() <= i {
        column.resize(i + 1, default);
    }
    column[i] = value;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::space::tests::any_space;
    use crate::space::{Decision, Domain};

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(space in any_space(), seed in any::<u64>(), kinds in proptest::collection::vec(0_u8..24, 1..30)) {
            let mut history = History::new(&space);
            let mut whole = Vec::new();
            for (id, kind) in kinds.into_iter().enumerate() {
                let id = id as u64;
                let outcome = match kind % 4 {
                    0 => None,
                    1 => Some(Outcome::Complete(Measurement { values: [f64::from(kind), 0.5].into() })),
                    2 => Some(Outcome::Pruned(Measurement { values: [-1.0, 2.0].into() })),
                    _ => Some(Outcome::Failed(format!("reason {kind}"))),
                };
                let trial = Trial {
                    id,
                    point: space.sample(seed, id),
                    fidelity: if kind < 12 { Fidelity::Full } else { Fidelity::Partial(f64::from(kind)) },
                    parent: (kind % 3 == 0).then_some(id / 2),
                    outcome,
                };
                history.push(&trial);
                if let Some(outcome) = &trial.outcome {
                    history.finish(id, outcome);
                }
                whole.push(trial);
            }
            prop_assert_eq!(history.trials().collect::<Vec<_>>(), whole);
        }
    }

    #[test]
    fn wide_domains_keep_their_codes() {
        for high in [254, 255, 256, 65_534, 65_535, 65_536, 2_000_000_000] {
            let space = SearchSpace::new(vec![Decision::new("n", Domain::Integer { low: 0, high, step: 1 })])
                .unwrap();
            let mut history = History::new(&space);
            for (id, code) in [0, high as i32, -1].into_iter().enumerate() {
                let point = Point::new([code], []);
                history.push(&Trial {
                    id: id as u64,
                    point,
                    fidelity: Fidelity::Full,
                    parent: None,
                    outcome: None,
                });
                assert_eq!(history.trial(id as u64).unwrap().point.codes(), [code], "high {high}");
            }
        }
    }
}
