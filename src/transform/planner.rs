//! From rules and a network to openings: which rule opens what, and what it may not.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::build;
use super::plan::{Fixed, RewritePlan, common_multiple};
use super::rule::{AppliedRule, Effect, Opening};
use crate::error::{Error, Result};
use crate::network::{Coupling, Demands, Kind, Network, Width};
use crate::space::{Domain, Label};

/// What a rule opened, before decisions have numbers.
pub(super) struct Opened {
    /// The module that names the place.
    pub(super) node: usize,
    pub(super) rule: usize,
    /// The name of the decision; that of tied places is the same.
    pub(super) name: String,
    pub(super) opening: Opening,
    pub(super) target: Target,
}

impl Opened {
    /// Whether it is a stage that is named by its first block, which is this module: it is not inside of that block.
    pub(super) fn is_first_block(&self, node: usize) -> bool {
        matches!(self.opening.effect, Effect::Depth { .. }) && node == self.node
    }
}

pub(super) enum Target {
    Module,
    /// Index of the width.
    Width(usize),
    /// The blocks that may be left out, by node, and how many others come before in the stage.
    Blocks(Vec<usize>),
}

/// Applies rules to a network. `tried` are decisions that were tried and must stay closed, with the reason.
///
/// # Errors
/// [`Error::Rule`] if a rule opens nothing, if two rules open the same module in the same way, or if a slot of the
/// user's is opened by no rule.
pub fn rewrite(
    network: &Network,
    rules: &[AppliedRule],
    tried: &BTreeMap<String, String>,
) -> Result<RewritePlan> {
    let nodes: HashMap<&str, usize> =
        network.nodes.iter().enumerate().map(|(i, node)| (node.path.as_str(), i)).collect();
    let mut planner = Planner {
        network,
        rules,
        tried,
        nodes,
        frozen: HashMap::new(),
        attentions: Vec::new(),
        opened: Vec::new(),
        n_opened: vec![0; rules.len()],
        fixed: Vec::new(),
    };
    planner.freeze()?;
    planner.modules()?;
    planner.stages()?;
    let demands = planner.demands();
    let coupling = planner.widths(&demands)?;
    if rules.iter().all(|applied| applied.rule.freezes()) {
        return Err(Error::Rule("the rules only freeze; give one that opens something".into()));
    }
    // A rule that the user meant for certain modules must open one; one for all modules, only if no other rule does.
    let nothing = planner.n_opened.iter().all(|&n| n == 0);
    for (number, applied) in rules.iter().enumerate() {
        if applied.rule.freezes() {
            continue;
        }
        if planner.n_opened[number] == 0 && (nothing || applied.named || applied.rule.names_modules()) {
            return Err(Error::Rule(nothing_opened(number, applied, &planner.fixed)));
        }
    }
    for (i, node) in network.nodes.iter().enumerate() {
        let opened = |o: &Opened| o.node == i && matches!(o.opening.effect, Effect::Choice { .. });
        if matches!(node.kind, Kind::Slot) && !planner.opened.iter().any(opened) {
            return Err(Error::Rule(format!(
                "the slot '{}' is opened by no rule; add mn.rules.slots([...]) or widen its where=",
                node.path
            )));
        }
    }
    build::build(network, rules, planner.opened, coupling, demands, planner.fixed)
}

fn nothing_opened(number: usize, applied: &AppliedRule, fixed: &[Fixed]) -> String {
    let name = applied.rule.name();
    if applied.targets.is_empty() {
        return format!("rule {number} ({name}) matches no module; check its target and where=");
    }
    let of_rule = || fixed.iter().filter(|f| applied.targets.contains(&f.path) && f.rule == name);
    let mut reasons: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for f in of_rule() {
        if reasons.len() < 3 && known.insert(&f.reason) {
            reasons.push(format!("'{}': {}", f.path, f.reason));
        }
    }
    if reasons.is_empty() {
        reasons.push("it found nothing to vary in them".into());
    }
    format!(
        "rule {number} ({name}) opens none of the {} modules it is meant for ({}{})",
        applied.targets.len(),
        reasons.join("; "),
        if of_rule().count() > reasons.len() { "; ..." } else { "" }
    )
}

