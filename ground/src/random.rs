//! Owns randomness as a function of seed, name, step and position, so that the order of work and the number of threads
//! cannot change a result. Knows nothing about what is drawn; reads no clock and keeps no state.
//!
//! The mixer is the output of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195), from `rand_xoshiro`.

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::SplitMix64;

/// The step of the state of SplitMix64.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64 bits that follow from 64 bits as if they were drawn: the first output of SplitMix64 from the state `value`.
#[inline(always)]
#[must_use]
pub fn mix(value: u64) -> u64 {
    SplitMix64::from_seed(value.to_le_bytes()).next_u64()
}

/// 64 bits that follow from several numbers. Compiled here, since the program's own member is optimised less than this one.
#[must_use]
pub fn mix_all(start: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(start, |state, part| mix(state ^ part))
}

/// A number in `[0, 1)` with 53 bits.
#[inline(always)]
#[must_use]
pub fn unit_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number in `[0, 1)` with 24 bits.
#[inline(always)]
#[must_use]
pub fn unit_f32(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u64 << 24) as f32
}

/// Where an FNV-1a hash starts.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over more bytes: a hash that is the same on every machine and in every version.
#[inline]
#[must_use]
pub fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A key that follows from a seed and a name, such as that of a tensor (FNV-1a of the name, mixed).
#[must_use]
pub fn key_of(seed: u64, name: &str) -> u64 {
    let hash = fnv(FNV_START, name.as_bytes());
    mix(mix(seed) ^ hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first outputs from state 0, as published with the reference code of xoshiro.
    #[test]
    fn the_mixer_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(STEP), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn numbers_of_a_name_repeat_and_differ() {
        assert_eq!(key_of(7, "layers.0.q"), key_of(7, "layers.0.q"));
        assert_ne!(key_of(7, "layers.0.q"), key_of(7, "layers.0.k"));
        assert_ne!(key_of(7, "layers.0.q"), key_of(8, "layers.0.q"));
        assert_ne!(mix_all(0, &[1, 2]), mix_all(0, &[2, 1]));
    }

    #[test]
    fn units_lie_below_one() {
        assert!(unit_f64(u64::MAX) < 1.0 && unit_f32(u64::MAX) < 1.0);
        assert_eq!((unit_f64(0), unit_f32(0)), (0.0, 0.0));
    }
}
