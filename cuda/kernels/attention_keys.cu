// Flash attention backward on any GPU from compute capability 8.0 on: gradients of keys and values. A block owns a tile of keys
// of one key head and meets the queries of its group head by head, so nobody adds to what another block wrote. Scores are
// transposed: a row is a key, a column a query; they stay in registers as the left operand of the next product.
#include "attention.cuh"

const int ROW_TILES = D <= 64 ? 2 : 1;
const int WARP_ROWS = 16 * ROW_TILES;
const int WARPS = D <= 64 || D > 128 ? 4 : 8;
const int ROWS = WARPS * WARP_ROWS;
const int THREADS = 32 * WARPS;
const int BLOCKS = D <= 64 || D > 128 ? 2 : 1;
// Queries that arrive at once, and of these the ones whose scores are in registers at once.
const int STEP = D <= 128 ? 64 : 32;
const int CHUNK = D <= 64 && SOFT_CAP ? 16 : 32;
const int STAGES = D <= 128 ? 2 : 1;
// Keys and values in registers where there is room beside their gradients: then their tiles lie where queries arrive later.
const bool KEPT = D > 64 && D <= 128;
const int TILE = ROWS * PITCH;
const int STAGE = 2 * STEP * PITCH;
static_assert(!KEPT || 2 * TILE <= STAGES * STAGE, "what is kept fits where the stages are");

// Queries and their gradients of the output, and in the padding of their rows the log-sum-exp and delta of each. Rows beyond
// the document are nobody's: zeros, whose exponentials an infinite sum makes zero.
DEVICE void copy_stage(bf16* stage, const bf16* queries, int pitch, const bf16* d_out, int d_out_pitch, const float* log_sum_exp,
                       const float* delta, int valid) {
    copy_rows<STEP, THREADS>(stage, queries, pitch, valid);
    copy_rows<STEP, THREADS>(stage + STEP * PITCH, d_out, d_out_pitch, valid);
    int at = threadIdx.x, row = at % STEP;
    if (at >= 2 * STEP) return;
    float* to = (float*)(stage + at * PITCH + D);
    if (row < valid) {
        copy_async4(to, (at < STEP ? log_sum_exp : delta) + row);
    } else {
        *to = at < STEP ? -MINUS_INFINITY : 0;
    }
}

// Adds to the gradients of the warp's keys (from `key` on) what queries `query` to `query` + CHUNK - 1 give. `rows` is their
// first row in a stage.
template <bool with_keys, bool with_values>
DEVICE void meet(float (&dk)[ROW_TILES][D / 8][4], float (&dv)[ROW_TILES][D / 8][4], const Own<ROW_TILES, KEPT>& keys,
                 const Own<ROW_TILES, KEPT>& values, const bf16* rows, int key, int query, int window, Scores scores) {
    bool edge = query < key + WARP_ROWS - 1;
#if WINDOW
    edge = edge || query + CHUNK - 1 >= key + window;
#endif
    int lane = threadIdx.x % 32;
    float s[ROW_TILES][CHUNK / 8][4], dp[ROW_TILES][CHUNK / 8][4];
    u32 p[ROW_TILES][CHUNK / 16][4];
    const bf16* numbers = rows + 2 * (lane % 4) * PITCH + D;
    product_over_head<ROW_TILES, CHUNK>(s, keys, rows);
    UNROLL for (int m = 0; m < ROW_TILES; m++) cap(s[m], scores);
    if (edge) {
        int distance = query + 2 * (lane % 4) - key - lane / 4;
        UNROLL for (int m = 0; m < ROW_TILES; m++) mask<-1>(s[m], distance - 16 * m, window);
    }
    UNROLL for (int n = 0; n < CHUNK / 8; n++) {
        float peak[2];
        UNROLL for (int i = 0; i < 2; i++) peak[i] = *(const float*)(numbers + (8 * n + i) * PITCH) * LOG2_E;
        UNROLL for (int m = 0; m < ROW_TILES; m++) {
            float exponential[4];
            UNROLL for (int i = 0; i < 4; i++) {
                exponential[i] = exp2_fast(s[m][n][i] * scores.unit - peak[i % 2]);
                s[m][n][i] = exponential[i] * cap_slope(s[m][n][i]);
            }
            p[m][n / 2][n % 2 * 2] = narrow2(exponential[0], exponential[1]);
            p[m][n / 2][n % 2 * 2 + 1] = narrow2(exponential[2], exponential[3]);
        }
    }
    if (with_values) product_over_rows<ROW_TILES, CHUNK>(dv, p, rows + STEP * PITCH);
    if (!with_keys) return;
    product_over_head<ROW_TILES, CHUNK>(dp, values, rows + STEP * PITCH);
    UNROLL for (int n = 0; n < CHUNK / 8; n++) {
        float delta[2];
        UNROLL for (int i = 0; i < 2; i++) delta[i] = *(const float*)(numbers + (STEP + 8 * n + i) * PITCH);
        UNROLL for (int m = 0; m < ROW_TILES; m++) {
            UNROLL for (int i = 0; i < 4; i++) dp[m][n][i] = s[m][n][i] * (dp[m][n][i] - delta[i % 2]);
        }
    }
    u32 ds[ROW_TILES][CHUNK / 16][4];
    pack<ROW_TILES, CHUNK>(ds, dp);
    product_over_rows<ROW_TILES, CHUNK>(dk, ds, rows);
}

