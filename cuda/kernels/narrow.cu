// The product of a tall matrix with a narrow one, at the speed at which the tall one is read: out = x s with x [rows, width]
// and s of at most 64 columns, as the factors of adapters are. Sums in f32, in an order that the split of the width alone
// decides; one rounding at the end. Knows no layer.
#include "prelude.cuh"

const int THREADS = 256;
// A block owns ROWS rows of the result; a stage is DEPTH columns of them and of the factor.
const int ROWS = 128, DEPTH = 64, STAGES = 4;
const int CHUNKS = DEPTH / 8;
const int TILE_BYTES = ROWS * DEPTH * 2, STAGE_BYTES = TILE_BYTES + 64 * DEPTH * 2;

struct Operands {
    const bf16* x;
    i64 x_pitch;
    const bf16* factor;
    i64 factor_pitch;
    int rows, width, ranks;
};

// Fetches columns `at` to `at + DEPTH` of the block's rows and of the factor. What lies outside of either becomes zero: it
// is other data, or nobody's.
template <int tiles, bool columns>
DEVICE void fetch(char* stage, const Operands& o, int row, int at) {
    UNROLL for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
        int r = (int)threadIdx.x / CHUNKS + i * (THREADS / CHUNKS), c = (int)threadIdx.x % CHUNKS;
        bool valid = row + r < o.rows && at + 8 * c < o.width;
        copy_async(stage + swizzled(r, c, CHUNKS), o.x + (valid ? (row + r) * o.x_pitch + at + 8 * c : 0), valid);
    }
    char* tile = stage + TILE_BYTES;
    // The factor's tile has the rows it has in memory: one a rank, or one a column of x.
    const int LINES = columns ? DEPTH : 16 * tiles, WORDS = columns ? 2 * tiles : CHUNKS;
    for (int i = threadIdx.x; i < LINES * WORDS; i += THREADS) {
        int r = i / WORDS, c = i % WORDS;
        int rank = columns ? 8 * c : r, depth = at + (columns ? r : 8 * c);
        bool valid = rank < o.ranks && depth < o.width;
        i64 from = columns ? depth * o.factor_pitch + rank : rank * o.factor_pitch + depth;
        copy_async(tile + swizzled(r, c, CHUNKS), o.factor + (valid ? from : 0), valid);
    }
}

