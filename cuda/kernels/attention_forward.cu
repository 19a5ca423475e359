// Flash attention forward (FlashAttention-2) on any GPU from compute capability 8.0 on: packed documents, causal, grouped
// queries, sliding window, soft cap. A block owns a query tile of one head and meets 64 keys at a time, from the diagonal
// back to the start of the document. A warp owns 32 rows where registers allow, so that what it reads of keys and values
// serves two products. Keys arrive while values are used and values while keys are: one tile of each suffices.
#include "attention.cuh"

const int ROW_TILES = D <= 128 ? 2 : 1;
const int WARP_ROWS = 16 * ROW_TILES;
const int WARPS = 4;
const int ROWS = WARPS * WARP_ROWS;
const int KEYS = 64;
const int THREADS = 32 * WARPS;
const int BLOCKS = D <= 64 && !SOFT_CAP ? 3 : 2;

// What a lane knows of its two rows of 16: the largest score so far, and its share of the sum of exponentials below it.
struct Softmax {
    float peak[2], sum[2];
};

// Scores to probabilities without their sum; what came before is to be multiplied by `shrink`. The first keys that a row meets
// hold its own, so its peak is a number from then on.
DEVICE void soften(float (&s)[KEYS / 8][4], float (&shrink)[2], Softmax& softmax, float unit) {
    UNROLL for (int half = 0; half < 2; half++) {
        float best = softmax.peak[half];
        UNROLL for (int n = 0; n < KEYS / 8; n++) best = fmaxf(best, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        best = fmaxf(best, shuffle_xor(best, 1));
        best = fmaxf(best, shuffle_xor(best, 2));
        float shift = best * unit;
        shrink[half] = exp2_fast(softmax.peak[half] * unit - shift);
        softmax.peak[half] = best;
        softmax.sum[half] *= shrink[half];
        UNROLL for (int n = 0; n < KEYS / 8; n++) {
            UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) {
                s[n][i] = exp2_fast(s[n][i] * unit - shift);
                softmax.sum[half] += s[n][i];
            }
        }
    }
}

KERNEL BOUNDS(THREADS, BLOCKS) attention_forward(const bf16* qkv, int pitch, const Entry* entries, int heads, int kv_heads, int window,
                                float soft_cap, float scale, bf16* out, int out_pitch, float* log_sum_exp, int sum_pitch) {
    DYNAMIC_SHARED(memory);
    bf16 *queries = (bf16*)memory, *keys = queries + ROWS * PITCH, *values = keys + KEYS * PITCH;
    Entry entry = uniform(entries[blockIdx.x / heads]);
    int head = uniform(blockIdx.x % heads), kv_head = uniform(head / (heads / kv_heads)), lane = threadIdx.x % 32;
    int warp_row = uniform(threadIdx.x / 32) * WARP_ROWS, row = entry.first + warp_row;
    Scores scores = scores_of(scale, soft_cap);
    int last = uniform((min(entry.first + ROWS, entry.end) - 1 - entry.start) / KEYS), first = 0;
#if WINDOW
    first = uniform(max(0, entry.first - window + 1 - entry.start) / KEYS);
#endif
    const bf16* key_rows = qkv + (i64)entry.start * pitch + (heads + kv_head) * D;
    const bf16* value_rows = key_rows + kv_heads * D;
    int length = entry.end - entry.start;

    copy_rows<ROWS, THREADS>(queries, qkv + (i64)entry.first * pitch + head * D, pitch, entry.end - entry.first);
    copy_rows<KEYS, THREADS>(keys, key_rows + (i64)last * KEYS * pitch, pitch, length - last * KEYS);
    copy_commit();
    float o[ROW_TILES][D / 8][4];
    Softmax softmax[ROW_TILES];
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        UNROLL for (int n = 0; n < D / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) o[m][n][i] = 0;
        }
        softmax[m] = Softmax{{MINUS_INFINITY, MINUS_INFINITY}, {0, 0}};
    }
    Own<ROW_TILES, false> own_queries;
    own(own_queries, queries + warp_row * PITCH);
    for (int t = last; t >= first; t--) {
        int key = entry.start + t * KEYS;
        copy_wait<0>();
        block_sync();
        copy_rows<KEYS, THREADS>(values, value_rows + (i64)t * KEYS * pitch, pitch, length - t * KEYS);
        copy_commit();
        // Rows beyond the document are nobody's, and keys that no row of this warp sees cost it nothing.
        bool meets = row < entry.end && key < row + WARP_ROWS;
#if WINDOW
        meets = meets && key + KEYS - 1 + window > row;
#endif
        float s[ROW_TILES][KEYS / 8][4];
        u32 p[ROW_TILES][KEYS / 16][4];
        float shrink[ROW_TILES][2];
        if (meets) {
            product_over_head<ROW_TILES, KEYS>(s, own_queries, keys);
            // Only the edges of what is seen cut through a tile.
            bool edge = key + KEYS - 1 > row;
#if WINDOW
            edge = edge || key + window < row + WARP_ROWS;
#endif
            UNROLL for (int m = 0; m < ROW_TILES; m++) cap(s[m], scores);
            if (edge) {
                UNROLL for (int m = 0; m < ROW_TILES; m++) mask<1>(s[m], row + 16 * m + lane / 4 - key - 2 * (lane % 4), window);
            }
            UNROLL for (int m = 0; m < ROW_TILES; m++) soften(s[m], shrink[m], softmax[m], scores.unit);
            pack<ROW_TILES, KEYS>(p, s);
        }
        // Here and not before the softmax: the wait keeps the compiler from mixing the exponentials into the next product, whose
        // results it would then move between registers that are all taken.
        copy_wait<0>();
        block_sync();
        if (t > first) copy_rows<KEYS, THREADS>(keys, key_rows + (i64)(t - 1) * KEYS * pitch, pitch, KEYS);
        copy_commit();
        if (meets) {
            UNROLL for (int m = 0; m < ROW_TILES; m++) {
                UNROLL for (int n = 0; n < D / 8; n++) {
                    UNROLL for (int i = 0; i < 4; i++) o[m][n][i] *= shrink[m][i / 2];
                }
            }
            product_over_rows<ROW_TILES, KEYS>(o, p, values);
        }
    }
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        float inverse[2];
        UNROLL for (int half = 0; half < 2; half++) {
            float total = softmax[m].sum[half] + shuffle_xor(softmax[m].sum[half], 1);
            total += shuffle_xor(total, 2);
            inverse[half] = reciprocal_fast(total);
            int query = row + 16 * m + 8 * half + lane / 4;
            if (lane % 4 == 0 && query < entry.end) {
                log_sum_exp[(i64)head * sum_pitch + query] = softmax[m].peak[half] * (scores.unit * LN_2) + logf(total);
            }
        }
        // A warp is the only one that reads its queries, and it is done with them.
        bf16 *staging = queries + (warp_row + 16 * m) * PITCH, *to = out + (i64)(row + 16 * m) * out_pitch + head * D;
        store_rows(o[m], inverse, staging, to, out_pitch, entry.end - row - 16 * m);
    }
}
EXPORT(attention_forward)
