// What kernels without any exchange between threads share: which values are a thread's, and f32 four at a time. The
// launch of a `Place` is `kernels::each_vector` in Rust. Knows no kernel.
#pragma once
#include "prelude.cuh"

const float LOG2_E = 1.4426950408889634f;
DEVICE float infinite() { return bits_to_float(0x7f800000u); }
DEVICE float no_number() { return bits_to_float(0x7fffffffu); }

// Eight values of a row, one such place a thread, row after row.
struct Place {
    i64 row;
    int column;
    // Whether it is a place at all: the last block has threads to spare.
    bool inside;
};
DEVICE Place place(int rows, int columns) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x, vectors = columns / 8, row = at / vectors;
    return Place{(i64)row, (int)(8 * (at - row * vectors)), row < (u32)rows};
}

DEVICE void load4(float (&out)[4], const float* from) {
    Words words = load_words(from);
    UNROLL for (int i = 0; i < 4; i++) out[i] = bits_to_float(words.word[i]);
}
DEVICE void store4(float* to, const float (&x)[4]) {
    Words words;
    UNROLL for (int i = 0; i < 4; i++) words.word[i] = float_to_bits(x[i]);
    store_words(to, words);
}
DEVICE void load8(float (&out)[8], const float* from) {
    Words low = load_words(from), high = load_words(from + 4);
    UNROLL for (int i = 0; i < 4; i++) {
        out[i] = bits_to_float(low.word[i]);
        out[i + 4] = bits_to_float(high.word[i]);
    }
}

// What eight values become when they are stored.
DEVICE void round8(float (&x)[8]) { widen8(x, narrow8(x)); }

DEVICE Words filled(u32 word) { return Words{{word, word, word, word}}; }
