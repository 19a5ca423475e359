// What the portable attention kernels share: the layout of a tile in shared memory, products of tiles on the matrix unit,
// masks and soft caps, and how a tile of results goes out. Knows no kernel. HEAD_DIM, WINDOW and SOFT_CAP are definitions.
#pragma once
#include "prelude.cuh"

const int D = HEAD_DIM;
// Pieces of 16 bytes in a row of a head.
const int PIECES = D / 8;
// Values from one row of a tile to the next: an odd number of pieces, so that eight rows meet in no bank.
const int PITCH = D + 8;
#define MINUS_INFINITY bits_to_float(0xff800000u)
const float LOG2_E = 1.4426950408889634f;
const float LN_2 = 0.6931471805599453f;

// A value that is the same in all lanes, said so that the compiler sees it and spends no register of each lane on it.
DEVICE int uniform(int value) { return shuffle(value, 0); }

// One tile of rows of a document.
struct Entry {
    int first, start, end, spare;
};
DEVICE Entry uniform(Entry entry) { return Entry{uniform(entry.first), uniform(entry.start), uniform(entry.end), 0}; }

// Whether a query does not see the key that lies `distance` before it.
DEVICE bool hidden(int distance, int window) {
#if WINDOW
    // A negative distance is a large number without its sign.
    return (u32)distance >= (u32)window;
#else
    return distance < 0;
#endif
}

// How a product of query and key becomes a score: `inner` is what goes into the cap, `unit` what comes after it, in base 2.
struct Scores {
    float inner, unit;
};
DEVICE Scores scores_of(float scale, float soft_cap) {
#if SOFT_CAP
    return Scores{scale * reciprocal_fast(soft_cap), soft_cap * LOG2_E};
#else
    return Scores{1, scale * LOG2_E};
#endif
}
DEVICE float capped(float product, Scores scores) {
#if SOFT_CAP
    // tanh; the exponential may be infinite or zero.
    return 1 - 2 * reciprocal_fast(1 + exp2_fast(product * scores.inner * (2 * LOG2_E)));
#else
    return product;
#endif
}
template <int count>
DEVICE void cap(float (&s)[count][4], Scores scores) {
    UNROLL for (int n = 0; n < count; n++) {
        UNROLL for (int i = 0; i < 4; i++) s[n][i] = capped(s[n][i], scores);
    }
}
// What stands for the score of a key that is not seen: its exponential is zero, and with a cap its slope is a number.
#if SOFT_CAP
#define HIDDEN -1e9f
#else
#define HIDDEN MINUS_INFINITY
#endif
// Hides what must not be seen in a tile of scores whose rows are queries (`sign` = 1) or keys (-1). `distance` is from this
// lane's first key to its first query.
template <int sign, int count>
DEVICE void mask(float (&s)[count][4], int distance, int window) {
    UNROLL for (int n = 0; n < count; n++) {
        UNROLL for (int i = 0; i < 4; i++) {
            if (hidden(distance + sign * (8 * (i / 2) - 8 * n - i % 2), window)) s[n][i] = HIDDEN;
        }
    }
}
// The slope of the cap where it gives `value`.
DEVICE float cap_slope(float value) {
#if SOFT_CAP
    return 1 - value * value;
#else
    return 1;
#endif
}

// Starts copies of `rows` rows of a head to a tile; zeros from row `valid` on. Addresses are computed anew each time: ahead of
// a loop they would take the registers that results need.
template <int rows, int threads>
DEVICE void copy_rows(bf16* tile, const bf16* from, int pitch, int valid) {
    const int step = threads / PIECES, rounds = (rows + step - 1) / step;
    u32 thread = threadIdx.x;
    opaque(thread);
    int row = thread / PIECES, piece = thread % PIECES;
    if (threads % PIECES && row >= step) return;
    tile += row * PITCH + 8 * piece;
    from += row * pitch + 8 * piece;
    UNROLL for (int i = 0; i < rounds; i++) {
        if (rows % step == 0 || row < rows - i * step) copy_async(tile + i * step * PITCH, from, i * step < valid - row);
        from += step * pitch;
    }
}

