// The next token of rows of f32 logits: the most likely one, or one drawn by the Gumbel trick, with noise that is a function
// of key, row, position and token. A row is split over several blocks, whose winners a second kernel compares.
#include "elementwise.cuh"
#include "random.cuh"

const int THREADS = 256;
// No token: where a logit of the row is NaN, and it wins; where there is none yet, and it loses.
const u32 INVALID = 0xffffffffu, NONE = 0xfffffffeu;

struct Winner {
    float score;
    u32 token;
};
DEVICE Winner better(Winner a, Winner b) {
    if (a.token == INVALID || b.token == INVALID) return Winner{0, INVALID};
    bool first = a.score > b.score || (a.score == b.score && a.token < b.token);
    return first ? a : b;
}
DEVICE Winner warp_better(Winner own) {
    for (int mask = 16; mask > 0; mask /= 2) {
        own = better(own, Winner{shuffle_xor(own.score, mask), shuffle_xor(own.token, mask)});
    }
    return own;
}

// -ln(-ln(u)) with u = (k + 1/2) / 2^32, k the upper half of the random bits. Near one, what u lacks is the exact number.
DEVICE float gumbel(u64 stream, u32 token) {
    const float unit = 1.0f / 4294967296.0f;
    u32 k = (u32)(random_bits(stream, token) >> 32);
    float exponential = k >> 31 ? -log1pf(-((float)~k + 0.5f) * unit) : -logf(((float)k + 0.5f) * unit);
    return -logf(exponential);
}

// The winner of each part of each row: blocks (part, row). Greedy where `inverse_temperature` is zero.
KERNEL BOUNDS(THREADS, 4)
sample_parts(const float* logits, int pitch, int columns, float inverse_temperature, u64 key, const u32* row_ids,
             const u32* positions, float* scores, u32* tokens) {
    SHARED float warp_scores[THREADS / 32];
    SHARED u32 warp_tokens[THREADS / 32];
    u32 row = blockIdx.y, part = blockIdx.x, parts = gridDim.x;
    u64 stream = random_bits(random_bits(key, row_ids[row]), positions[row]);
    logits += (i64)row * pitch;
    int each = (columns + parts - 1) / parts, start = part * each, end = start + each < columns ? start + each : columns;
    Winner own = {-infinite(), NONE};
    for (int at = start + threadIdx.x; at < end; at += THREADS) {
        float z = logits[at];
        if (inverse_temperature > 0) z = z * inverse_temperature + gumbel(stream, at);
        own = better(own, Winner{z, z == z ? (u32)at : INVALID});
    }
    own = warp_better(own);
    int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) {
        warp_scores[warp] = own.score;
        warp_tokens[warp] = own.token;
    }
    block_sync();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < THREADS / 32; i++) own = better(own, Winner{warp_scores[i], warp_tokens[i]});
    scores[row * parts + part] = own.score;
    tokens[row * parts + part] = own.token;
}
EXPORT(sample_parts)

// The winner of each row: one warp a row, of at most 32 parts.
KERNEL BOUNDS(32, 1) sample_pick(const float* scores, const u32* tokens, int parts, u32* out) {
    Winner own = {-infinite(), NONE};
    u32 at = blockIdx.x * parts + threadIdx.x;
    if (threadIdx.x < parts) own = Winner{scores[at], tokens[at]};
    own = warp_better(own);
    if (threadIdx.x == 0) out[blockIdx.x] = own.token;
}
EXPORT(sample_pick)
