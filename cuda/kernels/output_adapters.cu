// What adapters need of the gradient d of a linear's output, in one pass over it: p = d b, and the sums over rows
// scale d^T u, with d [rows, sum of parts], and for each part of d at most 16 TILES ranks of b, u and p. In the same pass
// the rotation of the first columns of d is undone in place, as in rope.cu; the products take the rounded values. Partial
// results go to scratch memory; a second kernel adds them in a fixed order. Knows no adapter and no layer.
//
// A block has a panel of WIDTH columns, which lies in one part, and a run of stages of ROWS rows. Rows come by background
// copies, STAGES - 2 stages ahead of their use. Between two barriers a block multiplies one stage and turns the
// next. WIDTH, ROWS, STAGES and TILES are definitions.
#include "rotation.cuh"

// A warp for every 32 columns.
const int THREADS = WIDTH, WARPS = THREADS / 32, CHUNKS = WIDTH / 8;
// The rows of u have room for eight chunks, so that they are turned as others are.
const int SIDE_CHUNKS = 8, TILE_BYTES = ROWS * WIDTH * 2, STAGE_BYTES = TILE_BYTES + ROWS * SIDE_CHUNKS * 16;
// What warps leave of p for each other: eight ranks of ROWS rows in a slot, which is padded to lie one bank group further.
const int SLOT = ROWS * 8 + 8, PLACE = WARPS * TILES * SLOT;
// A warp multiplies RANGE columns by half of the ranks.
const int RANGE = 2 * WIDTH / WARPS;
// A thread has pairs of chunks of one row, and all of them have the same angles.
const int LANES = THREADS / ROWS, PAIRS = CHUNKS / 2 / LANES;

// Columns of each part; zero where there is none.
struct Parts {
    int columns[3];
};
DEVICE int panels_of(int columns) { return (columns + WIDTH - 1) / WIDTH; }

// Where a panel lies: its part, and its first column in the part and in the whole row.
struct Where {
    int part, panel, column, before;
};
DEVICE Where where(const Parts& parts, int panel) {
    int part = 0, before = 0;
    while (part < 2 && panel >= panels_of(parts.columns[part])) {
        panel -= panels_of(parts.columns[part]);
        before += parts.columns[part++];
    }
    return Where{part, panel, panel * WIDTH, before};
}

struct Panel {
    bf16* d;
    const bf16* u;
    const bf16* b;
    int pitch, u_pitch, b_pitch;
    int columns, ranks, rows;
    // Whether its rows are to be turned back.
    bool turns;
};
struct Rotation {
    const float* cosines;
    const float* sines;
    const u32* positions;
    // Values of half a head.
    int half;
};

// Pair `i` of a thread: the first of its chunks, in a row of heads with `half` values in each half.
DEVICE int chunk_of(int i, int half) {
    int pair = (int)threadIdx.x % LANES + LANES * i, chunks = half / 8;
    return pair / chunks * 2 * chunks + pair % chunks;
}
// The row of a thread in a stage.
DEVICE int own_row() { return (int)threadIdx.x / LANES; }

// Fetches ROWS rows of the panel and of u. What lies outside of them becomes zero.
DEVICE void fetch(char* stage, const Panel& panel, int half, int row) {
    int r = own_row();
    UNROLL for (int i = 0; i < 2 * PAIRS; i++) {
        int c = chunk_of(i / 2, half) + i % 2 * (half / 8);
        bool valid = row + r < panel.rows && 8 * c < panel.columns;
        copy_async(stage + swizzled(r, c, CHUNKS), panel.d + (valid ? (i64)(row + r) * panel.pitch + 8 * c : 0), valid);
    }
    int c = (int)threadIdx.x % LANES;
    if (c < 2 * TILES) {
        bool valid = row + r < panel.rows && 8 * c < panel.ranks;
        const bf16* from = panel.u + (valid ? (i64)(row + r) * panel.u_pitch + 8 * c : 0);
        copy_async(stage + TILE_BYTES + swizzled(r, c, SIDE_CHUNKS), from, valid);
    }
}

// The position of this thread's row of a stage, and its angles there.
DEVICE u32 position_at(const Panel& panel, const Rotation& rotation, int row) {
    return panel.turns && row + own_row() < panel.rows ? rotation.positions[row + own_row()] : 0;
}
DEVICE Angles angles_at(const Panel& panel, const Rotation& rotation, u32 position) {
    Angles angles = {};
    if (!panel.turns) return angles;
    int column = 8 * ((int)threadIdx.x % LANES % (rotation.half / 8));
    return load_angles(rotation.cosines, rotation.sines, (i64)position * rotation.half + column);
}

