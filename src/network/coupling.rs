//! Coupling: which channels of which tensors can only be left out together.
//!
//! Every position of every dimension of every parameter is an atom. Walking the data flow in order, an operator unites
//! the atoms that it needs equal: an addition those at the same index, a concatenation none, a grouped convolution the
//! r-th of each group, a view into (heads, channels) the r-th of each head. What a shape that may not vary touches is
//! fixed, with the reason. Classes of united atoms are channels; the channels that one layer makes, together, are a
//! width. So concatenations, shuffles, splits and flattened images need no cases of their own, and positions that stay
//! of any tensor, and thereby its size, are known exactly.
//!
//! Fang et al. 2023, "DepGraph", arXiv 2301.12900, find groups of layers by pairwise dependencies; here single channels
//! are tracked, which also gives the positions within concatenated, grouped and flattened dimensions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use super::Attention;
use super::flow::{Axis, FREE, Flow, Step, WHOLE};

/// What is known of a dimension.
#[derive(Clone, Debug)]
enum Dim {
    /// Nothing has made it yet.
    Unknown,
    /// It cannot vary.
    Whole,
    /// The atom at each position.
    Atoms(Rc<[u32]>),
}

/// Channels that one or more layers make together.
#[derive(Clone, Debug)]
pub struct Width {
    /// The layers that make them, as indices of [`Flow::layers`].
    pub producers: Vec<usize>,
    /// The layers that read them.
    pub consumers: Vec<usize>,
    /// How many can be left out one by one.
    pub channels: u64,
    /// The size of the first producer's dimension; a multiple of `channels`.
    pub size: u64,
    /// Why it cannot vary, if so.
    pub fixed: Option<String>,
    /// Whether it may have more channels than it has: every dimension of a parameter has all of them, in order.
    pub growable: bool,
}

/// Successive positions of a dimension: `count` channels of a width in their order, each `repeat` times; without a
/// width, positions that always stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of the width.
    pub width: Option<usize>,
    /// The first position.
    pub start: u64,
    /// The first channel.
    pub first: u64,
    /// How many channels.
    pub count: u64,
    /// Successive positions a channel.
    pub repeat: u64,
    /// Whether more channels than there are have a place at its end.
    pub grows: bool,
}

impl Segment {
    /// How many of its positions stay when the width has `channels` channels; they are its first ones.
    #[must_use]
    pub fn kept(&self, channels: u64) -> u64 {
        match self.width {
            None => self.count * self.repeat,
            Some(_) if self.grows => channels * self.repeat,
            Some(_) => channels.saturating_sub(self.first).min(self.count) * self.repeat,
        }
    }
}

/// The coupling of a network.
pub struct Coupling {
    dims: Vec<Vec<Dim>>,
    /// Every width, in the order of the layers that make them.
    pub widths: Vec<Width>,
    /// Of each list of atoms, by where it lies: its segments. Most dimensions share the list of a parameter's.
    segments: HashMap<*const u32, Rc<[Segment]>>,
    /// Of each attention of [`Demands::heads`]: the widths whose channels are its heads, in order.
    pub heads: BTreeMap<usize, Vec<usize>>,
}

/// What rules add to the data flow.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Pairs of tensors that must have the same channels (what goes into and out of a module that may be skipped).
    pub same: Vec<(usize, usize)>,
    /// Dimensions that may not vary, and why.
    pub whole: Vec<(Axis, String)>,
    /// Dimensions of which positions with the same index modulo a number stay or go together.
    pub periodic: Vec<(Axis, u64)>,
    /// Modules that run inside of an attention of which whole heads may be left out, and that attention.
    pub heads: HashMap<usize, (usize, Attention)>,
}

impl Coupling {
    /// Walks a data flow.
    #[must_use]
    pub fn of(flow: &Flow, demands: &Demands) -> Coupling {
        let mut walk = Walk::new(flow, &demands.heads);
        for step in &flow.steps {
            walk.step(step);
        }
        for &(a, b) in &demands.same {
            walk.same(a, b);
        }
        for call in flow.calls.iter().filter(|call| call.node == 0) {
            for &tensor in &call.outputs {
                walk.fix(tensor, "it is an output of the model");
            }
        }
        for (axis, reason) in &demands.whole {
            walk.fix_axis(*axis, &Rc::from(reason.as_str()));
        }
        for &(axis, period) in &demands.periodic {
            if let Dim::Atoms(atoms) = walk.dims[axis.0][axis.1].clone() {
                walk.tie(&atoms, |i| i % period as usize);
            }
        }
        walk.finish(flow)
    }

