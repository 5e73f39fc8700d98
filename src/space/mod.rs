//! The search space (the paper's alpha): which decisions there are, what values they take, and when they are active.
//!
//! A space is a forest of decisions: a decision may be active only for some values of one other decision. That makes
//! its exact size, rank and unrank a product of sums, for any number of points. The room knows nothing of networks,
//! algorithms or files. One capability is one file: `count` (size, rank, unrank), `shuffle`, `sample`, `neighbours`,
//! `encode`; copy `neighbours.rs` for a new one.

mod count;
mod domain;
mod encode;
mod label;
mod neighbours;
mod point;
mod sample;
mod shuffle;

use std::collections::HashMap;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use domain::Domain;
pub use encode::Columns;
pub use label::Label;
pub use point::{INACTIVE, Point};
pub use shuffle::Shuffle;

use crate::error::{Error, Result, suggest};

/// One variable of a search space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its name, unique in the space.
    pub name: String,
    /// The values it can take.
    pub domain: Domain,
    /// When it is active; `None`: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_if: Option<Condition>,
}

impl Decision {
    /// A decision that is always active.
    pub fn new(name: impl Into<String>, domain: Domain) -> Self {
        Decision { name: name.into(), domain, active_if: None }
    }

    /// The same decision, active only if `decision` is active and takes one of `values`.
    #[must_use]
    pub fn active_if(mut self, decision: impl Into<String>, values: Vec<Label>) -> Self {
        self.active_if = Some(Condition { decision: decision.into(), values });
        self
    }
}

/// "Active if that decision is active and takes one of these values."
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The deciding decision; discrete.
    pub decision: String,
    /// The values that activate.
    pub values: Vec<Label>,
}

/// A condition with names resolved: index of the parent and its activating codes, sorted.
#[derive(Clone, Debug)]
struct Gate {
    parent: usize,
    codes: Box<[i32]>,
}

impl Gate {
    fn opens(&self, codes: &[i32]) -> bool {
        let code = codes[self.parent];
        code != INACTIVE && self.codes.binary_search(&code).is_ok()
    }
}

/// A set of decisions and, through them, a set of points. Immutable.
#[derive(Clone, Debug)]
pub struct SearchSpace {
    decisions: Vec<Decision>,
    gates: Vec<Option<Gate>>,
    /// Decisions that others' activity depends on: children of each decision, in declared order.
    children: Vec<Vec<usize>>,
    /// All decisions, parents before children.
    order: Vec<usize>,
    /// Number of values of each decision; 0 for a real one.
    counts: Vec<i32>,
    /// Position of each real decision in `Point::reals`.
    real_slots: Vec<Option<usize>>,
    n_reals: usize,
    index: HashMap<String, usize>,
    /// Number of sub-points of the tree below each decision; `None` with a real decision in it.
    sizes: Vec<Option<BigUint>>,
}

impl PartialEq for SearchSpace {
    fn eq(&self, other: &Self) -> bool {
        self.decisions == other.decisions
    }
}

