//! Rules `width` and `expansion`: how many channels layers make, with everything that is coupled with them.
//!
//! The first channels of a width stay, as in slimmable networks (Yu et al. 2018, arXiv 1812.08928) and Once-for-All (Cai
//! et al. 2020, arXiv 1908.09791, section 3.3, "elastic width"). An expansion is the width inside a block as a multiple
//! of the channels it reads: the hidden channels of an inverted bottleneck (Sandler et al. 2018, arXiv 1801.04381) or
//! of a transformer's feed-forward layers. Numbers are rounded to a multiple of `divisor`, but the given number stays
//! as it is. Shares above one add channels that start as copies of the first ones and that nothing reads yet (`state`
//! says how), where every dimension has a place for them; other numbers above the given one are left out.

use super::{Effect, Opening};
use crate::network::{Network, Width};
use crate::space::{Domain, Label};

pub(super) fn open(width: &Width, ratios: &[f64], channels: &[u64], divisor: u64) -> Result<Opening, String> {
    let given = width.size;
    if !channels.is_empty() {
        if !channels.contains(&given) {
            return Err(format!("its width {given} is not among the choices {channels:?}"));
        }
        let sizes = channels.iter().filter(|&&n| n <= given).map(|&n| (Label::Int(n as i64), n));
        return choices("width", width, sizes, divisor);
    }
    let multiple = common_multiple(width.size / width.channels.max(1), divisor);
    let sizes = ratios.iter().filter(|&&ratio| ratio <= 1.0 || width.growable);
    let sizes = sizes.map(|&ratio| (Label::Real(ratio), scaled(given, ratio, multiple)));
    choices("width", width, sizes, divisor)
}

pub(super) fn open_expansion(
    network: &Network,
    width: &Width,
    ratios: &[f64],
    divisor: u64,
) -> Result<Option<Opening>, String> {
    let flow = &network.flow;
    let first = &flow.layers[width.producers[0]];
    let Some((tensor, dim)) = first.input else { return Ok(None) };
    let read = flow.tensors[tensor][dim];
    let (given, is_inside) = (width.size, width.consumers.iter().all(|&l| flow.layers[l].node != first.node));
    // The channels inside a block are made from fewer and are turned into fewer.
    if !is_inside || given <= read || width.consumers.is_empty() {
        return Ok(None);
    }
    let ratio = given as f64 / read as f64;
    if !ratios.iter().any(|r| (r * read as f64).round() as u64 == given) {
        return Err(format!("its expansion {ratio} is not among the choices {ratios:?}"));
    }
    let size = |r: &f64| (Label::Real(*r), (r * read as f64).round() as u64);
    let sizes = ratios.iter().map(size).filter(|&(_, size)| size <= given);
    choices("expansion", width, sizes, divisor).map(Some)
}

/// `ratio` of a number as a multiple of `divisor`, or the number itself.
fn scaled(given: u64, ratio: f64, divisor: u64) -> u64 {
    if ratio == 1.0 {
        return given;
    }
    let multiple = (given as f64 * ratio / divisor as f64).round().max(1.0) as u64;
    if ratio < 1.0 { (multiple * divisor).min(given) } else { (multiple * divisor).max(given) }
}

/// The least common multiple.
fn common_multiple(a: u64, b: u64) -> u64 {
    (1..=b).map(|i| a * i).find(|n| n % b == 0).unwrap_or(a)
}

/// A decision between numbers of channels of the first layer, each with the share that it is of the given one.
fn choices(
    suffix: &'static str,
    width: &Width,
    sizes: impl Iterator<Item = (Label, u64)>,
    divisor: u64,
) -> Result<Opening, String> {
    // Channels that can only be left out together (in each group, each head) come in such steps.
    let step = width.size / width.channels.max(1);
    let (mut shares, mut channels): (Vec<Label>, Vec<u64>) = (Vec::new(), Vec::new());
    for (share, size) in sizes {
        let kept = ((size as f64 / step as f64).round() as u64).max(1);
        if !channels.contains(&(kept * step)) {
            shares.push(share);
            channels.push(kept * step);
        }
    }
    if channels.iter().all(|&n| n == width.size) {
        let why = if width.channels <= 1 {
            format!("all of its {} channels are coupled with one another", width.size)
        } else {
            format!(
                "no other number of its {} channels is a choice (in steps of {})",
                width.size,
                step.max(divisor)
            )
        };
        return Err(why);
    }
    Ok(Opening {
        suffix,
        domain: Domain::Categorical(channels.iter().map(|&n| Label::Int(n as i64)).collect()),
        original: channels.iter().position(|&n| n == width.size).map(|code| code as i32),
        shares: Some(Domain::Categorical(shares)),
        effect: Effect::Width {
            kept: channels.iter().map(|n| n / step).collect(),
            channels,
            attributes: Vec::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(size: u64, channels: u64) -> Width {
        Width { producers: vec![0], consumers: vec![1], channels, size, fixed: None, growable: true }
    }

    fn sizes(opening: Result<Opening, String>) -> Vec<u64> {
        match opening.unwrap().effect {
            Effect::Width { channels, .. } => channels,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_are_multiples_of_divisor_and_step() {
        assert_eq!(sizes(open(&width(24, 24), &[0.5, 0.75, 1.0], &[], 1)), [12, 18, 24]);
        assert_eq!(sizes(open(&width(24, 24), &[0.5, 0.75, 1.0], &[], 8)), [16, 24]);
        assert_eq!(sizes(open(&width(24, 6), &[0.4, 1.0], &[], 1)), [8, 24]);
        assert_eq!(sizes(open(&width(24, 24), &[], &[8, 24, 48], 1)), [8, 24]);
        assert_eq!(open(&width(24, 24), &[0.5], &[], 1).unwrap().original, None);
        assert_eq!(sizes(open(&width(24, 24), &[1.0, 1.5], &[], 8)), [24, 40]);
        let narrow = Width { growable: false, ..width(24, 24) };
        assert_eq!(sizes(open(&narrow, &[0.5, 1.0, 1.5], &[], 1)), [12, 24]);
    }

    #[test]
    fn what_cannot_vary_says_why() {
        assert!(open(&width(24, 1), &[0.5, 1.0], &[], 1).unwrap_err().contains("coupled with one another"));
        assert!(open(&width(8, 8), &[0.9, 1.0], &[], 8).unwrap_err().contains("in steps of 8"));
        assert!(open(&width(8, 8), &[], &[4, 16], 1).unwrap_err().contains("not among the choices"));
    }
}
