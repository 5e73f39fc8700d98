//! A random order of the numbers below any size, without listing them: element by element, exact for huge sizes.
//!
//! A balanced Feistel network (Luby and Rackoff 1988, DOI 10.1137/0217022) permutes the numbers of an even count of
//! bits, at most four times as many as wanted; results out of range are permuted again until one is in range
//! ("cycle walking", Black and Rogaway 2002, DOI 10.1007/3-540-45760-7_9), which keeps the map one to one. Not for
//! secrets.

use num_bigint::BigUint;
use rand::Rng as _;

use crate::rng::stream;

const ROUNDS: u64 = 6;

/// A random permutation of `0..size`.
#[derive(Clone, Debug)]
pub struct Shuffle {
    size: BigUint,
    seed: u64,
    /// Half of the network's bits.
    half: u64,
}

impl Shuffle {
    /// The permutation of `0..size` that belongs to a seed.
    #[must_use]
    pub fn new(size: BigUint, seed: u64) -> Self {
        let half = size.bits().div_ceil(2).max(1);
        Shuffle { size, seed, half }
    }

    /// The element at a position below the size.
    #[must_use]
    pub fn at(&self, position: &BigUint) -> BigUint {
        let mut value = position.clone();
        loop {
            value = self.permute(&value);
            if value < self.size {
                return value;
            }
        }
    }

    fn permute(&self, value: &BigUint) -> BigUint {
        let mask = (BigUint::from(1_u8) << self.half) - 1_u8;
        let (mut left, mut right) = (value >> self.half, value & &mask);
        for round in 0..ROUNDS {
            let mixed = left ^ self.noise(round, &right);
            (left, right) = (right, mixed);
        }
        (left << self.half) | right
    }

    /// `half` random bits that depend on the seed, the round and all bits of the value.
    fn noise(&self, round: u64, value: &BigUint) -> BigUint {
        let key = value
            .iter_u64_digits()
            .fold(self.seed, |key, digit| stream(key, digit, "shuffle digit").random());
        let mut rng = stream(key, round, "shuffle round");
        let digits: Vec<u32> = (0..self.half.div_ceil(32)).map(|_| rng.random()).collect();
        BigUint::new(digits) >> (self.half.div_ceil(32) * 32 - self.half)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_once(size in 1_u32..700, seed in any::<u64>()) {
            let shuffle = Shuffle::new(BigUint::from(size), seed);
            let mut seen: Vec<BigUint> = (0..size).map(|i| shuffle.at(&BigUint::from(i))).collect();
            seen.sort();
            prop_assert!(seen.into_iter().eq((0..size).map(BigUint::from)));
        }
    }

    #[test]
    fn the_first_elements_are_spread_evenly() {
        let mut counts = [0; 10];
        for seed in 0..1_000 {
            let shuffle = Shuffle::new(BigUint::from(1_000_u32), seed);
            let first = u32::try_from(shuffle.at(&BigUint::ZERO)).unwrap();
            counts[first as usize / 100] += 1;
        }
        assert!(counts.iter().all(|n| (65..140).contains(n)), "{counts:?}");
    }

    #[test]
    fn huge_sizes_stay_in_range() {
        let size = BigUint::from(7_u8).pow(200);
        let shuffle = Shuffle::new(size.clone(), 3);
        let found: Vec<BigUint> = (0..50_u32).map(|i| shuffle.at(&BigUint::from(i))).collect();
        assert!(found.iter().all(|value| *value < size));
        assert!(found.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(found.iter().filter(|value| value.bits() > 550).count() > 40);
    }
}