impl SearchSpace {
    /// A space of these decisions, in this order.
    ///
    /// # Errors
    /// [`Error::Space`] for a name given twice, an invalid domain, or a condition on an unknown, real or cyclic
    /// decision or on a value that it cannot take.
    pub fn new(decisions: Vec<Decision>) -> Result<Self> {
        let mut index = HashMap::with_capacity(decisions.len());
        for (i, decision) in decisions.iter().enumerate() {
            if decision.name.is_empty() {
                return Err(Error::Space(format!("decision number {i} has an empty name; give it one")));
            }
            decision.domain.validate(&decision.name)?;
            if index.insert(decision.name.clone(), i).is_some() {
                return Err(Error::Space(format!("decision '{}' is given twice; rename one", decision.name)));
            }
        }
        let gates: Vec<Option<Gate>> =
            decisions.iter().map(|decision| resolve(decision, &decisions, &index)).collect::<Result<_>>()?;
        let mut children = vec![Vec::new(); decisions.len()];
        for (i, gate) in gates.iter().enumerate() {
            if let Some(gate) = gate {
                children[gate.parent].push(i);
            }
        }
        let mut order: Vec<usize> = (0..decisions.len()).filter(|&i| gates[i].is_none()).collect();
        let mut done = 0;
        while done < order.len() {
            order.extend_from_slice(&children[order[done]]);
            done += 1;
        }
        if let Some(stuck) = (0..decisions.len()).find(|i| !order.contains(i)) {
            return Err(Error::Space(format!(
                "decision '{}' depends on itself through its conditions; break the cycle",
                decisions[stuck].name
            )));
        }
        let counts = decisions
            .iter()
            .map(|decision| decision.domain.count().map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX)))
            .collect();
        let mut n_reals = 0;
        let real_slots = decisions
            .iter()
            .map(|decision| {
                decision.domain.is_real().then(|| {
                    n_reals += 1;
                    n_reals - 1
                })
            })
            .collect();
        let mut space = SearchSpace {
            decisions,
            gates,
            children,
            order,
            counts,
            real_slots,
            n_reals,
            index,
            sizes: Vec::new(),
        };
        space.sizes = space.tree_sizes();
        Ok(space)
    }

    /// The decisions, in declared order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// The number of decisions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether there is nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// The number of real decisions, which is the length of [`Point::reals`].
    #[must_use]
    pub fn n_reals(&self) -> usize {
        self.n_reals
    }

    /// The number of values of a decision; 0 for a real one.
    #[must_use]
    pub fn count(&self, decision: usize) -> i32 {
        self.counts[decision]
    }

    /// Whether a decision has more than one value.
    #[must_use]
    pub fn spreads(&self, decision: usize) -> bool {
        match self.counts[decision] {
            0 => matches!(&self.decisions[decision].domain, Domain::Real { low, high, .. } if low < high),
            count => count > 1,
        }
    }

    /// Where a real decision's value stands in [`Point::reals`].
    #[must_use]
    pub fn real_slot(&self, decision: usize) -> Option<usize> {
        self.real_slots[decision]
    }

    /// All decisions, each after the one that its activity depends on.
    #[must_use]
    pub fn parents_first(&self) -> &[usize] {
        &self.order
    }

    /// Whether the conditions of a decision hold under these codes (its ancestors' codes must be settled).
    #[must_use]
    pub fn is_open(&self, decision: usize, codes: &[i32]) -> bool {
        self.gates[decision].as_ref().is_none_or(|gate| gate.opens(codes))
    }

    /// The decision that the activity of a decision depends on.
    #[must_use]
    pub fn parent(&self, decision: usize) -> Option<usize> {
        self.gates[decision].as_ref().map(|gate| gate.parent)
    }

    /// Whether the activity of others depends on a decision.
    #[must_use]
    pub fn decides(&self, decision: usize) -> bool {
        !self.children[decision].is_empty()
    }

    /// The index of the decision with this name.
    pub fn decision_index(&self, name: &str) -> Result<usize> {
        self.index.get(name).copied().ok_or_else(|| {
            let known = self.decisions.iter().map(|decision| decision.name.as_str());
            Error::Space(format!("the space has no decision '{name}'{}", suggest(name, known)))
        })
    }

    /// The value that a point gives to a decision; `None` if it is inactive.
    #[must_use]
    pub fn value(&self, point: &Point, decision: usize) -> Option<Label> {
        match point.codes[decision] {
            INACTIVE => None,
            code => match self.real_slots[decision] {
                Some(slot) => Some(Label::Real(point.reals[slot])),
                None => self.decisions[decision].domain.label(code),
            },
        }
    }

    /// The active decisions of a point with their values, in declared order.
    #[must_use]
    pub fn values(&self, point: &Point) -> Vec<(&str, Label)> {
        (0..self.len())
            .filter_map(|i| self.value(point, i).map(|label| (self.decisions[i].name.as_str(), label)))
            .collect()
    }

    /// The point that gives these values to these decisions; exactly the active ones must be named.
    ///
    /// # Errors
    /// [`Error::Space`] for an unknown, missing, inactive or invalid decision, naming it.
    pub fn point<'a>(&self, values: impl IntoIterator<Item = (&'a str, Label)>) -> Result<Point> {
        let mut given: Vec<Option<Label>> = vec![None; self.len()];
        for (name, label) in values {
            given[self.decision_index(name)?] = Some(label);
        }
        let mut codes = vec![INACTIVE; self.len()].into_boxed_slice();
        let mut reals = vec![0.0; self.n_reals].into_boxed_slice();
        for &i in &self.order {
            let decision = &self.decisions[i];
            let name = &decision.name;
            if !self.is_open(i, &codes) {
                if let Some(label) = &given[i] {
                    let reason = self.inactive_reason(i, &codes);
                    return Err(Error::Space(format!(
                        "decision '{name}' is given {label}, but it is inactive ({reason}); leave it out"
                    )));
                }
                continue;
            }
            let Some(label) = &given[i] else {
                return Err(Error::Space(format!(
                    "decision '{name}' is missing; expected {}",
                    decision.domain
                )));
            };
            let invalid =
                || Error::Space(format!("decision '{name}' is given {label}; expected {}", decision.domain));
            if let Domain::Real { low, high, .. } = &decision.domain {
                let value = label.number().filter(|x| x >= low && x <= high).ok_or_else(invalid)?;
                codes[i] = 0;
                // + 0.0 turns -0.0 into 0.0, so that equal points have equal bits.
                reals[self.real_slots[i].unwrap_or_default()] = value + 0.0;
            } else {
                codes[i] = decision.domain.code(label).ok_or_else(invalid)?;
            }
        }
        Ok(Point { codes, reals })
    }

    /// Whether a point belongs to this space.
    ///
    /// # Errors
    /// [`Error::Space`] that names the first decision that does not fit.
    pub fn check(&self, point: &Point) -> Result<()> {
        if point.codes.len() != self.len() || point.reals.len() != self.n_reals {
            return Err(Error::Space(format!(
                "the point has {} decisions of which {} are real; the space has {} and {}: it is of another space",
                point.codes.len(),
                point.reals.len(),
                self.len(),
                self.n_reals
            )));
        }
        for &i in &self.order {
            let decision = &self.decisions[i];
            let code = point.codes[i];
            if self.is_open(i, &point.codes) != (code != INACTIVE) {
                return Err(Error::Space(if code == INACTIVE {
                    format!("decision '{}' is missing; expected {}", decision.name, decision.domain)
                } else {
                    let reason = self.inactive_reason(i, &point.codes);
                    format!("decision '{}' has a value, but it is inactive ({reason})", decision.name)
                }));
            }
            if code == INACTIVE {
                continue;
            }
            let valid = match (&decision.domain, self.real_slots[i]) {
                (Domain::Real { low, high, .. }, Some(slot)) => (*low..=*high).contains(&point.reals[slot]),
                _ => code >= 0 && code < self.counts[i],
            };
            if !valid {
                return Err(Error::Space(format!(
                    "decision '{}' has a value out of its domain; expected {}",
                    decision.name, decision.domain
                )));
            }
        }
        Ok(())
    }

    /// [`SearchSpace::check`] for many points of a space without reals, given as rows of codes.
    ///
    /// # Errors
    /// [`Error::Space`] that names the first row and decision that do not fit.
    pub fn check_codes(&self, rows: &[i32]) -> Result<()> {
        const BLOCK: usize = 64;
        let width = self.len().max(1);
        let unconditional = self.gates.iter().all(Option::is_none);
        if unconditional && rows.len().is_multiple_of(width) {
            // Several rows at once, so that the loop is long enough for vector instructions. The sign says what is
            // wrong: a code is negative, or what is left up to the largest one is.
            let last: Vec<i32> = self.counts.iter().map(|count| count - 1).collect::<Vec<_>>().repeat(BLOCK);
            let fits = |block: &[i32]| {
                let signs = |signs: i32, (&code, &last): (&i32, &i32)| signs | code | last.wrapping_sub(code);
                block.iter().zip(&last).fold(0, signs) >= 0
            };
            if rows.chunks(BLOCK * width).all(fits) {
                return Ok(());
            }
        }
        for (number, row) in rows.chunks(width).enumerate() {
            self.check(&Point::new(row, []))
                .map_err(|error| Error::Space(format!("row {number}: {error}")))?;
        }
        Ok(())
    }

    /// Both sets of decisions in one space: every pair of a point here and a point there is a point of it.
    ///
    /// # Errors
    /// [`Error::Space`] if a name is in both with different meaning; the same decision in both is one decision.
    pub fn join(&self, other: &SearchSpace) -> Result<SearchSpace> {
        let mut decisions = self.decisions.clone();
        for decision in &other.decisions {
            match self.index.get(&decision.name) {
                None => decisions.push(decision.clone()),
                Some(&i) if self.decisions[i] == *decision => {}
                Some(&i) => {
                    return Err(Error::Space(format!(
                        "decision '{}' is {} in one space and {} in the other; rename one before joining",
                        decision.name, self.decisions[i].domain, decision.domain
                    )));
                }
            }
        }
        SearchSpace::new(decisions)
    }

    /// The space as JSON, from which [`SearchSpace::from_json`] makes an equal one.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "version": 1, "decisions": self.decisions }).to_string()
    }

    /// The space that [`SearchSpace::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Space`] for text that is not a space.
    pub fn from_json(json: &str) -> Result<SearchSpace> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            version: u32,
            decisions: Vec<Decision>,
        }
        let file: File = serde_json::from_str(json)
            .map_err(|e| Error::Space(format!("the text is not a search space: {e}")))?;
        if file.version != 1 {
            return Err(Error::Space(format!(
                "the search space is of version {}, this library reads version 1; update it",
                file.version
            )));
        }
        SearchSpace::new(file.decisions)
    }

    /// Sixteen hexadecimal digits that differ for different spaces (SHA-256 of the JSON, cut).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        Sha256::digest(self.to_json().as_bytes()).iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// A point as a JSON object: decision name to value, in declared order.
    #[must_use]
    pub fn point_to_json(&self, point: &Point) -> String {
        let mut object = serde_json::Map::new();
        for (name, label) in self.values(point) {
            object.insert(name.to_string(), serde_json::json!(label));
        }
        serde_json::Value::Object(object).to_string()
    }

    /// The point that [`SearchSpace::point_to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Space`] for text that is not a point of this space.
    pub fn point_from_json(&self, json: &str) -> Result<Point> {
        let values: HashMap<String, Label> =
            serde_json::from_str(json).map_err(|e| Error::Space(format!("the text is not a point: {e}")))?;
        let mut values: Vec<(&str, Label)> =
            values.iter().map(|(name, label)| (name.as_str(), label.clone())).collect();
        values.sort_by_key(|(name, _)| *name);
        self.point(values)
    }

    fn inactive_reason(&self, decision: usize, codes: &[i32]) -> String {
        let Some(gate) = &self.gates[decision] else { return "it is always active".to_string() };
        let parent = &self.decisions[gate.parent];
        match codes[gate.parent] {
            INACTIVE => format!("'{}' is inactive", parent.name),
            code => match parent.domain.label(code) {
                Some(label) => format!("'{}' is {label}", parent.name),
                None => format!("'{}' is out of its domain", parent.name),
            },
        }
    }
}