    /// Segments of every list of atoms; `place`: of each atom, width and channel, if it belongs to a width that is not
    /// fixed.
    fn find_segments(&mut self, flow: &Flow, place: &[Option<(u32, u32)>]) {
        let mut found: HashMap<*const u32, Vec<Segment>> = HashMap::new();
        for dim in self.dims.iter().flatten() {
            if let Dim::Atoms(atoms) = dim {
                found.entry(atoms.as_ptr()).or_insert_with(|| segments(atoms, place));
            }
        }
        let mut growable = vec![true; self.widths.len()];
        let parameters = flow.parameters.iter().map(|parameter| parameter.tensor);
        let axes =
            parameters.flat_map(|tensor| (0..flow.tensors[tensor].len()).map(move |dim| (tensor, dim)));
        for (tensor, dim) in axes.chain(flow.items.iter().flat_map(|item| item.axes.iter().copied())) {
            let Dim::Atoms(atoms) = &self.dims[tensor][dim] else { continue };
            for segment in &found[&atoms.as_ptr()] {
                if let Some(width) = segment.width {
                    growable[width] &= segment.first == 0 && segment.count == self.widths[width].channels;
                }
            }
        }
        for segment in found.values_mut().flatten() {
            segment.grows = segment.width.is_some_and(|width| growable[width]);
        }
        for (width, growable) in self.widths.iter_mut().zip(growable) {
            width.growable = growable;
        }
        self.segments = found.into_iter().map(|(list, segments)| (list, segments.into())).collect();
    }

    /// The positions of a dimension, in order.
    #[must_use]
    pub fn segments(&self, (tensor, dim): Axis, size: u64) -> Rc<[Segment]> {
        match &self.dims[tensor][dim] {
            Dim::Atoms(atoms) => Rc::clone(&self.segments[&atoms.as_ptr()]),
            _ => Rc::new([whole(0, size)]),
        }
    }
}

fn whole(start: u64, count: u64) -> Segment {
    Segment { width: None, start, first: 0, count, repeat: 1, grows: false }
}

fn segments(atoms: &[u32], place: &[Option<(u32, u32)>]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = 0;
    while at < atoms.len() {
        let of_first = place[atoms[at] as usize];
        let same = atoms[at..].iter().take_while(|&&a| place[a as usize] == of_first).count();
        let (start, repeat) = (at as u64, same as u64);
        at += same;
        let Some((width, channel)) = of_first else {
            segments.push(whole(start, repeat));
            continue;
        };
        let (width, channel) = (width as usize, u64::from(channel));
        match segments.last_mut() {
            Some(last)
                if last.width == Some(width)
                    && last.repeat == repeat
                    && last.first + last.count == channel =>
            {
                last.count += 1;
            }
            _ => segments.push(Segment {
                width: Some(width),
                start,
                first: channel,
                count: 1,
                repeat,
                grows: false,
            }),
        }
    }
    segments
}

impl Coupling {
    /// The dimensions of parameters by which layers read channels: (index of [`Flow::parameters`], dimension). A layer
    /// may read a parameter through a view of it, whose positions are still the parameter's own.
    #[must_use]
    pub fn reads(&self, flow: &Flow) -> Vec<(usize, usize)> {
        // Atoms of parameters are numbered in the order of the parameters.
        let mut owners: Vec<(Range<u32>, (usize, usize))> = Vec::new();
        for (index, parameter) in flow.parameters.iter().enumerate() {
            for (dim, known) in self.dims[parameter.tensor].iter().enumerate() {
                let Dim::Atoms(atoms) = known else { continue };
                owners.extend(atoms.first().map(|&first| (first..first + atoms.len() as u32, (index, dim))));
            }
        }
        let owner = |atom: u32| {
            let after = owners.partition_point(|(range, _)| range.start <= atom);
            let (range, axis) = owners.get(after.checked_sub(1)?)?;
            range.contains(&atom).then_some(*axis)
        };
        let mut reads = Vec::new();
        for (tensor, dim) in flow.layers.iter().filter_map(|layer| layer.input) {
            let Dim::Atoms(atoms) = &self.dims[tensor][dim] else { continue };
            let Some(axis) = atoms.first().and_then(|&atom| owner(atom)) else { continue };
            if !reads.contains(&axis) {
                reads.push(axis);
            }
        }
        reads
    }
}

struct Walk<'a> {
    flow: &'a Flow,
    dims: Vec<Vec<Dim>>,
    /// Union-find over atoms.
    parent: Vec<u32>,
    /// Of each root: why it is fixed, if it is.
    fixed: Vec<Option<Rc<str>>>,
    /// As in [`Demands`].
    heads: &'a HashMap<usize, (usize, Attention)>,
    /// Attentions, and a channel of the first of their heads.
    split: Vec<(usize, u32)>,
}

impl<'a> Walk<'a> {
    fn new(flow: &'a Flow, heads: &'a HashMap<usize, (usize, Attention)>) -> Self {
        let dims = flow.tensors.iter().map(|shape| vec![Dim::Unknown; shape.len()]).collect();
        let mut walk = Walk { flow, dims, parent: Vec::new(), fixed: Vec::new(), heads, split: Vec::new() };
        for parameter in &flow.parameters {
            for dim in 0..flow.tensors[parameter.tensor].len() {
                let size = flow.tensors[parameter.tensor][dim];
                let atoms = walk.fresh(size as usize);
                walk.dims[parameter.tensor][dim] = Dim::Atoms(atoms);
            }
            if let Some(reason) = &parameter.sealed {
                walk.fix(parameter.tensor, reason);
            }
        }
        walk
    }

