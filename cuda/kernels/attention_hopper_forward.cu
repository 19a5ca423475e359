// Flash attention forward on compute capability 9.0 (FlashAttention-2 and -3): packed documents, causal, grouped queries,
// sliding window. One block works off pieces (query tile, head): four warps start copies, the others compute 64 query rows
// each, 128 keys at a time; the scores of the next keys are under way while the last ones meet the values.
#include "attention_hopper.cuh"

const int CONSUMERS = PADDED == 64 ? 3 : 2;
const int ROWS = 64 * CONSUMERS;
const int KEYS = 128;
const int STAGES = 2;
const int THREADS = 128 * (CONSUMERS + 1);
const int BOX = 64 * 128;
const int KEY_BOX = 2 * BOX;
const int KEY_BYTES = HALVES * KEY_BOX;
const int QUERY_BYTES = ROWS * PADDED * 2;

struct Shared {
    char queries[QUERY_BYTES], keys[STAGES][KEY_BYTES], values[STAGES][KEY_BYTES], output[QUERY_BYTES];
    u64 queries_full, queries_empty, keys_full[STAGES], keys_empty[STAGES], values_full[STAGES], values_empty[STAGES];
};

// Key tiles that a query tile needs, from the last to the first.
struct Range {
    int last, first;
};
DEVICE Range key_tiles(Entry entry, int window) {
    int last_row = min(entry.first + ROWS, entry.end) - 1, first = 0;
#if WINDOW
    first = max(0, entry.first - window + 1 - entry.start) / KEYS;
#endif
    return Range{(last_row - entry.start) / KEYS, first};
}