impl Serialize for SearchSpace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.decisions.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SearchSpace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        SearchSpace::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn resolve(decision: &Decision, all: &[Decision], index: &HashMap<String, usize>) -> Result<Option<Gate>> {
    let Some(condition) = &decision.active_if else { return Ok(None) };
    let fail = |why: String| Error::Space(format!("decision '{}' is active_if {why}", decision.name));
    let Some(&parent) = index.get(&condition.decision) else {
        let known = all.iter().map(|d| d.name.as_str()).filter(|name| *name != decision.name);
        return Err(fail(format!(
            "'{}' takes a value, but there is no such decision{}",
            condition.decision,
            suggest(&condition.decision, known)
        )));
    };
    let domain = &all[parent].domain;
    if domain.is_real() {
        return Err(fail(format!(
            "'{}' takes a value, but that decision is real; depend on a discrete one",
            condition.decision
        )));
    }
    if condition.values.is_empty() {
        return Err(fail(format!("'{}' takes one of no values; give at least one", condition.decision)));
    }
    let mut codes = condition
        .values
        .iter()
        .map(|label| {
            domain
                .code(label)
                .ok_or_else(|| fail(format!("'{}' is {label}; it is {domain}", condition.decision)))
        })
        .collect::<Result<Vec<i32>>>()?;
    codes.sort_unstable();
    codes.dedup();
    Ok(Some(Gate { parent, codes: codes.into() }))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn text(s: &str) -> Label {
        Label::Text(s.to_string())
    }