// Adds one stage: each warp takes 32 rows, and half of the depth, so that the factor is read from shared memory by fewer.
template <int tiles, bool columns>
DEVICE void add_stage(float (&sums)[2][2 * tiles][4], const char* stage) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const char* tile = stage + TILE_BYTES;
    UNROLL for (int step = 0; step < DEPTH / 32; step++) {
        int k = warp / 4 * (DEPTH / 32) + step;
        u32 a[2][4];
        UNROLL for (int m = 0; m < 2; m++) {
            load_matrices(a[m], stage + swizzled(warp % 4 * 32 + 16 * m + lane % 16, 2 * k + lane / 16, CHUNKS));
        }
        UNROLL for (int n = 0; n < tiles; n++) {
            u32 b[4];
            if (columns) {
                load_matrices_transposed(b, tile + swizzled(16 * k + lane % 16, 2 * n + lane / 16, CHUNKS));
            } else {
                load_matrices(b, tile + swizzled(16 * n + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2, CHUNKS));
            }
            UNROLL for (int m = 0; m < 2; m++) {
                mma(sums[m][2 * n], a[m], b[0], b[1]);
                mma(sums[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Where a result goes. `partial` is null where a block sums the whole width, and `copy` where one place is enough.
struct Result {
    bf16* out;
    i64 out_pitch;
    bf16* copy;
    i64 copy_pitch;
    float* partial;
};

DEVICE void store_rounded(const Result& result, i64 row, int rank, const float (&values)[8]) {
    Words words = narrow8(values);
    store_words(result.out + row * result.out_pitch + rank, words);
    if (result.copy) store_words(result.copy + row * result.copy_pitch + rank, words);
}

DEVICE void add8(float (&sums)[8], const float* values) {
    UNROLL for (int half = 0; half < 2; half++) {
        Words words = load_words(values + 4 * half);
        UNROLL for (int i = 0; i < 4; i++) sums[4 * half + i] += bits_to_float(words.word[i]);
    }
}

// Adds the two halves of the depth, and stores whole chunks of rows.
template <int tiles>
DEVICE void finish(const float (&sums)[2][2 * tiles][4], float* shared, const Operands& o, const Result& result, int row) {
    const int PITCH = 16 * tiles + 4;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < 2; m++) {
        UNROLL for (int n = 0; n < 2 * tiles; n++) {
            UNROLL for (int i = 0; i < 4; i++) {
                int r = warp * 32 + 16 * m + lane / 4 + 8 * (i / 2);
                shared[r * PITCH + 8 * n + 2 * (lane % 4) + i % 2] = sums[m][n][i];
            }
        }
    }
    block_sync();
    for (int i = threadIdx.x; i < ROWS * 2 * tiles; i += THREADS) {
        int r = i / (2 * tiles), rank = 8 * (i % (2 * tiles));
        if (row + r >= o.rows || rank >= o.ranks) continue;
        float values[8] = {};
        add8(values, shared + r * PITCH + rank);
        add8(values, shared + (ROWS + r) * PITCH + rank);
        if (!result.partial) {
            store_rounded(result, row + r, rank, values);
            continue;
        }
        float* to = result.partial + ((i64)blockIdx.y * o.rows + row + r) * o.ranks + rank;
        UNROLL for (int half = 0; half < 2; half++) {
            Words words;
            UNROLL for (int j = 0; j < 4; j++) words.word[j] = float_to_bits(values[4 * half + j]);
            store_words(to + 4 * half, words);
        }
    }
}

// Block (x, y) sums stages y * `stages` and on for rows x * ROWS and on.
template <int tiles, bool columns>
DEVICE void narrow_block(const Operands& o, const Result& result, int stages) {
    DYNAMIC_SHARED(shared);
    int row = blockIdx.x * ROWS, first = blockIdx.y * stages, last = first + stages;
    int all = (o.width + DEPTH - 1) / DEPTH;
    last = last < all ? last : all;
    float sums[2][2 * tiles][4] = {};
    UNROLL for (int i = 0; i < STAGES - 1; i++) {
        if (first + i < last) fetch<tiles, columns>(shared + i * STAGE_BYTES, o, row, (first + i) * DEPTH);
        copy_commit();
    }
    for (int stage = first; stage < last; stage++) {
        copy_wait<STAGES - 2>();
        block_sync();
        int next = stage + STAGES - 1;
        if (next < last) {
            fetch<tiles, columns>(shared + (next - first) % STAGES * STAGE_BYTES, o, row, next * DEPTH);
        }
        copy_commit();
        add_stage<tiles, columns>(sums, shared + (stage - first) % STAGES * STAGE_BYTES);
    }
    copy_wait<0>();
    block_sync();
    finish<tiles>(sums, (float*)shared, o, result, row);
}

#define PARAMETERS                                                                                                       \
    const bf16 *x, int x_pitch, const bf16 *factor, int factor_pitch, bf16 *out, int out_pitch, bf16 *copy,             \
        int copy_pitch, float *partial, int rows, int width, int ranks, int stages
#define RUN(tiles, columns)                                                                                              \
    narrow_block<tiles, columns>(Operands{x, x_pitch, factor, factor_pitch, rows, width, ranks},                        \
                                 Result{out, out_pitch, copy, copy_pitch, partial}, stages)

// The factor is stored [ranks, width]; the number is how many ranks there are room for.
KERNEL BOUNDS(THREADS, 2) narrow_rows_16(PARAMETERS) { RUN(1, false); }
EXPORT(narrow_rows_16)
KERNEL BOUNDS(THREADS, 2) narrow_rows_32(PARAMETERS) { RUN(2, false); }
EXPORT(narrow_rows_32)
KERNEL BOUNDS(THREADS, 2) narrow_rows_48(PARAMETERS) { RUN(3, false); }
EXPORT(narrow_rows_48)
KERNEL BOUNDS(THREADS, 2) narrow_rows_64(PARAMETERS) { RUN(4, false); }
EXPORT(narrow_rows_64)

// The factor is stored [width, ranks].
KERNEL BOUNDS(THREADS, 2) narrow_columns_16(PARAMETERS) { RUN(1, true); }
EXPORT(narrow_columns_16)
KERNEL BOUNDS(THREADS, 2) narrow_columns_32(PARAMETERS) { RUN(2, true); }
EXPORT(narrow_columns_32)
KERNEL BOUNDS(THREADS, 2) narrow_columns_48(PARAMETERS) { RUN(3, true); }
EXPORT(narrow_columns_48)
KERNEL BOUNDS(THREADS, 2) narrow_columns_64(PARAMETERS) { RUN(4, true); }
EXPORT(narrow_columns_64)

// Adds `parts` partial results [rows, ranks] in their order. One thread eight values.
KERNEL BOUNDS(THREADS, 4) narrow_sum(const float* partial, int parts, bf16* out, int out_pitch, bf16* copy, int copy_pitch,
                                     int rows, int ranks) {
    int chunks = ranks / 8, at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= rows * chunks) return;
    float values[8] = {};
    _Pragma("unroll 4") for (int part = 0; part < parts; part++) {
        add8(values, partial + ((i64)part * rows * chunks + at) * 8);
    }
    store_rounded(Result{out, out_pitch, copy, copy_pitch, nullptr}, at / chunks, at % chunks * 8, values);
}
EXPORT(narrow_sum)
