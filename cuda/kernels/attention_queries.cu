// Flash attention backward on any GPU from compute capability 8.0 on: gradients of queries. A block owns a tile of queries of
// one head and meets the keys they see, so nobody adds to what another block wrote. A row is a query, a column a key.
#include "attention.cuh"

const int ROW_TILES = D <= 64 ? 2 : 1;
const int WARP_ROWS = 16 * ROW_TILES;
const int WARPS = D <= 64 || D > 128 ? 4 : 8;
const int ROWS = WARPS * WARP_ROWS;
const int THREADS = 32 * WARPS;
const int BLOCKS = D <= 64 || D > 128 ? 2 : 1;
// Keys that arrive at once, and of these the ones whose scores are in registers at once.
const int STEP = D <= 128 ? 64 : 32;
const int CHUNK = 32;
const int STAGES = D <= 128 ? 2 : 1;
// Queries and gradients of the output in registers where there is room: then their tiles lie where keys arrive later.
const bool KEPT = D <= 128;
const int TILE = ROWS * PITCH;
const int STAGE = 2 * STEP * PITCH;
static_assert(!KEPT || 2 * TILE <= STAGES * STAGE, "what is kept fits where the stages are");

// What a lane knows of its two rows of 16.
struct Numbers {
    float peak[2], delta[2];
};

// Adds to the gradients of the warp's queries (from `query` on) what keys `key` to `key` + CHUNK - 1 give. `rows` is their
// first row in a stage.
DEVICE void meet(float (&dq)[ROW_TILES][D / 8][4], const Own<ROW_TILES, KEPT>& queries, const Own<ROW_TILES, KEPT>& d_outs,
                 const Numbers (&numbers)[ROW_TILES], const bf16* rows, int query, int key, int window, Scores scores) {
    bool edge = key + CHUNK - 1 > query;
#if WINDOW
    edge = edge || key + window < query + WARP_ROWS;
#endif
    float s[ROW_TILES][CHUNK / 8][4], dp[ROW_TILES][CHUNK / 8][4];
    product_over_head<ROW_TILES, CHUNK>(s, queries, rows);
    UNROLL for (int m = 0; m < ROW_TILES; m++) cap(s[m], scores);
    if (edge) {
        int lane = threadIdx.x % 32, distance = query + lane / 4 - key - 2 * (lane % 4);
        UNROLL for (int m = 0; m < ROW_TILES; m++) mask<1>(s[m], distance + 16 * m, window);
    }
    product_over_head<ROW_TILES, CHUNK>(dp, d_outs, rows + STEP * PITCH);
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        UNROLL for (int n = 0; n < CHUNK / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) {
                float slope = exp2_fast(s[m][n][i] * scores.unit - numbers[m].peak[i / 2]) * cap_slope(s[m][n][i]);
                dp[m][n][i] = slope * (dp[m][n][i] - numbers[m].delta[i / 2]);
            }
        }
    }
    u32 ds[ROW_TILES][CHUNK / 16][4];
    pack<ROW_TILES, CHUNK>(ds, dp);
    product_over_rows<ROW_TILES, CHUNK>(dq, ds, rows);
}

KERNEL BOUNDS(THREADS, BLOCKS) attention_queries(const bf16* qkv, int pitch, const bf16* d_out, int d_out_pitch, const Entry* entries, int heads,
                                int kv_heads, int window, float soft_cap, float scale, const float* log_sum_exp, const float* delta,
                                int sum_pitch, bf16* d_qkv, int d_pitch) {
    DYNAMIC_SHARED(memory);
    bf16* tiles = (bf16*)memory;
    bf16* stages = KEPT ? tiles : tiles + 2 * TILE;
    Entry entry = uniform(entries[blockIdx.x / heads]);
    int head = uniform(blockIdx.x % heads), kv_head = uniform(head / (heads / kv_heads)), lane = threadIdx.x % 32;
    int warp_row = uniform(threadIdx.x / 32) * WARP_ROWS, query = entry.first + warp_row, last = min(entry.first + ROWS, entry.end) - 1;
    Scores scores = scores_of(scale, soft_cap);
    int start = entry.start;
#if WINDOW
    start += max(0, entry.first - window + 1 - entry.start) / STEP * STEP;
#endif
    const bf16* key_rows = qkv + (heads + kv_head) * D;
    auto start_copies = [&](int key, int stage) {
        const bf16* from = key_rows + (i64)key * pitch;
        copy_rows<STEP, THREADS>(stages + stage * STAGE, from, pitch, entry.end - key);
        copy_rows<STEP, THREADS>(stages + stage * STAGE + STEP * PITCH, from + kv_heads * D, pitch, entry.end - key);
        copy_commit();
    };

    copy_rows<ROWS, THREADS>(tiles, qkv + (i64)entry.first * pitch + head * D, pitch, entry.end - entry.first);
    copy_rows<ROWS, THREADS>(tiles + TILE, d_out + (i64)entry.first * d_out_pitch + head * D, d_out_pitch, entry.end - entry.first);
    copy_commit();
    Numbers numbers[ROW_TILES];
    float dq[ROW_TILES][D / 8][4];
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        UNROLL for (int half = 0; half < 2; half++) {
            // Rows beyond the document are nobody's: what they get stays in their row, and is not stored.
            i64 from = (i64)head * sum_pitch + min(query + 16 * m + 8 * half + lane / 4, entry.end - 1);
            numbers[m].peak[half] = log_sum_exp[from] * LOG2_E;
            numbers[m].delta[half] = delta[from];
        }
        UNROLL for (int n = 0; n < D / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) dq[m][n][i] = 0;
        }
    }
    copy_wait<0>();
    block_sync();
    Own<ROW_TILES, KEPT> queries, d_outs;
    own(queries, tiles + warp_row * PITCH);
    own(d_outs, tiles + TILE + warp_row * PITCH);
    if (KEPT) block_sync();

    int stage = 0;
    if (STAGES == 2) start_copies(start, stage);
    for (int first = start; first <= last; first += STEP) {
        if (STAGES == 1) start_copies(first, stage);
        copy_wait<0>();
        block_sync();
        if (STAGES == 2 && first + STEP <= last) start_copies(first + STEP, stage ^ 1);
        for (int chunk = 0; chunk < STEP; chunk += CHUNK) {
            int key = first + chunk;
            // Keys that no row of this warp sees cost it nothing, nor do rows beyond the document.
            bool meets = query < entry.end && key < query + WARP_ROWS;
#if WINDOW
            meets = meets && key + CHUNK - 1 + window > query;
#endif
            if (meets) meet(dq, queries, d_outs, numbers, stages + stage * STAGE + chunk * PITCH, query, key, window, scores);
        }
        if (STAGES == 1) block_sync();
        if (STAGES == 2) stage ^= 1;
    }
    block_sync();
    float factor[2] = {scale, scale};
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        int row = warp_row + 16 * m;
        bf16* out = d_qkv + (i64)(entry.first + row) * d_pitch + head * D;
        store_rows(dq[m], factor, tiles + row * PITCH, out, d_pitch, entry.end - entry.first - row);
    }
}
EXPORT(attention_queries)
