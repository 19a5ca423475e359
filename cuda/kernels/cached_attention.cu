// Attention of new tokens over a cache and the new tokens of the same document before them. Bound by memory: a block reads the
// keys and values of one key head once for GROUP of its query heads. A few lanes of a warp share a key, sixteen bytes a lane,
// and keep the softmax of the keys they met to themselves until the end. Many keys are split over blocks, at places that do
// not depend on what else is in the batch, and joined by a second kernel; so every sum has one order.
#include "prelude.cuh"

const int D = HEAD_DIM;
const int PIECES = D / 8;
const int LANES = PIECES <= 2 ? 2 : PIECES <= 4 ? 4 : PIECES <= 8 ? 8 : PIECES <= 16 ? 16 : 32;
const int WARPS = 4;
const int THREADS = 32 * WARPS;
// Keys of a load of a warp, and loads under way at once.
const int KEYS = 32 / LANES;
const int LOADS = GROUP == 1 ? 8 : 4;
const int BLOCKS = GROUP + SOFT_CAP <= 4 ? 4 : GROUP <= 4 ? 3 : 2;
// Numbers of a part: values, the largest score and the sum of exponentials below it.
const int PART = D + 2;
#define MINUS_INFINITY bits_to_float(0xff800000u)
const float LOG2_E = 1.4426950408889634f;

// The keys that a token sees, from a first on: those before `past` are in the cache, the others are new.
struct Seen {
    int first, end;
};
DEVICE Seen seen_by(int token, int past, int first, int window) {
    int end = past + token + 1 - first;
    return Seen{window ? max(0, end - window) : 0, end};
}

// What one query head got from some keys.
struct Softmax {
    float values[8], peak, sum;
};
// Exponentials are taken against this, as there may be no key yet.
DEVICE float base_of(float peak) { return peak == MINUS_INFINITY ? 0 : peak; }

DEVICE void join(Softmax& a, int lanes) {
    float peak = shuffle_xor(a.peak, lanes), sum = shuffle_xor(a.sum, lanes), best = fmaxf(a.peak, peak), base = base_of(best);
    float own = exp2_fast(a.peak - base), other = exp2_fast(peak - base);
    UNROLL for (int i = 0; i < 8; i++) a.values[i] = a.values[i] * own + shuffle_xor(a.values[i], lanes) * other;
    a.sum = a.sum * own + sum * other;
    a.peak = best;
}

