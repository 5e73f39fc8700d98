//! Size, rank and unrank: the points of a discrete space, numbered exactly, without listing them.
//!
//! A tree of decisions has `sum over values of (product over children that the value activates of their size)`
//! points, and the forest is the product over its roots. `rank` numbers the points `0..size` in lexicographic order
//! (first decision slowest), with big integers, since NAS spaces pass 2^64 easily.

use num_bigint::BigUint;

use super::{INACTIVE, Point, SearchSpace};
use crate::error::{Error, Result};

impl SearchSpace {
    /// The exact number of points; `None` if a real decision can be active.
    #[must_use]
    pub fn size(&self) -> Option<BigUint> {
        self.roots().try_fold(BigUint::from(1_u8), |product, i| Some(product * self.sizes[i].as_ref()?))
    }

    /// The position of a point among all points, in lexicographic order.
    ///
    /// # Errors
    /// [`Error::Space`] if the point is of another space or the space has a real decision.
    pub fn rank(&self, point: &Point) -> Result<BigUint> {
        self.check(point)?;
        let mut rank = BigUint::ZERO;
        for root in self.roots() {
            rank = rank * self.tree_size(root)? + self.rank_tree(root, &point.codes)?;
        }
        Ok(rank)
    }

    /// The point at a position: the inverse of [`SearchSpace::rank`].
    ///
    /// # Errors
    /// [`Error::Space`] if the position is not below the size or the space has a real decision.
    pub fn unrank(&self, rank: &BigUint) -> Result<Point> {
        let size = self.size().ok_or_else(|| self.not_countable())?;
        if *rank >= size {
            return Err(Error::Space(format!("rank {rank} is out of range; the space has {size} points")));
        }
        let mut codes = vec![INACTIVE; self.len()];
        let mut rest = rank.clone();
        let roots: Vec<usize> = self.roots().collect();
        for &root in roots.iter().rev() {
            let size = self.tree_size(root)?;
            self.unrank_tree(root, &rest % size, &mut codes)?;
            rest /= size;
        }
        Ok(Point::new(codes, vec![]))
    }

    /// Sizes of the trees below every decision, for the constructor.
    pub(super) fn tree_sizes(&self) -> Vec<Option<BigUint>> {
        let mut sizes: Vec<Option<BigUint>> = vec![None; self.len()];
        for &i in self.order.iter().rev() {
            sizes[i] = if self.decisions[i].domain.is_real() {
                None
            } else if self.children[i].is_empty() {
                Some(BigUint::from(self.counts[i].unsigned_abs()))
            } else {
                (0..self.counts[i]).try_fold(BigUint::ZERO, |sum, code| {
                    let mut below = self.activated(i, code);
                    Some(
                        sum + below
                            .try_fold(BigUint::from(1_u8), |p, child| Some(p * sizes[child].as_ref()?))?,
                    )
                })
            };
        }
        sizes
    }

    fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&i| self.gates[i].is_none())
    }

    /// The decisions that a value of a decision activates by itself, in declared order.
    pub fn activated(&self, parent: usize, code: i32) -> impl DoubleEndedIterator<Item = usize> {
        self.children[parent].iter().copied().filter(move |&child| {
            self.gates[child].as_ref().is_some_and(|gate| gate.codes.binary_search(&code).is_ok())
        })
    }

    /// The number of sub-points of a decision and all below it, while it is active.
    ///
    /// # Errors
    /// [`Error::Space`] if a real decision is among them.
    pub fn tree_size(&self, i: usize) -> Result<&BigUint> {
        self.sizes[i].as_ref().ok_or_else(|| self.not_countable())
    }

    fn value_size(&self, i: usize, code: i32) -> Result<BigUint> {
        self.activated(i, code).try_fold(BigUint::from(1_u8), |p, child| Ok(p * self.tree_size(child)?))
    }

    fn rank_tree(&self, i: usize, codes: &[i32]) -> Result<BigUint> {
        if self.children[i].is_empty() {
            return Ok(BigUint::from(codes[i].unsigned_abs()));
        }
        let mut rank = BigUint::ZERO;
        for code in 0..codes[i] {
            rank += self.value_size(i, code)?;
        }
        let mut below = BigUint::ZERO;
        for child in self.activated(i, codes[i]) {
            below = below * self.tree_size(child)? + self.rank_tree(child, codes)?;
        }
        Ok(rank + below)
    }

    fn unrank_tree(&self, i: usize, mut rank: BigUint, codes: &mut [i32]) -> Result<()> {
        if self.children[i].is_empty() {
            codes[i] =
                i32::try_from(rank).map_err(|_| Error::Internal("rank out of a leaf's range".into()))?;
            return Ok(());
        }
        for code in 0..self.counts[i] {
            let size = self.value_size(i, code)?;
            if rank < size {
                codes[i] = code;
                let below: Vec<usize> = self.activated(i, code).collect();
                for &child in below.iter().rev() {
                    let size = self.tree_size(child)?;
                    self.unrank_tree(child, &rank % size, codes)?;
                    rank /= size;
                }
                return Ok(());
            }
            rank -= size;
        }
        Err(Error::Internal("rank out of a tree's range".into()))
    }

    fn not_countable(&self) -> Error {
        let name = self.decisions.iter().find(|d| d.domain.is_real()).map_or("", |d| d.name.as_str());
        Error::Space(format!(
            "the space cannot be numbered: decision '{name}' is real; rank and unrank need discrete ones"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::tests::{any_space, mixed};
    use super::super::{Decision, Domain, Label};
    use super::*;

    proptest! {
        #[test]
        fn unrank_lists_every_point_once_in_order(space in any_space()) {
            let size = u64::try_from(space.size().unwrap()).unwrap();
            prop_assume!(size <= 3_000);
            let mut seen = HashSet::new();
            let mut last: Option<Point> = None;
            for rank in 0..size {
                let point = space.unrank(&BigUint::from(rank)).unwrap();
                space.check(&point).unwrap();
                prop_assert_eq!(space.rank(&point).unwrap(), BigUint::from(rank));
                prop_assert!(seen.insert(point.clone()));
                last = Some(point);
            }
            prop_assert!(last.is_some());
            prop_assert!(space.unrank(&BigUint::from(size)).is_err());
        }

        #[test]
        fn the_size_counts_what_sampling_can_reach(space in any_space(), seed in any::<u64>()) {
            let size = u64::try_from(space.size().unwrap()).unwrap();
            prop_assume!(size <= 20);
            let seen: HashSet<Point> = (0..5_000).map(|trial| space.sample(seed, trial)).collect();
            prop_assert!(seen.len() as u64 <= size);
            prop_assert!(seen.len() as u64 * 2 > size);
        }
    }

    #[test]
    fn huge_spaces_are_exact() {
        let decisions = (0..200)
            .map(|i| Decision::new(format!("d{i}"), Domain::Categorical((0..7).map(Label::Int).collect())));
        let space = SearchSpace::new(decisions.collect()).unwrap();
        assert_eq!(space.size().unwrap(), BigUint::from(7_u8).pow(200));
        let last = BigUint::from(7_u8).pow(200) - 1_u8;
        let point = space.unrank(&last).unwrap();
        assert!(point.codes.iter().all(|&code| code == 6));
        assert_eq!(space.rank(&point).unwrap(), last);
    }

    #[test]
    fn a_real_decision_cannot_be_numbered() {
        assert_eq!(mixed().size(), None);
        assert!(
            mixed().rank(&mixed().sample(0, 0)).unwrap_err().to_string().contains("decision 'lr' is real")
        );
    }
}
