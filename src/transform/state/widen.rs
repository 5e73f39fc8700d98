//! More channels, the same function (Net2WiderNet).
//!
//! Chen, Goodfellow and Shlens 2015, "Net2Net", arXiv 1511.05641, section 2.2, equations 1 and 2: new channels are
//! copies of random old ones, and what reads a channel divides its weights among the copies. Two deviations. Where the
//! new number is a multiple of the old, every channel is copied as often, which also keeps what averages over channels
//! (layer norms). And the noise that breaks the symmetry between copies is put in the division, not in the copies: the
//! shares of a channel are unequal but sum to one, so the function is kept exactly at any noise.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::{Channels, State};
use crate::error::{Error, Result};
use crate::rng;

/// A width and how many channels it is to have.
pub struct Widen<'a> {
    /// The channels of the network.
    pub channels: &'a Channels<'a>,
    /// A layer that makes the width.
    pub path: &'a str,
    /// The positions that the layer is to make.
    pub size: u64,
    /// Standard deviation of the logarithm of the shares; 0: equal shares.
    pub noise: f64,
    /// The seed of copies and shares.
    pub seed: u64,
}

impl Widen<'_> {
    /// The tensors that differ.
    ///
    /// # Errors
    /// [`Error::Network`] if the layer cannot be so wide or a tensor is missing.
    pub fn map(&self, source: &State) -> Result<State> {
        let width = self.channels.made_by(self.path)?;
        let known = &self.channels.coupling().widths[width];
        let unit = known.size / known.channels;
        if self.size < known.size || !self.size.is_multiple_of(unit) {
            let (path, size, given) = (self.path, known.size, self.size);
            return Err(Error::Network(format!(
                "'{path}' is to be {given} wide; expected a multiple of {unit} from {size} on"
            )));
        }
        let (old, new) = (known.channels as usize, (self.size / unit) as usize);
        let mut rng = rng::stream(self.seed, 0, "widen");
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
        let of: Vec<i64> = of.iter().map(|&channel| channel as i64).collect();
        tch::no_grad(|| self.channels.take(source, width, &of, Some(&share)))
    }
}
