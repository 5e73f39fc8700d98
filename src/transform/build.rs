//! From openings to decisions with their conditions, to what stays of each tensor, and to costs.
//!
//! A module that several rules open in different ways nests: what may be left out or replaced is a region, and
//! everything inside it is decided only while it is there; so is every candidate op. So any rules combine, and the cost
//! stays exact: it is a sum over everything that was traced of products of sizes, each size a function of decisions.

use std::collections::{HashMap, HashSet};

use super::plan::{Action, Content, Cut, Diagonal, Fixed, RewritePlan, Run};
use super::planner::{Opened, Target};
use super::rule::{AppliedRule, Effect, ModuleAttribute, Variant};
use crate::error::{Error, Result};
use crate::network::{
    ACTIVATION_BYTES, Axis, CostModel, Coupling, Demands, Network, Segment, Size, Term, candidate_path,
    product,
};
use crate::space::{Decision, Domain, Label, Point, SearchSpace};

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

/// Decisions in the order of the modules, inner ones conditional on the regions they are within.
pub(super) fn build(
    network: &Network,
    rules: &[AppliedRule],
    mut opened: Vec<Opened>,
    coupling: Option<Coupling>,
    demands: Demands,
    mut fixed: Vec<Fixed>,
) -> Result<RewritePlan> {
    // What may be left out or replaced first: it contains the other openings of the same module.
    opened.sort_by_key(|o| {
        let rank = match o.opening.effect {
            Effect::Depth { .. } => 0,
            Effect::Choice { .. } => 1,
            _ => 2,
        };
        (o.node, rank, o.rule)
    });
    let nodes: HashMap<&str, usize> =
        network.nodes.iter().enumerate().map(|(i, node)| (node.path.as_str(), i)).collect();
    let reach = coupling.as_ref().map(|coupling| reach(network, coupling));
    let around: Vec<HashSet<usize>> = opened.iter().map(|o| around(network, reach.as_deref(), o)).collect();
    let parts: Vec<Vec<Part>> = opened.iter().map(|o| parts(o, network, &nodes)).collect();
    // A decision of several places is inside of what all of them are inside of.
    let mut common: HashMap<String, Vec<(&str, &[bool])>> = HashMap::new();
    for (o, around) in opened.iter().zip(&around) {
        let holds = |node: usize| around.contains(&node) && !o.is_first_block(node);
        let outer = opened.iter().zip(&parts).flat_map(|(other, parts)| {
            let inside = parts.iter().filter(|part| holds(part.node));
            inside.map(|part| (other.name.as_str(), part.present.as_slice()))
        });
        let outer: Vec<(&str, &[bool])> = outer.collect();
        common
            .entry(o.name.clone())
            .and_modify(|known| known.retain(|condition| outer.contains(condition)))
            .or_insert(outer);
    }
    let mut build = Build {
        decisions: Vec::new(),
        actions: Vec::new(),
        original: Some(Vec::new()),
        regions: Vec::new(),
        of_width: HashMap::new(),
        kernels: HashMap::new(),
        diagonals: HashMap::new(),
        sizes: None,
    };
    let mut gone: Vec<(usize, String)> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for ((o, around), parts) in opened.iter().zip(around).zip(&parts) {
        let path = network.nodes[o.node].path.clone();
        let mut fix = |reason: String| {
            fixed.push(Fixed { path: path.clone(), rule: rules[o.rule].rule.name(), reason });
        };
        if let Some((_, outer)) = gone.iter().find(|(region, _)| around.contains(region)) {
            fix(format!("'{outer}' is replaced and does not have the candidate \"original\""));
            continue;
        }
        let index = if let Some(&index) = numbers.get(&o.name) {
            if build
                .regions
                .iter()
                .any(|r| r.decision == index && around.contains(&r.node) && !o.is_first_block(r.node))
            {
                fix(format!("it is inside of a module that is tied to the same decision '{}'", o.name));
                continue;
            }
            let tied = rules[o.rule].tied.contains_key(&path);
            let known = &build.decisions[index];
            if !tied && known.domain != o.opening.domain {
                return Err(Error::Rule(format!(
                    "'{path}' is to share the decision '{}', which is {}; here it would be {}",
                    known.name, known.domain, o.opening.domain
                )));
            }
            // The given network is a point only if all tied places have the same choice.
            build.original = build.original.filter(|codes| o.opening.original == Some(codes[index]));
            index
        } else {
            let tied = rules[o.rule].tied.contains_key(&path);
            let domain = o.opening.shares.clone().filter(|_| tied).unwrap_or(o.opening.domain.clone());
            let mut decision = Decision::new(o.name.clone(), domain);
            let outer = build.regions.iter().rev().find(|region| {
                let condition = (build.decisions[region.decision].name.as_str(), region.present.as_slice());
                around.contains(&region.node)
                    && !o.is_first_block(region.node)
                    && common[&o.name].contains(&condition)
            });
            if let Some(outer) = outer {
                let parent: &Decision = &build.decisions[outer.decision];
                let values = labels(&parent.domain, &outer.present);
                decision = decision.active_if(parent.name.clone(), values);
            }
            build.original = build.original.take().zip(o.opening.original).map(|(mut codes, code)| {
                codes.push(code);
                codes
            });
            build.decisions.push(decision);
            numbers.insert(o.name.clone(), build.decisions.len() - 1);
            build.decisions.len() - 1
        };
        let sometimes = parts.iter().filter(|part| !part.present.iter().all(|&here| here));
        build.regions.extend(sometimes.map(|part| Region {
            node: part.node,
            decision: index,
            present: part.present.clone(),
        }));
        let blocks = || {
            let block = |part: &Part| (network.nodes[part.node].path.clone(), part.present.clone());
            parts.iter().map(block).collect()
        };
        let action = match o.opening.effect.clone() {
            Effect::Kernel { sizes, paddings } => {
                if let Some(parameter) = network.parameter(o.node, "weight") {
                    build.kernels.insert(parameter, (index, sizes.clone()));
                }
                Action::Kernel { path, decision: index, sizes, paddings }
            }
            Effect::Choice { candidates, given } => {
                if given.is_none() {
                    gone.push((o.node, path.clone()));
                }
                Action::Choice { path, decision: index, candidates, given }
            }
            Effect::Width { channels, kept, attributes } => {
                let Target::Width(width) = o.target else { continue };
                build.of_width.insert(width, (index, kept));
                Action::Width { path, decision: index, channels, with: Vec::new(), attributes }
            }
            Effect::Depth { .. } => Action::Depth { path, decision: index, blocks: blocks() },
            Effect::Subset { .. } => Action::Subset { path, decision: index, blocks: blocks() },
            Effect::Attributes(attributes) => Action::Attributes { path, decision: index, attributes },
            Effect::Groups { groups, given } => {
                if let Some(parameter) = network.parameter(o.node, "weight") {
                    let holders = holders(network, parameter);
                    let diagonal = Diagonal { holders, decision: index, groups: groups.clone(), given };
                    build.diagonals.insert(parameter, diagonal);
                }
                Action::Groups { path, decision: index, groups, given }
            }
            Effect::Sizes { variants } => {
                let given = o.opening.original.unwrap_or(0) as usize;
                let action = if o.opening.suffix == "resolution" {
                    let sizes = variants.iter().map(|variant| variant.label.clone()).collect();
                    Action::Resolution { path, decision: index, sizes, given }
                } else {
                    let attributes = variant_attributes(&variants);
                    Action::Attributes { path, decision: index, attributes }
                };
                build.sizes = Some((index, variants));
                action
            }
        };
        build.actions.push(action);
    }
    build.finish(network, coupling, demands, fixed)
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
    /// Of each parameter that is the kernel of a convolution with several numbers of groups, by its index.
    diagonals: HashMap<usize, Diagonal>,
    /// The decision on which the sizes of pictures depend, and what runs at each code.
    sizes: Option<(usize, Vec<Variant>)>,
}