// Turns back what this thread fetched.
DEVICE void turn_back(char* stage, const Panel& panel, const Angles& angles, int half, int row) {
    int r = own_row();
    if (!panel.turns || row + r >= panel.rows) return;
    UNROLL for (int i = 0; i < PAIRS; i++) {
        int c = chunk_of(i, half);
        if (8 * c >= panel.columns) continue;
        char* first = stage + swizzled(r, c, CHUNKS);
        char* second = stage + swizzled(r, c + half / 8, CHUNKS);
        Pairs pairs = widen(Stored{load_words(first), load_words(second)});
        rotate(pairs, angles, -1.0f);
        Stored stored = narrow(pairs);
        store_words(first, stored.first);
        store_words(second, stored.second);
        store_pairs(panel.d + (i64)(row + r) * panel.pitch + 8 * c, half, stored);
    }
}

// The panel's rows of b: `shared` holds them on their way into registers.
DEVICE void fetch_factor(char* shared, const Panel& panel) {
    for (int i = threadIdx.x; i < WIDTH * 2 * TILES; i += THREADS) {
        int column = i / (2 * TILES), rank = i % (2 * TILES) * 8;
        bool valid = column < panel.columns && rank < panel.ranks;
        copy_async(shared + 16 * i, panel.b + (valid ? (i64)column * panel.b_pitch + rank : 0), valid);
    }
}
// Of each 32 columns of the warp's range, the operands of two steps of the matrix unit.
DEVICE void load_factor(u32 (&factor)[RANGE / 32][TILES][4], const char* shared) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int k = 0; k < RANGE / 32; k++) {
        UNROLL for (int n = 0; n < TILES; n++) {
            int column = warp / 2 * RANGE + 32 * k + lane;
            load_matrices_transposed(factor[k][n], shared + (column * 2 * TILES + warp % 2 * TILES + n) * 16);
        }
    }
}

struct alignas(8) Pair {
    float low, high;
};

// Leaves the warp's part of p in `place`.
DEVICE void multiply_factor(float* place, const u32 (&factor)[RANGE / 32][TILES][4], const char* stage, int ranks) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (warp % 2 * 8 * TILES >= ranks) return;
    UNROLL for (int m = 0; m < ROWS / 16; m++) {
        float product[TILES][4] = {};
        UNROLL for (int k = 0; k < RANGE / 16; k++) {
            u32 rows[4];
            int c = warp / 2 * (RANGE / 8) + 2 * k + lane / 16;
            load_matrices(rows, stage + swizzled(16 * m + lane % 16, c, CHUNKS));
            UNROLL for (int n = 0; n < TILES; n++) {
                mma(product[n], rows, factor[k / 2][n][k % 2 * 2], factor[k / 2][n][k % 2 * 2 + 1]);
            }
        }
        UNROLL for (int n = 0; n < TILES; n++) {
            UNROLL for (int half = 0; half < 2; half++) {
                float* to = place + (warp * TILES + n) * SLOT + (16 * m + 8 * half + lane / 4) * 8 + 2 * (lane % 4);
                *(Pair*)to = Pair{product[n][2 * half], product[n][2 * half + 1]};
            }
        }
    }
}

// Adds what the warps left of p, in the order of their ranges, into the panel's partial product [rows, ranks].
DEVICE void add_warps(float* products, const float* place, const Panel& panel, int row) {
    UNROLL for (int i = 0; i < ROWS * 16 * TILES / THREADS; i++) {
        int at = (int)threadIdx.x + i * THREADS, r = at / (16 * TILES), rank = at % (16 * TILES);
        if (row + r >= panel.rows || rank >= panel.ranks) continue;
        int warp = rank / (8 * TILES), n = rank / 8 % TILES;
        const float* from = place + (warp * TILES + n) * SLOT + r * 8 + rank % 8;
        float sum = 0;
        UNROLL for (int range = 0; range < WIDTH / RANGE; range++) sum += from[2 * range * TILES * SLOT];
        products[(i64)(row + r) * panel.ranks + rank] = sum;
    }
}

