// The gradient of the gated activation in place, as in swiglu.cu (h only where it is asked for), and in the same pass what the adapters around it need of
// its results: p = [d_gate b_gate | d_up b_up], and the sums over rows d_gate^T u_gate, d_up^T u_up and p_down^T h, with
// gate, up and h [rows, width] and at most 16 TILES ranks in each narrow matrix. The products take the rounded values.
// Partial results go to scratch memory; a second kernel adds them in a fixed order. Knows no adapter and no layer.
//
// A block has a panel of WIDTH columns and a run of stages of ROWS rows. Rows come by background copies, STAGES - 2 stages
// ahead of their use; a thread turns the chunks it copied into results, for memory and in place for the matrix unit.
// Between two barriers a block multiplies one stage and activates the next. WIDTH, STAGES and TILES are definitions.
#include "swiglu.cuh"

// A warp for every 32 columns.
const int THREADS = WIDTH, WARPS = THREADS / 32;
const int ROWS = 16, CHUNKS = WIDTH / 8, SIDE_CHUNKS = 8 * TILES;
const int TILE_BYTES = ROWS * WIDTH * 2, SIDE_BYTES = ROWS * SIDE_CHUNKS * 16, STAGE_BYTES = 3 * TILE_BYTES + SIDE_BYTES;
// What warps leave of p for each other: eight ranks of ROWS rows in a slot, which is padded to lie one bank group further.
const int SLOT = ROWS * 8 + 8, PLACE = WARPS * TILES * SLOT;
// A warp multiplies RANGE columns of gate or up by half of the ranks.
const int RANGE = 128;

struct Panel {
    bf16* gate;
    bf16* up;
    bf16* dh;
    const bf16* u;
    const bf16* p_down;
    int pitch, dh_pitch, u_pitch, p_down_pitch;
    int columns, ranks, rows;
    // Whether h is stored.
    bool stores_h;
};

// Fetches ROWS rows of the panel and of u_gate, u_up and p_down, which lie side by side behind it. What lies outside of
// them becomes zero.
DEVICE void fetch(char* stage, const Panel& panel, int row) {
    UNROLL for (int i = 0; i < 2; i++) {
        int r = (int)threadIdx.x / CHUNKS + 8 * i, c = (int)threadIdx.x % CHUNKS;
        bool valid = row + r < panel.rows && 8 * c < panel.columns;
        i64 from = valid ? (i64)(row + r) * panel.pitch + 8 * c : 0;
        char* to = stage + swizzled(r, c, CHUNKS);
        copy_async(to, panel.gate + from, valid);
        copy_async(to + TILE_BYTES, panel.up + from, valid);
        copy_async(to + 2 * TILE_BYTES, panel.dh + (valid ? (i64)(row + r) * panel.dh_pitch + 8 * c : 0), valid);
    }
    int r = (int)threadIdx.x / (6 * TILES), c = (int)threadIdx.x % (6 * TILES), side = c / (2 * TILES);
    if (r < ROWS) {
        int rank = c % (2 * TILES) * 8;
        bool valid = row + r < panel.rows && rank < panel.ranks;
        const bf16* from = side < 2 ? panel.u + (i64)(row + r) * panel.u_pitch + side * panel.ranks + rank
                                    : panel.p_down + (i64)(row + r) * panel.p_down_pitch + rank;
        copy_async(stage + 3 * TILE_BYTES + swizzled(r, c, SIDE_CHUNKS), valid ? from : panel.u, valid);
    }
}

// Activates what this thread fetched. Zeros become zeros.
DEVICE void activate(char* stage, const Panel& panel, int row) {
    UNROLL for (int i = 0; i < 2; i++) {
        int r = (int)threadIdx.x / CHUNKS + 8 * i, c = (int)threadIdx.x % CHUNKS;
        char* at = stage + swizzled(r, c, CHUNKS);
        Words gates = load_words(at), ups = load_words(at + TILE_BYTES), slopes = load_words(at + 2 * TILE_BYTES);
        gated_backward(gates, ups, slopes);
        store_words(at, gates);
        store_words(at + TILE_BYTES, ups);
        store_words(at + 2 * TILE_BYTES, slopes);
        if (row + r < panel.rows && 8 * c < panel.columns) {
            i64 to = (i64)(row + r) * panel.pitch + 8 * c;
            store_words(panel.gate + to, gates);
            store_words(panel.up + to, ups);
            if (panel.stores_h) store_words(panel.dh + (i64)(row + r) * panel.dh_pitch + 8 * c, slopes);
        }
    }
}