impl Build {
    fn finish(
        mut self,
        network: &Network,
        coupling: Option<Coupling>,
        demands: Demands,
        fixed: Vec<Fixed>,
    ) -> Result<RewritePlan> {
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
        let costs = self.costs(network, coupling.as_ref());
        let mut diagonals: Vec<(usize, Diagonal)> = self.diagonals.into_iter().collect();
        diagonals.sort_by_key(|(parameter, _)| *parameter);
        let diagonals = diagonals.into_iter().map(|(_, diagonal)| diagonal).collect();
        let space = SearchSpace::new(self.decisions)?;
        let original = self.original.map(|codes| Point::new(codes, vec![]));
        let mut widths: Vec<usize> = self.of_width.into_keys().collect();
        widths.sort_unstable();
        let actions = self.actions;
        Ok(RewritePlan { space, actions, cuts, diagonals, original, fixed, demands, widths, costs })
    }

    fn costs(&self, network: &Network, coupling: Option<&Coupling>) -> CostModel {
        let flow = &network.flow;
        let mut costs = CostModel::new(self.decisions.len());
        let parameter_of: HashMap<usize, usize> =
            flow.parameters.iter().enumerate().map(|(i, parameter)| (parameter.tensor, i)).collect();
        let sizes = |axes: &mut dyn Iterator<Item = Axis>| -> Vec<Size> {
            axes.flat_map(|axis| self.size(network, coupling, parameter_of.get(&axis.0), axis)).collect()
        };
        for parameter in flow.parameters.iter().filter(|parameter| parameter.trained) {
            let n_dims = flow.tensors[parameter.tensor].len();
            let sizes = sizes(&mut (0..n_dims).map(|dim| (parameter.tensor, dim)));
            costs.extend(product(0, 1, &sizes, &conditions(&self.regions, &parameter.within)));
        }
        for (i, item) in flow.items.iter().enumerate() {
            let mut sizes = sizes(&mut item.axes.iter().copied());
            let mut coefficient = item.coefficient as i64;
            if let Some((decision, variants)) = &self.sizes {
                let table: Vec<i64> = variants.iter().map(|variant| variant.coefficients[i] as i64).collect();
                if table.iter().any(|&other| other != coefficient) {
                    coefficient = 1;
                    sizes.push(Size::table(*decision, &table));
                }
            }
            costs.extend(product(item.metric, coefficient, &sizes, &conditions(&self.regions, &item.within)));
        }
        if let Some((decision, variants)) = &self.sizes {
            let resized = variants.iter().map(|variant| variant.resized_bytes as i64).collect();
            costs.push(Term {
                metric: ACTIVATION_BYTES,
                coefficient: 1,
                factors: vec![(*decision, resized)],
            });
        }
        costs.merge();
        costs
    }

