//! Channels in new numbers or a new order: what widening and sorting have in common.
//!
//! The coupling of a network says at which positions of which parameters a channel of a width is. A map from new
//! channels to old ones is applied at all of them, so that residual sums, concatenations, groups and flattened images
//! follow by themselves. Channels added at the end of a width come after its last one wherever that is.

use std::collections::BTreeMap;
use std::rc::Rc;

use tch::Kind;

use super::gather::{Taken, gather};
use super::{State, tensor};
use crate::error::{Error, Result};
use crate::network::{Coupling, Demands, Flow, Network, Segment};

/// The widths of a network and where their channels are.
pub struct Channels<'a> {
    network: &'a Network,
    coupling: Coupling,
    /// Dimensions of parameters by which layers read.
    reads: Vec<(usize, usize)>,
}

/// What becomes of the channels of a width.
pub struct Rearranged {
    /// The old channel of each new one.
    pub of: Vec<i64>,
    /// What the weights that read each new channel are multiplied by.
    pub share: Option<Vec<f64>>,
}

/// The positions of one dimension of a parameter that belong to a width.
struct Place {
    parameter: usize,
    dim: usize,
    /// Whether a layer reads its input by this dimension.
    read: bool,
    segments: Rc<[Segment]>,
}

impl<'a> Channels<'a> {
    /// The channels of a network, given what rules demand of them.
    #[must_use]
    pub fn of(network: &'a Network, demands: &Demands) -> Self {
        let coupling = Coupling::of(&network.flow, demands);
        let reads = coupling.reads(&network.flow);
        Channels { network, coupling, reads }
    }

    /// The widths.
    #[must_use]
    pub fn coupling(&self) -> &Coupling {
        &self.coupling
    }

    /// The width that a module makes.
    ///
    /// # Errors
    /// [`Error::Network`] if it makes none, several, or one that cannot vary.
    pub fn made_by(&self, path: &str) -> Result<usize> {
        self.network.node(path)?;
        let makes = |layer: &&usize| self.network.nodes[self.flow().layers[**layer].node].path == path;
        let mut found = Vec::new();
        for (index, width) in self.coupling.widths.iter().enumerate() {
            if width.producers.iter().any(|layer| makes(&layer)) {
                found.push(index);
            }
        }
        let [index] = found[..] else {
            let n = found.len();
            return Err(Error::Network(format!(
                "'{path}' makes {n} groups of channels; expected a layer that makes one, such as a convolution"
            )));
        };
        match &self.coupling.widths[index].fixed {
            Some(reason) => Err(Error::Network(format!("the width of '{path}' cannot vary: {reason}"))),
            None => Ok(index),
        }
    }

    /// For each width that can vary, a layer that makes it and no other.
    #[must_use]
    pub fn free(&self) -> Vec<String> {
        let widths = self.coupling.widths.iter().filter(|width| width.fixed.is_none());
        let of_layer = |&layer: &usize| self.network.nodes[self.flow().layers[layer].node].path.as_str();
        let alone = |path: &&str| self.made_by(path).is_ok();
        widths
            .filter_map(|width| width.producers.iter().map(of_layer).find(alone))
            .map(String::from)
            .collect()
    }

    /// The tensors of a state in which the channels of some widths are others.
    ///
    /// # Errors
    /// [`Error::Network`] if a tensor is missing or only a part of the channels is in a place.
    pub fn take(&self, state: &State, widths: &BTreeMap<usize, Rearranged>) -> Result<State> {
        let flow = self.flow();
        let mut changed = State::new();
        for (parameter, record) in flow.parameters.iter().enumerate() {
            let mut dims = Vec::new();
            for (dim, &size) in flow.tensors[record.tensor].iter().enumerate() {
                let segments = self.coupling.segments((record.tensor, dim), size);
                if !segments.iter().any(|s| s.width.is_some_and(|width| widths.contains_key(&width))) {
                    continue;
                }
                let (index, of_channel) = self.positions(&segments, widths).ok_or_else(|| {
                    Error::Network(format!("only a part of the channels is in '{}'", self.path(parameter)))
                })?;
                let read = self.reads.contains(&(parameter, dim));
                let factor = |&place: &Option<(usize, usize)>| {
                    place.map_or(1.0, |(width, new)| widths[&width].share.as_ref().map_or(1.0, |s| s[new]))
                };
                let scale = read.then(|| of_channel.iter().map(factor).collect::<Vec<f64>>());
                dims.push(Taken { dim, index, scale: scale.filter(|scale| scale.iter().any(|&s| s != 1.0)) });
            }
            if !dims.is_empty() {
                let path = self.path(parameter);
                let part = gather(tensor(state, &path)?, &dims)?;
                changed.insert(path, part);
            }
        }
        Ok(changed)
    }

    fn positions(&self, segments: &[Segment], widths: &BTreeMap<usize, Rearranged>) -> Option<Positions> {
        let widths = widths
            .iter()
            .map(|(&width, new)| (width, (self.coupling.widths[width].channels, new.of.as_slice())));
        positions(segments, &widths.collect())
    }

