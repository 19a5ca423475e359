// Sums over tokens of the products of a wide matrix with one of at most 64 columns, as the gradients of adapters are:
// out = scale x^T p, with x [rows, width] and p [rows, ranks]. One launch does all such products of a table, each reading its
// wide matrix once. Sums in f32, in an order that the split of the rows alone decides. Knows no layer.
#include "prelude.cuh"

const int THREADS = 256;
// A panel is WIDTH columns of a wide matrix; a stage is ROWS rows of it.
const int WIDTH = 256, ROWS = 32, STAGES = 4;
const int TILE_BYTES = ROWS * WIDTH * 2, STAGE_BYTES = TILE_BYTES + ROWS * 64 * 2;
const int WARP_WIDTH = WIDTH / (THREADS / 32);

// One line of the table: what one panel adds up, and where the sum goes. Laid out as `tall.rs` writes it.
struct Panel {
    const bf16* x;
    const bf16* p;
    float* out;
    u64 offset;  // of its sums, in the sums of all panels over the same rows
    int x_pitch, p_pitch;
    int columns, ranks;
    int column_stride, rank_stride;  // of `out`; one of them is 1
    float scale;
    int unused;
};

// Fetches ROWS rows of a panel. What lies outside of it becomes zero.
template <int tiles>
DEVICE void fetch(char* stage, const Panel& panel, int row, int rows) {
    UNROLL for (int i = 0; i < ROWS * WIDTH / 8 / THREADS; i++) {
        int c = (int)threadIdx.x % (WIDTH / 8), r = (int)threadIdx.x / (WIDTH / 8) + i * (THREADS * 8 / WIDTH);
        bool valid = row + r < rows && 8 * c < panel.columns;
        i64 from = (i64)(row + r) * panel.x_pitch + 8 * c;
        copy_async(stage + swizzled(r, c, WIDTH / 8), panel.x + (valid ? from : 0), valid);
    }
    int r = (int)threadIdx.x / 8, c = (int)threadIdx.x % 8;
    if (c < 2 * tiles) {
        bool valid = row + r < rows && 8 * c < panel.ranks;
        i64 from = (i64)(row + r) * panel.p_pitch + 8 * c;
        copy_async(stage + TILE_BYTES + swizzled(r, c, 8), panel.p + (valid ? from : 0), valid);
    }
}

// Adds one stage: each warp all ranks of its own columns.
template <int tiles>
DEVICE void add_stage(float (&sums)[tiles][WARP_WIDTH / 8][4], const char* stage) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int k = 0; k < ROWS; k += 16) {
        u32 a[tiles][4];
        UNROLL for (int m = 0; m < tiles; m++) {
            int r = k + lane / 16 * 8 + lane % 8, c = 2 * m + lane / 8 % 2;
            load_matrices_transposed(a[m], stage + TILE_BYTES + swizzled(r, c, 8));
        }
        UNROLL for (int n = 0; n < WARP_WIDTH / 16; n++) {
            u32 b[4];
            int r = k + lane % 16, c = warp * (WARP_WIDTH / 8) + 2 * n + lane / 16;
            load_matrices_transposed(b, stage + swizzled(r, c, WIDTH / 8));
            UNROLL for (int m = 0; m < tiles; m++) {
                mma(sums[m][2 * n], a[m], b[0], b[1]);
                mma(sums[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

struct alignas(8) Pair {
    float low, high;
};

template <int tiles>
DEVICE void tall_block(char* shared, const Panel& panel, float* partial, int rows, int first, int last) {
    float sums[tiles][WARP_WIDTH / 8][4] = {};
    UNROLL for (int i = 0; i < STAGES - 1; i++) {
        if (first + i < last) fetch<tiles>(shared + i * STAGE_BYTES, panel, (first + i) * ROWS, rows);
        copy_commit();
    }
    for (int stage = first; stage < last; stage++) {
        copy_wait<STAGES - 2>();
        block_sync();
        int next = stage + STAGES - 1;
        if (next < last) fetch<tiles>(shared + (next - first) % STAGES * STAGE_BYTES, panel, next * ROWS, rows);
        copy_commit();
        add_stage<tiles>(sums, shared + (stage - first) % STAGES * STAGE_BYTES);
    }
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int m = 0; m < tiles; m++) {
        UNROLL for (int half = 0; half < 2; half++) {
            int rank = 16 * m + 8 * half + lane / 4;
            if (16 * m + 8 * half >= panel.ranks) continue;
            UNROLL for (int n = 0; n < WARP_WIDTH / 8; n++) {
                int column = warp * WARP_WIDTH + 8 * n + 2 * (lane % 4);
                *(Pair*)(partial + rank * WIDTH + column) = Pair{sums[m][n][2 * half], sums[m][n][2 * half + 1]};
            }
        }
    }
}

// Block (x, y) sums stages y * `stages` and on of panel x into partial sums [ranks, WIDTH]. `size` is how many values the
// partial sums of all panels over the same rows take.
KERNEL BOUNDS(THREADS, 2) tall(const Panel* table, float* partial, u64 size, int rows, int stages) {
    DYNAMIC_SHARED(shared);
    Panel panel = table[blockIdx.x];
    int first = blockIdx.y * stages, last = first + stages, all = (rows + ROWS - 1) / ROWS;
    last = last < all ? last : all;
    partial += blockIdx.y * size + panel.offset;
    switch ((panel.ranks + 15) / 16) {
        case 1: return tall_block<1>(shared, panel, partial, rows, first, last);
        case 2: return tall_block<2>(shared, panel, partial, rows, first, last);
        case 3: return tall_block<3>(shared, panel, partial, rows, first, last);
        default: return tall_block<4>(shared, panel, partial, rows, first, last);
    }
}
EXPORT(tall)

// Adds the `parts` partial sums in their order, and stores the sum times the scale or adds it to what is there. Block (x, y)
// does ranks 8 y to 8 y + 8 of panel x, a thread those of one column.
KERNEL BOUNDS(THREADS, 4) tall_sum(const Panel* table, const float* partial, u64 size, int parts, int add) {
    Panel panel = table[blockIdx.x];
    int column = threadIdx.x, rank = 8 * blockIdx.y;
    if (rank >= panel.ranks || column >= panel.columns) return;
    partial += panel.offset + rank * WIDTH + column;
    float sums[8] = {};
    _Pragma("unroll 2") for (int part = 0; part < parts; part++) {
        UNROLL for (int i = 0; i < 8; i++) sums[i] += partial[part * size + i * WIDTH];
    }
    UNROLL for (int i = 0; i < 8; i++) sums[i] *= panel.scale;
    float* out = panel.out + (i64)column * panel.column_stride + (i64)rank * panel.rank_stride;
    if (panel.rank_stride != 1) {
        UNROLL for (int i = 0; i < 8; i++) {
            float* to = out + (i64)i * panel.rank_stride;
            *to = sums[i] + (add ? *to : 0);
        }
        return;
    }
    UNROLL for (int half = 0; half < 2; half++) {
        Words words = add ? load_words(out + 4 * half) : Words{};
        UNROLL for (int i = 0; i < 4; i++) {
            words.word[i] = float_to_bits(sums[4 * half + i] + bits_to_float(words.word[i]));
        }
        store_words(out + 4 * half, words);
    }
}
EXPORT(tall_sum)