// The part of p that a warp multiplies.
struct Role {
    int range, matrix, half;
};
DEVICE Role role() {
    int warp = threadIdx.x / 32;
    return Role{warp / 4, warp / 2 % 2, warp % 2};
}

// The panel's rows of both factors: `shared` holds them on their way into registers.
DEVICE void fetch_factor(char* shared, const bf16* factor, int pitch, const Panel& panel) {
    for (int i = threadIdx.x; i < WIDTH * 2 * TILES; i += THREADS) {
        int column = i / (2 * TILES), rank = i % (2 * TILES) * 8;
        bool valid = column < panel.columns && rank < panel.ranks;
        copy_async(shared + 16 * i, factor + (valid ? (i64)column * pitch + rank : 0), valid);
    }
}
// Of each 32 columns of the warp's range, the operands of two steps of the matrix unit.
DEVICE void load_factor(u32 (&factor)[RANGE / 32][TILES][4], const char* shared) {
    int lane = threadIdx.x % 32;
    Role my = role();
    UNROLL for (int k = 0; k < RANGE / 32; k++) {
        UNROLL for (int n = 0; n < TILES; n++) {
            int column = my.matrix * WIDTH + my.range * RANGE + 32 * k + lane;
            load_matrices_transposed(factor[k][n], shared + (column * 2 * TILES + my.half * TILES + n) * 16);
        }
    }
}

struct alignas(8) Pair {
    float low, high;
};

// Leaves the warp's part of p in `place`.
DEVICE void multiply_factor(float* place, const u32 (&factor)[RANGE / 32][TILES][4], const char* stage, int ranks) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Role my = role();
    if (my.half * 8 * TILES >= ranks) return;
    float product[TILES][4] = {};
    UNROLL for (int k = 0; k < RANGE / 16; k++) {
        u32 rows[4];
        int c = my.range * (RANGE / 8) + 2 * k + lane / 16;
        load_matrices(rows, stage + my.matrix * TILE_BYTES + swizzled(lane % 16, c, CHUNKS));
        UNROLL for (int n = 0; n < TILES; n++) {
            mma(product[n], rows, factor[k / 2][n][k % 2 * 2], factor[k / 2][n][k % 2 * 2 + 1]);
        }
    }
    UNROLL for (int n = 0; n < TILES; n++) {
        UNROLL for (int half = 0; half < 2; half++) {
            float* to = place + (warp * TILES + n) * SLOT + (8 * half + lane / 4) * 8 + 2 * (lane % 4);
            *(Pair*)to = Pair{product[n][2 * half], product[n][2 * half + 1]};
        }
    }
}

// Adds what the warps left of p, in the order of their ranges, into the panel's partial product [rows, 2 ranks].
DEVICE void add_warps(float* products, const float* place, const Panel& panel, int row) {
    UNROLL for (int i = 0; i < ROWS * 32 * TILES / THREADS; i++) {
        int at = (int)threadIdx.x + i * THREADS, r = at / (32 * TILES), column = at % (32 * TILES);
        int matrix = column / (16 * TILES), rank = column % (16 * TILES);
        if (row + r >= panel.rows || rank >= panel.ranks) continue;
        int warp = 2 * matrix + rank / (8 * TILES), n = rank / 8 % TILES;
        const float* from = place + (warp * TILES + n) * SLOT + r * 8 + rank % 8;
        float sum = 0;
        UNROLL for (int range = 0; range < WIDTH / RANGE; range++) sum += from[4 * range * TILES * SLOT];
        products[(i64)(row + r) * 2 * panel.ranks + matrix * panel.ranks + rank] = sum;
    }
}

