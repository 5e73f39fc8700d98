//! The identity of a study: what a file must agree on with the study that opens it, and how to say where it does not.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::space::{Condition, Decision, SearchSpace};
use crate::trial::{Constraint, Direction, Goals, Objective};

/// What makes two studies the same search.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) space: SearchSpace,
    pub(super) objectives: Vec<Objective>,
    pub(super) constraints: Vec<Constraint>,
    pub(super) algorithm: String,
    pub(super) settings: Value,
    pub(super) seed: u64,
    /// Which costs of the space the points are drawn within; empty: none.
    pub(super) costs: String,
}

/// In place of [`Identity::costs`] for files that do not say.
pub(super) const UNKNOWN: &str = "?";

impl Identity {
    pub(super) fn new(
        space: &SearchSpace,
        goals: &Goals,
        algorithm: &str,
        settings: &Value,
        seed: u64,
        costs: &str,
    ) -> Self {
        Identity {
            space: space.clone(),
            objectives: goals.objectives().to_vec(),
            constraints: goals.constraints().to_vec(),
            algorithm: algorithm.to_string(),
            settings: settings.clone(),
            seed,
            costs: costs.to_string(),
        }
    }

    /// # Errors
    /// [`Error::Study`] with every difference between the study in the file (`self`) and the one that opens it.
    pub(super) fn expect(&self, path: &str, opening: &Identity) -> Result<()> {
        let mut differences = space_differences(&self.space, &opening.space);
        differences.extend(objective_differences(&self.objectives, &opening.objectives));
        differences.extend(constraint_differences(&self.constraints, &opening.constraints));
        differences.extend(algorithm_differences(self, opening));
        if self.seed != opening.seed {
            differences.push(format!("seed: {} in the file, {} given", self.seed, opening.seed));
        }
        if self.costs != opening.costs && self.costs != UNKNOWN {
            let named = |costs: &str| if costs.is_empty() { "none".to_string() } else { costs.to_string() };
            differences.push(format!(
                "costs of the space that constraints draw from: {} in the file, {} given (see space.with_cost)",
                named(&self.costs),
                named(&opening.costs)
            ));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Study(format!(
            "'{path}' holds another study:\n  {}\ngive what is in the file to continue it, or another storage to start anew",
            differences.join("\n  ")
        )))
    }
}