// A part of the keys for each of a token's query heads, or all of them where there is but one part.
KERNEL BOUNDS(THREADS, BLOCKS) cached_attention(const bf16* qkv, int pitch, const bf16* keys, int key_pitch, const bf16* values, int value_pitch,
                               int capacity, const u32* cache_rows, const u32* past_tokens, const u32* first_rows, int heads, int kv_heads,
                               int window, float soft_cap, float scale, bf16* out, int out_pitch, float* parts, int splits) {
    SHARED float all_values[WARPS][GROUP][D], all_peaks[WARPS][GROUP], all_sums[WARPS][GROUP];
    int split = blockIdx.x % splits, unit = blockIdx.x / splits, units = heads / GROUP;
    int token = unit / units, head = unit % units * GROUP, kv_head = head / (heads / kv_heads);
    int past = past_tokens[token], first = first_rows[token], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Seen seen = seen_by(token, past, first, window);
    int start = max(seen.first, split * SPLIT_KEYS), end = min(seen.end, (split + 1) * SPLIT_KEYS);
    if (start >= end) return;
    int column = 8 * (lane % LANES);
    bool speaks = column < D;

#if SOFT_CAP
    float inner = scale * reciprocal_fast(soft_cap), unit_of_scores = soft_cap * LOG2_E;
#else
    float inner = scale * LOG2_E;
#endif
    float queries[GROUP][8] = {};
    Softmax softmax[GROUP];
    UNROLL for (int g = 0; g < GROUP; g++) {
        if (speaks) widen8(queries[g], load_words(qkv + (i64)token * pitch + (head + g) * D + column));
        UNROLL for (int i = 0; i < 8; i++) {
            queries[g][i] *= inner;
            softmax[g].values[i] = 0;
        }
        softmax[g].peak = MINUS_INFINITY;
        softmax[g].sum = 0;
    }
    const bf16* old_keys = keys + (i64)cache_rows[token] * capacity * key_pitch + kv_head * D + column;
    const bf16* old_values = values + (i64)cache_rows[token] * capacity * value_pitch + kv_head * D + column;
    const bf16* new_keys = qkv + (i64)first * pitch + (heads + kv_head) * D + column;
    for (int group = start + warp * KEYS * LOADS; group < end; group += WARPS * KEYS * LOADS) {
        Words key_words[LOADS], value_words[LOADS];
        UNROLL for (int load = 0; load < LOADS; load++) {
            int key = group + load * KEYS + lane / LANES, after = key - past;
            key_words[load] = value_words[load] = Words{};
            if (speaks && key < end) {
                const bf16* from = new_keys + (i64)after * pitch;
                key_words[load] = load_words(after < 0 ? old_keys + (i64)key * key_pitch : from);
                value_words[load] = load_words(after < 0 ? old_values + (i64)key * value_pitch : from + kv_heads * D);
            }
        }
        float scores[GROUP][LOADS];
        UNROLL for (int load = 0; load < LOADS; load++) {
            float key_values[8];
            widen8(key_values, key_words[load]);
            bool none = group + load * KEYS + lane / LANES >= end;
            UNROLL for (int g = 0; g < GROUP; g++) {
                float score = 0;
                UNROLL for (int i = 0; i < 8; i++) score += queries[g][i] * key_values[i];
                UNROLL for (int mask = LANES / 2; mask > 0; mask /= 2) score += shuffle_xor(score, mask);
#if SOFT_CAP
                // tanh; the exponential may be infinite or zero.
                score = unit_of_scores * (1 - 2 * reciprocal_fast(1 + exp2_fast(score * (2 * LOG2_E))));
#endif
                scores[g][load] = none ? MINUS_INFINITY : score;
            }
        }
        UNROLL for (int g = 0; g < GROUP; g++) {
            float best = softmax[g].peak;
            UNROLL for (int load = 0; load < LOADS; load++) best = fmaxf(best, scores[g][load]);
            float base = base_of(best), shrink = exp2_fast(softmax[g].peak - base);
            softmax[g].peak = best;
            softmax[g].sum *= shrink;
            UNROLL for (int i = 0; i < 8; i++) softmax[g].values[i] *= shrink;
            UNROLL for (int load = 0; load < LOADS; load++) {
                scores[g][load] = exp2_fast(scores[g][load] - base);
                softmax[g].sum += scores[g][load];
            }
        }
        UNROLL for (int load = 0; load < LOADS; load++) {
            float of_value[8];
            widen8(of_value, value_words[load]);
            UNROLL for (int g = 0; g < GROUP; g++) {
                UNROLL for (int i = 0; i < 8; i++) softmax[g].values[i] += scores[g][load] * of_value[i];
            }
        }
    }
    UNROLL for (int g = 0; g < GROUP; g++) {
        UNROLL for (int lanes = LANES; lanes < 32; lanes *= 2) join(softmax[g], lanes);
        if (lane < LANES && speaks) {
            UNROLL for (int i = 0; i < 8; i++) all_values[warp][g][column + i] = softmax[g].values[i];
        }
        if (lane == 0) {
            all_peaks[warp][g] = softmax[g].peak;
            all_sums[warp][g] = softmax[g].sum;
        }
    }
    block_sync();
    for (int at = threadIdx.x; at < GROUP * D; at += THREADS) {
        int g = at / D, i = at % D;
        float best = MINUS_INFINITY, sum = 0, value = 0;
        UNROLL for (int w = 0; w < WARPS; w++) best = fmaxf(best, all_peaks[w][g]);
        UNROLL for (int w = 0; w < WARPS; w++) {
            float weight = exp2_fast(all_peaks[w][g] - best);
            sum += all_sums[w][g] * weight;
            value += all_values[w][g][i] * weight;
        }
        if (splits == 1) {
            out[(i64)token * out_pitch + (head + g) * D + i] = narrow(value * reciprocal_fast(sum));
            continue;
        }
        float* part = parts + ((i64)(token * heads + head + g) * splits + split) * PART;
        part[i] = value;
        if (i == 0) {
            part[D] = best;
            part[D + 1] = sum;
        }
    }
}
EXPORT(cached_attention)

// The parts of one query head of a token to its output, a thread a value.
KERNEL BOUNDS(256, 1) cached_attention_join(const float* parts, int splits, const u32* past_tokens, const u32* first_rows, int heads, int window,
                           bf16* out, int out_pitch) {
    int token = blockIdx.x / heads, head = blockIdx.x % heads, i = threadIdx.x;
    if (i >= D) return;
    Seen seen = seen_by(token, past_tokens[token], first_rows[token], window);
    int first = seen.first / SPLIT_KEYS, last = (seen.end - 1) / SPLIT_KEYS;
    parts += (i64)blockIdx.x * splits * PART;
    float best = MINUS_INFINITY, sum = 0, value = 0;
    for (int split = first; split <= last; split++) best = fmaxf(best, parts[split * PART + D]);
    for (int split = first; split <= last; split++) {
        const float* part = parts + split * PART;
        float weight = exp2_fast(part[D] - best);
        sum += part[D + 1] * weight;
        value += part[i] * weight;
    }
    out[(i64)token * out_pitch + head * D + i] = narrow(value * reciprocal_fast(sum));
}
EXPORT(cached_attention_join)