    fn fresh(&mut self, count: usize) -> Rc<[u32]> {
        let first = self.parent.len() as u32;
        self.parent.extend(first..first + count as u32);
        self.fixed.resize(self.parent.len(), None);
        (first..first + count as u32).collect()
    }

    fn find(&mut self, mut atom: u32) -> u32 {
        while self.parent[atom as usize] != atom {
            let above = self.parent[self.parent[atom as usize] as usize];
            self.parent[atom as usize] = above;
            atom = above;
        }
        atom
    }

    fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return;
        }
        // The earlier atom stays the root, so that channels keep the order of the layer that makes them.
        let (root, other) = (a.min(b), a.max(b));
        self.parent[other as usize] = root;
        if let Some(reason) = self.fixed[other as usize].take() {
            self.fixed[root as usize].get_or_insert(reason);
        }
    }

    fn fix_atoms(&mut self, atoms: &[u32], reason: &Rc<str>) {
        for &atom in atoms {
            let root = self.find(atom);
            self.fixed[root as usize].get_or_insert_with(|| Rc::clone(reason));
        }
    }

    fn fix_axis(&mut self, (tensor, dim): Axis, reason: &Rc<str>) {
        if let Dim::Atoms(atoms) = self.dims[tensor][dim].clone() {
            self.fix_atoms(&atoms, reason);
        }
    }

    fn fix(&mut self, tensor: usize, reason: &str) {
        let reason = Rc::from(reason);
        for dim in 0..self.dims[tensor].len() {
            self.fix_axis((tensor, dim), &reason);
        }
    }

    fn reason(&self, operator: usize) -> Rc<str> {
        Rc::from(format!("{} needs it whole", self.flow.operators[operator]))
    }

    fn size(&self, (tensor, dim): Axis) -> u64 {
        self.flow.tensors[tensor][dim]
    }

    /// Unites dimensions of the same size; gives what is then known of them.
    fn align(&mut self, axes: &[Axis], reason: &Rc<str>) -> Dim {
        let atoms = |walk: &Self, &(tensor, dim): &Axis| match &walk.dims[tensor][dim] {
            Dim::Atoms(atoms) => Some(Rc::clone(atoms)),
            _ => None,
        };
        let known: Vec<Rc<[u32]>> = axes.iter().filter_map(|axis| atoms(self, axis)).collect();
        let Some(first) = known.first().cloned() else { return Dim::Whole };
        if known.len() < axes.len() || known.iter().any(|other| other.len() != first.len()) {
            for atoms in &known {
                self.fix_atoms(atoms, reason);
            }
            return Dim::Whole;
        }
        for other in &known[1..] {
            if !Rc::ptr_eq(&first, other) {
                for (&a, &b) in first.iter().zip(other.iter()) {
                    self.unite(a, b);
                }
            }
        }
        Dim::Atoms(first)
    }

    fn same(&mut self, a: usize, b: usize) {
        if self.flow.tensors[a].len() != self.flow.tensors[b].len() {
            return;
        }
        let reason = Rc::from("a module that may be skipped passes it on");
        for dim in 0..self.dims[a].len() {
            self.align(&[(a, dim), (b, dim)], &reason);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Align { tensors, letters, made, operator } => {
                self.letters(tensors, letters, *made, *operator);
            }
            Step::View { from, to, operator, node } => self.view(*from, *to, *operator, *node),
            Step::Cat { from, to, dim, operator } => self.cat(from, *to, *dim, *operator),
            Step::Split { from, to, dim, operator } => self.split(*from, to, *dim, *operator),
            Step::Group { axis, groups, member } => self.group(*axis, *groups, *member),
            Step::Repeat { from, to, times } => self.repeat(*from, *to, *times),
            Step::Fix { tensors, operator } => {
                let reason = self.reason(*operator);
                for &tensor in tensors {
                    self.fix(tensor, &reason);
                }
            }
        }
    }

    fn letters(&mut self, tensors: &[usize], letters: &[Vec<i32>], made: usize, operator: usize) {
        let reason = self.reason(operator);
        let count = letters.iter().flatten().copied().max().unwrap_or(WHOLE).max(WHOLE) + 1;
        let mut given: Vec<Vec<Axis>> = vec![Vec::new(); count as usize];
        let mut results: Vec<Vec<Axis>> = vec![Vec::new(); count as usize];
        for (&tensor, letters) in tensors.iter().zip(letters) {
            for (dim, &letter) in letters.iter().enumerate() {
                let axis = (tensor, dim);
                match letter {
                    FREE | WHOLE if tensor >= made => self.dims[tensor][dim] = Dim::Whole,
                    FREE => {}
                    WHOLE => self.fix_axis(axis, &reason),
                    _ if tensor >= made => results[letter as usize].push(axis),
                    _ => given[letter as usize].push(axis),
                }
            }
        }
        for (given, results) in given.iter().zip(results) {
            let known = self.align(given, &reason);
            for (tensor, dim) in results {
                self.dims[tensor][dim] = known.clone();
            }
        }
    }

    fn cat(&mut self, from: &[usize], to: usize, along: usize, operator: usize) {
        let reason = self.reason(operator);
        for dim in (0..self.dims[to].len()).filter(|&dim| dim != along) {
            let axes: Vec<Axis> = from.iter().map(|&tensor| (tensor, dim)).collect();
            self.dims[to][dim] = self.align(&axes, &reason);
        }
        if !from.iter().any(|&tensor| matches!(self.dims[tensor][along], Dim::Atoms(_))) {
            self.dims[to][along] = Dim::Whole;
            return;
        }
        let mut all = Vec::new();
        for &tensor in from {
            let atoms = if let Dim::Atoms(atoms) = &self.dims[tensor][along] {
                Rc::clone(atoms)
            } else {
                let atoms = self.fresh(self.size((tensor, along)) as usize);
                self.fix_atoms(&atoms, &reason);
                atoms
            };
            all.extend_from_slice(&atoms);
        }
        self.dims[to][along] = Dim::Atoms(all.into());
    }

    fn split(&mut self, from: usize, to: &[usize], along: usize, operator: usize) {
        for &piece in to {
            for dim in (0..self.dims[from].len()).filter(|&dim| dim != along) {
                self.dims[piece][dim] = self.dims[from][dim].clone();
            }
        }
        let pieces = to.len().max(1);
        let equal = to.windows(2).all(|two| self.size((two[0], along)) == self.size((two[1], along)));
        let known = match self.dims[from][along].clone() {
            Dim::Atoms(atoms) if equal => {
                let size = atoms.len() / pieces;
                self.tie(&atoms, |i| i % size);
                Dim::Atoms(atoms[..size].into())
            }
            _ => {
                let reason = self.reason(operator);
                self.fix_axis((from, along), &reason);
                Dim::Whole
            }
        };
        for &piece in to {
            self.dims[piece][along] = known.clone();
        }
    }

    /// Unites the atoms with the same key.
    fn tie(&mut self, atoms: &[u32], key: impl Fn(usize) -> usize) {
        let mut first: HashMap<usize, u32> = HashMap::new();
        for (i, &atom) in atoms.iter().enumerate() {
            let one = *first.entry(key(i)).or_insert(atom);
            self.unite(one, atom);
        }
    }

    fn group(&mut self, axis: Axis, groups: u64, member: Option<Axis>) {
        let reason = Rc::from("it is divided into groups");
        let Dim::Atoms(atoms) = self.dims[axis.0][axis.1].clone() else {
            if let Some(member) = member {
                self.fix_axis(member, &reason);
            }
            return;
        };
        let size = atoms.len() / groups as usize;
        self.tie(&atoms, |i| i % size);
        if let Some(member) = member {
            match self.dims[member.0][member.1].clone() {
                Dim::Atoms(members) if members.len() == size => {
                    for (&a, &b) in atoms.iter().zip(members.iter()) {
                        self.unite(a, b);
                    }
                }
                _ => self.fix_axis(axis, &reason),
            }
        }
    }

    fn repeat(&mut self, from: Axis, to: Axis, times: u64) {
        let reason: Rc<str> = Rc::from("it belongs to channels that cannot vary");
        match (self.dims[from.0][from.1].clone(), self.dims[to.0][to.1].clone()) {
            (Dim::Atoms(few), Dim::Atoms(many)) => {
                for (i, &atom) in many.iter().enumerate() {
                    self.unite(few[i / times as usize], atom);
                }
            }
            (_, Dim::Atoms(_)) => self.fix_axis(to, &reason),
            _ => self.fix_axis(from, &reason),
        }
    }

    fn view(&mut self, from: usize, to: usize, operator: usize, node: usize) {
        let reason = self.reason(operator);
        let flow = self.flow;
        let (before, after) = (&flow.tensors[from], &flow.tensors[to]);
        for dim in &mut self.dims[to] {
            *dim = Dim::Whole;
        }
        if before.contains(&0) {
            self.fix(from, &reason);
            return;
        }
        let take = |shape: &[u64], at: &mut usize| {
            *at += 1;
            shape.get(*at - 1).copied().unwrap_or(1)
        };
        // The smallest blocks of dimensions on both sides that hold the same elements.
        let (mut i, mut j) = (0, 0);
        while i < before.len() || j < after.len() {
            let (start_i, start_j) = (i, j);
            let (mut inside, mut outside) = (take(before, &mut i), take(after, &mut j));
            while inside != outside {
                if inside < outside {
                    inside *= take(before, &mut i);
                } else {
                    outside *= take(after, &mut j);
                }
            }
            let (end_i, end_j) = (i.min(before.len()), j.min(after.len()));
            self.view_block((from, start_i..end_i), (to, start_j..end_j), &reason, node);
        }
    }

    /// The shortest atoms of which a dimension is made when each is repeated and all of that is, again and again; and how
    /// often each is repeated. All the same atom is no pattern.
    fn pattern(&mut self, atoms: &[u32]) -> (Vec<u32>, usize) {
        let roots: Vec<u32> = atoms.iter().map(|&atom| self.find(atom)).collect();
        let gcd = |mut a: usize, mut b: usize| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let repeat = roots.chunk_by(|a, b| a == b).map(<[u32]>::len).fold(0, gcd);
        if repeat == 0 || repeat == roots.len() {
            return (atoms.to_vec(), 1);
        }
        let mut few: Vec<u32> = roots.into_iter().step_by(repeat).collect();
        let repeats = |few: &[u32], period: usize| few[period..].iter().zip(few).all(|(a, b)| a == b);
        if let Some(period) = (2..few.len()).find(|&n| few.len().is_multiple_of(n) && repeats(&few, n)) {
            few.truncate(period);
        }
        (few, repeat)
    }

    /// Moves atoms from a block of dimensions to another one with as many elements.
    fn view_block(
        &mut self,
        (from, before): (usize, Range<usize>),
        (to, after): (usize, Range<usize>),
        reason: &Rc<str>,
        node: usize,
    ) {
        let labelled: Vec<usize> =
            before.clone().filter(|&dim| matches!(self.dims[from][dim], Dim::Atoms(_))).collect();
        // Dimensions of size one hold no choice of channels.
        let labelled: Vec<usize> = match labelled.len() {
            0 | 1 => labelled,
            _ => labelled.into_iter().filter(|&dim| self.size((from, dim)) > 1).collect(),
        };
        let [dim] = labelled[..] else {
            for dim in labelled {
                self.fix_axis((from, dim), reason);
            }
            return;
        };
        let Dim::Atoms(atoms) = self.dims[from][dim].clone() else { return };
        let below: u64 =
            before.clone().skip_while(|&d| d != dim).skip(1).map(|d| self.size((from, d))).product();
        let (atoms, repeat) = self.pattern(&atoms);
        let (count, below) = (atoms.len(), below as usize * repeat);
        // Stride and size of the dimensions after, from the last to the first; those along which the atom changes.
        let mut stride = 1;
        let mut varying = Vec::new();
        for d in after.clone().rev() {
            let size = self.size((to, d)) as usize;
            let inside_one = below % (stride * size) == 0;
            let over_all = stride % (count * below) == 0;
            if size > 1 && !inside_one && !over_all {
                varying.push((d, stride, size));
            }
            stride *= size;
        }
        let total = count * below;
        let one = |d: usize| self.size((to, d)) as usize == count;
        let (d, stride, size) = match varying[..] {
            [] => match after.clone().find(|&d| one(d)) {
                Some(d) => {
                    self.dims[to][d] = Dim::Atoms(atoms.into());
                    return;
                }
                None => return self.fix_atoms(&atoms, reason),
            },
            [alone] => alone,
            [channels, outer, ..] => match self.heads.get(&node) {
                // (heads, channels) of an attention that may lose heads: all channels of a head stay or go.
                Some((attention, kind)) if splits(kind, outer) => {
                    self.split.push((*attention, atoms[0]));
                    outer
                }
                // (groups, channels): each group keeps the same channels.
                _ => channels,
            },
        };
        let period = stride * size;
        let aligned = if varying.len() == 1 {
            below % stride == 0 && period % total == 0
        } else {
            stride % below == 0 && (period % total == 0 || total % period == 0)
        };
        if !aligned {
            return self.fix_atoms(&atoms, reason);
        }
        if varying.len() > 1 {
            self.tie(&atoms, |c| (c * below / stride) % size);
        }
        let labels: Vec<u32> = (0..size).map(|i| atoms[(i * stride / below) % count]).collect();
        self.dims[to][d] = Dim::Atoms(labels.into());
    }

    fn finish(mut self, flow: &Flow) -> Coupling {
        // Widths: classes joined by the layers that make them.
        let mut of_class: Vec<Option<usize>> = vec![None; self.parent.len()]; // the first layer that makes it
        let mut seen: Vec<Option<usize>> = vec![None; self.parent.len()]; // the last layer
        let mut group: Vec<usize> = Vec::new();
        let mut made: Vec<Vec<u32>> = Vec::new();
        for (number, layer) in flow.layers.iter().enumerate() {
            let (tensor, dim) = layer.output;
            let classes = match self.dims[tensor][dim].clone() {
                Dim::Atoms(atoms) => {
                    let mut classes: Vec<u32> = Vec::new();
                    for &atom in atoms.iter() {
                        let class = self.find(atom);
                        if seen[class as usize].replace(number) != Some(number) {
                            classes.push(class);
                        }
                    }
                    classes
                }
                _ => Vec::new(),
            };
            group.push(number);
            for &class in &classes {
                let other = *of_class[class as usize].get_or_insert(number);
                let (a, b) = (root(&mut group, other), root(&mut group, number));
                group[a.max(b)] = a.min(b);
            }
            made.push(classes);
        }
        let mut widths: Vec<Width> = Vec::new();
        let mut width_of: HashMap<usize, usize> = HashMap::new();
        let mut channel_of: Vec<Option<(u32, u32)>> = vec![None; self.parent.len()];
        for (number, classes) in made.iter().enumerate() {
            let first = root(&mut group, number);
            let index = *width_of.entry(first).or_insert(widths.len());
            if index == widths.len() {
                for (channel, &class) in classes.iter().enumerate() {
                    channel_of[class as usize] = Some((index as u32, channel as u32));
                }
                widths.push(Width {
                    producers: Vec::new(),
                    consumers: Vec::new(),
                    channels: classes.len() as u64,
                    size: self.size(flow.layers[number].output),
                    fixed: None,
                    growable: false,
                });
            }
            widths[index].producers.push(number);
            let reason = if classes.len() as u64 != widths[index].channels {
                Some("it is coupled with only a part of another layer's channels".to_string())
            } else if !widths[index].size.is_multiple_of(widths[index].channels.max(1)) {
                Some("its channels repeat unevenly".to_string())
            } else {
                classes.iter().find_map(|&class| self.fixed[class as usize].as_ref()).map(ToString::to_string)
            };
            if widths[index].fixed.is_none() {
                widths[index].fixed = reason;
            }
        }
        for (number, layer) in flow.layers.iter().enumerate() {
            let Some((tensor, dim)) = layer.input else { continue };
            let Dim::Atoms(atoms) = self.dims[tensor][dim].clone() else { continue };
            let mut last = None;
            for &atom in atoms.iter() {
                let class = self.find(atom);
                let Some((width, _)) = channel_of[class as usize] else { continue };
                if last != Some(width) && !widths[width as usize].consumers.contains(&number) {
                    widths[width as usize].consumers.push(number);
                }
                last = Some(width);
            }
        }
        let place: Vec<Option<(u32, u32)>> = (0..self.parent.len() as u32)
            .map(|atom| {
                let class = self.find(atom);
                channel_of[class as usize].filter(|&(width, _)| widths[width as usize].fixed.is_none())
            })
            .collect();
        let mut heads: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (attention, atom) in std::mem::take(&mut self.split) {
            let class = self.find(atom);
            let Some((width, _)) = channel_of[class as usize] else { continue };
            let widths = heads.entry(attention).or_default();
            if !widths.contains(&(width as usize)) {
                widths.push(width as usize);
            }
        }
        let mut coupling = Coupling { dims: self.dims, widths, segments: HashMap::new(), heads };
        coupling.find_segments(flow, &place);
        coupling
    }
}

