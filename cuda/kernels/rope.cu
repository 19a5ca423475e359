// Rotary positions on rows `[queries | keys | values]`, half rotation as in Hugging Face, with the norms of query and key
// heads where a model has them, forward and backward. A group of lanes owns a head: each lane eight values of the first
// half and the same eight of the second, so a pair that is rotated never leaves its lane. Knows positions as numbers.
#include "rotation.cuh"

const int THREADS = 256;

// The head of a thread and its share of it.
struct Share {
    i64 token;
    // Of the whole row: queries, then keys, then values.
    int head;
    int column;
    // Lanes beyond the head, and groups beyond the last head, only take part in sums.
    bool inside;
};
// `lanes` of a warp own a head: a power of two with eight values of each half a lane.
DEVICE Share share(int tokens, int heads, int half, int lanes) {
    u32 at = blockIdx.x * THREADS + threadIdx.x, group = at / lanes, lane = at % lanes, token = group / heads;
    return Share{(i64)token, (int)(group - token * heads), (int)(8 * lane), token < (u32)tokens && 8 * lane < (u32)half};
}
DEVICE float group_sum(float x, int lanes) {
    for (int mask = lanes / 2; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}

// One over the root of the mean square of a head, to all lanes of its group.
DEVICE float inverse_rms(const Pairs& x, int half, int lanes, float epsilon) {
    float squares = 0;
    UNROLL for (int i = 0; i < 8; i++) squares += x.first[i] * x.first[i] + x.second[i] * x.second[i];
    return 1.0f / sqrtf(group_sum(squares, lanes) / (2 * half) + epsilon);
}

// The norm of eight values: rounded before the weight, and again after it.
DEVICE void weigh(float (&x)[8], float scale, const float (&weight)[8]) {
    UNROLL for (int i = 0; i < 8; i++) x[i] *= scale;
    round8(x);
    UNROLL for (int i = 0; i < 8; i++) x[i] *= weight[i];
    round8(x);
}

// Queries and keys of `input`, normed where there are weights, and rotated into `output`, which may be `input`. Heads after
// `rotated` are copied; in place there are none.
KERNEL BOUNDS(THREADS, 4)
rope(const bf16* input, int input_pitch, bf16* output, int output_pitch, const float* cosines, const float* sines,
     const u32* positions, const bf16* q_weight, const bf16* k_weight, float epsilon, int tokens, int heads, int queries,
     int rotated, int half, int lanes) {
    Share at = share(tokens, heads, half, lanes);
    bool turns = at.inside && at.head < rotated;
    int offset = at.head * 2 * half + at.column;
    Stored stored = {};
    Angles angles = {};
    i64 position = turns ? positions[at.token] : 0;
    if (at.inside) stored = load_pairs(input + at.token * input_pitch + offset, half);
    if (turns) angles = load_angles(cosines, sines, position * half + at.column);
    Pairs x = widen(stored);
    if (q_weight) {
        float scale = inverse_rms(x, half, lanes, epsilon);
        if (turns) {
            Pairs w = widen(load_pairs((at.head < queries ? q_weight : k_weight) + at.column, half));
            weigh(x.first, scale, w.first);
            weigh(x.second, scale, w.second);
        }
    }
    if (turns) {
        rotate(x, angles, 1.0f);
        stored = narrow(x);
    }
    if (at.inside) store_pairs(output + at.token * output_pitch + offset, half, stored);
}
EXPORT(rope)

// The gradient `d` of queries and keys in place: rotated back, then taken through the norm of `before`, their values before
// it, where there are weights. `heads` are those of queries and keys.
KERNEL BOUNDS(THREADS, 4)
rope_backward(bf16* d, int d_pitch, const bf16* before, int before_pitch, const float* cosines, const float* sines,
              const u32* positions, const bf16* q_weight, const bf16* k_weight, float epsilon, int tokens, int heads,
              int queries, int half, int lanes) {
    Share at = share(tokens, heads, half, lanes);
    int offset = at.head * 2 * half + at.column;
    Stored stored = {}, stored_before = {};
    Angles angles = {};
    if (at.inside) {
        i64 position = positions[at.token];
        stored = load_pairs(d + at.token * d_pitch + offset, half);
        if (q_weight) stored_before = load_pairs(before + at.token * before_pitch + offset, half);
        angles = load_angles(cosines, sines, position * half + at.column);
    }
    Pairs slope = widen(stored);
    rotate(slope, angles, -1.0f);
    if (q_weight) {
        Pairs x = widen(stored_before), w = {};
        if (at.inside) w = widen(load_pairs((at.head < queries ? q_weight : k_weight) + at.column, half));
        float products = 0;
        UNROLL for (int i = 0; i < 8; i++) {
            slope.first[i] *= w.first[i];
            slope.second[i] *= w.second[i];
            products += slope.first[i] * x.first[i] + slope.second[i] * x.second[i];
        }
        float scale = inverse_rms(x, half, lanes, epsilon);
        float mean = group_sum(products, lanes) * scale / (2 * half);
        UNROLL for (int i = 0; i < 8; i++) {
            slope.first[i] = (slope.first[i] - x.first[i] * scale * mean) * scale;
            slope.second[i] = (slope.second[i] - x.second[i] * scale * mean) * scale;
        }
    }
    if (at.inside) store_pairs(d + at.token * d_pitch + offset, half, narrow(slope));
}
EXPORT(rope_backward)