    /// The space of the README: an operation, a kernel size only for one of them, an integer and a real number.
    pub(crate) fn mixed() -> SearchSpace {
        SearchSpace::new(vec![
            Decision::new("op", Domain::Categorical(vec![text("conv"), text("pool")])),
            Decision::new("k", Domain::Categorical([3, 5, 7].map(Label::Int).to_vec()))
                .active_if("op", vec![text("conv")]),
            Decision::new("n", Domain::Integer { low: 1, high: 8, step: 1 }),
            Decision::new("lr", Domain::Real { low: 1e-4, high: 1e-1, log: true }),
        ])
        .unwrap()
    }

    /// Random forests of discrete decisions, up to three levels deep.
    pub(crate) fn any_space() -> impl Strategy<Value = SearchSpace> {
        proptest::collection::vec((1_i64..5, any::<u8>(), any::<u8>(), 0_u8..4), 1..8).prop_map(|rows| {
            let mut decisions: Vec<Decision> = Vec::new();
            for (i, (n, parent, value, kind)) in rows.into_iter().enumerate() {
                let domain = match kind {
                    0 => Domain::Integer { low: -n, high: n, step: 2 },
                    1 => Domain::Subset {
                        from: (0..n).map(Label::Int).collect(),
                        take: 1 + usize::from(n > 2),
                    },
                    _ => Domain::Categorical((0..n).map(Label::Int).collect()),
                };
                let mut decision = Decision::new(format!("d{i}"), domain);
                if i > 0 && parent % 3 > 0 {
                    let parent = &decisions[usize::from(parent) % i];
                    let count = i32::try_from(parent.domain.count().unwrap()).unwrap();
                    let label = parent.domain.label(i32::from(value) % count).unwrap();
                    decision = decision.active_if(parent.name.clone(), vec![label]);
                }
                decisions.push(decision);
            }
            SearchSpace::new(decisions).unwrap()
        })
    }

