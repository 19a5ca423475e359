// Flash attention backward on compute capability 9.0, deterministic: nobody adds to what another block wrote. One kernel owns
// key tiles and sums over queries, one owns query tiles and sums over keys; both compute the scores again (seven products
// instead of five). Scores stay in registers as the left operand of the next product: for key tiles they are transposed.
#include "attention_hopper.cuh"

const int CONSUMERS = 2;
const int ROWS = 64 * CONSUMERS;
const int STEP = 64;  // rows of the other side that are met at once
const int STAGES = 3;
const int THREADS = 128 * (CONSUMERS + 1);
const int BOX = 64 * 128;
const int TILE_BYTES = ROWS * PADDED * 2;
const int STEP_BYTES = STEP * PADDED * 2;

// `OWN` pairs of operands that stay for a piece of work, and stages of two that pass by.
template <int OWN>
struct Operands {
    char own[OWN][2][TILE_BYTES], passing[STAGES][2][STEP_BYTES];
    u64 own_full[OWN], own_empty[OWN], full[STAGES], empty[STAGES];

    DEVICE_METHOD void start() {
        if (threadIdx.x == 0) {
            for (int i = 0; i < OWN; i++) {
                barrier_init(&own_full[i], 1);
                barrier_init(&own_empty[i], CONSUMERS);
            }
            for (int i = 0; i < STAGES; i++) {
                barrier_init(&full[i], 1);
                barrier_init(&empty[i], CONSUMERS);
            }
            barrier_publish();
        }
        block_sync();
    }
};

// A tile of `boxes` times 64 rows; rows first, then halves of the head.
DEVICE void copy_tile(char* to, const TensorMap* map, int head, int row, int boxes, u64* barrier) {
    for (int box = 0; box < boxes * HALVES; box++) {
        copy_box(to + box * BOX, map, box % HALVES * 64, head, row + box / HALVES * 64, barrier);
    }
}

// Gradients of keys and values. Scores are transposed: a row is a key, a column a query.

struct Queries {
    int first, tiles;
};
DEVICE Queries queries_of(Entry entry, int window) {
    int end = entry.end;
#if WINDOW
    end = min(end, entry.first + ROWS + window - 1);
#endif
    return Queries{entry.first, (end - entry.first + STEP - 1) / STEP};
}

// The operands, and for each group of warps log-sum-exp and delta of the queries that pass by, of a step and the next.
struct KeysShared {
    Operands<1> operands;
    float numbers[CONSUMERS][2][2 * STEP];
};

