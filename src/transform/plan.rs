//! From rules and a network to a search space, and to what each point does to each module.
//!
//! A module that several rules open in different ways nests: what may be left out or replaced is a region, and
//! everything inside it is decided only while it is there. So any rules combine, and the cost stays exact: it is a sum
//! over everything that was traced of products of sizes, each size a function of decisions.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rule::{AppliedRule, Effect, ORIGINAL, Opening};

use crate::error::{Error, Result};
use crate::network::{Axis, Cost, CostModel, Coupling, Demands, Kind, Network, Segment, Size, product};
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
    /// The first channels of a layer stay, and with them those of everything coupled with it.
    Width {
        /// The first module that makes the channels.
        path: String,
        /// The decision.
        decision: usize,
        /// The channels of each code.
        channels: Vec<u64>,
        /// The modules whose channels are the same.
        with: Vec<String>,
    },
    /// The first blocks of a stage stay, the others pass on what they are given.
    Depth {
        /// The stage: the module that holds the blocks, or the first block.
        path: String,
        /// The decision.
        decision: usize,
        /// For each block that may be left out: its path, and whether it stays at each code.
        blocks: Vec<(String, Vec<bool>)>,
    },
    /// Some modules of a list stay.
    Subset {
        /// The list.
        path: String,
        /// The decision.
        decision: usize,
        /// For each module: its path, and whether it stays at each code.
        blocks: Vec<(String, Vec<bool>)>,
    },
}

impl Action {
    /// The module that it changes, or that names it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Action::Kernel { path, .. }
            | Action::Choice { path, .. }
            | Action::Width { path, .. }
            | Action::Depth { path, .. }
            | Action::Subset { path, .. } => path,
        }
    }

    /// The decision that it obeys.
    #[must_use]
    pub fn decision(&self) -> usize {
        match self {
            Action::Kernel { decision, .. }
            | Action::Choice { decision, .. }
            | Action::Width { decision, .. }
            | Action::Depth { decision, .. }
            | Action::Subset { decision, .. } => *decision,
        }
    }
}

/// Which positions of one dimension of a parameter or buffer stay.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cut {
    /// Every module that has the tensor, and the name there.
    pub holders: Vec<(String, String)>,
    /// The dimension.
    pub dim: usize,
    /// What stays of it, in order.
    pub runs: Vec<Run>,
}

/// Successive positions of which a range stays.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Run {
    /// The decision; `None`: one range for every point.
    pub decision: Option<usize>,
    /// Start and length of what stays at each code.
    pub ranges: Vec<(u64, u64)>,
    /// What stays while the decision is inactive.
    pub inactive: (u64, u64),
}

impl Run {
    /// What stays for the codes of a point.
    #[must_use]
    pub fn range(&self, codes: &[i32]) -> (u64, u64) {
        match self.decision.map(|decision| codes[decision]) {
            None | Some(INACTIVE) => self.inactive,
            Some(code) => self.ranges[code as usize],
        }
    }
}

