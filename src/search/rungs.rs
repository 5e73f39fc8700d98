//! Rungs: the fidelities between which multi-fidelity searches promote, each `eta` times the one below, the last full.

use super::require;
use crate::error::Result;
use crate::trial::Fidelity;

/// The lowest fidelity of all multi-fidelity searches, if nothing else is said: four rungs for `eta` 3.
pub(super) const MIN_FIDELITY: f64 = 1.0 / 27.0;

/// Fractions of a full evaluation, ascending; the last one is 1.
#[derive(Clone, Debug)]
pub(super) struct Rungs {
    fractions: Vec<f64>,
    eta: usize,
}

impl Rungs {
    /// The powers of `1 / eta` from 1 down to `min_fidelity`.
    pub(super) fn new(min_fidelity: f64, eta: usize, algorithm: &str) -> Result<Self> {
        require(eta >= 2, algorithm, || format!("eta is {eta}, expected 2 or more"))?;
        require(min_fidelity > 0.0 && min_fidelity <= 1.0, algorithm, || {
            format!("min_fidelity is {min_fidelity}, expected above 0 and up to 1")
        })?;
        let mut fractions = vec![1.0];
        let mut divisor = eta as f64;
        while 1.0 / divisor >= min_fidelity * (1.0 - 1e-9) {
            fractions.push(1.0 / divisor);
            divisor *= eta as f64;
        }
        fractions.reverse();
        Ok(Rungs { fractions, eta })
    }

    pub(super) fn eta(&self) -> usize {
        self.eta
    }

    /// The number of rungs, 1 or more.
    pub(super) fn len(&self) -> usize {
        self.fractions.len()
    }

    pub(super) fn fidelity(&self, rung: usize) -> Fidelity {
        match self.fractions.get(rung) {
            Some(&fraction) if fraction < 1.0 => Fidelity::Partial(fraction),
            _ => Fidelity::Full,
        }
    }

    /// The rung of a trial that one of these searches asked for.
    pub(super) fn rung(&self, fidelity: Fidelity) -> usize {
        let Fidelity::Partial(fraction) = fidelity else { return self.len() - 1 };
        self.fractions.partition_point(|&known| known < fraction * (1.0 - 1e-9)).min(self.len() - 1)
    }

    /// Hyperband's brackets, the one that starts lowest first (Li et al. 2018, algorithm 1): the first rung of each and
    /// the number of trials on each of its rungs.
    pub(super) fn brackets(&self) -> Vec<(usize, Vec<usize>)> {
        let top = self.len() - 1;
        (0..=top)
            .map(|first| {
                let s = top - first;
                let n = (self.len() * self.eta.pow(s as u32)).div_ceil(s + 1);
                (first, self.sizes(n, first))
            })
            .collect()
    }

    /// How many of `n` trials on rung `first` are left on it and on each rung above.
    pub(super) fn sizes(&self, n: usize, first: usize) -> Vec<usize> {
        (0..self.len() - first).map(|i| n / self.eta.pow(i as u32)).take_while(|&left| left > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_powers_and_are_found_again() {
        for (min, eta, n) in
            [(1.0 / 27.0, 3, 4), (1.0 / 81.0, 3, 5), (0.05, 3, 3), (1.0, 3, 1), (1.0 / 16.0, 4, 3)]
        {
            let rungs = Rungs::new(min, eta, "x").unwrap();
            assert_eq!(rungs.len(), n, "{min} {eta}");
            for rung in 0..n {
                assert_eq!(rungs.rung(rungs.fidelity(rung)), rung);
            }
            assert_eq!(rungs.fidelity(n - 1), Fidelity::Full);
        }
        assert!(Rungs::new(0.0, 3, "x").is_err() && Rungs::new(1.5, 3, "x").is_err());
        let message = Rungs::new(0.1, 1, "x").unwrap_err().to_string();
        assert_eq!(message, "search algorithm 'x': eta is 1, expected 2 or more");
    }

    #[test]
    fn brackets_are_those_of_the_paper() {
        // Li et al. 2018, table 1: R = 81, eta = 3.
        let rungs = Rungs::new(1.0 / 81.0, 3, "x").unwrap();
        let sizes: Vec<Vec<usize>> = rungs.brackets().into_iter().map(|(_, sizes)| sizes).collect();
        assert_eq!(sizes, [vec![81, 27, 9, 3, 1], vec![34, 11, 3, 1], vec![15, 5, 1], vec![8, 2], vec![5]]);
    }
}
