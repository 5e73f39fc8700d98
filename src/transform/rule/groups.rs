//! Rule `groups`: into how many groups a convolution divides its channels (Krizhevsky et al. 2012; Xie et al. 2017,
//! "ResNeXt", arXiv 1611.05431).
//!
//! All numbers share the kernel of the fewest groups: more groups are the blocks on its diagonal, what lies beside them
//! is not used. Where the given convolution has more groups than the fewest, zeros fill what lies beside its blocks, so
//! that every number down to the fewest starts as the given function. Every number must divide the channels; widths
//! around vary in steps that all numbers divide.

use super::{Effect, Opening};
use crate::network::{Kind, Node};
use crate::space::{Domain, Label};

pub(super) fn open(node: &Node, groups: &[u64]) -> Result<Opening, String> {
    let Kind::Conv(conv) = &node.kind else {
        return Err("it is no convolution".into());
    };
    if let Some(reason) = &conv.sealed {
        return Err(reason.clone());
    }
    let given = conv.groups;
    if !groups.contains(&given) {
        return Err(format!("its number of groups {given} is not among the choices {groups:?}"));
    }
    let (inside, outside) = (conv.in_channels, conv.out_channels);
    let divides = |&n: &u64| inside % n == 0 && outside % n == 0;
    let mut legal: Vec<u64> = groups.iter().copied().filter(divides).collect();
    let fewest = legal.iter().copied().min().unwrap_or(given);
    // The blocks of more groups lie inside of the blocks of the fewest.
    legal.retain(|n| n % fewest == 0);
    if legal.len() < 2 {
        return Err(format!("no other number of {groups:?} divides its {inside} and {outside} channels"));
    }
    Ok(Opening {
        suffix: "groups",
        domain: Domain::Categorical(legal.iter().map(|&n| Label::Int(n as i64)).collect()),
        original: legal.iter().position(|&n| n == given).map(|code| code as i32),
        shares: None,
        effect: Effect::Groups { groups: legal, given },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Conv;

    fn conv(in_channels: u64, out_channels: u64, groups: u64) -> Node {
        Node {
            path: "conv".into(),
            class: "Conv2d".into(),
            kind: Kind::Conv(Conv {
                in_channels,
                out_channels,
                kernel_size: vec![3, 3],
                padding: None,
                dilation: vec![1, 1],
                groups,
                sealed: None,
            }),
            within: vec![0],
            place: None,
        }
    }

    #[test]
    fn only_divisors_of_the_channels_are_choices() {
        let opening = open(&conv(8, 12, 2), &[1, 2, 3, 4]).unwrap();
        assert_eq!(opening.effect, Effect::Groups { groups: vec![1, 2, 4], given: 2 });
        assert_eq!(opening.original, Some(1));
        assert_eq!(
            open(&conv(8, 9, 1), &[1, 2, 4]).unwrap_err(),
            "no other number of [1, 2, 4] divides its 8 and 9 channels"
        );
        assert_eq!(
            open(&conv(8, 8, 8), &[1, 2]).unwrap_err(),
            "its number of groups 8 is not among the choices [1, 2]"
        );
    }
}