impl Cut {
    /// What stays for the codes of a point: start and length of maximal ranges.
    #[must_use]
    pub fn ranges(&self, codes: &[i32]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (start, length) in self.runs.iter().map(|run| run.range(codes)).filter(|&(_, length)| length > 0)
        {
            match ranges.last_mut() {
                Some((last, known)) if *last + *known == start => *known += length,
                _ => ranges.push((start, length)),
            }
        }
        ranges
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
    /// One for each place that a decision opens, in the order of decisions; outer modules before inner ones.
    pub actions: Vec<Action>,
    /// What stays of parameters and buffers.
    pub cuts: Vec<Cut>,
    /// The given network as a point; `None` if it is not among the choices.
    pub original: Option<Point>,
    /// What could not be opened.
    pub fixed: Vec<Fixed>,
    /// What the rules demand of channels, and the widths that they open.
    pub demands: Demands,
    /// The widths that are opened, as indices of the coupling under these demands.
    pub widths: Vec<usize>,
    /// The cost of everything traced; candidates come later.
    base: CostModel,
    regions: Vec<Region>,
}

/// A module that is part of the network only for some codes of a decision.
#[derive(Clone, Debug)]
struct Region {
    node: usize,
    decision: usize,
    present: Vec<bool>,
}

impl Region {
    fn condition(&self) -> (usize, Box<[i64]>) {
        (self.decision, self.present.iter().map(|&here| i64::from(here)).collect())
    }
}

/// What a rule opened, before decisions have numbers.
struct Opened {
    /// The module that names the decision, unless the user gave it a name.
    node: usize,
    name: String,
    rule: usize,
    opening: Opening,
    target: Target,
}

enum Target {
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
        opened: Vec::new(),
        n_opened: vec![0; rules.len()],
        fixed: Vec::new(),
    };
    planner.modules()?;
    planner.stages()?;
    let demands = planner.demands();
    let coupling = planner.widths(&demands)?;
    // A rule that the user meant for certain modules must open one; one for all modules, only if no other rule does.
    let nothing = planner.n_opened.iter().all(|&n| n == 0);
    for (number, applied) in rules.iter().enumerate() {
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
    planner.build(coupling, demands)
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

    fn open(&mut self, node: usize, rule: usize, opening: Opening, target: Target) -> Result<()> {
        let path = &self.network.nodes[node].path;
        let given = self.rules[rule].decisions.get(path);
        let name = given.cloned().unwrap_or_else(|| decision_name(path, opening.suffix));
        if let Some(reason) = self.tried.get(&name) {
            self.fix(node, rule, reason.clone());
            // It opened something, and a trial showed that the network does not allow it.
            return Ok(());
        }
        if let Some(other) = self.opened.iter().find(|o| o.node == node && o.opening.suffix == opening.suffix)
        {
            return Err(Error::Rule(format!(
                "rules {} and {rule} both open the {} of '{path}'; narrow one by where=",
                other.rule, opening.suffix
            )));
        }
        self.n_opened[rule] += 1;
        self.opened.push(Opened { node, name, rule, opening, target });
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
                match applied.rule.open(&self.network.nodes[index], applied.named) {
                    None => break,
                    Some(Ok(opening)) => self.open(index, number, opening, Target::Module)?,
                    Some(Err(reason)) => self.fix(index, number, reason),
                }
            }
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
                self.open(stage.node, number, stage.opening, Target::Blocks(stage.blocks))?;
            }
        }
        Ok(())
    }

    /// Rules that open channels.
    fn widths(&mut self, demands: &Demands) -> Result<Option<Coupling>> {
        if !self.rules.iter().any(|applied| applied.rule.opens_widths()) {
            return Ok(None);
        }
        let flow = &self.network.flow;
        let coupling = Coupling::of(flow, demands);
        // The more special rule is asked first, and what it opens is closed to others.
        let mut taken: HashSet<usize> = HashSet::new();
        let mut order: Vec<usize> = (0..self.rules.len()).collect();
        order.sort_by_key(|&number| self.rules[number].rule.generality());
        for number in order {
            let applied = &self.rules[number];
            if !applied.rule.opens_widths() {
                continue;
            }
            let targets: HashSet<&str> = applied.targets.iter().map(String::as_str).collect();
            for (index, width) in coupling.widths.iter().enumerate() {
                let path = |&layer: &usize| self.network.nodes[flow.layers[layer].node].path.as_str();
                if taken.contains(&index) || !width.producers.iter().any(|l| targets.contains(path(l))) {
                    continue;
                }
                let node = flow.layers[width.producers[0]].node;
                let left_out = width.producers.iter().map(path).find(|path| !targets.contains(path));
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
                        let producers: Vec<usize> =
                            width.producers.iter().map(|&l| flow.layers[l].node).collect();
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

    /// What choices of ops and left out blocks need of the channels around them.
    fn demands(&self) -> Demands {
        let flow = &self.network.flow;
        let mut demands = Demands::default();
        for opened in &self.opened {
            let path = &self.network.nodes[opened.node].path;
            match (&opened.target, &opened.opening.effect) {
                (Target::Module, Effect::Choice { .. }) => {
                    for call in flow.calls.iter().filter(|call| call.node == opened.node) {
                        for &tensor in call.inputs.iter().chain(&call.outputs) {
                            let reason = format!("the candidate ops of '{path}' have a fixed width");
                            demands.whole.push((tensor, reason));
                        }
                    }
                }
                (Target::Blocks(blocks), Effect::Depth { .. }) => {
                    for call in flow.calls.iter().filter(|call| blocks.contains(&call.node)) {
                        if let (Some(&input), Some(&output)) = (call.inputs.first(), call.outputs.first()) {
                            demands.same.push((input, output));
                        }
                    }
                }
                _ => {}
            }
        }
        demands
    }

    /// Decisions in the order of the modules, inner ones conditional on the regions they are within.
    fn build(mut self, coupling: Option<Coupling>, demands: Demands) -> Result<RewritePlan> {
        let network = self.network;
        // What may be left out or replaced first: it contains the other openings of the same module.
        self.opened.sort_by_key(|o| {
            let rank = match o.opening.effect {
                Effect::Depth { .. } => 0,
                Effect::Choice { .. } => 1,
                _ => 2,
            };
            (o.node, rank, o.rule)
        });
        let mut build = Build {
            decisions: Vec::new(),
            actions: Vec::new(),
            original: Some(Vec::new()),
            regions: Vec::new(),
            of_width: HashMap::new(),
            kernels: HashMap::new(),
        };
        let reach = coupling.as_ref().map(|coupling| reach(network, coupling));
        let mut gone: Vec<(usize, String)> = Vec::new();
        for opened in std::mem::take(&mut self.opened) {
            let node = &network.nodes[opened.node];
            let mut within: HashSet<usize> = match (&opened.target, &reach) {
                (Target::Width(width), Some(reach)) => reach[*width].clone(),
                _ => node.within.iter().copied().collect(),
            };
            if !matches!(opened.target, Target::Width(_))
                && matches!(opened.opening.effect, Effect::Choice { .. })
            {
                // A choice is not inside of itself, but inside of a block that may be left out, even the same one.
                within.insert(opened.node);
            }
            if let Some((_, outer)) = gone.iter().find(|(region, _)| within.contains(region)) {
                let reason = format!("'{outer}' is replaced and does not have the candidate \"original\"");
                self.fix(opened.node, opened.rule, reason);
                continue;
            }
            let blocks_region =
                |node: usize| matches!(opened.opening.effect, Effect::Depth { .. }) && node == opened.node;
            let outer =
                build.regions.iter().rev().find(|r| within.contains(&r.node) && !blocks_region(r.node));
            let mut decision = Decision::new(opened.name, opened.opening.domain);
            if let Some(outer) = outer {
                let parent: &Decision = &build.decisions[outer.decision];
                let values = labels(&parent.domain, &outer.present);
                decision = decision.active_if(parent.name.clone(), values);
            }
            let path = node.path.clone();
            let index = build.decide(decision, opened.opening.original, &path)?;
            let action = match opened.opening.effect {
                Effect::Kernel { sizes, paddings } => {
                    if let Some(parameter) = network.parameter(opened.node, "weight") {
                        build.kernels.insert(parameter, (index, sizes.clone()));
                    }
                    Action::Kernel { path, decision: index, sizes, paddings }
                }
                Effect::Choice { candidates } => {
                    let present: Vec<bool> = candidates.iter().map(|name| name == ORIGINAL).collect();
                    if opened.opening.original.is_none() {
                        gone.push((opened.node, path.clone()));
                    }
                    build.regions.push(Region { node: opened.node, decision: index, present });
                    Action::Choice { path, decision: index, candidates }
                }
                Effect::Width { channels, kept } => {
                    let Target::Width(width) = opened.target else { continue };
                    build.of_width.insert(width, (index, kept));
                    Action::Width { path, decision: index, channels, with: Vec::new() }
                }
                Effect::Depth { kept, head } => {
                    let Target::Blocks(nodes) = opened.target else { continue };
                    let stays = |position: usize| {
                        kept.iter().map(|&kept| kept > (head + position) as u64).collect::<Vec<bool>>()
                    };
                    let present = (0..nodes.len()).map(stays);
                    Action::Depth {
                        path,
                        decision: index,
                        blocks: build.leave_out(network, index, &nodes, present),
                    }
                }
                Effect::Subset { present } => {
                    let Target::Blocks(nodes) = opened.target else { continue };
                    Action::Subset {
                        path,
                        decision: index,
                        blocks: build.leave_out(network, index, &nodes, present.into_iter()),
                    }
                }
            };
            build.actions.push(action);
        }
        build.finish(network, coupling, demands, self.fixed)
    }
}

/// The parts of a plan while decisions get their numbers.
struct Build {
    decisions: Vec<Decision>,
    actions: Vec<Action>,
    original: Option<Vec<i32>>,
    regions: Vec<Region>,
    /// Of each opened width: its decision and the channels kept at each code.
    of_width: HashMap<usize, (usize, Vec<u64>)>,
    /// Of each parameter that is an elastic kernel, by its index: decision and sizes.
    kernels: HashMap<usize, (usize, Vec<u64>)>,
}

impl Build {
    /// The number of a decision: a new one, or that of the places opened before under the same name.
    fn decide(&mut self, decision: Decision, original: Option<i32>, path: &str) -> Result<usize> {
        let Some(index) = self.decisions.iter().position(|known| known.name == decision.name) else {
            self.original = self.original.take().zip(original).map(|(mut codes, code)| {
                codes.push(code);
                codes
            });
            self.decisions.push(decision);
            return Ok(self.decisions.len() - 1);
        };
        let known = &self.decisions[index];
        if known.domain != decision.domain {
            return Err(Error::Rule(format!(
                "'{path}' is to share the decision '{}', which is {}; here it would be {}",
                known.name, known.domain, decision.domain
            )));
        }
        if known.active_if != decision.active_if {
            return Err(Error::Rule(format!(
                "'{path}' is to share the decision '{}', but it is inside of another choice than the other places",
                known.name
            )));
        }
        let same = self.original.as_ref().is_some_and(|codes| Some(codes[index]) == original);
        self.original = self.original.take().filter(|_| same);
        Ok(index)
    }

    /// Makes a region of every module that does not always stay.
    fn leave_out(
        &mut self,
        network: &Network,
        decision: usize,
        nodes: &[usize],
        present: impl Iterator<Item = Vec<bool>>,
    ) -> Vec<(String, Vec<bool>)> {
        let mut blocks = Vec::new();
        for (&node, present) in nodes.iter().zip(present) {
            blocks.push((network.nodes[node].path.clone(), present.clone()));
            if !present.iter().all(|&here| here) {
                self.regions.push(Region { node, decision, present });
            }
        }
        blocks
    }

    fn finish(
        mut self,
        network: &Network,
        coupling: Option<Coupling>,
        demands: Demands,
        fixed: Vec<Fixed>,
    ) -> Result<RewritePlan> {
        let flow = &network.flow;
        let cuts = self.cuts(network, coupling.as_ref());
        for action in &mut self.actions {
            let Action::Width { path, decision, with, .. } = action else { continue };
            let decided = |cut: &&Cut| cut.runs.iter().any(|run| run.decision == Some(*decision));
            let mut seen = HashSet::from([path.clone()]);
            for (holder, _) in cuts.iter().filter(decided).flat_map(|cut| &cut.holders) {
                if seen.insert(holder.clone()) {
                    with.push(holder.clone());
                }
            }
        }
        let mut base = CostModel::new(self.decisions.len());
        let of_kernel: HashMap<usize, usize> =
            self.kernels.keys().map(|&index| (flow.parameters[index].tensor, index)).collect();
        let size = |axis: Axis| self.size(network, coupling.as_ref(), &of_kernel, axis);
        for parameter in flow.parameters.iter().filter(|parameter| parameter.trained) {
            let sizes: Vec<Size> =
                (0..flow.tensors[parameter.tensor].len()).map(|dim| size((parameter.tensor, dim))).collect();
            for term in product(0, 1, &sizes, &self.conditions(&parameter.within)) {
                base.push(term);
            }
        }
        for item in &flow.items {
            let sizes: Vec<Size> = item.axes.iter().map(|&axis| size(axis)).collect();
            let coefficient = item.coefficient as i64;
            for term in product(item.metric, coefficient, &sizes, &self.conditions(&item.within)) {
                base.push(term);
            }
        }
        let space = SearchSpace::new(self.decisions)?;
        let original = self.original.map(|codes| Point::new(codes, vec![]));
        let (actions, regions) = (self.actions, self.regions);
        let mut widths: Vec<usize> = self.of_width.into_keys().collect();
        widths.sort_unstable();
        Ok(RewritePlan { space, actions, cuts, original, fixed, demands, widths, base, regions })
    }

    /// The factors that are 1 while something within these modules is part of the network, else 0.
    fn conditions(&self, within: &[usize]) -> Vec<(usize, Box<[i64]>)> {
        conditions(&self.regions, within)
    }

    fn size(
        &self,
        network: &Network,
        coupling: Option<&Coupling>,
        of_kernel: &HashMap<usize, usize>,
        axis: Axis,
    ) -> Size {
        let full = network.flow.tensors[axis.0][axis.1];
        if let Some((decision, sizes)) =
            of_kernel.get(&axis.0).filter(|_| axis.1 >= FIRST_SPATIAL).and_then(|i| self.kernels.get(i))
        {
            let table: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            let mut size = Size::default();
            size.add(*decision, &table);
            return size;
        }
        let Some(coupling) = coupling else { return Size::constant(full) };
        let mut size = Size::default();
        for segment in coupling.segments(axis, full) {
            match segment.width.and_then(|width| self.of_width.get(&width)) {
                None => size.constant += (segment.count * segment.repeat) as i64,
                Some((decision, kept)) => {
                    let table: Vec<i64> = kept.iter().map(|&kept| segment.kept(kept) as i64).collect();
                    size.add(*decision, &table);
                }
            }
        }
        size
    }

    fn cuts(&self, network: &Network, coupling: Option<&Coupling>) -> Vec<Cut> {
        let flow = &network.flow;
        let mut cuts = Vec::new();
        for (index, parameter) in flow.parameters.iter().enumerate() {
            let holders: Vec<(String, String)> = parameter
                .holders
                .iter()
                .map(|(node, name)| (network.nodes[*node].path.clone(), name.clone()))
                .collect();
            for (dim, &full) in flow.tensors[parameter.tensor].iter().enumerate() {
                let runs = match (self.kernels.get(&index), coupling) {
                    (Some((decision, sizes)), _) if dim >= FIRST_SPATIAL => {
                        let largest = sizes.iter().copied().max().unwrap_or(full).max(full);
                        let centre = |size: u64| ((largest - size) / 2, size);
                        let ranges = sizes.iter().map(|&size| centre(size)).collect();
                        vec![Run { decision: Some(*decision), ranges, inactive: centre(full) }]
                    }
                    (_, Some(coupling)) => {
                        coupling.segments((parameter.tensor, dim), full).iter().map(|s| self.run(s)).collect()
                    }
                    _ => continue,
                };
                if runs.iter().any(|run: &Run| run.decision.is_some()) {
                    cuts.push(Cut { holders: holders.clone(), dim, runs });
                }
            }
        }
        cuts
    }

    fn run(&self, segment: &Segment) -> Run {
        let length = segment.count * segment.repeat;
        let inactive = (segment.start, length);
        match segment.width.and_then(|width| self.of_width.get(&width)) {
            None => Run { decision: None, ranges: Vec::new(), inactive },
            Some((decision, kept)) => {
                let ranges = kept.iter().map(|&kept| (segment.start, segment.kept(kept))).collect();
                Run { decision: Some(*decision), ranges, inactive }
            }
        }
    }
}

/// A convolution's weight has its spatial dimensions after two of channels.
const FIRST_SPATIAL: usize = 2;

/// For each width: the modules without which nothing of it is part of the network.
fn reach(network: &Network, coupling: &Coupling) -> Vec<HashSet<usize>> {
    let flow = &network.flow;
    let mut reach: Vec<Option<HashSet<usize>>> = vec![None; coupling.widths.len()];
    let mut touch = |axis: Axis, within: &[usize]| {
        for segment in coupling.segments(axis, flow.tensors[axis.0][axis.1]) {
            let Some(width) = segment.width else { continue };
            match &mut reach[width] {
                Some(known) => known.retain(|node| within.contains(node)),
                unknown => *unknown = Some(within.iter().copied().collect()),
            }
        }
    };
    for parameter in &flow.parameters {
        for dim in 0..flow.tensors[parameter.tensor].len() {
            touch((parameter.tensor, dim), &parameter.within);
        }
    }
    for item in &flow.items {
        for &axis in &item.axes {
            touch(axis, &item.within);
        }
    }
    reach.into_iter().map(Option::unwrap_or_default).collect()
}

fn conditions(regions: &[Region], within: &[usize]) -> Vec<(usize, Box<[i64]>)> {
    let mut conditions: Vec<(usize, Box<[i64]>)> = Vec::new();
    for region in regions.iter().filter(|region| within.contains(&region.node)) {
        let (decision, table) = region.condition();
        // Of several blocks of one stage around each other there is at most one.
        conditions.push((decision, table));
    }
    conditions
}

fn decision_name(path: &str, suffix: &str) -> String {
    if path.is_empty() { suffix.to_string() } else { format!("{path}.{suffix}") }
}

fn labels(domain: &crate::space::Domain, present: &[bool]) -> Vec<Label> {
    (0..).zip(present).filter(|(_, here)| **here).filter_map(|(code, _)| domain.label(code)).collect()
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
        let mut model = self.base.clone();
        for action in &self.actions {
            let Action::Choice { decision, candidates: names, path } = action else { continue };
            let node = network.node(path)?;
            let mut around = conditions(&self.regions, &node.within);
            around.retain(|(other, _)| other != decision);
            for (code, name) in names.iter().enumerate().filter(|(_, name)| *name != ORIGINAL) {
                let cost = candidates.get(path).and_then(|of_path| of_path.get(name)).copied();
                let cost = cost.ok_or_else(|| {
                    Error::Network(format!("the cost of candidate '{name}' of '{path}' is missing"))
                })?;
                let mut factors = around.clone();
                factors.push((*decision, indicator(names.len(), code)));
                model.push_cost(1, cost, &factors);
            }
        }
        Ok(model)
    }
}

fn indicator(n: usize, code: usize) -> Box<[i64]> {
    (0..n).map(|i| i64::from(i == code)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rule::RewriteRule;
    use super::*;
    use crate::network::{Conv, Flow, Node, Parameter};

    fn node(path: &str, kind: Kind, within: &[usize]) -> Node {
        Node { path: path.into(), class: "X".into(), kind, within: within.to_vec() }
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
            decisions: HashMap::new(),
        }
    }

    fn replace(targets: &[&str], candidates: &[&str]) -> AppliedRule {
        AppliedRule {
            rule: RewriteRule::Replace { candidates: candidates.iter().map(|&c| c.to_string()).collect() },
            targets: targets.iter().map(|&t| t.to_string()).collect(),
            named: true,
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
