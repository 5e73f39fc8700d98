//! Weights from another network's by the best match, for a child that is not exactly a part of its parent.
//!
//! A tensor inherits from the one of the same path; if there is none, from the unused tensor of the same name and number
//! of dimensions that it overlaps most, the earliest of equals. Of different sizes, the overlap is copied: leading channels, the
//! centre of kernels; what is beyond keeps the child's own values. Elsken, Metzen and Hutter 2017, arXiv 1711.04528,
//! and Real et al. 2017, arXiv 1703.01041, section 3.5, inherit only what matches exactly; overlaps are a free
//! generalisation.

use tch::Tensor;

use super::State;
use crate::error::Result;

/// What was inherited: the child's path, the parent's, and the part of the child's tensor that was copied.
pub struct Match {
    /// The tensor of the child.
    pub to: String,
    /// The tensor of the parent.
    pub from: String,
    /// From 0 to 1.
    pub part: f64,
}

/// The child's tensors that inherit something, as copies, and from where.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if a tensor cannot be copied.
pub fn inherit(parent: &State, child: &State) -> Result<(State, Vec<Match>)> {
    let mut used: Vec<&str> =
        child.keys().filter(|path| parent.contains_key(*path)).map(String::as_str).collect();
    let (mut state, mut matches) = (State::new(), Vec::new());
    tch::no_grad(|| -> Result<()> {
        for (path, own) in child {
            let found = match parent.get_key_value(path) {
                Some((from, given)) if given.dim() == own.dim() => Some((from, given)),
                _ => {
                    let mut best: Option<(&String, &Tensor)> = None;
                    for (from, given) in parent {
                        let fits = name(from) == name(path) && given.dim() == own.dim();
                        let better = |known: &Tensor| closeness(given, own) > closeness(known, own);
                        if fits
                            && !used.contains(&from.as_str())
                            && best.is_none_or(|(_, known)| better(known))
                        {
                            best = Some((from, given));
                        }
                    }
                    best
                }
            };
            let Some((from, given)) = found else { continue };
            used.push(from);
            let result = own.f_detach_copy()?;
            let (mut target, mut source) = (result.shallow_clone(), given.shallow_clone());
            for (dim, (&to, &of)) in own.size().iter().zip(&given.size()).enumerate() {
                let length = to.min(of);
                let (start, first) = if dim < 2 { (0, 0) } else { ((to - length) / 2, (of - length) / 2) };
                target = target.f_narrow(dim as i64, start, length)?;
                source = source.f_narrow(dim as i64, first, length)?;
            }
            target.f_copy_(&source)?;
            let part = source.numel() as f64 / own.numel().max(1) as f64;
            matches.push(Match { to: path.clone(), from: from.clone(), part });
            state.insert(path.clone(), result);
        }
        Ok(())
    })?;
    Ok((state, matches))
}

fn name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// How much two tensors overlap, as a part of what either has.
fn closeness(a: &Tensor, b: &Tensor) -> f64 {
    let ratio = |(x, y): (&i64, &i64)| *x.min(y) as f64 / (*x.max(y)).max(1) as f64;
    a.size().iter().zip(&b.size()).map(ratio).product()
}
