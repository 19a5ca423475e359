// A number that two matrices of 32-bit words share if they are equal, and hardly otherwise: the sum of a mixture of each word
// and its place, so that the order of summing does not matter. Knows bytes; knows no type.
#include "prelude.cuh"

const int THREADS = 256;

DEVICE u64 mixed(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// `sums` gets one part for each block. `words` and `pitch` count words of a row.
KERNEL BOUNDS(THREADS, 4)
digest(const u32* from, int rows, int words, int pitch, u64* sums) {
    SHARED u64 parts[THREADS];
    i64 all = (i64)rows * words;
    u64 sum = 0;
    for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < all; at += (i64)gridDim.x * THREADS) {
        sum += mixed(((u64)at << 32 ^ from[at / words * pitch + at % words]) + 0x9e3779b97f4a7c15ull);
    }
    parts[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        block_sync();
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = parts[0];
}
EXPORT(digest)