    #[test]
    fn points_name_exactly_the_active_decisions() {
        let space = mixed();
        let message = |values: Vec<(&str, Label)>| space.point(values).unwrap_err().to_string();
        let n = || ("n", Label::Int(2));
        let lr = || ("lr", Label::Real(0.01));
        assert!(space.point(vec![("op", text("pool")), n(), lr()]).is_ok());
        assert_eq!(
            message(vec![("op", text("pool")), ("k", Label::Int(3)), n(), lr()]),
            "decision 'k' is given 3, but it is inactive ('op' is 'pool'); leave it out"
        );
        assert_eq!(
            message(vec![("op", text("conv")), n(), lr()]),
            "decision 'k' is missing; expected one of (3, 5, 7)"
        );
        assert_eq!(
            message(vec![("op", text("conv")), ("k", Label::Int(4)), n(), lr()]),
            "decision 'k' is given 4; expected one of (3, 5, 7)"
        );
        assert_eq!(
            message(vec![("opp", text("conv"))]),
            "the space has no decision 'opp'; did you mean 'op'?"
        );
        assert_eq!(
            message(vec![("op", text("pool")), n(), ("lr", Label::Real(2.0))]),
            "decision 'lr' is given 2.0; expected a real number from 0.0001 to 0.1 (log scale)"
        );
    }