// Where a lane reads a tile: as left operand or as depths of a right operand (rows 0-15, then the columns beside them), and as
// columns of a right operand (16 rows, whose two halves come one after the other).
DEVICE int square_lane() {
    int lane = threadIdx.x % 32;
    return lane % 16 * PITCH + lane / 16 * 8;
}
DEVICE int column_lane() {
    int lane = threadIdx.x % 32;
    return (lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 8;
}

// The rows a warp owns, as left operands over the head: kept in registers, or read from a tile each time.
template <int tiles, bool kept>
struct Own {
    u32 registers[kept ? tiles : 1][kept ? D / 16 : 1][4];
    const bf16* tile;
};
// `tile` is the warp's first row.
template <int tiles, bool kept>
DEVICE void own(Own<tiles, kept>& rows, const bf16* tile) {
    rows.tile = tile + square_lane();
    if constexpr (kept) {
        UNROLL for (int m = 0; m < tiles; m++) {
            UNROLL for (int k = 0; k < D / 16; k++) load_matrices(rows.registers[m][k], rows.tile + m * 16 * PITCH + k * 16);
        }
    }
}

// d = own * other^T: rows of `other` are the columns of d.
template <int tiles, int columns, bool kept>
DEVICE void product_over_head(float (&d)[tiles][columns / 8][4], const Own<tiles, kept>& rows, const bf16* other) {
    UNROLL for (int m = 0; m < tiles; m++) {
        UNROLL for (int n = 0; n < columns / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) d[m][n][i] = 0;
        }
    }
    other += column_lane();
    UNROLL for (int k = 0; k < D / 16; k++) {
        u32 a[tiles][4];
        UNROLL for (int m = 0; m < tiles; m++) {
            if constexpr (kept) {
                UNROLL for (int i = 0; i < 4; i++) a[m][i] = rows.registers[m][k][i];
            } else {
                load_matrices(a[m], rows.tile + m * 16 * PITCH + k * 16);
            }
        }
        UNROLL for (int n = 0; n < columns / 16; n++) {
            u32 b[4];
            load_matrices(b, other + n * 16 * PITCH + k * 16);
            UNROLL for (int m = 0; m < tiles; m++) {
                mma(d[m][2 * n], a[m], b[0], b[1]);
                mma(d[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// d += a * other: rows of `other` are the depths.
template <int tiles, int depth>
DEVICE void product_over_rows(float (&d)[tiles][D / 8][4], const u32 (&a)[tiles][depth / 16][4], const bf16* other) {
    other += square_lane();
    UNROLL for (int k = 0; k < depth / 16; k++) {
        UNROLL for (int n = 0; n < D / 16; n++) {
            u32 b[4];
            load_matrices_transposed(b, other + k * 16 * PITCH + n * 16);
            UNROLL for (int m = 0; m < tiles; m++) {
                mma(d[m][2 * n], a[m][k], b[0], b[1]);
                mma(d[m][2 * n + 1], a[m][k], b[2], b[3]);
            }
        }
    }
}

// Results as left operands of the next product.
template <int tiles, int depth>
DEVICE void pack(u32 (&a)[tiles][depth / 16][4], const float (&d)[tiles][depth / 8][4]) {
    UNROLL for (int m = 0; m < tiles; m++) {
        UNROLL for (int n = 0; n < depth / 8; n++) {
            a[m][n / 2][n % 2 * 2] = narrow2(d[m][n][0], d[m][n][1]);
            a[m][n / 2][n % 2 * 2 + 1] = narrow2(d[m][n][2], d[m][n][3]);
        }
    }
}

// 16 rows of a warp, times `factor`, to global memory through `staging`, which is a tile of 16 rows that no other warp uses;
// rows from `rows` on are not written.
DEVICE void store_rows(const float (&d)[D / 8][4], const float (&factor)[2], bf16* staging, bf16* out, int pitch, int rows) {
    int lane = threadIdx.x % 32;
    warp_sync();
    UNROLL for (int n = 0; n < D / 8; n++) {
        UNROLL for (int half = 0; half < 2; half++) {
            u32 two = narrow2(d[n][2 * half] * factor[half], d[n][2 * half + 1] * factor[half]);
            *(u32*)(staging + (8 * half + lane / 4) * PITCH + 8 * n + lane % 4 * 2) = two;
        }
    }
    warp_sync();
    for (int at = lane; at < 16 * PIECES; at += 32) {
        int row = at / PIECES, piece = at % PIECES;
        if (row < rows) store_words(out + (i64)row * pitch + 8 * piece, load_words(staging + row * PITCH + 8 * piece));
    }
}