/// Whether a dimension of a view, given with its stride and size, is the heads of an attention.
fn splits(attention: &Attention, (_, stride, size): (usize, usize, usize)) -> bool {
    let heads =
        [attention.heads, attention.kv_heads].iter().any(|&heads| (size as u64).is_multiple_of(heads));
    heads && attention.head_size.is_none_or(|known| known == stride as u64)
}

fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::flow::{Call, Layer, Parameter};
    use super::*;

    /// What computes a tensor of a random network from earlier ones; the index of the weight where there is one.
    #[derive(Clone, Debug)]
    enum Op {
        Input,
        Conv { x: usize, weight: usize },
        Grouped { x: usize, weight: usize, groups: usize },
        Depthwise { x: usize, weight: usize },
        Linear { x: usize, weight: usize },
        Scale { x: usize, weight: usize },
        Add { a: usize, b: usize },
        Cat { a: usize, b: usize },
        Half { x: usize, second: bool },
        Flatten { x: usize },
    }

    /// A random network: its data flow as a trace would show it, and what it computes.
    #[derive(Clone, Debug)]
    struct Net {
        flow: Flow,
        /// By tensor; none for weights.
        ops: Vec<(usize, Op)>,
    }

    const LENGTH: u64 = 3;
    const SPATIAL: i32 = WHOLE;

    impl Net {
        fn tensor(&mut self, shape: &[u64]) -> usize {
            self.flow.tensors.push(shape.to_vec());
            self.flow.tensors.len() - 1
        }

        /// Parameters come first in the walk, wherever they are.
        fn weight(&mut self, shape: &[u64]) -> usize {
            let tensor = self.tensor(shape);
            let holders = vec![(0, format!("weight{tensor}"))];
            self.flow.parameters.push(Parameter {
                tensor,
                holders,
                trained: true,
                within: vec![0],
                sealed: None,
            });
            tensor
        }

        fn align(&mut self, given: &[(usize, Vec<i32>)], made: (usize, Vec<i32>)) {
            let all: Vec<&(usize, Vec<i32>)> = given.iter().chain([&made]).collect();
            self.flow.steps.push(Step::Align {
                tensors: all.iter().map(|(tensor, _)| *tensor).collect(),
                letters: all.iter().map(|(_, letters)| letters.clone()).collect(),
                made: made.0,
                operator: 0,
            });
        }

        fn layer(&mut self, weight: usize, reads: bool) {
            let input = reads.then_some((weight, 1));
            self.flow.layers.push(Layer { node: 0, output: (weight, 0), input });
        }

        fn shape(&self, tensor: usize) -> Vec<u64> {
            self.flow.tensors[tensor].clone()
        }

        /// Adds an operator that the random numbers choose, if it fits.
        fn add(&mut self, choice: u8, first: usize, second: usize, size: u64) {
            let known: Vec<usize> = self.ops.iter().map(|(tensor, _)| *tensor).collect();
            let (x, other) = (known[first % known.len()], known[second % known.len()]);
            let shape = self.shape(x);
            let (channels, flat) = (shape[1], shape.len() == 2);
            if channels > 48 {
                return;
            }
            let op = match choice % 9 {
                0 | 1 if !flat => {
                    let weight = self.weight(&[size, channels, LENGTH]);
                    let out = self.tensor(&[2, size, LENGTH]);
                    let given = [(x, vec![0, 1, SPATIAL]), (weight, vec![2, 1, SPATIAL])];
                    self.align(&given, (out, vec![0, 2, SPATIAL]));
                    self.layer(weight, true);
                    (out, Op::Conv { x, weight })
                }
                2 if !flat && channels % 2 == 0 => {
                    let weight = self.weight(&[2 * size, channels / 2, LENGTH]);
                    let out = self.tensor(&[2, 2 * size, LENGTH]);
                    let axis = |axis, member| Step::Group { axis, groups: 2, member };
                    self.flow.steps.push(axis((x, 1), Some((weight, 1))));
                    self.flow.steps.push(axis((weight, 0), None));
                    let given = [(x, vec![0, FREE, SPATIAL]), (weight, vec![2, FREE, SPATIAL])];
                    self.align(&given, (out, vec![0, 2, SPATIAL]));
                    self.layer(weight, true);
                    (out, Op::Grouped { x, weight, groups: 2 })
                }
                3 if !flat => {
                    let weight = self.weight(&[channels * 2, 1, LENGTH]);
                    let out = self.tensor(&[2, channels * 2, LENGTH]);
                    self.flow.steps.push(Step::Repeat { from: (x, 1), to: (weight, 0), times: 2 });
                    let given = [(x, vec![0, FREE, SPATIAL]), (weight, vec![2, WHOLE, SPATIAL])];
                    self.align(&given, (out, vec![0, 2, SPATIAL]));
                    self.layer(weight, false);
                    (out, Op::Depthwise { x, weight })
                }
                4 => {
                    let weight = self.weight(&[channels]);
                    let out = self.tensor(&shape);
                    let letters: Vec<i32> = (0..shape.len() as i32).collect();
                    self.align(&[(x, letters.clone()), (weight, vec![1])], (out, letters));
                    (out, Op::Scale { x, weight })
                }
                5 if shape == self.shape(other) && x != other => {
                    let out = self.tensor(&shape);
                    let letters: Vec<i32> = (0..shape.len() as i32).collect();
                    self.align(&[(x, letters.clone()), (other, letters.clone())], (out, letters));
                    (out, Op::Add { a: x, b: other })
                }
                6 if shape.len() == self.shape(other).len() => {
                    let mut joined = shape.clone();
                    joined[1] += self.shape(other)[1];
                    let to = self.tensor(&joined);
                    self.flow.steps.push(Step::Cat { from: vec![x, other], to, dim: 1, operator: 0 });
                    (to, Op::Cat { a: x, b: other })
                }
                7 if channels % 2 == 0 => {
                    let mut half = shape.clone();
                    half[1] /= 2;
                    let to = vec![self.tensor(&half), self.tensor(&half)];
                    self.flow.steps.push(Step::Split { from: x, to: to.clone(), dim: 1, operator: 0 });
                    self.ops.push((to[0], Op::Half { x, second: false }));
                    (to[1], Op::Half { x, second: true })
                }
                8 if !flat => {
                    let to = self.tensor(&[2, channels * LENGTH]);
                    self.flow.steps.push(Step::View { from: x, to, operator: 0, node: 0 });
                    (to, Op::Flatten { x })
                }
                _ if flat => {
                    let weight = self.weight(&[size, channels]);
                    let out = self.tensor(&[2, size]);
                    self.align(&[(x, vec![0, 1]), (weight, vec![2, 1])], (out, vec![0, 2]));
                    self.layer(weight, true);
                    (out, Op::Linear { x, weight })
                }
                _ => return,
            };
            self.ops.push(op);
        }
    }

    fn any_net() -> impl Strategy<Value = Net> {
        prop::collection::vec((any::<u8>(), 0..9_usize, 0..9_usize, 1..5_u64), 1..14).prop_map(|choices| {
            let flow = Flow { operators: vec!["an operator".into()], ..Flow::default() };
            let mut net = Net { flow, ops: Vec::new() };
            let input = net.tensor(&[2, 4, LENGTH]);
            net.ops.push((input, Op::Input));
            for (choice, first, second, size) in choices {
                net.add(choice, first, second, 2 * size);
            }
            let last = net.ops.last().map_or(input, |(tensor, _)| *tensor);
            net.flow.calls.push(Call { node: 0, inputs: vec![input], outputs: vec![last], residual: false });
            net
        })
    }

    /// Whether each position of a dimension stays.
    fn stays(coupling: &Coupling, kept: &[u64], axis: Axis, size: u64) -> Vec<bool> {
        let mut stays = vec![false; size as usize];
        for segment in coupling.segments(axis, size).iter() {
            let n = segment.width.map_or(segment.count * segment.repeat, |width| segment.kept(kept[width]));
            stays[segment.start as usize..(segment.start + n) as usize].fill(true);
        }
        stays
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn any_width_gives_a_network_that_runs_with_the_predicted_shapes(
            net in any_net(),
            shares in prop::collection::vec(0.0..1.0_f64, 40),
        ) {
            let coupling = Coupling::of(&net.flow, &Demands::default());
            let kept: Vec<u64> = coupling
                .widths
                .iter()
                .zip(shares.iter().cycle())
                .map(|(width, share)| match width.fixed {
                    Some(_) => width.channels,
                    None => 1 + (share * width.channels as f64) as u64,
                })
                .collect();
            let weight = |tensor: usize, dim: usize| stays(&coupling, &kept, (tensor, dim), net.flow.tensors[tensor][dim]);
            let count = |stays: &[bool]| stays.iter().filter(|&&here| here).count();
            // The channels of every tensor, from what the operators do with the parts of weights that stay.
            let mut channels: HashMap<usize, Vec<bool>> = HashMap::new();
            for (tensor, op) in &net.ops {
                let made = match op {
                    Op::Input => vec![true; net.flow.tensors[*tensor][1] as usize],
                    Op::Conv { x, weight: w } | Op::Linear { x, weight: w } => {
                        prop_assert_eq!(&weight(*w, 1), &channels[x]);
                        weight(*w, 0)
                    }
                    Op::Grouped { x, weight: w, groups } => {
                        let (inside, outside) = (&channels[x], weight(*w, 0));
                        for group in 0..*groups {
                            let n = inside.len() / groups;
                            prop_assert_eq!(&weight(*w, 1)[..], &inside[group * n..(group + 1) * n]);
                            let n = outside.len() / groups;
                            prop_assert_eq!(&outside[..n], &outside[group * n..(group + 1) * n]);
                        }
                        outside
                    }
                    Op::Depthwise { x, weight: w } => {
                        let twice: Vec<bool> = channels[x].iter().flat_map(|&here| [here, here]).collect();
                        prop_assert_eq!(&weight(*w, 0), &twice);
                        twice
                    }
                    Op::Scale { x, weight: w } => {
                        prop_assert_eq!(&weight(*w, 0), &channels[x]);
                        channels[x].clone()
                    }
                    Op::Add { a, b } => {
                        prop_assert_eq!(&channels[a], &channels[b]);
                        channels[a].clone()
                    }
                    Op::Cat { a, b } => [channels[a].clone(), channels[b].clone()].concat(),
                    Op::Half { x, second } => {
                        // `chunk` divides what stays in the middle, which must be where the given halves met.
                        let (first, last) = channels[x].split_at(channels[x].len() / 2);
                        prop_assert_eq!(count(first), count(last));
                        if *second { last.to_vec() } else { first.to_vec() }
                    }
                    Op::Flatten { x } => {
                        channels[x].iter().flat_map(|&here| [here; LENGTH as usize]).collect()
                    }
                };
                prop_assert!(count(&made) > 0);
                prop_assert_eq!(&stays(&coupling, &kept, (*tensor, 1), made.len() as u64), &made);
                channels.insert(*tensor, made);
            }
            // What the model returns keeps its shape.
            let last = &channels[&net.flow.calls[0].outputs[0]];
            prop_assert_eq!(count(last), last.len());
        }

        #[test]
        fn what_grows_has_all_its_channels_wherever_it_is(net in any_net()) {
            let coupling = Coupling::of(&net.flow, &Demands::default());
            for parameter in &net.flow.parameters {
                for (dim, &size) in net.flow.tensors[parameter.tensor].iter().enumerate() {
                    for segment in coupling.segments((parameter.tensor, dim), size).iter() {
                        let Some(width) = segment.width.map(|width| &coupling.widths[width]) else { continue };
                        if width.growable {
                            prop_assert_eq!(segment.count, width.channels);
                            prop_assert_eq!(segment.kept(width.channels + 1), (width.channels + 1) * segment.repeat);
                        }
                    }
                }
            }
        }
    }
}