    /// How much weighs on each channel of a width: the L1 norm of the weights that read it; of those that make it,
    /// where no layer reads it.
    ///
    /// # Errors
    /// [`Error::Network`] if a tensor is missing.
    pub fn importance(&self, state: &State, width: usize) -> Result<Vec<f64>> {
        let channels = self.coupling.widths[width].channels;
        let every: Vec<i64> = (0..channels as i64).collect();
        let places = self.places(width);
        let read = places.iter().any(|place| place.read);
        let mut importance = vec![0.0; channels as usize];
        for place in places.iter().filter(|place| place.read == read) {
            if !self.flow().parameters[place.parameter].trained {
                continue;
            }
            let path = self.path(place.parameter);
            let of = BTreeMap::from([(width, (channels, every.as_slice()))]);
            let Some((_, of_channel)) = positions(&place.segments, &of) else { continue };
            let whole = tensor(state, &path)?;
            let others: Vec<i64> = (0..whole.dim() as i64).filter(|&d| d != place.dim as i64).collect();
            let mut norm = whole.f_abs()?.f_to_kind(Kind::Double)?;
            if !others.is_empty() {
                norm = norm.f_sum_dim_intlist(others.as_slice(), false, Kind::Double)?;
            }
            for (channel, value) in of_channel.iter().zip(Vec::<f64>::try_from(&norm)?) {
                if let Some((_, channel)) = channel {
                    importance[*channel] += value;
                }
            }
        }
        Ok(importance)
    }

    fn flow(&self) -> &Flow {
        &self.network.flow
    }

    fn places(&self, width: usize) -> Vec<Place> {
        let flow = self.flow();
        let mut places = Vec::new();
        for (parameter, record) in flow.parameters.iter().enumerate() {
            for (dim, &size) in flow.tensors[record.tensor].iter().enumerate() {
                let segments = self.coupling.segments((record.tensor, dim), size);
                if segments.iter().any(|segment| segment.width == Some(width)) {
                    let read = self.reads.contains(&(parameter, dim));
                    places.push(Place { parameter, dim, read, segments });
                }
            }
        }
        places
    }

    fn path(&self, parameter: usize) -> String {
        let (node, name) = &self.flow().parameters[parameter].holders[0];
        let module = &self.network.nodes[*node].path;
        if module.is_empty() { name.clone() } else { format!("{module}.{name}") }
    }
}

/// The old position of each new one of a dimension, and the width and new channel there.
type Positions = (Vec<i64>, Vec<Option<(usize, usize)>>);

/// What is at the positions of a dimension when the channels of some widths, of which the number and for each new
/// channel the old one are given, are others; none if a part of the channels is missing.
fn positions(segments: &[Segment], widths: &BTreeMap<usize, (u64, &[i64])>) -> Option<Positions> {
    let (mut index, mut of_channel) = (Vec::new(), Vec::new());
    // Where each channel of the pass at hand is: first position and how many.
    let mut pass: Vec<(u64, u64)> = Vec::new();
    let mut passing = None;
    for segment in segments {
        let of_width = segment.width.and_then(|width| Some((width, *widths.get(&width)?)));
        if !pass.is_empty() && passing != segment.width {
            return None;
        }
        let Some((width, (channels, of))) = of_width else {
            let length = segment.count * segment.repeat;
            index.extend((segment.start..segment.start + length).map(|i| i as i64));
            of_channel.extend((0..length).map(|_| None));
            continue;
        };
        if segment.first != pass.len() as u64 {
            return None;
        }
        passing = Some(width);
        pass.extend((0..segment.count).map(|i| (segment.start + i * segment.repeat, segment.repeat)));
        if pass.len() as u64 == channels {
            for (new, &old) in of.iter().enumerate() {
                let (start, repeat) = pass[old as usize];
                index.extend((start..start + repeat).map(|i| i as i64));
                of_channel.extend((0..repeat).map(|_| Some((width, new))));
            }
            pass.clear();
        }
    }
    pass.is_empty().then_some((index, of_channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(width: Option<usize>, start: u64, count: u64, repeat: u64) -> Segment {
        Segment { width, start, first: 0, count, repeat, grows: false }
    }

    #[test]
    fn new_channels_come_after_the_last_one_of_each_pass() {
        // Two channels of four positions each, one constant position, the two channels again.
        let segments = [segment(Some(0), 0, 2, 2), segment(None, 4, 1, 1), segment(Some(0), 5, 2, 1)];
        let widths = BTreeMap::from([(0, (2, [0, 1, 0].as_slice()))]);
        let (index, channel) = positions(&segments, &widths).unwrap();
        assert_eq!(index, [0, 1, 2, 3, 0, 1, 4, 5, 6, 5]);
        let spelled: String =
            channel.iter().map(|c| c.map_or('-', |(_, c)| char::from(b'0' + c as u8))).collect();
        assert_eq!(spelled, "001122-012");
    }

    #[test]
    fn several_widths_of_one_dimension_grow_at_once() {
        let segments = [segment(Some(0), 0, 2, 1), segment(Some(1), 2, 1, 2), segment(Some(2), 4, 2, 1)];
        let widths = BTreeMap::from([(0, (2, [0, 1, 1].as_slice())), (1, (1, [0, 0].as_slice()))]);
        let (index, channel) = positions(&segments, &widths).unwrap();
        assert_eq!(index, [0, 1, 1, 2, 3, 2, 3, 4, 5]);
        let of_width: Vec<_> = channel.iter().map(|c| c.map(|(width, _)| width)).collect();
        let (a, b) = (Some(0), Some(1));
        assert_eq!(of_width, [a, a, a, b, b, b, b, None, None]);
    }

    #[test]
    fn a_part_of_the_channels_is_refused() {
        let segments = [segment(Some(0), 0, 1, 1), segment(None, 1, 1, 1)];
        assert!(positions(&segments, &BTreeMap::from([(0, (2, [0, 1].as_slice()))])).is_none());
        let between = [segment(Some(0), 0, 1, 1), segment(Some(1), 1, 1, 1)];
        assert!(positions(&between, &BTreeMap::from([(0, (2, [0, 1].as_slice()))])).is_none());
    }
}
