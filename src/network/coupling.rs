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

use std::collections::HashMap;
use std::rc::Rc;

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
}

impl Segment {
    /// How many of its positions stay when the first `channels` channels stay; they are its first ones.
    #[must_use]
    pub fn kept(&self, channels: u64) -> u64 {
        match self.width {
            None => self.count * self.repeat,
            Some(_) => channels.saturating_sub(self.first).min(self.count) * self.repeat,
        }
    }
}

/// The coupling of a network.
pub struct Coupling {
    dims: Vec<Vec<Dim>>,
    /// Every width, in the order of the layers that make them.
    pub widths: Vec<Width>,
    /// Of each atom: width and channel, if it belongs to a width that is not fixed.
    place: Vec<Option<(u32, u32)>>,
}

/// What rules add to the data flow.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Pairs of tensors that must have the same channels (what goes into and out of a module that may be skipped).
    pub same: Vec<(usize, usize)>,
    /// Tensors that may not vary, and why.
    pub whole: Vec<(usize, String)>,
}

impl Coupling {
    /// Walks a data flow.
    #[must_use]
    pub fn of(flow: &Flow, demands: &Demands) -> Coupling {
        let mut walk = Walk::new(flow);
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
        for (tensor, reason) in &demands.whole {
            walk.fix(*tensor, reason);
        }
        walk.finish(flow)
    }

    /// The positions of a dimension, in order.
    #[must_use]
    pub fn segments(&self, (tensor, dim): Axis, size: u64) -> Vec<Segment> {
        let whole = |start, count| Segment { width: None, start, first: 0, count, repeat: 1 };
        let Dim::Atoms(atoms) = &self.dims[tensor][dim] else { return vec![whole(0, size)] };
        let mut segments: Vec<Segment> = Vec::new();
        let mut at = 0;
        while at < atoms.len() {
            let place = self.place[atoms[at] as usize];
            let same = atoms[at..].iter().take_while(|&&a| self.place[a as usize] == place).count();
            let (start, repeat) = (at as u64, same as u64);
            at += same;
            let Some((width, channel)) = place else {
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
                _ => segments.push(Segment { width: Some(width), start, first: channel, count: 1, repeat }),
            }
        }
        segments
    }
}

impl Coupling {
    /// The dimensions of parameters by which layers read channels: (index of [`Flow::parameters`], dimension). A layer
    /// may read a parameter through a view of it, whose positions are still the parameter's own.
    #[must_use]
    pub fn reads(&self, flow: &Flow) -> Vec<(usize, usize)> {
        let mut owner: HashMap<u32, (usize, usize)> = HashMap::new();
        for (index, parameter) in flow.parameters.iter().enumerate() {
            for (dim, known) in self.dims[parameter.tensor].iter().enumerate() {
                let Dim::Atoms(atoms) = known else { continue };
                owner.extend(atoms.iter().map(|&atom| (atom, (index, dim))));
            }
        }
        let mut reads = Vec::new();
        for (tensor, dim) in flow.layers.iter().filter_map(|layer| layer.input) {
            let Dim::Atoms(atoms) = &self.dims[tensor][dim] else { continue };
            let Some(&axis) = atoms.first().and_then(|atom| owner.get(atom)) else { continue };
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
    /// Of each root: why it is fixed.
    fixed: HashMap<u32, Rc<str>>,
}

impl<'a> Walk<'a> {
    fn new(flow: &'a Flow) -> Self {
        let dims = flow.tensors.iter().map(|shape| vec![Dim::Unknown; shape.len()]).collect();
        let mut walk = Walk { flow, dims, parent: Vec::new(), fixed: HashMap::new() };
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
        if let Some(reason) = self.fixed.remove(&other) {
            self.fixed.entry(root).or_insert(reason);
        }
    }

    fn fix_atoms(&mut self, atoms: &[u32], reason: &Rc<str>) {
        for &atom in atoms {
            let root = self.find(atom);
            self.fixed.entry(root).or_insert_with(|| Rc::clone(reason));
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
            Step::View { from, to, operator } => self.view(*from, *to, *operator),
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

    fn view(&mut self, from: usize, to: usize, operator: usize) {
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
            self.view_block(from, start_i..end_i, to, start_j..end_j, &reason);
        }
    }

    /// Moves atoms from a block of dimensions to another one with as many elements.
    fn view_block(
        &mut self,
        from: usize,
        before: std::ops::Range<usize>,
        to: usize,
        after: std::ops::Range<usize>,
        reason: &Rc<str>,
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
        let count = atoms.len();
        let below: u64 =
            before.clone().skip_while(|&d| d != dim).skip(1).map(|d| self.size((from, d))).product();
        let below = below as usize;
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
                    self.dims[to][d] = Dim::Atoms(atoms);
                    return;
                }
                None => return self.fix_atoms(&atoms, reason),
            },
            [alone] => alone,
            // (heads, channels): each head keeps the same channels.
            [channels, ..] => channels,
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
        let mut of_class: HashMap<u32, usize> = HashMap::new();
        let mut group: Vec<usize> = Vec::new();
        let mut made: Vec<Vec<u32>> = Vec::new();
        for (number, layer) in flow.layers.iter().enumerate() {
            let (tensor, dim) = layer.output;
            let classes = match self.dims[tensor][dim].clone() {
                Dim::Atoms(atoms) => {
                    let mut classes: Vec<u32> = Vec::new();
                    let mut seen = std::collections::HashSet::new();
                    for &atom in atoms.iter() {
                        let class = self.find(atom);
                        if seen.insert(class) {
                            classes.push(class);
                        }
                    }
                    classes
                }
                _ => Vec::new(),
            };
            group.push(number);
            for &class in &classes {
                match of_class.get(&class) {
                    Some(&other) => {
                        let (a, b) = (root(&mut group, other), root(&mut group, number));
                        group[a.max(b)] = a.min(b);
                    }
                    None => {
                        of_class.insert(class, number);
                    }
                }
            }
            made.push(classes);
        }
        let mut widths: Vec<Width> = Vec::new();
        let mut width_of: HashMap<usize, usize> = HashMap::new();
        let mut channel_of: HashMap<u32, (u32, u32)> = HashMap::new();
        for (number, classes) in made.iter().enumerate() {
            let first = root(&mut group, number);
            let index = *width_of.entry(first).or_insert(widths.len());
            if index == widths.len() {
                for (channel, &class) in classes.iter().enumerate() {
                    channel_of.insert(class, (index as u32, channel as u32));
                }
                widths.push(Width {
                    producers: Vec::new(),
                    consumers: Vec::new(),
                    channels: classes.len() as u64,
                    size: self.size(flow.layers[number].output),
                    fixed: None,
                });
            }
            widths[index].producers.push(number);
            let reason = if classes.len() as u64 != widths[index].channels {
                Some("it is coupled with only a part of another layer's channels".to_string())
            } else if widths[index].size % widths[index].channels.max(1) != 0 {
                Some("its channels repeat unevenly".to_string())
            } else {
                classes.iter().find_map(|class| self.fixed.get(class)).map(ToString::to_string)
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
                let Some(&(width, _)) = channel_of.get(&class) else { continue };
                if last != Some(width) && !widths[width as usize].consumers.contains(&number) {
                    widths[width as usize].consumers.push(number);
                }
                last = Some(width);
            }
        }
        let place = (0..self.parent.len() as u32)
            .map(|atom| {
                let class = self.find(atom);
                channel_of.get(&class).copied().filter(|&(width, _)| widths[width as usize].fixed.is_none())
            })
            .collect();
        Coupling { dims: self.dims, widths, place }
    }
}

fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}
