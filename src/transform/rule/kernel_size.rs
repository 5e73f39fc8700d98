//! Rule `kernel_size`: the size of a convolution's kernel, sharing one weight.
//!
//! Every size is the centre of the largest kernel, as in Once-for-All (Cai et al. 2020, arXiv 1908.09791, section
//! 3.3, "elastic kernel size"; without its learned kernel transformation). Padding follows the size so that the
//! output keeps its shape: `padding + dilation * (size - given) / 2`, which needs an even difference and must not be
//! negative; sizes that fail this are left out.

use super::{Effect, Opening};
use crate::network::{Kind, Node};
use crate::space::{Domain, Label};

pub(super) fn open(node: &Node, sizes: &[u64], named: bool) -> Result<Opening, String> {
    let Kind::Conv(conv) = &node.kind else {
        return Err("it is no convolution".into());
    };
    if let Some(reason) = &conv.sealed {
        return Err(reason.clone());
    }
    let given = conv.kernel_size[0];
    if conv.kernel_size.iter().any(|&k| k != given) {
        return Err(format!("its kernel {:?} is not square", conv.kernel_size));
    }
    if !sizes.contains(&given) {
        return Err(format!("its kernel size {given} is not among the choices {sizes:?}"));
    }
    if given == 1 && !named {
        return Err("it is 1x1; name it by where= to open it".into());
    }
    let padding_for = |size: u64| -> Option<Vec<u64>> {
        let Some(padding) = &conv.padding else { return Some(Vec::new()) };
        padding
            .iter()
            .zip(&conv.dilation)
            .map(|(&p, &d)| {
                let grown = 2 * p as i64 + d as i64 * (size as i64 - given as i64);
                (grown >= 0 && grown % 2 == 0).then_some(grown as u64 / 2)
            })
            .collect()
    };
    let legal: Vec<(u64, Vec<u64>)> = sizes
        .iter()
        // "same" padding with an even kernel pads unevenly; its centre is no smaller kernel's place.
        .filter(|&&size| size % 2 == given % 2)
        .filter_map(|&size| padding_for(size).map(|padding| (size, padding)))
        .collect();
    if legal.len() < 2 {
        return Err(format!("no other size of {sizes:?} keeps the output's shape with its padding"));
    }
    let (sizes, paddings): (Vec<u64>, Vec<Vec<u64>>) = legal.into_iter().unzip();
    Ok(Opening {
        suffix: "kernel_size",
        domain: Domain::Categorical(sizes.iter().map(|&size| Label::Int(size as i64)).collect()),
        original: sizes.iter().position(|&size| size == given).map(|code| code as i32),
        shares: None,
        effect: Effect::Kernel { sizes, paddings: conv.padding.is_some().then_some(paddings) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Conv;

    fn conv(kernel: &[u64], padding: u64, dilation: u64) -> Node {
        Node {
            path: "conv".into(),
            class: "Conv2d".into(),
            kind: Kind::Conv(Conv {
                in_channels: 4,
                out_channels: 8,
                kernel_size: kernel.to_vec(),
                padding: Some(vec![padding; kernel.len()]),
                dilation: vec![dilation; kernel.len()],
                groups: 1,
                sealed: None,
            }),
            within: vec![0],
            place: None,
        }
    }

    #[test]
    fn padding_follows_the_size() {
        let opening = open(&conv(&[3, 3], 2, 2), &[3, 5, 7], false).unwrap();
        assert_eq!(opening.original, Some(0));
        assert_eq!(
            opening.effect,
            Effect::Kernel { sizes: vec![3, 5, 7], paddings: Some(vec![vec![2, 2], vec![4, 4], vec![6, 6]]) }
        );
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let why = |node: Node, sizes: &[u64], named| open(&node, sizes, named).unwrap_err();
        assert_eq!(why(conv(&[1, 7], 0, 1), &[1, 7], true), "its kernel [1, 7] is not square");
        assert_eq!(
            why(conv(&[4, 4], 0, 1), &[3, 5], true),
            "its kernel size 4 is not among the choices [3, 5]"
        );
        assert_eq!(why(conv(&[1, 1], 0, 1), &[1, 3], false), "it is 1x1; name it by where= to open it");
        assert!(open(&conv(&[1, 1], 0, 1), &[1, 3], true).is_ok());
        assert!(why(conv(&[5, 5], 0, 1), &[3, 5], false).starts_with("no other size"));
        assert!(why(conv(&[3, 3], 1, 1), &[3, 4], false).starts_with("no other size"));
    }
}
