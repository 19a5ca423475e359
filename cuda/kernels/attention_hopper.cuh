// What the attention kernels of compute capability 9.0 share: sizes, the order of work, masks, and how a tile of results goes
// out. Knows no kernel. HEAD_DIM is a definition; sizes between are padded to 64 or 128 with zeros by the copy engine.
#pragma once
#include "hopper.cuh"

const int D = HEAD_DIM;
const int PADDED = D <= 64 ? 64 : 128;
// Boxes of 64 values side by side in a padded head.
const int HALVES = PADDED / 64;
#define MINUS_INFINITY bits_to_float(0xff800000u)
const float LOG2_E = 1.4426950408889634f;
const float LN_2 = 0.6931471805599453f;

// One tile of rows of a document.
struct Entry {
    int first, start, end, spare;
};

// The work of a block that takes several pieces, in a table sorted by size: there and back again, so that sums even out.
DEVICE int piece(int round) {
    int blocks = gridDim.x, block = blockIdx.x;
    return round * blocks + (round % 2 ? blocks - 1 - block : block);
}

// Whether a query does not see a key. `window` is 0 for none.
DEVICE bool hidden(int query, int key, int window) {
#if WINDOW
    return key > query || key + window <= query;
#else
    return key > query;
#endif
}

// 64 rows of four warps (as wgmma leaves them, times `scale`) into `staging`, which is 64 rows of PADDED values. `barrier` is
// a barrier id of these four warps, who have it together afterwards.
DEVICE void stage_rows(const float (&d)[PADDED / 2], const float (&scale)[2], char* staging, int barrier) {
    int thread = threadIdx.x % 128, lane = thread % 32, row = thread / 32 * 16 + lane / 4;
    barrier_sync(barrier, 128);
    UNROLL for (int j = 0; j < PADDED / 8; j++) {
        UNROLL for (int half = 0; half < 2; half++) {
            int r = row + 8 * half;
            // Pieces of a row change places with the row, so that eight rows meet in no bank.
            char* to = staging + r * PADDED * 2 + (j ^ (r % 8)) * 16 + lane % 4 * 4;
            *(u32*)to = narrow2(d[4 * j + 2 * half] * scale[half], d[4 * j + 2 * half + 1] * scale[half]);
        }
    }
    barrier_sync(barrier, 128);
}
// Rows to global memory; rows from `rows` on are not written.
DEVICE void store_rows(const float (&d)[PADDED / 2], const float (&scale)[2], char* staging, bf16* out, int pitch, int rows, int barrier) {
    stage_rows(d, scale, staging, barrier);
    const int pieces = D / 8;
    for (int at = threadIdx.x % 128; at < 64 * pieces; at += 128) {
        int r = at / pieces, c = at % pieces;
        if (r < rows) store_words(out + (i64)r * pitch + 8 * c, load_words(staging + r * PADDED * 2 + (c ^ (r % 8)) * 16));
    }
}

// The left operand of a product over 16 columns of what wgmma left: columns 16 k to 16 k + 15 of d.
template <int count>
DEVICE void left_operand(u32 (&a)[4], const float (&d)[count], int k) {
    a[0] = narrow2(d[8 * k], d[8 * k + 1]);
    a[1] = narrow2(d[8 * k + 2], d[8 * k + 3]);
    a[2] = narrow2(d[8 * k + 4], d[8 * k + 5]);
    a[3] = narrow2(d[8 * k + 6], d[8 * k + 7]);
}

// d = a * b over a padded head: `a` is 64 rows, `b` the other tile, each in boxes `a_box` and `b_box` bytes apart.
template <int count>
DEVICE void product_over_head(float (&d)[count], const char* a, int a_box, const char* b, int b_box) {
    UNROLL for (int k = 0; k < PADDED / 16; k++) {
        u64 left = tile_step(tile(a + k / 4 * a_box), k % 4 * 32), right = tile_step(tile(b + k / 4 * b_box), k % 4 * 32);
        wgmma<0>(d, left, right, k > 0);
    }
}