struct Planner<'a> {
    network: &'a Network,
    rules: &'a [AppliedRule],
    tried: &'a BTreeMap<String, String>,
    nodes: HashMap<&'a str, usize>,
    /// Of each module in which nothing may vary: why.
    frozen: HashMap<usize, String>,
    /// Attentions that may lose heads, and the rule.
    attentions: Vec<(usize, usize)>,
    opened: Vec<Opened>,
    /// Of each rule: how much it opened.
    n_opened: Vec<usize>,
    fixed: Vec<Fixed>,
}

impl Planner<'_> {
    fn node(&self, path: &str) -> Result<usize> {
        self.nodes
            .get(path)
            .copied()
            .ok_or_else(|| Error::Network(format!("the network has no module '{path}'")))
    }

    /// The name of the decision that a rule opens at a place.
    fn name(&self, node: usize, rule: usize, suffix: &str) -> String {
        let (path, rule) = (&self.network.nodes[node].path, &self.rules[rule]);
        let named = rule.decisions.get(path).cloned();
        named.unwrap_or_else(|| decision_name(rule.tied.get(path).unwrap_or(path), suffix))
    }

    fn open(&mut self, node: usize, rule: usize, opening: Opening, target: Target) -> Result<()> {
        let path = &self.network.nodes[node].path;
        if let Some(reason) = self.tried.get(&self.name(node, rule, opening.suffix)) {
            self.fix(node, rule, reason.clone());
            // It opened something, and a trial showed that the network does not allow it.
            return Ok(());
        }
        if let Some(first) = self.first_tied(node, rule, opening.suffix) {
            let choices = |opening: &Opening| opening.shares.clone().unwrap_or(opening.domain.clone());
            let (known, found) = (choices(&first.opening), choices(&opening));
            if known != found {
                let reason = format!(
                    "it is tied to '{}', whose choices are {}; here they are {}",
                    self.network.nodes[first.node].path,
                    words(&known),
                    words(&found)
                );
                self.fix(node, rule, reason);
                return Ok(());
            }
        }
        let choice = |opening: &Opening| matches!(opening.effect, Effect::Choice { .. });
        let clash = |o: &&Opened| {
            o.node == node && (o.opening.suffix == opening.suffix || choice(&o.opening) && choice(&opening))
        };
        if let Some(other) = self.opened.iter().find(clash) {
            return Err(Error::Rule(format!(
                "rules {} and {rule} both open the {} of '{path}'; narrow one by where=",
                other.rule, opening.suffix
            )));
        }
        self.n_opened[rule] += 1;
        let name = self.name(node, rule, opening.suffix);
        self.opened.push(Opened { node, rule, name, opening, target });
        Ok(())
    }

    /// What was opened first with the same decision.
    fn first_tied(&self, node: usize, rule: usize, suffix: &str) -> Option<&Opened> {
        let tied = &self.rules[rule].tied;
        let pattern = tied.get(&self.network.nodes[node].path)?;
        self.opened.iter().find(|other| {
            other.rule == rule
                && other.opening.suffix == suffix
                && tied.get(&self.network.nodes[other.node].path) == Some(pattern)
        })
    }

    /// Modules in which nothing may vary.
    fn freeze(&mut self) -> Result<()> {
        for applied in self.rules.iter().filter(|applied| applied.rule.freezes()) {
            for path in &applied.targets {
                let root = self.node(path)?;
                for (index, node) in self.network.nodes.iter().enumerate() {
                    if node.within.contains(&root) {
                        let name = if path.is_empty() { "the model" } else { path };
                        self.frozen.entry(index).or_insert_with(|| format!("'{name}' is frozen"));
                    }
                }
            }
        }
        Ok(())
    }

    fn fix(&mut self, node: usize, rule: usize, reason: String) {
        let path = self.network.nodes[node].path.clone();
        self.fixed.push(Fixed { path, rule: self.rules[rule].rule.name(), reason });
    }

    /// Rules that open a module on its own.
    fn modules(&mut self) -> Result<()> {
        for (number, applied) in self.rules.iter().enumerate() {
            for path in &applied.targets {
                let index = self.node(path)?;
                let node = &self.network.nodes[index];
                if let Some(attention) = applied.rule.attention(node) {
                    match self.frozen.get(&index).cloned().map_or(attention.map(|_| ()), Err) {
                        Ok(()) if !self.tried.contains_key(&self.name(index, number, "heads")) => {
                            self.attentions.push((index, number));
                        }
                        Ok(()) => {
                            let reason = self.tried[&self.name(index, number, "heads")].clone();
                            self.fix(index, number, reason);
                        }
                        Err(reason) => self.fix(index, number, reason),
                    }
                    continue;
                }
                let Some(opening) = applied.rule.open(node, applied) else { break };
                match self.frozen.get(&index).cloned().map_or(opening, Err) {
                    Ok(opening) => self.open(index, number, opening, Target::Module)?,
                    Err(reason) => self.fix(index, number, reason),
                }
            }
        }
        let sizes: Vec<usize> = self
            .opened
            .iter()
            .filter(|o| matches!(o.opening.effect, Effect::Sizes { .. }))
            .map(|o| o.rule)
            .collect();
        if let [first, second, ..] = sizes[..] {
            return Err(Error::Rule(format!(
                "rules {first} and {second} both change the sizes of pictures; give one of them"
            )));
        }
        Ok(())
    }

    /// Rules that leave out blocks.
    fn stages(&mut self) -> Result<()> {
        for (number, applied) in self.rules.iter().enumerate() {
            if !applied.rule.opens_stages() {
                continue;
            }
            let stages = applied.rule.stages(self.network, applied, &self.nodes)?;
            for (node, reason) in stages.fixed {
                self.fix(node, number, reason);
            }
            for stage in stages.open {
                if let Some(reason) = stage.blocks.iter().find_map(|block| self.frozen.get(block)).cloned() {
                    self.fix(stage.node, number, reason);
                    continue;
                }
                self.open(stage.node, number, stage.opening, Target::Blocks(stage.blocks))?;
            }
        }
        Ok(())
    }

    /// Rules that open channels.
    fn widths(&mut self, demands: &Demands) -> Result<Option<Coupling>> {
        if self.attentions.is_empty() && !self.rules.iter().any(|applied| applied.rule.opens_widths()) {
            return Ok(None);
        }
        let flow = &self.network.flow;
        let coupling = Coupling::of(flow, demands);
        // The more special rule is asked first, and what it opens is closed to others.
        let mut taken: HashSet<usize> = HashSet::new();
        for (node, number) in self.attentions.clone() {
            let widths = coupling.heads.get(&node).map_or(&[][..], Vec::as_slice);
            let opening = match widths {
                [] => Err("its forward splits no channels into its heads".into()),
                [width] => match &coupling.widths[*width].fixed {
                    Some(reason) => Err(reason.clone()),
                    None if taken.contains(width) => Err("its heads are those of another attention".into()),
                    None => {
                        let opening = self.rules[number]
                            .rule
                            .open_heads(&self.network.nodes[node], &coupling.widths[*width]);
                        opening.map(|opening| (*width, opening))
                    }
                },
                [..] => Err("its heads do not vary together".into()),
            };
            match opening {
                Ok((width, opening)) => {
                    taken.insert(width);
                    self.open(node, number, opening, Target::Width(width))?;
                }
                Err(reason) => self.fix(node, number, reason),
            }
        }
        let mut order: Vec<usize> = (0..self.rules.len()).collect();
        order.sort_by_key(|&number| self.rules[number].rule.generality());
        for number in order {
            let applied = &self.rules[number];
            if !applied.rule.opens_widths() {
                continue;
            }
            let targets: HashSet<&str> = applied.targets.iter().map(String::as_str).collect();
            for (index, width) in coupling.widths.iter().enumerate() {
                // A layer of a candidate op counts as the module whose place the op can take.
                let place = |&layer: &usize| {
                    let node = flow.layers[layer].node;
                    self.network.nodes[node].place.unwrap_or(node)
                };
                let path = |&layer: &usize| self.network.nodes[place(&layer)].path.as_str();
                let aimed = width.producers.iter().any(|l| targets.contains(path(l)));
                if taken.contains(&index) || !aimed || self.is_inside_candidate(width) {
                    continue;
                }
                let node = flow.layers[width.producers[0]].node;
                let given = |layer: &&usize| self.network.nodes[flow.layers[**layer].node].place.is_none();
                let left_out =
                    width.producers.iter().filter(given).map(path).find(|path| !targets.contains(path));
                let opening = match (&width.fixed, left_out) {
                    (Some(reason), _) => Err(reason.clone()),
                    (None, Some(other)) => {
                        Err(format!("it is coupled with '{other}', which where= leaves out"))
                    }
                    (None, None) => applied.rule.open_width(self.network, width),
                };
                let Some(opening) = opening.transpose() else { continue };
                match opening {
                    Ok(opening) => {
                        taken.insert(index);
                        self.open(node, number, opening, Target::Width(index))?;
                    }
                    Err(reason) => {
                        let mut told = HashSet::new();
                        let producers: Vec<usize> = width.producers.iter().map(place).collect();
                        for node in producers {
                            if targets.contains(self.network.nodes[node].path.as_str()) && told.insert(node) {
                                self.fix(node, number, reason.clone());
                            }
                        }
                    }
                }
            }
        }
        Ok(Some(coupling))
    }

    /// Whether a width is a candidate op's own, which nothing outside of it reads.
    fn is_inside_candidate(&self, width: &Width) -> bool {
        let nodes = &self.network.nodes;
        let within = |&layer: &usize| &nodes[self.network.flow.layers[layer].node].within;
        let mut layers = width.producers.iter().chain(&width.consumers).map(within);
        let first = layers.next().map_or(&[][..], Vec::as_slice);
        let mut common: Vec<usize> = first.iter().copied().filter(|&n| nodes[n].place.is_some()).collect();
        for within in layers {
            common.retain(|node| within.contains(node));
        }
        !common.is_empty()
    }

    /// What the rules need of the channels besides the data flow.
    fn demands(&self) -> Demands {
        let flow = &self.network.flow;
        let mut demands = Demands::default();
        for opened in &self.opened {
            match (&opened.target, &opened.opening.effect) {
                (Target::Blocks(blocks), Effect::Depth { .. }) => {
                    for call in flow.calls.iter().filter(|call| blocks.contains(&call.node)) {
                        if let (Some(&input), Some(&output)) = (call.inputs.first(), call.outputs.first()) {
                            demands.same.push((input, output));
                        }
                    }
                }
                (_, Effect::Groups { groups, .. }) => {
                    let weight = self.network.parameter(opened.node, "weight");
                    let Kind::Conv(conv) = &self.network.nodes[opened.node].kind else { continue };
                    let Some(tensor) = weight.map(|index| flow.parameters[index].tensor) else { continue };
                    let multiple = common_multiple(groups);
                    demands.periodic.push(((tensor, 0), conv.out_channels / multiple));
                    demands.periodic.push(((tensor, 1), conv.in_channels / multiple));
                }
                (_, Effect::Sizes { variants }) => {
                    for (tensor, shape) in flow.tensors.iter().enumerate() {
                        for (dim, size) in shape.iter().enumerate() {
                            if variants.iter().any(|variant| variant.tensors[tensor][dim] != *size) {
                                demands
                                    .whole
                                    .push(((tensor, dim), "it depends on the size of pictures".into()));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        for parameter in &flow.parameters {
            let reason = parameter.holders.iter().find_map(|(node, _)| self.frozen.get(node));
            if let Some(reason) = reason {
                for dim in 0..flow.tensors[parameter.tensor].len() {
                    demands.whole.push(((parameter.tensor, dim), reason.clone()));
                }
            }
        }
        for &(node, _) in &self.attentions {
            let Kind::Attention(attention) = &self.network.nodes[node].kind else { continue };
            let inside = |&other: &usize| self.network.nodes[other].within.contains(&node);
            for other in (0..self.network.nodes.len()).filter(inside) {
                demands.heads.insert(other, (node, attention.clone()));
            }
        }
        demands
    }
}

fn decision_name(path: &str, suffix: &str) -> String {
    if path.is_empty() { suffix.to_string() } else { format!("{path}.{suffix}") }
}

/// The choices of a domain, for messages.
fn words(domain: &Domain) -> String {
    let Domain::Categorical(labels) = domain else { return format!("{domain:?}") };
    let word = |label: &Label| serde_json::to_string(label).unwrap_or_default();
    labels.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::rule::RewriteRule;
    use super::*;
    use crate::network::{Conv, Flow, Node, Parameter};

    fn node(path: &str, kind: Kind, within: &[usize]) -> Node {
        Node { path: path.into(), class: "X".into(), kind, within: within.to_vec(), place: None }
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
        let nodes = vec![
            node("", Kind::Other, &[0]),
            node("stem", conv(3), &[0, 1]),
            node("block", Kind::Other, &[0, 2]),
            node("block.a", conv(3), &[0, 2, 3]),
            node("block.b", conv(5), &[0, 2, 4]),
        ];
        let weights = [(1, 3), (3, 3), (4, 5)];
        let parameter = |(tensor, &(node, _)): (usize, &(usize, u64))| Parameter {
            tensor,
            holders: vec![(node, "weight".into())],
            trained: true,
            within: nodes[node].within.clone(),
            sealed: None,
        };
        let flow = Flow {
            tensors: weights.iter().map(|&(_, kernel)| vec![8, 4, kernel, kernel]).collect(),
            parameters: weights.iter().enumerate().map(parameter).collect(),
            ..Flow::default()
        };
        Network { nodes, flow }
    }

    fn plan(network: &Network, rules: &[AppliedRule]) -> Result<RewritePlan> {
        rewrite(network, rules, &BTreeMap::new())
    }

    fn kernels(targets: &[&str]) -> AppliedRule {
        AppliedRule {
            rule: RewriteRule::KernelSize { sizes: vec![3, 5] },
            targets: targets.iter().map(|&t| t.to_string()).collect(),
            named: false,
            unfit: BTreeMap::new(),
            tied: BTreeMap::new(),
            decisions: HashMap::new(),
        }
    }

    fn replace(targets: &[&str], candidates: &[&str]) -> AppliedRule {
        AppliedRule {
            rule: RewriteRule::Replace { candidates: candidates.iter().map(|&c| c.to_string()).collect() },
            targets: targets.iter().map(|&t| t.to_string()).collect(),
            named: true,
            unfit: BTreeMap::new(),
            tied: BTreeMap::new(),
            decisions: HashMap::new(),
        }
    }

    #[test]
    fn inner_decisions_exist_only_while_the_original_is_chosen() {
        let rules =
            [kernels(&["stem", "block.a", "block.b"]), replace(&["block"], &["original", "identity"])];
        let plan = plan(&network(), &rules).unwrap();
        assert_eq!(plan.space.size().unwrap(), (2_u32 * (2 * 2 + 1)).into());
        let original = plan.space.point_to_json(plan.original.as_ref().unwrap());
        assert_eq!(
            original,
            r#"{"stem.kernel_size":3,"block.op":"original","block.a.kernel_size":3,"block.b.kernel_size":5}"#
        );
        let params = |json: &str| {
            let point = plan.space.point_from_json(json).unwrap();
            plan.costs.evaluate(point.codes()).unwrap()[0][0]
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
        let plan = plan(&network(), &rules).unwrap();
        assert_eq!(plan.space.len(), 2);
        assert_eq!(plan.original, None);
        assert_eq!(plan.fixed[0].reason, "'block' is replaced and does not have the candidate \"original\"");
    }

    #[test]
    fn what_opens_nothing_is_an_error() {
        let message = |rules: &[AppliedRule]| plan(&network(), rules).unwrap_err().to_string();
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
        with_slot.nodes.push(node("slot", Kind::Slot, &[0, 5]));
        assert!(
            plan(&with_slot, &[kernels(&["stem"])]).unwrap_err().to_string().starts_with("the slot 'slot'")
        );
    }
}
