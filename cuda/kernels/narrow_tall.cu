// Both products that the gradient of an adapter's second factor needs, in one read of the wide matrix: p = x s as in
// narrow.cu, and scale x^T u as in tall.cu, with x [rows, width], s [width, ranks] and u [rows, ranks] of at most 32 ranks.
// Several parts of a packed matrix are done in one launch, each with ranks of its own. The partial sums of the second product
// are left in the order of tall.cu, whose `tall_sum` ends it. Knows no layer.
#include "prelude.cuh"

const int THREADS = 256, WARPS = THREADS / 32;
// A panel is WIDTH columns of the wide matrix, WARP_WIDTH of them for each warp; a stage is ROWS rows of it.
const int WIDTH = 512, WARP_WIDTH = WIDTH / WARPS, ROWS = 16;
const int TILE_BYTES = ROWS * WIDTH * 2, STAGE_BYTES = TILE_BYTES + ROWS * 64 * 2;
// Panels of tall.cu.
const int TALL_WIDTH = 256;

template <int tiles>
struct Plan {
    // As many stages as fit into 99 KB, which every device has, beside two places where the warps add up a product.
    static const int STAGES = tiles == 1 ? 4 : 3;
    static const int PITCH = 16 * tiles + 8, PLACE = ROWS * PITCH;
};

// One line of the table: the columns of one panel. Laid out as `narrow_tall.rs` writes it.
struct Panel {
    const bf16* x;
    const bf16* u;
    const bf16* factor;
    u64 offset;  // of its partial sums of x^T u, in those of all panels over the same rows
    int x_pitch, u_pitch;
    int factor_pitch, columns;
    int ranks, ranks_before;  // of this panel, and of all panels before it
    u64 unused;
};

// Fetches ROWS rows of a panel and of u. What lies outside of them becomes zero.
template <int tiles>
DEVICE void fetch(char* stage, const Panel& panel, int row, int rows) {
    UNROLL for (int i = 0; i < ROWS * WIDTH / 8 / THREADS; i++) {
        int c = (int)threadIdx.x % (WIDTH / 8), r = (int)threadIdx.x / (WIDTH / 8) + i * (THREADS * 8 / WIDTH);
        bool valid = row + r < rows && 8 * c < panel.columns;
        i64 from = (i64)(row + r) * panel.x_pitch + 8 * c;
        copy_async(stage + swizzled(r, c, WIDTH / 8), panel.x + (valid ? from : 0), valid);
    }
    int r = (int)threadIdx.x / (2 * tiles), c = (int)threadIdx.x % (2 * tiles);
    if (r < ROWS) {
        bool valid = row + r < rows && 8 * c < panel.ranks;
        i64 from = (i64)(row + r) * panel.u_pitch + 8 * c;
        copy_async(stage + TILE_BYTES + swizzled(r, c, 8), panel.u + (valid ? from : 0), valid);
    }
}

// The panel's part of the factor stays in registers; `shared` holds it on its way there.
template <int tiles>
DEVICE void fetch_factor(char* shared, const Panel& panel) {
    for (int i = threadIdx.x; i < WIDTH * 2 * tiles; i += THREADS) {
        int r = i / (2 * tiles), c = i % (2 * tiles);
        bool valid = r < panel.columns && 8 * c < panel.ranks;
        i64 from = (i64)r * panel.factor_pitch + 8 * c;
        copy_async(shared + 16 * i, panel.factor + (valid ? from : 0), valid);
    }
}
template <int tiles>
DEVICE void load_factor(u32 (&factor)[WARP_WIDTH / 16][tiles][4], const char* shared) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int k = 0; k < WARP_WIDTH / 16; k++) {
        UNROLL for (int n = 0; n < tiles; n++) {
            int r = warp * WARP_WIDTH + 16 * k + lane % 16, c = 2 * n + lane / 16;
            load_matrices_transposed(factor[k][n], shared + (r * 2 * tiles + c) * 16);
        }
    }
}

struct alignas(8) Pair {
    float low, high;
};

// Adds one stage to x^T u, and leaves what the warp's columns give of x s in `place`.
template <int tiles>
DEVICE void add_stage(float (&sums)[tiles][WARP_WIDTH / 8][4], const u32 (&factor)[WARP_WIDTH / 16][tiles][4],
                      const char* stage, float* place) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float product[2 * tiles][4] = {};
    u32 left[tiles][4];
    UNROLL for (int m = 0; m < tiles; m++) {
        int r = lane / 16 * 8 + lane % 8, c = 2 * m + lane / 8 % 2;
        load_matrices_transposed(left[m], stage + TILE_BYTES + swizzled(r, c, 8));
    }
    UNROLL for (int k = 0; k < WARP_WIDTH / 16; k++) {
        const char* from = stage + swizzled(lane % 16, warp * (WARP_WIDTH / 8) + 2 * k + lane / 16, WIDTH / 8);
        u32 across[4], along[4];
        load_matrices(across, from);
        load_matrices_transposed(along, from);
        UNROLL for (int n = 0; n < tiles; n++) {
            mma(product[2 * n], across, factor[k][n][0], factor[k][n][1]);
            mma(product[2 * n + 1], across, factor[k][n][2], factor[k][n][3]);
        }
        UNROLL for (int m = 0; m < tiles; m++) {
            mma(sums[m][2 * k], left[m], along[0], along[1]);
            mma(sums[m][2 * k + 1], left[m], along[2], along[3]);
        }
    }
    place += warp * Plan<tiles>::PLACE + lane / 4 * Plan<tiles>::PITCH + 2 * (lane % 4);
    UNROLL for (int n = 0; n < 2 * tiles; n++) {
        UNROLL for (int half = 0; half < 2; half++) {
            float* to = place + 8 * half * Plan<tiles>::PITCH + 8 * n;
            *(Pair*)to = Pair{product[n][2 * half], product[n][2 * half + 1]};
        }
    }
}

