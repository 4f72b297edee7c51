//! Random numbers, of two kinds. Nothing else in Bothways makes them.
//!
//! - **Fast**: [`next`] and [`fraction`] for jitter, splits, samples and numbers that need only differ; a few
//!   instructions, no lock. Each thread, and so each core, has its own generator. Not cryptographically secure: a reader who
//!   sees a few numbers can compute the next ones. [`Random`] is the same generator with a seed of the caller's, for
//!   what must be reproducible.
//! - **Secret**: [`secret`] for keys, tokens, nonces, and every number that a peer must not guess (such as the ID of
//!   a DNS query). Cryptographically secure; it may cost a microsecond.

use std::cell::Cell;

use thiserror::Error;

/// A fast generator (SplitMix64): the same numbers for the same seed. Not cryptographically secure.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline]
    #[allow(clippy::should_implement_trait)] // it never ends
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// The next number, as a fraction: at least 0, less than 1.
    pub const fn fraction(&mut self) -> f64 {
        // As many bits as an `f64` can hold.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The next number of this thread's fast generator. Not cryptographically secure.
pub fn next() -> u64 {
    with_thread(Random::next)
}

/// As [`next`], as a fraction: at least 0, less than 1.
pub fn fraction() -> f64 {
    with_thread(Random::fraction)
}

fn with_thread<N>(take: impl FnOnce(&mut Random) -> N) -> N {
    // A cell without a destructor: it can be read at any time in the life of its thread.
    thread_local!(static STATE: Cell<Option<u64>> = const { Cell::new(None) });
    STATE.with(|state| {
        let mut random = Random(state.get().unwrap_or_else(thread_seed));
        let number = take(&mut random);
        state.set(Some(random.0));
        number
    })
}

#[cold]
fn thread_seed() -> u64 {
    secret().map_or_else(
        |NoRandomness| {
            let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            mix(time.map_or(0, |time| time.as_nanos() as u64))
        },
        u64::from_ne_bytes,
    )
}

/// Bytes that nobody can guess, from the generator of aws-lc.
pub fn secret<const BYTES: usize>() -> Result<[u8; BYTES], NoRandomness> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// The system has no source of randomness. No system that we know lacks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system has no source of random numbers")]
pub struct NoRandomness;

/// Mixes 64 bits so that each bit of the result depends on all of them (the end of SplitMix64).
#[inline]
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_of_splitmix64() {
        // From the reference implementation by Sebastiano Vigna.
        let mut random = Random::seeded(1_234_567);
        let numbers = [(); 3].map(|()| random.next());
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn fractions_are_even() {
        let mut random = Random::seeded(7);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let fraction = random.fraction();
            assert!((0.0..1.0).contains(&fraction));
            counts[(fraction * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn threads_and_secrets_differ() {
        let here = [next(), next()];
        assert_ne!(here[0], here[1]);
        let there = std::thread::spawn(|| [next(), next()]).join().unwrap();
        assert!(there.iter().all(|number| !here.contains(number)));
        assert_ne!(secret::<16>().unwrap(), secret::<16>().unwrap());
        assert!((0.0..1.0).contains(&fraction()));
    }
}