// Adds a stage to the sums over rows: each warp all ranks of its own columns of gate, up and h.
DEVICE void add_stage(float (&sums)[3][TILES][4][4], const char* stage) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int matrix = 0; matrix < 3; matrix++) {
        u32 left[TILES][4];
        UNROLL for (int m = 0; m < TILES; m++) {
            int r = lane / 16 * 8 + lane % 8, c = 2 * (matrix * TILES + m) + lane / 8 % 2;
            load_matrices_transposed(left[m], stage + 3 * TILE_BYTES + swizzled(r, c, SIDE_CHUNKS));
        }
        UNROLL for (int n = 0; n < 2; n++) {
            u32 right[4];
            int c = 4 * warp + 2 * n + lane / 16;
            load_matrices_transposed(right, stage + matrix * TILE_BYTES + swizzled(lane % 16, c, CHUNKS));
            UNROLL for (int m = 0; m < TILES; m++) {
                mma(sums[matrix][m][2 * n], left[m], right[0], right[1]);
                mma(sums[matrix][m][2 * n + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// The partial sums of a block, as its threads hold them: pairs [matrix, eight ranks, eight columns of a warp, thread].
DEVICE Pair* sums_at(Pair* partial, int matrix, int eight, int eights, int thread) {
    return partial + ((i64)(matrix * eights + eight) * 4) * THREADS + thread;
}

// Block (x, y) does run y of panel x. `partial` gets the sums of run after run, `products` the part of p of panel after
// panel.
KERNEL BOUNDS(THREADS, 1)
swiglu_adapters_backward(bf16* gate_up, int pitch, bf16* dh, int dh_pitch, const bf16* b_gate, int b_gate_pitch,
                         const bf16* b_up, int b_up_pitch, const bf16* u, int u_pitch, const bf16* p_down, int p_down_pitch,
                         float* partial, float* products, int rows, int width, int ranks, int stores_h) {
    DYNAMIC_SHARED(shared);
    float* places = (float*)(shared + STAGES * STAGE_BYTES);
    char* factors = shared + (STAGES - 1) * STAGE_BYTES;
    static_assert(2 * WIDTH * 2 * TILES * 16 <= STAGE_BYTES + 2 * PLACE * 4, "the factors have no place");
    int column = (int)blockIdx.x * WIDTH, columns = width - column < WIDTH ? width - column : WIDTH;
    Panel panel{gate_up + column, gate_up + width + column, dh + column, u, p_down, pitch, dh_pitch, u_pitch, p_down_pitch,
                columns, ranks, rows, stores_h != 0};
    i64 stages = (rows + ROWS - 1) / ROWS;
    int first = (int)(stages * blockIdx.y / gridDim.y), last = (int)(stages * (blockIdx.y + 1) / gridDim.y);
    products += (i64)blockIdx.x * rows * 2 * ranks;

    fetch_factor(factors, b_gate + (i64)column * b_gate_pitch, b_gate_pitch, panel);
    fetch_factor(factors + WIDTH * 2 * TILES * 16, b_up + (i64)column * b_up_pitch, b_up_pitch, panel);
    copy_commit();
    UNROLL for (int i = 0; i < STAGES - 1; i++) {
        if (first + i < last) fetch(shared + i * STAGE_BYTES, panel, (first + i) * ROWS);
        copy_commit();
    }
    copy_wait<STAGES - 1>();
    block_sync();
    u32 factor[RANGE / 32][TILES][4];
    load_factor(factor, factors);
    float sums[3][TILES][4][4] = {};
    copy_wait<STAGES - 2>();
    if (first < last) activate(shared, panel, first * ROWS);
    for (int stage = first; stage < last; stage++) {
        block_sync();
        int next = stage + STAGES - 1;
        if (next < last) fetch(shared + (next - first) % STAGES * STAGE_BYTES, panel, next * ROWS);
        copy_commit();
        float* place = places + stage % 2 * PLACE;
        if (stage > first) add_warps(products, places + (stage + 1) % 2 * PLACE, panel, (stage - 1) * ROWS);
        multiply_factor(place, factor, shared + (stage - first) % STAGES * STAGE_BYTES, ranks);
        add_stage(sums, shared + (stage - first) % STAGES * STAGE_BYTES);
        copy_wait<STAGES - 2>();
        if (stage + 1 < last) activate(shared + (stage + 1 - first) % STAGES * STAGE_BYTES, panel, (stage + 1) * ROWS);
    }
    block_sync();
    if (first < last) add_warps(products, places + (last - 1) % 2 * PLACE, panel, (last - 1) * ROWS);
    Pair* out = (Pair*)(partial + ((i64)blockIdx.y * gridDim.x + blockIdx.x) * 3 * ranks * WIDTH);
    UNROLL for (int matrix = 0; matrix < 3; matrix++) {
        UNROLL for (int eight = 0; eight < 2 * TILES; eight++) {
            if (8 * eight >= ranks) continue;
            Pair* to = sums_at(out, matrix, eight, ranks / 8, threadIdx.x);
            UNROLL for (int n = 0; n < 4; n++) {
                const float(&sum)[4] = sums[matrix][eight / 2][n];
                to[n * THREADS] = Pair{sum[eight % 2 * 2], sum[eight % 2 * 2 + 1]};
            }
        }
    }
}
EXPORT(swiglu_adapters_backward)

struct alignas(8) Halves {
    u32 low, high;
};

// Adds the panels' parts of p in their order. A thread has four values of the matrix [rows, 2 ranks].
DEVICE void sum_products(bf16* p, int pitch, const float* products, int panels, int rows, int ranks) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x, fours = (i64)rows * (ranks / 2);
    if (at >= fours) return;
    float sums[4] = {};
    _Pragma("unroll 8") for (int panel = 0; panel < panels; panel++) {
        float part[4];
        load4(part, products + (panel * fours + at) * 4);
        UNROLL for (int i = 0; i < 4; i++) sums[i] += part[i];
    }
    bf16* to = p + at / (ranks / 2) * pitch + at % (ranks / 2) * 4;
    *(Halves*)to = Halves{narrow2(sums[0], sums[1]), narrow2(sums[2], sums[3])};
}

// Adds the runs' sums in their order: of one rank, and of the columns that thread `index % THREADS` of a block had.
DEVICE void sum_runs(float* d_b_gate, float* d_b_up, float* d_a, float scale, int add, const float* partial, int runs,
                     int panels, int width, int ranks, i64 index) {
    int thread = (int)(index % THREADS), eights = ranks / 8, rest = (int)(index / THREADS);
    int eight = rest % eights, matrix = rest / eights % 3, panel = rest / eights / 3;
    if (panel >= panels) return;
    float sums[8] = {};
    _Pragma("unroll 2") for (int run = 0; run < runs; run++) {
        Pair* all = (Pair*)(partial + ((i64)run * panels + panel) * 3 * ranks * WIDTH);
        const Pair* from = sums_at(all, matrix, eight, eights, thread);
        UNROLL for (int n = 0; n < 4; n++) {
            Pair pair = from[n * THREADS];
            sums[2 * n] += pair.low;
            sums[2 * n + 1] += pair.high;
        }
    }
    int rank = 8 * eight + thread % 32 / 4, first = panel * WIDTH + thread / 32 * 32 + 2 * (thread % 4);
    i64 column_stride = matrix < 2 ? ranks : 1, rank_stride = matrix < 2 ? 1 : width;
    float* out = matrix == 0 ? d_b_gate : matrix == 1 ? d_b_up : d_a;
    UNROLL for (int i = 0; i < 8; i++) {
        int column = first + i / 2 * 8 + i % 2;
        if (column >= width) continue;
        float* to = out + column * column_stride + rank * rank_stride;
        *to = sums[i] * (matrix < 2 ? scale : 1.0f) + (add ? *to : 0.0f);
    }
}

// Ends p and the sums over rows. The first `product_blocks` blocks do p.
KERNEL BOUNDS(256, 4)
swiglu_adapters_sum(const float* partial, int runs, const float* products, int panels, float* d_b_gate, float* d_b_up,
                    float* d_a, float scale, int add, bf16* p, int p_pitch, int rows, int width, int ranks,
                    int product_blocks) {
    if ((int)blockIdx.x < product_blocks) return sum_products(p, p_pitch, products, panels, rows, ranks);
    i64 index = (i64)((int)blockIdx.x - product_blocks) * 256 + threadIdx.x;
    sum_runs(d_b_gate, d_b_up, d_a, scale, add, partial, runs, panels, width, ranks, index);
}
EXPORT(swiglu_adapters_sum)