// Adds a stage to the sums over rows: each warp all ranks of its own 32 columns.
DEVICE void add_stage(float (&sums)[TILES][4][4], const char* stage) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int k = 0; k < ROWS / 16; k++) {
        u32 left[TILES][4];
        UNROLL for (int m = 0; m < TILES; m++) {
            int r = 16 * k + lane / 16 * 8 + lane % 8, c = 2 * m + lane / 8 % 2;
            load_matrices_transposed(left[m], stage + TILE_BYTES + swizzled(r, c, SIDE_CHUNKS));
        }
        UNROLL for (int n = 0; n < 2; n++) {
            u32 right[4];
            int c = 4 * warp + 2 * n + lane / 16;
            load_matrices_transposed(right, stage + swizzled(16 * k + lane % 16, c, CHUNKS));
            UNROLL for (int m = 0; m < TILES; m++) {
                mma(sums[m][2 * n], left[m], right[0], right[1]);
                mma(sums[m][2 * n + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// The partial sums of a block, as its threads hold them: pairs [eight ranks, eight columns of a warp, thread].
DEVICE Pair* sums_at(Pair* partial, int eight, int thread) { return partial + (i64)eight * 4 * THREADS + thread; }

// Block (x, y) does run y of panel x. `b` has the ranks of one part after the other, zero outside of the part's own rows; `u`
// and p have them side by side. `partial` gets the sums of run after run, `products` the part of p of panel after panel. The
// first `turned` columns of d are turned back; a part is turned as a whole or not at all.
KERNEL BOUNDS(THREADS, PER_MULTIPROCESSOR)
output_adapters(bf16* d, int pitch, const bf16* b, int b_pitch, const bf16* u, int u_pitch, int columns_0, int columns_1,
                int columns_2, const float* cosines, const float* sines, const u32* positions, int half, int turned,
                float* partial, float* products, int rows, int ranks) {
    DYNAMIC_SHARED(shared);
    float* places = (float*)(shared + STAGES * STAGE_BYTES);
    char* factors = shared + (STAGES - 1) * STAGE_BYTES;
    static_assert(WIDTH * 2 * TILES * 16 <= STAGE_BYTES + 2 * PLACE * 4, "the factors have no place");
    Parts parts{{columns_0, columns_1, columns_2}};
    Where place = where(parts, blockIdx.x);
    int column = place.before + place.column, left = parts.columns[place.part] - place.column;
    Panel panel{d + column, u + place.part * ranks, b + (i64)column * b_pitch + place.part * ranks, pitch, u_pitch,
                b_pitch, left < WIDTH ? left : WIDTH, ranks, rows, column < turned};
    Rotation rotation{cosines, sines, positions, half};
    i64 stages = (rows + ROWS - 1) / ROWS;
    int first = (int)(stages * blockIdx.y / gridDim.y), last = (int)(stages * (blockIdx.y + 1) / gridDim.y);
    products += (i64)blockIdx.x * rows * ranks;

    fetch_factor(factors, panel);
    copy_commit();
    UNROLL for (int i = 0; i < STAGES - 1; i++) {
        if (first + i < last) fetch(shared + i * STAGE_BYTES, panel, half, (first + i) * ROWS);
        copy_commit();
    }
    Angles angles = angles_at(panel, rotation, position_at(panel, rotation, first * ROWS));
    u32 position = position_at(panel, rotation, (first + 1) * ROWS);
    copy_wait<STAGES - 1>();
    block_sync();
    u32 factor[RANGE / 32][TILES][4];
    load_factor(factor, factors);
    float sums[TILES][4][4] = {};
    copy_wait<STAGES - 2>();
    if (first < last) turn_back(shared, panel, angles, half, first * ROWS);
    for (int stage = first; stage < last; stage++) {
        block_sync();
        int next = stage + STAGES - 1;
        if (next < last) fetch(shared + (next - first) % STAGES * STAGE_BYTES, panel, half, next * ROWS);
        copy_commit();
        angles = angles_at(panel, rotation, position);
        position = position_at(panel, rotation, (stage + 2) * ROWS);
        if (stage > first) add_warps(products, places + (stage + 1) % 2 * PLACE, panel, (stage - 1) * ROWS);
        const char* here = shared + (stage - first) % STAGES * STAGE_BYTES;
        multiply_factor(places + stage % 2 * PLACE, factor, here, ranks);
        add_stage(sums, here);
        copy_wait<STAGES - 2>();
        char* after = shared + (stage + 1 - first) % STAGES * STAGE_BYTES;
        if (stage + 1 < last) turn_back(after, panel, angles, half, (stage + 1) * ROWS);
    }
    block_sync();
    if (first < last) add_warps(products, places + (last - 1) % 2 * PLACE, panel, (last - 1) * ROWS);
    Pair* out = (Pair*)(partial + ((i64)blockIdx.y * gridDim.x + blockIdx.x) * ranks * WIDTH);
    UNROLL for (int eight = 0; eight < 2 * TILES; eight++) {
        if (8 * eight >= ranks) continue;
        Pair* to = sums_at(out, eight, threadIdx.x);
        UNROLL for (int n = 0; n < 4; n++) {
            const float(&sum)[4] = sums[eight / 2][n];
            to[n * THREADS] = Pair{sum[eight % 2 * 2], sum[eight % 2 * 2 + 1]};
        }
    }
}
EXPORT(output_adapters)

struct alignas(8) Halves {
    u32 low, high;
};

// Adds the panels' parts of p in their order. A thread has four values of one part.
DEVICE void sum_products(bf16* p, int pitch, const float* products, const Parts& parts, int rows, int ranks) {
    int fours = ranks / 4, part = blockIdx.y, panels = panels_of(parts.columns[part]);
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x, all = (i64)rows * fours;
    if (at >= all || panels == 0) return;
    for (int before = 0; before < part; before++) products += (i64)panels_of(parts.columns[before]) * rows * ranks;
    float sums[4] = {};
    _Pragma("unroll 4") for (int panel = 0; panel < panels; panel++) {
        float some[4];
        load4(some, products + (panel * all + at) * 4);
        UNROLL for (int i = 0; i < 4; i++) sums[i] += some[i];
    }
    bf16* to = p + at / fours * pitch + part * ranks + at % fours * 4;
    *(Halves*)to = Halves{narrow2(sums[0], sums[1]), narrow2(sums[2], sums[3])};
}

// Adds the runs' sums in their order: of one rank, and of the columns that thread `thread` of a block had.
DEVICE void sum_runs(float* d_b, const Where& place, float scale, int add, const float* partial, int runs, int panels,
                     int panel, int columns, int ranks, int eight, int thread) {
    float sums[8] = {};
    _Pragma("unroll 2") for (int run = 0; run < runs; run++) {
        const Pair* from = sums_at((Pair*)(partial + ((i64)run * panels + panel) * ranks * WIDTH), eight, thread);
        UNROLL for (int n = 0; n < 4; n++) {
            Pair pair = from[n * THREADS];
            sums[2 * n] += pair.low;
            sums[2 * n + 1] += pair.high;
        }
    }
    int rank = 8 * eight + thread % 32 / 4, first = place.column + thread / 32 * 32 + 2 * (thread % 4);
    UNROLL for (int i = 0; i < 8; i++) {
        int column = first + i / 2 * 8 + i % 2;
        if (column >= columns) continue;
        float* to = d_b + (i64)column * ranks + rank;
        *to = sums[i] * scale + (add ? *to : 0.0f);
    }
}

// Ends p and the sums over rows. The first `product_blocks` blocks of a row of the grid do p of part y; those after them, of
// the first row only, the sums.
KERNEL BOUNDS(256, 4)
output_adapters_sum(const float* partial, int runs, const float* products, int columns_0, int columns_1, int columns_2,
                    float* d_b_0, float* d_b_1, float* d_b_2, float scale, int add, bf16* p, int p_pitch, int rows, int ranks,
                    int product_blocks) {
    Parts parts{{columns_0, columns_1, columns_2}};
    if ((int)blockIdx.x < product_blocks) return sum_products(p, p_pitch, products, parts, rows, ranks);
    if (blockIdx.y > 0) return;
    int panels = panels_of(columns_0) + panels_of(columns_1) + panels_of(columns_2);
    i64 index = (i64)((int)blockIdx.x - product_blocks) * 256 + threadIdx.x;
    int thread = (int)(index % THREADS), rest = (int)(index / THREADS), eight = rest % (ranks / 8), panel = rest / (ranks / 8);
    if (panel >= panels) return;
    Where place = where(parts, panel);
    float* d_b = place.part == 0 ? d_b_0 : place.part == 1 ? d_b_1 : d_b_2;
    sum_runs(d_b, place, scale, add, partial, runs, panels, panel, parts.columns[place.part], ranks, eight, thread);
}
EXPORT(output_adapters_sum)
