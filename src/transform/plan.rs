//! From rules and a network to a search space, and to what each point does to each module.
//!
//! A module that several rules open in different ways nests: a choice of ops is outermost, and everything inside the
//! given module exists only while its op is `"original"`. So any rules combine, and the cost stays exact.

use std::collections::HashMap;

use super::rule::{AppliedRule, Effect, ORIGINAL, Opening};

use crate::error::{Error, Result};
use crate::network::{Cost, CostModel, Kind, Network, Node, Term, is_within};
use crate::space::{Decision, INACTIVE, Label, Point, SearchSpace};

/// What a decision does to its module.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// The kernel of a convolution is the centre of a shared, largest one.
    Kernel {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The size of each code.
        sizes: Vec<u64>,
        /// The padding of each code; `None` for `padding="same"`.
        paddings: Option<Vec<Vec<u64>>>,
    },
    /// One of several modules takes the place.
    Choice {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The name of each code.
        candidates: Vec<String>,
    },
}

impl Action {
    /// The module that it changes.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Action::Kernel { path, .. } | Action::Choice { path, .. } => path,
        }
    }

    /// The decision that it obeys.
    #[must_use]
    pub fn decision(&self) -> usize {
        match self {
            Action::Kernel { decision, .. } | Action::Choice { decision, .. } => *decision,
        }
    }
}

/// A module that a rule was meant for and could not open.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fixed {
    /// The module.
    pub path: String,
    /// The rule.
    pub rule: &'static str,
    /// Why not.
    pub reason: String,
}

/// The space that rules open in a network, and how its points change the network.
#[derive(Clone, Debug)]
pub struct RewritePlan {
    /// The decisions.
    pub space: SearchSpace,
    /// One for each decision, in the same order; outer modules before inner ones.
    pub actions: Vec<Action>,
    /// The given network as a point; `None` if it is not among the choices.
    pub original: Option<Point>,
    /// What could not be opened.
    pub fixed: Vec<Fixed>,
}

/// Applies rules to a network.
///
/// # Errors
/// [`Error::Rule`] if a rule opens nothing, if two rules open the same module in the same way, or if a slot of the
/// user's is opened by no rule.
pub fn rewrite(network: &Network, rules: &[AppliedRule]) -> Result<RewritePlan> {
    let mut openings: HashMap<&str, Vec<(usize, Opening)>> = HashMap::new();
    let mut fixed = Vec::new();
    let nodes: HashMap<&str, &Node> = network.nodes.iter().map(|node| (node.path.as_str(), node)).collect();
    for (number, applied) in rules.iter().enumerate() {
        let name = applied.rule.name();
        let mut opened = 0;
        for path in &applied.targets {
            let node = nodes
                .get(path.as_str())
                .ok_or_else(|| Error::Network(format!("the network has no module '{path}'")))?;
            match applied.rule.open(node, applied.named) {
                Ok(opening) => {
                    opened += 1;
                    let of_module = openings.entry(&node.path).or_default();
                    if let Some((other, _)) = of_module.iter().find(|(_, o)| o.suffix == opening.suffix) {
                        return Err(Error::Rule(format!(
                            "rules {other} and {number} both open the {} of '{path}'; narrow one by where=",
                            opening.suffix
                        )));
                    }
                    of_module.push((number, opening));
                }
                Err(reason) => fixed.push(Fixed { path: path.clone(), rule: name, reason }),
            }
        }
        if opened == 0 {
            return Err(Error::Rule(nothing_opened(number, applied, &fixed)));
        }
    }
    for node in &network.nodes {
        if matches!(node.kind, Kind::Slot) && !openings.contains_key(node.path.as_str()) {
            return Err(Error::Rule(format!(
                "the slot '{}' is opened by no rule; add mn.rules.slots([...]) or widen its where=",
                node.path
            )));
        }
    }
    build(network, openings, fixed)
}