// Scores to probabilities without their sum; returns in `shrink` what earlier results are multiplied by.
DEVICE void soften(float (&s)[KEYS / 2], float (&peak)[2], float (&sum)[2], float (&shrink)[2], float scale2) {
    UNROLL for (int half = 0; half < 2; half++) {
        float best = peak[half];
        UNROLL for (int j = 0; j < KEYS / 8; j++) best = fmaxf(best, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
        best = fmaxf(best, shuffle_xor(best, 1));
        best = fmaxf(best, shuffle_xor(best, 2));
        // A row that has seen no key yet has no peak.
        float shift = best == MINUS_INFINITY ? 0 : best * scale2;
        shrink[half] = exp2_fast(peak[half] * scale2 - shift);
        peak[half] = best;
        float added = 0;
        UNROLL for (int j = 0; j < KEYS / 8; j++) {
            UNROLL for (int i = 0; i < 2; i++) {
                float& value = s[4 * j + 2 * half + i];
                value = exp2_fast(value * scale2 - shift);
                added += value;
            }
        }
        sum[half] = sum[half] * shrink[half] + added;
    }
}

DEVICE void mask(float (&s)[KEYS / 2], int row, int key, int window) {
    // Only the edges of what is seen cut through a tile.
    bool edge = key + KEYS - 1 > row;
#if WINDOW
    edge = edge || key + window <= row + 63;
#endif
    if (!edge) return;
    int lane = threadIdx.x % 32, query = row + threadIdx.x % 128 / 32 * 16 + lane / 4;
    UNROLL for (int j = 0; j < KEYS / 8; j++) {
        UNROLL for (int i = 0; i < 4; i++) {
            if (hidden(query + 8 * (i / 2), key + 8 * j + 2 * (lane % 4) + i % 2, window)) s[4 * j + i] = MINUS_INFINITY;
        }
    }
}

DEVICE void start_copies(Shared& shared, const TensorMap* map, const Entry* entries, int items, int heads, int kv_heads, int window) {
    int tiles = 0, done = 0;
    for (int round = 0; round * (int)gridDim.x < items; round++) {
        int item = piece(round);
        if (item >= items) continue;
        Entry entry = entries[item / heads];
        int head = item % heads, kv_head = head / (heads / kv_heads);
        barrier_wait(&shared.queries_empty, (done & 1) ^ 1);
        barrier_expect(&shared.queries_full, QUERY_BYTES);
        for (int box = 0; box < CONSUMERS * HALVES; box++) {
            copy_box(shared.queries + box * BOX, map, box % HALVES * 64, head, entry.first + box / HALVES * 64, &shared.queries_full);
        }
        Range range = key_tiles(entry, window);
        for (int t = range.last; t >= range.first; t--, tiles++) {
            int stage = tiles % STAGES, parity = tiles / STAGES & 1, row = entry.start + t * KEYS;
            barrier_wait(&shared.keys_empty[stage], parity ^ 1);
            barrier_expect(&shared.keys_full[stage], KEY_BYTES);
            for (int box = 0; box < 2 * HALVES; box++) {
                copy_box(shared.keys[stage] + box * BOX, map, box / 2 * 64, heads + kv_head, row + box % 2 * 64, &shared.keys_full[stage]);
            }
            barrier_wait(&shared.values_empty[stage], parity ^ 1);
            barrier_expect(&shared.values_full[stage], KEY_BYTES);
            for (int box = 0; box < 2 * HALVES; box++) {
                copy_box(shared.values[stage] + box * BOX, map, box / 2 * 64, heads + kv_heads + kv_head, row + box % 2 * 64,
                         &shared.values_full[stage]);
            }
        }
        done++;
    }
}

DEVICE void add_values(float (&o)[PADDED / 2], const u32 (&p)[KEYS / 16][4], const char* values, int add) {
    UNROLL for (int k = 0; k < KEYS / 16; k++) wgmma<1>(o, p[k], tile_step(tile_transposed(values, KEY_BOX), k * 2048), add || k > 0);
}

DEVICE void compute(Shared& shared, const Entry* entries, int items, int heads, int window, float scale, bf16* out, int out_pitch,
                    float* log_sum_exp, int sum_pitch) {
    int warps = threadIdx.x / 128, lane = threadIdx.x % 32, tiles = 0, done = 0;
    float scale2 = scale * LOG2_E;
    bool speaks = threadIdx.x % 128 == 0;
    const char* queries = shared.queries + warps * HALVES * BOX;
    for (int round = 0; round * (int)gridDim.x < items; round++) {
        int item = piece(round);
        if (item >= items) continue;
        Entry entry = entries[item / heads];
        int head = item % heads, row = entry.first + 64 * warps;
        Range range = key_tiles(entry, window);
        float o[PADDED / 2], s[KEYS / 2], peak[2] = {MINUS_INFINITY, MINUS_INFINITY}, sum[2] = {0, 0}, shrink[2];
        u32 p[KEYS / 16][4];
        barrier_wait(&shared.queries_full, done & 1);
        barrier_wait(&shared.keys_full[tiles % STAGES], tiles / STAGES & 1);
        wgmma_fence();
        product_over_head(s, queries, BOX, shared.keys[tiles % STAGES], KEY_BOX);
        wgmma_commit();
        wgmma_wait<0>();
        pin(s);
        if (speaks) barrier_arrive(&shared.keys_empty[tiles % STAGES]);
        mask(s, row, entry.start + range.last * KEYS, window);
        soften(s, peak, sum, shrink, scale2);
        UNROLL for (int k = 0; k < KEYS / 16; k++) left_operand(p[k], s, k);
        for (int t = range.last - 1; t >= range.first; t--) {
            int next = tiles + 1;
            barrier_wait(&shared.keys_full[next % STAGES], next / STAGES & 1);
            wgmma_fence();
            product_over_head(s, queries, BOX, shared.keys[next % STAGES], KEY_BOX);
            wgmma_commit();
            barrier_wait(&shared.values_full[tiles % STAGES], tiles / STAGES & 1);
            wgmma_fence();
            add_values(o, p, shared.values[tiles % STAGES], t < range.last - 1);
            wgmma_commit();
            wgmma_wait<1>();
            pin(s);
            if (speaks) barrier_arrive(&shared.keys_empty[next % STAGES]);
            mask(s, row, entry.start + t * KEYS, window);
            soften(s, peak, sum, shrink, scale2);
            pin(s);
            wgmma_wait<0>();
            pin(o);
            if (speaks) barrier_arrive(&shared.values_empty[tiles % STAGES]);
            UNROLL for (int i = 0; i < PADDED / 2; i++) o[i] *= shrink[i % 4 / 2];
            UNROLL for (int k = 0; k < KEYS / 16; k++) left_operand(p[k], s, k);
            tiles = next;
        }
        if (speaks) barrier_arrive(&shared.queries_empty);
        barrier_wait(&shared.values_full[tiles % STAGES], tiles / STAGES & 1);
        wgmma_fence();
        add_values(o, p, shared.values[tiles % STAGES], range.last > range.first);
        wgmma_commit();
        wgmma_wait<0>();
        pin(o);
        if (speaks) barrier_arrive(&shared.values_empty[tiles % STAGES]);
        tiles++;
        done++;
        float inverse[2];
        UNROLL for (int half = 0; half < 2; half++) {
            float total = sum[half] + shuffle_xor(sum[half], 1);
            total += shuffle_xor(total, 2);
            inverse[half] = 1.0f / total;
            int query = row + threadIdx.x % 128 / 32 * 16 + lane / 4 + 8 * half;
            if (lane % 4 == 0 && query < entry.end) {
                log_sum_exp[(i64)head * sum_pitch + query] = peak[half] * scale + logf(total);
            }
        }
        store_rows(o, inverse, shared.output + warps * 64 * PADDED * 2, out + (i64)row * out_pitch + head * D, out_pitch, entry.end - row,
                   1 + warps);
    }
}

KERNEL BOUNDS(THREADS, 1) attention_hopper_forward(TENSOR_MAP qkv, const Entry* entries, int items, int heads, int kv_heads, int window, float scale,
                                  bf16* out, int out_pitch, float* log_sum_exp, int sum_pitch) {
    DYNAMIC_SHARED(memory);
    Shared& shared = *(Shared*)memory;
    if (threadIdx.x == 0) {
        barrier_init(&shared.queries_full, 1);
        barrier_init(&shared.queries_empty, CONSUMERS);
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&shared.keys_full[i], 1);
            barrier_init(&shared.values_full[i], 1);
            barrier_init(&shared.keys_empty[i], CONSUMERS);
            barrier_init(&shared.values_empty[i], CONSUMERS);
        }
        barrier_publish();
    }
    block_sync();
    if (threadIdx.x / 128 == CONSUMERS) {
        registers_give<24>();
        if (threadIdx.x == 128 * CONSUMERS) start_copies(shared, &qkv, entries, items, heads, kv_heads, window);
    } else {
        registers_take<CONSUMERS == 3 ? 160 : 240>();
        compute(shared, entries, items, heads, window, scale, out, out_pitch, log_sum_exp, sum_pitch);
    }
}
EXPORT(attention_hopper_forward)