    /// The size of a dimension, as a product.
    fn size(
        &self,
        network: &Network,
        coupling: Option<&Coupling>,
        parameter: Option<&usize>,
        axis: Axis,
    ) -> Vec<Size> {
        let full = network.flow.tensors[axis.0][axis.1];
        let kernel = parameter.filter(|_| axis.1 >= FIRST_SPATIAL).and_then(|index| self.kernels.get(index));
        if let Some((decision, sizes)) = kernel {
            let table: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            return vec![Size::table(*decision, &table)];
        }
        if let Some((decision, variants)) = &self.sizes {
            let table: Vec<i64> =
                variants.iter().map(|variant| variant.tensors[axis.0][axis.1] as i64).collect();
            if table.iter().any(|&other| other != full as i64) {
                return vec![Size::table(*decision, &table)];
            }
        }
        let mut size = self.channels(coupling, axis, full);
        let diagonal = parameter.filter(|_| axis.1 == READS).and_then(|index| self.diagonals.get(index));
        let Some(diagonal) = diagonal else { return vec![size] };
        // Channels of one of the finest groups, times how many of these there are in a group.
        let finest = diagonal.multiple();
        size.divide((finest / diagonal.given) as i64);
        let table: Vec<i64> = diagonal.groups.iter().map(|groups| (finest / groups) as i64).collect();
        vec![size, Size::table(diagonal.decision, &table)]
    }

