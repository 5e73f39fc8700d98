//! Rule `heads`: how many heads an attention has.
//!
//! The first heads stay, each with its size, as in AutoFormer (Chen et al. 2021, arXiv 2107.00651, section 3.2, "the
//! ratio of the q-k-v dimensions to the number of heads is fixed"): queries, keys, values and what joins them become
//! narrower together. Where groups of query heads share keys and values (Ainslie et al. 2023, arXiv 2305.13245), whole
//! groups stay. Which channels are heads is read from the data flow; attributes that are proportional to the number of
//! heads follow it.

use super::{Effect, ModuleAttribute, Opening};
use crate::network::{Attention, Kind, Node, Width};
use crate::space::{Domain, Label};

/// Whether the numbers suit an attention; what its channels allow shows later.
pub(super) fn check<'a>(node: &'a Node, heads: &[u64]) -> Result<&'a Attention, String> {
    let Kind::Attention(attention) = &node.kind else {
        return Err("it has no attribute that says a number of heads".into());
    };
    if let Some(reason) = &attention.sealed {
        return Err(reason.clone());
    }
    let given = attention.heads;
    if !heads.contains(&given) {
        return Err(format!("its number of heads {given} is not among the choices {heads:?}"));
    }
    let shared = given / attention.kv_heads.max(1);
    if let Some(uneven) = heads.iter().find(|&&n| n % shared != 0) {
        return Err(format!(
            "{uneven} heads cannot share keys and values among {shared} each, as its {given} heads do"
        ));
    }
    if heads.iter().filter(|&&n| n <= given).count() < 2 {
        return Err(format!("no number of {heads:?} is smaller than its {given} heads"));
    }
    Ok(attention)
}

pub(super) fn open(node: &Node, width: &Width, heads: &[u64]) -> Result<Opening, String> {
    let attention = check(node, heads)?;
    let given = attention.heads;
    if width.channels != attention.kv_heads {
        return Err(format!("the {} channels that its forward splits are not its heads", width.channels));
    }
    let heads: Vec<u64> = heads.iter().copied().filter(|&n| n <= given).collect();
    let attribute = |(name, value): (&String, &u64)| ModuleAttribute {
        path: node.path.clone(),
        name: name.clone(),
        values: heads.iter().map(|n| Label::Int((value * n / given) as i64)).collect(),
    };
    Ok(Opening {
        suffix: "heads",
        domain: Domain::Categorical(heads.iter().map(|&n| Label::Int(n as i64)).collect()),
        original: heads.iter().position(|&n| n == given).map(|code| code as i32),
        shares: None,
        effect: Effect::Width {
            kept: heads.iter().map(|n| n * attention.kv_heads / given).collect(),
            attributes: attention.attributes.iter().map(attribute).collect(),
            channels: heads,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(heads: u64, kv_heads: u64) -> Node {
        let attributes = [("num_heads".to_string(), heads), ("size".to_string(), heads * 4)].into();
        Node {
            path: "attention".into(),
            class: "Attention".into(),
            kind: Kind::Attention(Attention {
                heads,
                kv_heads,
                head_size: Some(4),
                attributes,
                sealed: None,
            }),
            within: vec![0],
            place: None,
        }
    }

    fn width(channels: u64) -> Width {
        Width { producers: vec![0], consumers: vec![1], channels, size: 32, fixed: None, growable: false }
    }

    #[test]
    fn attributes_follow_the_heads() {
        let opening = open(&attention(8, 2), &width(2), &[4, 8, 16]).unwrap();
        assert_eq!(opening.original, Some(1));
        let Effect::Width { kept, attributes, .. } = opening.effect else { panic!() };
        assert_eq!(kept, [1, 2]);
        assert_eq!(attributes[0].values, [Label::Int(4), Label::Int(8)]);
        assert_eq!(attributes[1].values, [Label::Int(16), Label::Int(32)]);
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let why = |node: Node, heads: &[u64]| check(&node, heads).unwrap_err();
        assert_eq!(why(attention(8, 8), &[2, 4]), "its number of heads 8 is not among the choices [2, 4]");
        assert!(why(attention(8, 2), &[2, 8]).starts_with("2 heads cannot share keys and values among 4"));
        assert!(why(attention(8, 8), &[8, 16]).starts_with("no number of [8, 16] is smaller"));
        assert!(open(&attention(8, 8), &width(4), &[4, 8]).unwrap_err().contains("are not its heads"));
    }
}