// Adds what the warps left of x s, in their order, into the panel's partial product [rows, ranks].
template <int tiles>
DEVICE void add_warps(float* products, const float* place, int ranks, int row, int rows) {
    UNROLL for (int i = 0; i < ROWS * 16 * tiles / THREADS; i++) {
        int at = (int)threadIdx.x + i * THREADS, r = at / (16 * tiles), rank = at % (16 * tiles);
        const float* from = place + r * Plan<tiles>::PITCH + rank;
        float sum = 0;
        UNROLL for (int warp = 0; warp < WARPS; warp++) sum += from[warp * Plan<tiles>::PLACE];
        if (row + r < rows && rank < ranks) products[(i64)(row + r) * ranks + rank] = sum;
    }
}

// Block (x, y) does stages y * `stages` and on of panel x. `size` is how many values the partial sums of x^T u of all panels
// over the same rows take; `products` has the partial products of the panels one after the other.
template <int tiles>
DEVICE void narrow_tall_block(const Panel& panel, float* partial, u64 size, float* products, int rows, int stages) {
    DYNAMIC_SHARED(shared);
    const int STAGES = Plan<tiles>::STAGES;
    float* places = (float*)(shared + STAGES * STAGE_BYTES);
    int first = blockIdx.y * stages, last = first + stages, all = (rows + ROWS - 1) / ROWS;
    last = last < all ? last : all;
    products += (i64)panel.ranks_before * rows;
    fetch_factor<tiles>((char*)places, panel);
    copy_commit();
    UNROLL for (int i = 0; i < STAGES - 1; i++) {
        if (first + i < last) fetch<tiles>(shared + i * STAGE_BYTES, panel, (first + i) * ROWS, rows);
        copy_commit();
    }
    copy_wait<STAGES - 1>();
    block_sync();
    u32 factor[WARP_WIDTH / 16][tiles][4];
    load_factor<tiles>(factor, (const char*)places);
    float sums[tiles][WARP_WIDTH / 8][4] = {};
    for (int stage = first; stage < last; stage++) {
        copy_wait<STAGES - 2>();
        block_sync();
        int next = stage + STAGES - 1;
        if (next < last) fetch<tiles>(shared + (next - first) % STAGES * STAGE_BYTES, panel, next * ROWS, rows);
        copy_commit();
        float* place = places + stage % 2 * WARPS * Plan<tiles>::PLACE;
        float* before = places + (stage + 1) % 2 * WARPS * Plan<tiles>::PLACE;
        if (stage > first) add_warps<tiles>(products, before, panel.ranks, (stage - 1) * ROWS, rows);
        add_stage<tiles>(sums, factor, shared + (stage - first) % STAGES * STAGE_BYTES, place);
    }
    block_sync();
    if (first < last) {
        const float* place = places + (last - 1) % 2 * WARPS * Plan<tiles>::PLACE;
        add_warps<tiles>(products, place, panel.ranks, (last - 1) * ROWS, rows);
    }
    partial += blockIdx.y * size + panel.offset;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < tiles; m++) {
        UNROLL for (int half = 0; half < 2; half++) {
            int rank = 16 * m + 8 * half + lane / 4;
            if (16 * m + 8 * half >= panel.ranks) continue;
            UNROLL for (int n = 0; n < WARP_WIDTH / 8; n++) {
                int column = warp * WARP_WIDTH + 8 * n + 2 * (lane % 4);
                // tall.cu's panels are narrower, and only those exist that have columns.
                if (column / TALL_WIDTH * TALL_WIDTH >= panel.columns) continue;
                float* to = partial + (column / TALL_WIDTH * panel.ranks + rank) * TALL_WIDTH + column % TALL_WIDTH;
                *(Pair*)to = Pair{sums[m][n][2 * half], sums[m][n][2 * half + 1]};
            }
        }
    }
}

KERNEL BOUNDS(THREADS, 2) narrow_tall_16(const Panel* table, float* partial, u64 size, float* products, int rows, int stages) {
    narrow_tall_block<1>(table[blockIdx.x], partial, size, products, rows, stages);
}
EXPORT(narrow_tall_16)
KERNEL BOUNDS(THREADS, 1) narrow_tall_32(const Panel* table, float* partial, u64 size, float* products, int rows, int stages) {
    narrow_tall_block<2>(table[blockIdx.x], partial, size, products, rows, stages);
}
EXPORT(narrow_tall_32)

// One line of a second table: a part of the packed matrix. Its panels come after those of the parts before it.
struct Part {
    bf16* out;
    int out_pitch, ranks;
    int panels, ranks_before;
    u64 unused;
};

// Adds the partial products of the panels of part y in their order. One thread eight values.
KERNEL BOUNDS(THREADS, 4) narrow_tall_sum(const Part* table, const float* products, int rows) {
    Part part = table[blockIdx.y];
    int chunks = part.ranks / 8, at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= rows * chunks) return;
    products += (i64)part.ranks_before * rows;
    float sums[8] = {};
    _Pragma("unroll 4") for (int panel = 0; panel < part.panels; panel++) {
        const float* from = products + ((i64)panel * rows * chunks + at) * 8;
        UNROLL for (int half = 0; half < 2; half++) {
            Words words = load_words(from + 4 * half);
            UNROLL for (int i = 0; i < 4; i++) sums[4 * half + i] += bits_to_float(words.word[i]);
        }
    }
    store_words(part.out + (i64)(at / chunks) * part.out_pitch + at % chunks * 8, narrow8(sums));
}
EXPORT(narrow_tall_sum)
