//! Random numbers: the one place that makes a generator.
//!
//! A stream is a pure function of (seed, trial, purpose), so what is drawn for trial 17 does not depend on who
//! drew what before, on batching, on threads or on whether the process was restarted in between.

use rand::{RngCore as _, SeedableRng as _};

/// The generator used everywhere (PCG XSL-RR 128/64 MCG; O'Neill 2014): small state, cheap to seed.
pub type Rng = rand_pcg::Pcg64Mcg;

/// The generator of one purpose of one trial of one run.
#[must_use]
#[inline] // so that what depends on a constant purpose alone is computed by the compiler
pub fn stream(seed: u64, trial: u64, purpose: &str) -> Rng {
    // FNV-1a over the purpose, then splitmix64 rounds: near seeds and trials give unrelated streams.
    let purpose = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let a = mix(seed ^ mix(trial ^ mix(purpose)));
    let b = mix(a ^ seed.rotate_left(32) ^ trial);
    let mut bytes = [0_u8; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    Rng::from_seed(bytes)
}

/// A number below `n`, which must not be 0. Uniform to within n / 2^64, in one multiplication; what hot loops draw with.
#[must_use]
#[inline]
pub fn below(rng: &mut Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    #[test]
    fn a_stream_depends_on_all_three_keys_and_on_nothing_else() {
        let draw = |seed, trial, purpose| stream(seed, trial, purpose).random::<u64>();
        assert_eq!(draw(1, 2, "ask"), draw(1, 2, "ask"));
        assert_ne!(draw(1, 2, "ask"), draw(2, 2, "ask"));
        assert_ne!(draw(1, 2, "ask"), draw(1, 3, "ask"));
        assert_ne!(draw(1, 2, "ask"), draw(1, 2, "tell"));
        assert_ne!(draw(1, 2, "ask"), draw(2, 1, "ask"));
    }

    #[test]
    fn below_reaches_every_number_alike() {
        let (mut rng, mut counts) = (stream(0, 0, "test"), [0_u32; 7]);
        (0..70_000).for_each(|_| counts[below(&mut rng, 7)] += 1);
        assert!(counts.iter().all(|n| (9_600..10_400).contains(n)), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
    }

    #[test]
    fn first_draws_of_neighbouring_streams_are_uniform() {
        let mut counts = [0_u32; 10];
        for trial in 0..10_000 {
            counts[stream(0, trial, "ask").random_range(0..10)] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