    /// How many channels of a dimension stay.
    fn channels(&self, coupling: Option<&Coupling>, axis: Axis, full: u64) -> Size {
        let Some(coupling) = coupling else { return Size::constant(full) };
        let mut size = Size::default();
        for segment in coupling.segments(axis, full).iter() {
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
        let reads = coupling.map(|coupling| coupling.reads(flow)).unwrap_or_default();
        let mut cuts = Vec::new();
        for (index, parameter) in flow.parameters.iter().enumerate() {
            for (dim, &full) in flow.tensors[parameter.tensor].iter().enumerate() {
                let runs = match (self.kernels.get(&index), coupling) {
                    (Some((decision, sizes)), _) if dim >= FIRST_SPATIAL => {
                        let largest = sizes.iter().copied().max().unwrap_or(full).max(full);
                        let centre = |size: u64| ((largest - size) / 2, size);
                        let ranges = sizes.iter().map(|&size| centre(size)).collect();
                        vec![Run { decision: Some(*decision), ranges, inactive: centre(full) }]
                    }
                    (_, Some(coupling)) => {
                        let runs = self.runs(&coupling.segments((parameter.tensor, dim), full));
                        match self.diagonals.get(&index).filter(|_| dim == READS) {
                            Some(diagonal) => repeated(&runs, diagonal.given / diagonal.fewest()),
                            None => runs,
                        }
                    }
                    _ => continue,
                };
                if runs.iter().any(|run: &Run| run.decision.is_some()) {
                    let reads = reads.contains(&(index, dim));
                    let content = match (self.kernels.contains_key(&index) && dim >= FIRST_SPATIAL, reads) {
                        (true, _) => Content::Window,
                        (_, true) => Content::Read,
                        _ => Content::Made,
                    };
                    cuts.push(Cut { holders: holders(network, index), dim, runs, content });
                }
            }
        }
        cuts
    }

    /// What stays of successive segments; each has the place that the most of it takes.
    fn runs(&self, segments: &[Segment]) -> Vec<Run> {
        let mut start = 0;
        let run = |segment: &Segment| {
            let inactive = (start, segment.count * segment.repeat);
            let run = match segment.width.and_then(|width| self.of_width.get(&width)) {
                None => Run { decision: None, ranges: Vec::new(), inactive },
                Some((decision, kept)) => {
                    let ranges = kept.iter().map(|&kept| (start, segment.kept(kept))).collect();
                    Run { decision: Some(*decision), ranges, inactive }
                }
            };
            start += run.largest();
            run
        };
        segments.iter().map(run).collect()
    }
}

/// A convolution's weight has its spatial dimensions after two of channels.
const FIRST_SPATIAL: usize = 2;
/// The dimension of a convolution's weight that reads channels.
const READS: usize = 1;

/// Every module that has a parameter, and the name there.
fn holders(network: &Network, parameter: usize) -> Vec<(String, String)> {
    let holders = network.flow.parameters[parameter].holders.iter();
    holders.map(|(node, name)| (network.nodes[*node].path.clone(), name.clone())).collect()
}

/// Runs, several times one after the other.
fn repeated(runs: &[Run], times: u64) -> Vec<Run> {
    let length: u64 = runs.iter().map(Run::largest).sum();
    let moved = |by: u64| {
        runs.iter().map(move |run| Run {
            decision: run.decision,
            ranges: run.ranges.iter().map(|&(start, length)| (start + by, length)).collect(),
            inactive: (run.inactive.0 + by, run.inactive.1),
        })
    };
    (0..times).flat_map(|i| moved(i * length)).collect()
}

/// A module that is part of the network at some codes of an opening's decision.
struct Part {
    node: usize,
    present: Vec<bool>,
}

/// The modules whose presence an opening decides.
fn parts(opened: &Opened, network: &Network, nodes: &HashMap<&str, usize>) -> Vec<Part> {
    match (&opened.opening.effect, &opened.target) {
        (Effect::Choice { candidates, given }, _) => {
            let only =
                |chosen: Option<usize>| (0..candidates.len()).map(|code| Some(code) == chosen).collect();
            let path = &network.nodes[opened.node].path;
            let candidate = |(code, name): (usize, &String)| {
                let node = *nodes.get(candidate_path(path, name).as_str())?;
                Some(Part { node, present: only(Some(code)) })
            };
            let given = Part { node: opened.node, present: only(*given) };
            std::iter::once(given).chain(candidates.iter().enumerate().filter_map(candidate)).collect()
        }
        (Effect::Depth { kept, head }, Target::Blocks(blocks)) => {
            let stays = |position: usize| kept.iter().map(|&n| n > (head + position) as u64).collect();
            let part = |(position, &node): (usize, &usize)| Part { node, present: stays(position) };
            blocks.iter().enumerate().map(part).collect()
        }
        (Effect::Subset { present }, Target::Blocks(blocks)) => {
            let part = |(&node, present): (&usize, &Vec<bool>)| Part { node, present: present.clone() };
            blocks.iter().zip(present).map(part).collect()
        }
        _ => Vec::new(),
    }
}

/// The modules without which an opening is not part of the network.
fn around(network: &Network, reach: Option<&[HashSet<usize>]>, opened: &Opened) -> HashSet<usize> {
    match (&opened.target, reach) {
        (Target::Width(width), Some(reach)) => reach[*width].clone(),
        // A choice is inside of a block that may be left out, even the same one.
        _ => network.nodes[opened.node].within.iter().copied().collect(),
    }
}

/// The attributes of modules at each variant.
fn variant_attributes(variants: &[Variant]) -> Vec<ModuleAttribute> {
    let Some(first) = variants.first() else { return Vec::new() };
    let attribute = |i: usize| ModuleAttribute {
        path: first.attributes[i].0.clone(),
        name: first.attributes[i].1.clone(),
        values: variants.iter().map(|variant| variant.attributes[i].2.clone()).collect(),
    };
    (0..first.attributes.len()).map(attribute).collect()
}

/// For each width: the modules without which nothing of it is part of the network.
fn reach(network: &Network, coupling: &Coupling) -> Vec<HashSet<usize>> {
    let flow = &network.flow;
    let mut reach: Vec<Option<HashSet<usize>>> = vec![None; coupling.widths.len()];
    let mut touch = |axis: Axis, within: &[usize]| {
        for segment in coupling.segments(axis, flow.tensors[axis.0][axis.1]).iter() {
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

fn labels(domain: &Domain, present: &[bool]) -> Vec<Label> {
    (0..).zip(present).filter(|(_, here)| **here).filter_map(|(code, _)| domain.label(code)).collect()
}
