//! Rules `resolution` and `stride`: decisions on which the sizes of pictures depend.
//!
//! What a network does to pictures of another size is known by running it: for every choice there is the shape of each
//! tensor, from a forward on tensors without memory. Choices at which the forward fails, gives another shape or takes
//! other steps are left out. The resolution is scaled as in MobileNets (Howard et al. 2017, arXiv 1704.04861, section
//! 3.4); where the network halves its pictures is the "stage ratio" of many hand-made searches.

use super::{Effect, Opening, Variant};
use crate::space::Domain;

pub(super) fn open(
    suffix: &'static str,
    variants: &[Variant],
    given: usize,
    unfit: &std::collections::BTreeMap<String, String>,
) -> Result<Opening, String> {
    if variants.len() < 2 {
        let why = unfit.iter().map(|(choice, reason)| format!("{choice}: {reason}")).collect::<Vec<_>>();
        return Err(format!("no other {suffix} is possible ({})", why.join("; ")));
    }
    Ok(Opening {
        suffix,
        domain: Domain::Categorical(variants.iter().map(|variant| variant.label.clone()).collect()),
        original: Some(given as i32),
        shares: None,
        effect: Effect::Sizes { variants: variants.to_vec() },
    })
}
