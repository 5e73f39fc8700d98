//! More channels, the same function (Net2WiderNet).
//!
//! Chen, Goodfellow and Shlens 2015, "Net2Net", arXiv 1511.05641, section 2.2, equations 1 and 2: new channels are
//! copies of random old ones, and what reads a channel divides its weights among the copies. Two deviations. Where the
//! new number is a multiple of the old, every channel is copied as often, which also keeps what averages over channels
//! (layer norms). And the noise that breaks the symmetry between copies is put in the division, not in the copies: the
//! shares of a channel are unequal but sum to one, so the function is kept exactly at any noise.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::{Channels, Rearranged, State};
use crate::error::{Error, Result};
use crate::rng;

/// How many positions a layer is to make.
#[derive(Clone, Copy, Debug)]
pub enum Wide {
    /// So many.
    Size(u64),
    /// So many times those that it makes, rounded to whole channels.
    Ratio(f64),
}

/// Widths and how many channels they are to have, in one pass over the weights.
pub struct Widen<'a> {
    /// The channels of the network.
    pub channels: &'a Channels<'a>,
    /// Layers that make the widths.
    pub layers: &'a [(String, Wide)],
    /// Standard deviation of the logarithm of the shares; 0: equal shares.
    pub noise: f64,
    /// The seed of copies and shares.
    pub seed: u64,
}

impl Widen<'_> {
    /// The tensors that differ.
    ///
    /// # Errors
    /// [`Error::Network`] if a layer cannot be so wide, two layers of one width are to be differently wide, or a tensor
    /// is missing.
    pub fn map(&self, source: &State) -> Result<State> {
        let mut sizes: BTreeMap<usize, (&str, u64)> = BTreeMap::new();
        let mut widths = BTreeMap::new();
        for (trial, (path, wide)) in self.layers.iter().enumerate() {
            let width = self.channels.made_by(path)?;
            let size = self.size(path, width, *wide)?;
            match sizes.get(&width) {
                None => {
                    sizes.insert(width, (path.as_str(), size));
                    widths.insert(width, self.rearranged(width, size, trial as u64));
                }
                Some(&(_, same)) if same == size => {}
                Some(&(other, given)) => {
                    return Err(Error::Network(format!(
                        "'{other}' and '{path}' make the same channels, but are to be {given} and {size} wide; give \
                         one of them"
                    )));
                }
            }
        }
        tch::no_grad(|| self.channels.take(source, &widths))
    }

    fn size(&self, path: &str, width: usize, wide: Wide) -> Result<u64> {
        let known = &self.channels.coupling().widths[width];
        let unit = known.size / known.channels;
        let size = match wide {
            Wide::Size(size) => size,
            Wide::Ratio(ratio) => (ratio * known.channels as f64).round() as u64 * unit,
        };
        if size < known.size || !size.is_multiple_of(unit) {
            let given = known.size;
            return Err(Error::Network(format!(
                "'{path}' is to be {size} wide; expected a multiple of {unit} from {given} on"
            )));
        }
        Ok(size)
    }

    /// Copies and shares of the channels of a width.
    fn rearranged(&self, width: usize, size: u64, trial: u64) -> Rearranged {
        let known = &self.channels.coupling().widths[width];
        let (old, new) = (known.channels as usize, (size / (known.size / known.channels)) as usize);
        let mut rng = rng::stream(self.seed, trial, "widen");
        let of: Vec<usize> = (0..new)
            .map(|i| if i < old || new % old == 0 { i % old } else { rng::below(&mut rng, old) })
            .collect();
        let mut share: Vec<f64> =
            (0..new).map(|_| (self.noise * rng.sample::<f64, _>(StandardNormal)).exp()).collect();
        let mut total = vec![0.0; old];
        for (&channel, share) in of.iter().zip(&share) {
            total[channel] += share;
        }
        for (&channel, share) in of.iter().zip(&mut share) {
            *share /= total[channel];
        }
        Rearranged { of: of.iter().map(|&channel| channel as i64).collect(), share: Some(share) }
    }
}