KERNEL BOUNDS(THREADS, 1) attention_hopper_keys(TENSOR_MAP qkv, TENSOR_MAP d_out, const Entry* entries, int heads, int kv_heads, int window, float scale,
                               const float* log_sum_exp, const float* delta, int sum_pitch, bf16* d_qkv, int d_pitch) {
    DYNAMIC_SHARED(memory);
    KeysShared& shared = *(KeysShared*)memory;
    shared.operands.start();
    Operands<1>& operands = shared.operands;
    Entry entry = entries[blockIdx.y];
    int kv_head = blockIdx.x, group = heads / kv_heads;
    Queries queries = queries_of(entry, window);
    if (threadIdx.x / 128 == CONSUMERS) {
        registers_give<24>();
        if (threadIdx.x != 128 * CONSUMERS) return;
        int steps = 0;
        barrier_expect(&operands.own_full[0], 2 * TILE_BYTES);
        copy_tile(operands.own[0][0], &qkv, heads + kv_head, entry.first, CONSUMERS, &operands.own_full[0]);
        copy_tile(operands.own[0][1], &qkv, heads + kv_heads + kv_head, entry.first, CONSUMERS, &operands.own_full[0]);
        for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
            for (int t = 0; t < queries.tiles; t++, steps++) {
                int stage = steps % STAGES, row = queries.first + t * STEP;
                barrier_wait(&operands.empty[stage], (steps / STAGES & 1) ^ 1);
                barrier_expect(&operands.full[stage], 2 * STEP_BYTES);
                copy_tile(operands.passing[stage][0], &qkv, head, row, 1, &operands.full[stage]);
                copy_tile(operands.passing[stage][1], &d_out, head, row, 1, &operands.full[stage]);
            }
        }
        return;
    }
    registers_take<240>();
    int warps = threadIdx.x / 128, lane = threadIdx.x % 32;
    int row = entry.first + 64 * warps, key = row + threadIdx.x % 128 / 32 * 16 + lane / 4;
    bool speaks = threadIdx.x % 128 == 0;
    float scale2 = scale * LOG2_E;
    const char *keys = operands.own[0][0] + warps * HALVES * BOX, *values = operands.own[0][1] + warps * HALVES * BOX;
    float dk[PADDED / 2], dv[PADDED / 2], s[STEP / 2], dp[STEP / 2];
    // A thread fetches one number of each step, a step ahead. Beyond the document anything may lie; it is masked, and only must
    // not be read past the end.
    int mine = threadIdx.x % 128, all = group * queries.tiles, next = queries.first, last = next + queries.tiles * STEP;
    const float* numbers = (mine < STEP ? log_sum_exp : delta) + (i64)kv_head * group * sum_pitch;
    float number = numbers[min(next + mine % STEP, entry.end - 1)];
    barrier_wait(&operands.own_full[0], 0);
    for (int steps = 0; steps < all; steps++) {
        int stage = steps % STAGES, first = next;
        const char *q = operands.passing[stage][0], *d = operands.passing[stage][1];
        float *peaks = shared.numbers[warps][steps % 2], *means = peaks + STEP;
        barrier_wait(&operands.full[stage], steps / STAGES & 1);
        wgmma_fence();
        product_over_head(s, keys, BOX, q, BOX);
        wgmma_commit();
        product_over_head(dp, values, BOX, d, BOX);
        wgmma_commit();
        peaks[mine] = number;
        next += STEP;
        if (next >= last) next = queries.first, numbers += sum_pitch;
        if (steps + 1 < all) number = numbers[min(next + mine % STEP, entry.end - 1)];
        barrier_sync(1 + warps, 128);
        wgmma_wait<1>();
        pin(s);
        bool edge = first < row + 64 || first + STEP > entry.end;
#if WINDOW
        edge = edge || first + STEP - 1 >= row + window;
#endif
        UNROLL for (int j = 0; j < STEP / 8; j++) {
            UNROLL for (int i = 0; i < 4; i++) {
                int at = 8 * j + 2 * (lane % 4) + i % 2;
                s[4 * j + i] = exp2_fast(s[4 * j + i] * scale2 - peaks[at] * LOG2_E);
                if (edge && (hidden(first + at, key + 8 * (i / 2), window) || first + at >= entry.end)) s[4 * j + i] = 0;
            }
        }
        u32 p[STEP / 16][4], ds[STEP / 16][4];
        UNROLL for (int k = 0; k < STEP / 16; k++) left_operand(p[k], s, k);
        wgmma_fence();
        UNROLL for (int k = 0; k < STEP / 16; k++) {
            wgmma<1>(dv, p[k], tile_step(tile_transposed(d, BOX), 2048 * k), k > 0 || steps > 0);
        }
        wgmma_commit();
        wgmma_wait<1>();
        pin(dp);
        UNROLL for (int j = 0; j < STEP / 8; j++) {
            UNROLL for (int i = 0; i < 4; i++) dp[4 * j + i] = s[4 * j + i] * (dp[4 * j + i] - means[8 * j + 2 * (lane % 4) + i % 2]);
        }
        UNROLL for (int k = 0; k < STEP / 16; k++) left_operand(ds[k], dp, k);
        wgmma_fence();
        UNROLL for (int k = 0; k < STEP / 16; k++) {
            wgmma<1>(dk, ds[k], tile_step(tile_transposed(q, BOX), 2048 * k), k > 0 || steps > 0);
        }
        wgmma_commit();
        wgmma_wait<0>();
        pin(dk);
        pin(dv);
        if (speaks) barrier_arrive(&operands.empty[stage]);
    }
    // Both groups of warps are done with keys and values, so their place takes the results.
    barrier_sync(5, 128 * CONSUMERS);
    float factor[2] = {scale, scale}, one[2] = {1, 1};
    bf16* out = d_qkv + (i64)row * d_pitch + (heads + kv_head) * D;
    store_rows(dk, factor, operands.own[0][0] + warps * HALVES * BOX, out, d_pitch, entry.end - row, 1 + warps);
    store_rows(dv, one, operands.own[0][1] + warps * HALVES * BOX, out + kv_heads * D, d_pitch, entry.end - row, 1 + warps);
}
EXPORT(attention_hopper_keys)

// Gradients of queries. A row is a query, a column a key.

struct KeyTiles {
    int first, last;
};
DEVICE KeyTiles keys_of(Entry entry, int window) {
    int last_row = min(entry.first + ROWS, entry.end) - 1, first = 0;
#if WINDOW
    first = max(0, entry.first - window + 1 - entry.start) / STEP;
#endif
    return KeyTiles{first, (last_row - entry.start) / STEP};
}