fn nothing_opened(number: usize, applied: &AppliedRule, fixed: &[Fixed]) -> String {
    let name = applied.rule.name();
    if applied.targets.is_empty() {
        return format!("rule {number} ({name}) matches no module; check its target and where=");
    }
    let reasons: Vec<String> = fixed
        .iter()
        .filter(|f| applied.targets.contains(&f.path) && f.rule == name)
        .take(3)
        .map(|f| format!("'{}': {}", f.path, f.reason))
        .collect();
    format!(
        "rule {number} ({name}) opens none of the {} modules it is meant for ({}{})",
        applied.targets.len(),
        reasons.join("; "),
        if applied.targets.len() > 3 { "; ..." } else { "" }
    )
}

/// Decisions and actions in the order of the modules, inner ones conditional on the ops they are within.
fn build(
    network: &Network,
    mut openings: HashMap<&str, Vec<(usize, Opening)>>,
    mut fixed: Vec<Fixed>,
) -> Result<RewritePlan> {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut actions = Vec::new();
    let mut original = Some(Vec::new());
    // Choices of ops around the current module: path, decision, whether the given module is among the candidates.
    let mut around: Vec<(String, String, bool)> = Vec::new();
    for node in &network.nodes {
        around.retain(|(path, _, _)| is_within(&node.path, path));
        let Some(mut opened) = openings.remove(node.path.as_str()) else { continue };
        // The choice of ops first: it contains the other openings of the same module.
        opened.sort_by_key(|(number, opening)| (!matches!(opening.effect, Effect::Choice { .. }), *number));
        for (_, opening) in opened {
            if let Some((outer, _, false)) = around.iter().find(|(_, _, has_original)| !has_original) {
                let rule = if opening.suffix == "op" { "replace" } else { opening.suffix };
                let reason = format!("'{outer}' is replaced and does not have the candidate \"original\"");
                fixed.push(Fixed { path: node.path.clone(), rule, reason });
                continue;
            }
            let name = match node.path.as_str() {
                "" => opening.suffix.to_string(),
                path => format!("{path}.{}", opening.suffix),
            };
            let mut decision = Decision::new(name.clone(), opening.domain);
            if let Some((_, outer, _)) = around.last() {
                decision = decision.active_if(outer.clone(), vec![Label::Text(ORIGINAL.to_string())]);
            }
            original = original.zip(opening.original).map(|(mut codes, code)| {
                codes.push(code);
                codes
            });
            let (path, index) = (node.path.clone(), decisions.len());
            actions.push(match opening.effect {
                Effect::Kernel { sizes, paddings } => {
                    Action::Kernel { path, decision: index, sizes, paddings }
                }
                Effect::Choice { candidates } => {
                    around.push((path.clone(), name, opening.original.is_some()));
                    Action::Choice { path, decision: index, candidates }
                }
            });
            decisions.push(decision);
        }
    }
    let space = SearchSpace::new(decisions)?;
    let original = original.map(|codes| Point::new(codes, vec![]));
    Ok(RewritePlan { space, actions, original, fixed })
}

impl RewritePlan {
    /// The exact cost of every point. `candidates` has the cost of each candidate op of each choice, by path and name;
    /// `"original"` needs none.
    ///
    /// # Errors
    /// [`Error::Network`] if a module or the cost of a candidate is missing.
    pub fn cost_model(
        &self,
        network: &Network,
        candidates: &HashMap<String, HashMap<String, Cost>>,
    ) -> Result<CostModel> {
        let mut model = CostModel::new(self.space.len());
        model.push_cost(1, network.root()?.cost, &[]);
        for action in &self.actions {
            let node = network.node(action.path())?;
            let within = self.conditions(action);
            match action {
                Action::Kernel { decision, sizes, .. } => {
                    push_kernel(&mut model, node, *decision, sizes, &within)?;
                }
                Action::Choice { decision, candidates: names, path } => {
                    model.push_cost(-1, node.cost, &within);
                    for (code, name) in names.iter().enumerate() {
                        let cost = if name == ORIGINAL {
                            Some(node.cost)
                        } else {
                            candidates.get(path).and_then(|of_path| of_path.get(name)).copied()
                        };
                        let cost = cost.ok_or_else(|| {
                            Error::Network(format!("the cost of candidate '{name}' of '{path}' is missing"))
                        })?;
                        let mut factors = within.clone();
                        factors.push((*decision, indicator(names.len(), code)));
                        model.push_cost(1, cost, &factors);
                    }
                }
            }
        }
        Ok(model)
    }

