// Dropout on the input of an adapter: masks are functions of a key and an index, made where they are used and never
// stored. A value is dropped where 24 random bits are below `threshold`, else multiplied by `kept`. Widths are multiples
// of eight.
#include "elementwise.cuh"
#include "random.cuh"

// What the values of a place are multiplied by.
DEVICE void factors(float (&out)[8], Place at, int width, u64 key, u32 threshold, float kept) {
    u64 index = (u64)at.row * width + at.column;
    UNROLL for (int i = 0; i < 8; i++) out[i] = (u32)(random_bits(key, index + i) >> 40) < threshold ? 0.0f : kept;
}

// out = x * factor
KERNEL BOUNDS(256, 6) dropout_mask(const bf16* x, int x_pitch, bf16* out, int out_pitch, int rows, int width, u64 key, u32 threshold, float kept) {
    Place at = place(rows, width);
    if (!at.inside) return;
    Words words = load_words(x + at.row * x_pitch + at.column);
    float factor[8], value[8];
    factors(factor, at, width, key, threshold, kept);
    widen8(value, words);
    UNROLL for (int i = 0; i < 8; i++) value[i] *= factor[i];
    store_words(out + at.row * out_pitch + at.column, narrow8(value));
}
EXPORT(dropout_mask)

// dx += p * factor
KERNEL BOUNDS(256, 6) dropout_add(const bf16* p, int p_pitch, bf16* dx, int dx_pitch, int rows, int width, u64 key, u32 threshold, float kept) {
    Place at = place(rows, width);
    if (!at.inside) return;
    bf16* to = dx + at.row * dx_pitch + at.column;
    Words words = load_words(p + at.row * p_pitch + at.column), old = load_words(to);
    float factor[8], value[8], sum[8];
    factors(factor, at, width, key, threshold, kept);
    widen8(value, words);
    widen8(sum, old);
    UNROLL for (int i = 0; i < 8; i++) sum[i] += value[i] * factor[i];
    store_words(to, narrow8(sum));
}
EXPORT(dropout_add)