KERNEL BOUNDS(THREADS, 1) attention_hopper_queries(TENSOR_MAP qkv, TENSOR_MAP d_out, const Entry* entries, int items, int heads, int kv_heads, int window,
                                  float scale, const float* log_sum_exp, const float* delta, int sum_pitch, bf16* d_qkv, int d_pitch) {
    DYNAMIC_SHARED(memory);
    Operands<2>& shared = *(Operands<2>*)memory;
    shared.start();
    int steps = 0, done = 0;
    if (threadIdx.x / 128 == CONSUMERS) {
        registers_give<24>();
        if (threadIdx.x != 128 * CONSUMERS) return;
        for (int round = 0; round * (int)gridDim.x < items; round++) {
            int item = piece(round);
            if (item >= items) continue;
            Entry entry = entries[item / heads];
            int head = item % heads, kv_head = head / (heads / kv_heads);
            // The operands of the next piece are on their way while this one is worked on.
            int own = done % 2;
            barrier_wait(&shared.own_empty[own], (done / 2 & 1) ^ 1);
            barrier_expect(&shared.own_full[own], 2 * TILE_BYTES);
            copy_tile(shared.own[own][0], &qkv, head, entry.first, CONSUMERS, &shared.own_full[own]);
            copy_tile(shared.own[own][1], &d_out, head, entry.first, CONSUMERS, &shared.own_full[own]);
            KeyTiles keys = keys_of(entry, window);
            for (int t = keys.last; t >= keys.first; t--, steps++) {
                int stage = steps % STAGES, row = entry.start + t * STEP;
                barrier_wait(&shared.empty[stage], (steps / STAGES & 1) ^ 1);
                barrier_expect(&shared.full[stage], 2 * STEP_BYTES);
                copy_tile(shared.passing[stage][0], &qkv, heads + kv_head, row, 1, &shared.full[stage]);
                copy_tile(shared.passing[stage][1], &qkv, heads + kv_heads + kv_head, row, 1, &shared.full[stage]);
            }
            done++;
        }
        return;
    }
    registers_take<240>();
    int warps = threadIdx.x / 128, lane = threadIdx.x % 32;
    bool speaks = threadIdx.x % 128 == 0;
    float scale2 = scale * LOG2_E;
    for (int round = 0; round * (int)gridDim.x < items; round++) {
        int item = piece(round);
        if (item >= items) continue;
        Entry entry = entries[item / heads];
        int head = item % heads, row = entry.first + 64 * warps, query = row + threadIdx.x % 128 / 32 * 16 + lane / 4;
        KeyTiles keys = keys_of(entry, window);
        float dq[PADDED / 2], s[STEP / 2], dp[STEP / 2], peak[2], mean[2];
        u32 ds[STEP / 16][4];
        UNROLL for (int i = 0; i < PADDED / 2; i++) dq[i] = 0;
        UNROLL for (int half = 0; half < 2; half++) {
            i64 from = (i64)head * sum_pitch + min(query + 8 * half, entry.end - 1);
            peak[half] = log_sum_exp[from] * LOG2_E;
            mean[half] = delta[from];
        }
        int own = done % 2;
        char *queries = shared.own[own][0] + warps * HALVES * BOX, *d_outs = shared.own[own][1] + warps * HALVES * BOX;
        barrier_wait(&shared.own_full[own], done / 2 & 1);
        for (int t = keys.last; t >= keys.first; t--, steps++) {
            int stage = steps % STAGES, first = entry.start + t * STEP;
            const char *k = shared.passing[stage][0], *v = shared.passing[stage][1];
            barrier_wait(&shared.full[stage], steps / STAGES & 1);
            wgmma_fence();
            product_over_head(s, queries, BOX, k, BOX);
            wgmma_commit();
            product_over_head(dp, d_outs, BOX, v, BOX);
            wgmma_commit();
            wgmma_wait<1>();
            pin(s);
            if (speaks && t < keys.last) barrier_arrive(&shared.empty[(steps - 1) % STAGES]);
            bool edge = first + STEP - 1 > row;
#if WINDOW
            edge = edge || first + window <= row + 63;
#endif
            UNROLL for (int j = 0; j < STEP / 8; j++) {
                UNROLL for (int i = 0; i < 4; i++) {
                    s[4 * j + i] = exp2_fast(s[4 * j + i] * scale2 - peak[i / 2]);
                    if (edge && hidden(query + 8 * (i / 2), first + 8 * j + 2 * (lane % 4) + i % 2, window)) s[4 * j + i] = 0;
                }
            }
            wgmma_wait<0>();
            pin(dp);
            UNROLL for (int i = 0; i < STEP / 2; i++) dp[i] = s[i] * (dp[i] - mean[i % 4 / 2]);
            UNROLL for (int i = 0; i < STEP / 16; i++) left_operand(ds[i], dp, i);
            wgmma_fence();
            UNROLL for (int i = 0; i < STEP / 16; i++) wgmma<1>(dq, ds[i], tile_step(tile_transposed(k, BOX), 2048 * i), 1);
            wgmma_commit();
        }
        wgmma_wait<0>();
        pin(dq);
        if (speaks) barrier_arrive(&shared.empty[(steps - 1) % STAGES]);
        float factor[2] = {scale, scale};
        // These four warps are the only ones that read their queries, and they are done with them.
        bf16* out = d_qkv + (i64)row * d_pitch + head * D;
        store_rows(dq, factor, queries, out, d_pitch, entry.end - row, 1 + warps);
        copies_fence();
        barrier_sync(1 + warps, 128);
        if (speaks) barrier_arrive(&shared.own_empty[own]);
        done++;
    }
}
EXPORT(attention_hopper_queries)