    /// The factors that are 1 while the module of an action is part of the network, else 0.
    fn conditions(&self, action: &Action) -> Vec<(usize, Box<[i64]>)> {
        self.actions
            .iter()
            .filter_map(|outer| match outer {
                Action::Choice { path, decision, candidates }
                    if *decision != action.decision() && is_within(action.path(), path) =>
                {
                    let code = candidates.iter().position(|name| name == ORIGINAL)?;
                    Some((*decision, indicator(candidates.len(), code)))
                }
                _ => None,
            })
            .collect()
    }

    /// What a point does: for each action that is active, the code of its decision.
    ///
    /// # Errors
    /// [`Error::Space`] if the point is of another space.
    pub fn active<'a>(&'a self, point: &'a Point) -> Result<impl Iterator<Item = (&'a Action, usize)>> {
        self.space.check(point)?;
        Ok(self.actions.iter().filter_map(|action| match point.codes()[action.decision()] {
            INACTIVE => None,
            code => Some((action, code as usize)),
        }))
    }
}

fn indicator(n: usize, code: usize) -> Box<[i64]> {
    (0..n).map(|i| i64::from(i == code)).collect()
}

/// Replaces the given kernel's share of parameters and multiply-accumulates by that of the decided size.
fn push_kernel(
    model: &mut CostModel,
    node: &Node,
    decision: usize,
    sizes: &[u64],
    within: &[(usize, Box<[i64]>)],
) -> Result<()> {
    let Kind::Conv(conv) = &node.kind else {
        return Err(Error::Network(format!("'{}' is no convolution", node.path)));
    };
    let dims = conv.kernel_size.len() as u32;
    let given = i64::try_from(conv.kernel_size[0].pow(dims)).unwrap_or(i64::MAX);
    let weights = (conv.out_channels * conv.in_channels / conv.groups) as i64;
    // Every element of an output is one dot product over the group's input channels and the kernel.
    let outputs: u64 = node.outputs.iter().map(|shape| shape.iter().product::<u64>()).sum();
    let products = (outputs * (conv.in_channels / conv.groups)) as i64;
    let table: Box<[i64]> = sizes.iter().map(|&size| size.pow(dims) as i64 - given).collect();
    for (metric, coefficient) in [(0, weights), (1, products)] {
        let mut factors = within.to_vec();
        factors.push((decision, table.clone()));
        model.push(Term { metric, coefficient, factors });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::rule::RewriteRule;
    use super::*;
    use crate::network::Conv;

    fn node(path: &str, kind: Kind, params: u64, macs: u64) -> Node {
        let cost = Cost { params, macs, activation_bytes: 0 };
        Node { path: path.into(), class: "X".into(), kind, cost, outputs: vec![vec![1, 8, 4, 4]] }
    }

    fn conv(kernel: u64) -> Kind {
        Kind::Conv(Conv {
            in_channels: 4,
            out_channels: 8,
            kernel_size: vec![kernel; 2],
            padding: Some(vec![kernel / 2; 2]),
            dilation: vec![1; 2],
            groups: 1,
            sealed: None,
        })
    }

    /// A block of two convolutions (3x3 and 5x5) after a 3x3 stem.
    fn network() -> Network {
        let cost = |k: u64| (32 * k * k, 128 * 4 * k * k);
        let sum = |sizes: &[u64]| sizes.iter().map(|&k| cost(k)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (all, block) = (sum(&[3, 3, 5]), sum(&[3, 5]));
        Network {
            nodes: vec![
                node("", Kind::Other, all.0, all.1),
                node("stem", conv(3), cost(3).0, cost(3).1),
                node("block", Kind::Other, block.0, block.1),
                node("block.a", conv(3), cost(3).0, cost(3).1),
                node("block.b", conv(5), cost(5).0, cost(5).1),
            ],
        }
    }

    fn kernels(targets: &[&str]) -> AppliedRule {
        AppliedRule {
            rule: RewriteRule::KernelSize { sizes: vec![3, 5] },
            targets: targets.iter().map(|&t| t.to_string()).collect(),
            named: false,
        }
    }

    fn replace(targets: &[&str], candidates: &[&str]) -> AppliedRule {
        AppliedRule {
            rule: RewriteRule::Replace { candidates: candidates.iter().map(|&c| c.to_string()).collect() },
            targets: targets.iter().map(|&t| t.to_string()).collect(),
            named: true,
        }
    }

    #[test]
    fn inner_decisions_exist_only_while_the_original_is_chosen() {
        let rules =
            [kernels(&["stem", "block.a", "block.b"]), replace(&["block"], &["original", "identity"])];
        let plan = rewrite(&network(), &rules).unwrap();
        assert_eq!(plan.space.size().unwrap(), (2_u32 * (2 * 2 + 1)).into());
        let original = plan.space.point_to_json(plan.original.as_ref().unwrap());
        assert_eq!(
            original,
            r#"{"stem.kernel_size":3,"block.op":"original","block.a.kernel_size":3,"block.b.kernel_size":5}"#
        );
        let identity = HashMap::from([("identity".to_string(), Cost::default())]);
        let model = plan.cost_model(&network(), &HashMap::from([("block".to_string(), identity)])).unwrap();
        let params = |json: &str| {
            let point = plan.space.point_from_json(json).unwrap();
            model.evaluate(point.codes()).unwrap()[0][0]
        };
        assert_eq!(params(&original), 32 * (9 + 9 + 25));
        assert_eq!(params(r#"{"stem.kernel_size":5,"block.op":"identity"}"#), 32 * 25);
        assert_eq!(
            params(
                r#"{"stem.kernel_size":5,"block.op":"original","block.a.kernel_size":5,"block.b.kernel_size":3}"#
            ),
            32 * (25 + 25 + 9)
        );
    }

    #[test]
    fn without_the_original_the_inner_modules_are_fixed() {
        let rules = [kernels(&["stem", "block.a"]), replace(&["block"], &["identity"])];
        let plan = rewrite(&network(), &rules).unwrap();
        assert_eq!(plan.space.len(), 2);
        assert_eq!(plan.original, None);
        assert_eq!(plan.fixed[0].reason, "'block' is replaced and does not have the candidate \"original\"");
    }

    #[test]
    fn what_opens_nothing_is_an_error() {
        let message = |rules: &[AppliedRule]| rewrite(&network(), rules).unwrap_err().to_string();
        assert_eq!(
            message(&[kernels(&[])]),
            "rule 0 (kernel_size) matches no module; check its target and where="
        );
        assert_eq!(
            message(&[kernels(&["block"])]),
            "rule 0 (kernel_size) opens none of the 1 modules it is meant for ('block': it is no convolution)"
        );
        assert_eq!(
            message(&[kernels(&["stem"]), kernels(&["stem", "block.a"])]),
            "rules 0 and 1 both open the kernel_size of 'stem'; narrow one by where="
        );
        let mut with_slot = network();
        with_slot.nodes.push(node("slot", Kind::Slot, 0, 0));
        assert!(
            rewrite(&with_slot, &[kernels(&["stem"])])
                .unwrap_err()
                .to_string()
                .starts_with("the slot 'slot'")
        );
    }
}