    #[test]
    fn conditions_are_checked() {
        let a = || Decision::new("a", Domain::Categorical(vec![Label::Int(1), Label::Int(2)]));
        let message = |decisions| SearchSpace::new(decisions).unwrap_err().to_string();
        assert_eq!(
            message(vec![a().active_if("b", vec![Label::Int(1)])]),
            "decision 'a' is active_if 'b' takes a value, but there is no such decision; known: none"
        );
        assert_eq!(
            message(vec![a(), Decision::new("b", a().domain).active_if("a", vec![Label::Int(3)])]),
            "decision 'b' is active_if 'a' is 3; it is one of (1, 2)"
        );
        assert_eq!(
            message(vec![
                a().active_if("b", vec![Label::Int(1)]),
                Decision::new("b", a().domain).active_if("a", vec![Label::Int(1)])
            ]),
            "decision 'a' depends on itself through its conditions; break the cycle"
        );
        assert_eq!(message(vec![a(), a()]), "decision 'a' is given twice; rename one");
    }

    #[test]
    fn rows_of_codes_are_checked_as_points_are() {
        let space = mixed();
        let discrete = SearchSpace::new(space.decisions()[..3].to_vec()).unwrap();
        assert!(discrete.check_codes(&[0, 2, 7, 1, INACTIVE, 0]).is_ok());
        assert!(discrete.check_codes(&[0, 2, 8]).is_err());
        assert!(discrete.check_codes(&[0, INACTIVE, 7]).is_err());
        assert!(discrete.check_codes(&[0, 2]).is_err());
        let flat = SearchSpace::new(space.decisions()[..1].to_vec()).unwrap();
        assert!(flat.check_codes(&[0, 1, 0]).is_ok() && flat.check_codes(&[0, 2]).is_err());
        assert!(flat.check_codes(&[-1]).is_err() && flat.check_codes(&[i32::MIN]).is_err());
        let mut rows = [0, 2, 7].repeat(100);
        rows[3 * 70 + 2] = i32::MAX;
        let message = discrete.check_codes(&rows).unwrap_err().to_string();
        assert!(message.starts_with("row 70: decision"), "{message}");
    }

    #[test]
    fn joining_keeps_both_and_refuses_a_clash() {
        let a =
            SearchSpace::new(vec![Decision::new("a", Domain::Integer { low: 1, high: 2, step: 1 })]).unwrap();
        let b =
            SearchSpace::new(vec![Decision::new("a", Domain::Integer { low: 1, high: 3, step: 1 })]).unwrap();
        assert_eq!(a.join(&mixed()).unwrap().len(), 5);
        assert_eq!(a.join(&a).unwrap(), a);
        assert_eq!(
            a.join(&b).unwrap_err().to_string(),
            "decision 'a' is an integer from 1 to 2 in one space and an integer from 1 to 3 in the other; rename one \
             before joining"
        );
    }

    #[test]
    fn json_of_a_newer_version_is_refused() {
        let json = mixed().to_json();
        assert_eq!(SearchSpace::from_json(&json).unwrap(), mixed());
        let newer = json.replace("\"version\":1", "\"version\":9");
        assert!(SearchSpace::from_json(&newer).unwrap_err().to_string().contains("version 9"));
        assert!(SearchSpace::from_json("[]").is_err());
    }

    proptest! {
        #[test]
        fn json_round_trips(space in any_space(), seed in any::<u64>()) {
            let again = SearchSpace::from_json(&space.to_json()).unwrap();
            prop_assert_eq!(&again, &space);
            prop_assert_eq!(again.fingerprint(), space.fingerprint());
            let point = space.sample(seed, 0);
            prop_assert_eq!(space.point_from_json(&space.point_to_json(&point)).unwrap(), point.clone());
            prop_assert_eq!(space.point(space.values(&point)).unwrap(), point);
        }
    }
}
