// Counter-based randomness: a number is a function of a key and an index, so nothing is stored and a resumed run draws the
// same. The functions are those of `dropout.rs` of the model crate, bit for bit. Knows no kernel.
#pragma once
#include "prelude.cuh"

// The finaliser of SplitMix64 over a golden-ratio step.
DEVICE u64 mix(u64 value) {
    u64 z = value + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
DEVICE u64 random_bits(u64 key, u64 index) { return mix(key ^ mix(index)); }
