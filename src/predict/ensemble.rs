//! An ensemble: several surrogates that vote.
//!
//! Means are averaged, and the variance is that of the mixture (Lakshminarayanan, Pritzel and Blundell 2017, "Simple
//! and Scalable Predictive Uncertainty Estimation using Deep Ensembles", arXiv 1612.01474, section 2.4): the members'
//! own variance plus the spread of their means. All members vote alike. A fit costs the sum of the members' fits.

use super::{Fitted, Prediction, Rows, Surrogate, check, mixture};
use crate::error::Result;
use crate::rng::Rng;

/// Several surrogates that vote.
pub struct Ensemble {
    members: Vec<Box<dyn Surrogate>>,
}

impl Ensemble {
    /// These members, at least one.
    #[must_use]
    pub fn new(members: Vec<Box<dyn Surrogate>>) -> Self {
        Ensemble { members }
    }
}

impl Surrogate for Ensemble {
    fn fit(&self, rows: &Rows, targets: &[f64], rng: &mut Rng) -> Result<Box<dyn Fitted>> {
        check(rows, targets)?;
        let members =
            self.members.iter().map(|member| member.fit(rows, targets, rng)).collect::<Result<_>>()?;
        Ok(Box::new(Committee { members }))
    }
}

struct Committee {
    members: Vec<Box<dyn Fitted>>,
}

impl Fitted for Committee {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        let votes: Vec<Vec<Prediction>> =
            self.members.iter().map(|member| member.predict(rows)).collect::<Result<_>>()?;
        Ok((0..rows.len()).map(|i| mixture(votes.iter().map(|vote| vote[i]))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Forest, Linear};
    use crate::rng::stream;

    #[test]
    fn it_is_the_mean_of_its_members_and_less_sure_when_they_differ() {
        let (_, rows, targets) = crate::predict::tests::problem(40, 2);
        let mut rng = stream(0, 0, "test");
        let members: [Box<dyn Surrogate>; 2] = [Box::new(Linear::default()), Box::new(Forest::default())];
        let linear = members[0].fit(&rows, &targets, &mut rng).unwrap().predict(&rows).unwrap();
        let forest = members[1].fit(&rows, &targets, &mut rng).unwrap().predict(&rows).unwrap();
        let both = Ensemble::new(members.into())
            .fit(&rows, &targets, &mut stream(0, 0, "test"))
            .unwrap()
            .predict(&rows)
            .unwrap();
        for i in 0..rows.len() {
            assert!((both[i].mean - f64::midpoint(linear[i].mean, forest[i].mean)).abs() < 1e-12);
            assert!(both[i].std + 1e-12 >= (linear[i].mean - forest[i].mean).abs() / 2.0);
        }
    }
}