fn space_differences(file: &SearchSpace, given: &SearchSpace) -> Vec<String> {
    let find = |space: &SearchSpace, name: &str| {
        space.decisions().iter().find(|decision| decision.name == name).map(describe)
    };
    let mut differences = Vec::new();
    for decision in file.decisions() {
        let name = &decision.name;
        let there = describe(decision);
        match find(given, name) {
            None => differences.push(format!("decision '{name}': {there} in the file, not given")),
            Some(here) if here != there => {
                differences.push(format!("decision '{name}': {there} in the file, {here} given"));
            }
            Some(_) => {}
        }
    }
    for decision in given.decisions() {
        if find(file, &decision.name).is_none() {
            differences.push(format!(
                "decision '{}': not in the file, {} given",
                decision.name,
                describe(decision)
            ));
        }
    }
    if differences.is_empty() && file != given {
        let names = |space: &SearchSpace| {
            space
                .decisions()
                .iter()
                .map(|decision| format!("'{}'", decision.name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        differences.push(
            if file.decisions().iter().map(|d| &d.name).eq(given.decisions().iter().map(|d| &d.name)) {
                "search space: equal to read, but labels differ in their type".to_string()
            } else {
                format!("order of decisions: {} in the file, {} given", names(file), names(given))
            },
        );
    }
    differences
}

fn describe(decision: &Decision) -> String {
    match &decision.active_if {
        None => decision.domain.to_string(),
        Some(Condition { decision: parent, values }) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("{} active if '{parent}' is {}", decision.domain, values.join(" or "))
        }
    }
}

fn objective_differences(file: &[Objective], given: &[Objective]) -> Vec<String> {
    let word = |direction| match direction {
        Direction::Minimize => "min",
        Direction::Maximize => "max",
    };
    let describe = |objectives: &[Objective], metric: &str| {
        objectives.iter().find(|o| o.metric == metric).map(|o| word(o.direction).to_string())
    };
    let names = |objectives: &[Objective]| objectives.iter().map(|o| o.metric.clone()).collect();
    by_name("objective", names(file), names(given), |name| describe(file, name), |name| describe(given, name))
}

fn constraint_differences(file: &[Constraint], given: &[Constraint]) -> Vec<String> {
    let bound = |bound: Option<f64>| bound.map_or("None".to_string(), |x| format!("{x:?}"));
    // A metric may be constrained more than once; all of its bounds are one description.
    let describe = |constraints: &[Constraint], metric: &str| {
        let bounds: Vec<String> = constraints
            .iter()
            .filter(|c| c.metric == metric)
            .map(|c| format!("({}, {})", bound(c.low), bound(c.high)))
            .collect();
        (!bounds.is_empty()).then(|| bounds.join(" and "))
    };
    let names = |constraints: &[Constraint]| constraints.iter().map(|c| c.metric.clone()).collect();
    by_name(
        "constraint",
        names(file),
        names(given),
        |name| describe(file, name),
        |name| describe(given, name),
    )
}

fn algorithm_differences(file: &Identity, given: &Identity) -> Vec<String> {
    if file.algorithm != given.algorithm {
        return vec![format!(
            "search algorithm: '{}' in the file, '{}' given",
            file.algorithm, given.algorithm
        )];
    }
    let names = |settings: &Value| -> Vec<String> {
        settings.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let describe = |settings: &Value, name: &str| settings.get(name).map(ToString::to_string);
    let kind = format!("setting of search algorithm '{}'", file.algorithm);
    by_name(
        &kind,
        names(&file.settings),
        names(&given.settings),
        |name| describe(&file.settings, name),
        |name| describe(&given.settings, name),
    )
}

/// What differs between two lists of named things, each described by a text; last of all their order.
fn by_name(
    kind: &str,
    file: Vec<String>,
    given: Vec<String>,
    in_file: impl Fn(&str) -> Option<String>,
    here: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let mut all = file.clone();
    all.extend(given.iter().filter(|name| !file.contains(name)).cloned());
    all.dedup();
    for name in &all {
        match (in_file(name), here(name)) {
            (Some(there), Some(here)) if there != here => {
                differences.push(format!("{kind} '{name}': {there} in the file, {here} given"));
            }
            (Some(there), None) => {
                differences.push(format!("{kind} '{name}': {there} in the file, not given"));
            }
            (None, Some(here)) => differences.push(format!("{kind} '{name}': not in the file, {here} given")),
            _ => {}
        }
    }
    // The order of objectives and constraints is the order of the columns that algorithms see; that of settings is none.
    if differences.is_empty() && file != given && !kind.starts_with("setting") {
        differences.push(format!(
            "order of each {kind}: {} in the file, {} given",
            file.join(", "),
            given.join(", ")
        ));
    }
    differences
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::space::{Domain, Label};

    fn identity() -> Identity {
        let choice = |labels: [i64; 2]| Domain::Categorical(labels.map(Label::Int).to_vec());
        let space = SearchSpace::new(vec![
            Decision::new("a", choice([1, 2])),
            Decision::new("b", choice([3, 4])).active_if("a", vec![Label::Int(1)]),
        ])
        .unwrap();
        let goals = Goals::new(
            vec![Objective { metric: "accuracy".into(), direction: Direction::Maximize }],
            vec![Constraint { metric: "macs".into(), low: None, high: Some(3e8) }],
        )
        .unwrap();
        Identity::new(
            &space,
            &goals,
            "regularized_evolution",
            &json!({"population": 100, "sample": 25}),
            7,
            "",
        )
    }

    fn refusal(change: impl FnOnce(&mut Identity)) -> String {
        let mut given = identity();
        change(&mut given);
        let message = identity().expect("run.db", &given).unwrap_err().to_string();
        let end = "\ngive what is in the file to continue it, or another storage to start anew";
        message
            .strip_prefix("'run.db' holds another study:\n  ")
            .unwrap()
            .strip_suffix(end)
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_same_study_is_accepted_in_any_order_of_settings() {
        let mut given = identity();
        given.settings = json!({"sample": 25, "population": 100});
        identity().expect("run.db", &given).unwrap();
    }

    #[test]
    fn every_difference_is_named() {
        assert_eq!(refusal(|s| s.seed = 0), "seed: 7 in the file, 0 given");
        assert_eq!(
            refusal(|s| s.settings["population"] = json!(50)),
            "setting of search algorithm 'regularized_evolution' 'population': 100 in the file, 50 given"
        );
        assert_eq!(
            refusal(|s| s.algorithm = "random".into()),
            "search algorithm: 'regularized_evolution' in the file, 'random' given"
        );
        assert_eq!(
            refusal(|s| s.costs = "macs (f00)".into()),
            "costs of the space that constraints draw from: none in the file, macs (f00) given (see space.with_cost)"
        );
        assert_eq!(
            refusal(|s| s.objectives[0].direction = Direction::Minimize),
            "objective 'accuracy': max in the file, min given"
        );
        assert_eq!(
            refusal(|s| s.constraints.clear()),
            "constraint 'macs': (None, 300000000.0) in the file, not given"
        );
        let changed = refusal(|s| {
            let mut decisions = s.space.decisions().to_vec();
            decisions[1] = Decision::new("c", Domain::Integer { low: 1, high: 8, step: 1 });
            decisions[0].domain = Domain::Categorical(vec![Label::Int(1), Label::Int(9)]);
            s.space = SearchSpace::new(decisions).unwrap();
        });
        let lines: Vec<&str> = changed.split("\n  ").collect();
        assert_eq!(lines.len(), 3, "{changed}");
        assert!(lines[0].starts_with("decision 'a': ") && lines[0].contains('9'), "{changed}");
        assert!(
            lines[1].starts_with("decision 'b': ") && lines[1].ends_with("in the file, not given"),
            "{changed}"
        );
        assert!(lines[2].starts_with("decision 'c': not in the file, "), "{changed}");
        let order = refusal(|s| {
            let mut decisions = s.space.decisions().to_vec();
            decisions.reverse();
            s.space = SearchSpace::new(decisions).unwrap();
        });
        assert_eq!(order, "order of decisions: 'a', 'b' in the file, 'b', 'a' given");
    }
}