// The gradients a kernel computes: `with_keys`, `with_values` or both.
template <bool with_keys, bool with_values>
DEVICE void gradients(const bf16* qkv, int pitch, const bf16* d_out, int d_out_pitch, const Entry* entries, int heads, int kv_heads, int window,
                      float soft_cap, float scale, const float* log_sum_exp, const float* delta, int sum_pitch, bf16* d_qkv, int d_pitch) {
    DYNAMIC_SHARED(memory);
    bf16* tiles = (bf16*)memory;
    bf16* stages = KEPT ? tiles : tiles + 2 * TILE;
    Entry entry = uniform(entries[blockIdx.x / kv_heads]);
    int kv_head = uniform(blockIdx.x % kv_heads), group = uniform(heads / kv_heads), warp_row = uniform(threadIdx.x / 32) * WARP_ROWS;
    int key = entry.first + warp_row, end = entry.end;
    Scores scores = scores_of(scale, soft_cap);
#if WINDOW
    end = uniform(min(end, entry.first + ROWS + window - 1));
#endif
    auto start = [&](int head, int row, int stage) {
        i64 number = (i64)head * sum_pitch + row;
        copy_stage(stages + stage * STAGE, qkv + (i64)row * pitch + head * D, pitch, d_out + (i64)row * d_out_pitch + head * D, d_out_pitch,
                   log_sum_exp + number, delta + number, entry.end - row);
        copy_commit();
    };

    const bf16* key_rows = qkv + (i64)entry.first * pitch + (heads + kv_head) * D;
    copy_rows<ROWS, THREADS>(tiles, key_rows, pitch, entry.end - entry.first);
    if (with_keys) copy_rows<ROWS, THREADS>(tiles + TILE, key_rows + kv_heads * D, pitch, entry.end - entry.first);
    copy_commit();
    copy_wait<0>();
    block_sync();
    Own<ROW_TILES, KEPT> keys, values;
    own(keys, tiles + warp_row * PITCH);
    own(values, tiles + TILE + warp_row * PITCH);
    if (KEPT) block_sync();

    float dk[ROW_TILES][D / 8][4], dv[ROW_TILES][D / 8][4];
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        UNROLL for (int n = 0; n < D / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) dk[m][n][i] = dv[m][n][i] = 0;
        }
    }
    int head = kv_head * group, row = entry.first, stage = 0;
    if (STAGES == 2) start(head, row, stage);
    for (int end_head = head + group; head < end_head;) {
        int next_head = head, next_row = row + STEP;
        if (next_row >= end) {
            next_head++;
            next_row = entry.first;
        }
        if (STAGES == 1) start(head, row, stage);
        copy_wait<0>();
        block_sync();
        if (STAGES == 2 && next_head < end_head) start(next_head, next_row, stage ^ 1);
        for (int chunk = 0; chunk < STEP; chunk += CHUNK) {
            int query = row + chunk;
            // Queries that see no key of this warp cost it nothing.
            bool meets = query < end && query + CHUNK > key;
#if WINDOW
            meets = meets && query < key + WARP_ROWS - 1 + window;
#endif
            const bf16* rows = stages + stage * STAGE + chunk * PITCH;
            if (meets) meet<with_keys, with_values>(dk, dv, keys, values, rows, key, query, window, scores);
        }
        if (STAGES == 1) block_sync();
        head = next_head;
        row = next_row;
        if (STAGES == 2) stage ^= 1;
    }
    block_sync();
    float factor[2] = {scale, scale}, one[2] = {1, 1};
    UNROLL for (int m = 0; m < ROW_TILES; m++) {
        int row = warp_row + 16 * m;
        bf16* out = d_qkv + (i64)(entry.first + row) * d_pitch + (heads + kv_head) * D;
        if (with_keys) store_rows(dk[m], factor, tiles + row * PITCH, out, d_pitch, entry.end - entry.first - row);
        if (with_values) store_rows(dv[m], one, tiles + row * PITCH, out + kv_heads * D, d_pitch, entry.end - entry.first - row);
    }
}

#define GRADIENTS(name, with_keys, with_values)                                                                                         \
    KERNEL BOUNDS(THREADS, BLOCKS)                                                                                                      \
        name(const bf16* qkv, int pitch, const bf16* d_out, int d_out_pitch, const Entry* entries, int heads, int kv_heads, int window, \
             float soft_cap, float scale, const float* log_sum_exp, const float* delta, int sum_pitch, bf16* d_qkv, int d_pitch) {      \
        gradients<with_keys, with_values>(qkv, pitch, d_out, d_out_pitch, entries, heads, kv_heads, window, soft_cap, scale,            \
                                          log_sum_exp, delta, sum_pitch, d_qkv, d_pitch);                                               \
    }                                                                                                                                   \
    EXPORT(name)

#if HEAD_DIM <= 128
GRADIENTS(attention_keys_and_values, true, true)
#else
// Both gradients of a wide head do not fit the registers of a warp.
GRADIENTS(attention_keys, true, false)
GRADIENTS(attention_values, false, true)
#endif
