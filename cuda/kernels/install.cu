// Copies the adapter matrices of a flat f32 buffer as bfloat16 to where products read them: into the free columns and rows
// beside frozen weights. One launch for all of them: blocks are dealt out by a table. Knows no adapter by name.
#include "elementwise.cuh"

const int THREADS = 256;
// Values that a block copies.
const int SHARE = 4096;

// One matrix; `to_entry_words` in Rust.
struct Entry {
    bf16* destination;
    // Of its first value in the flat buffer.
    u64 source;
    u32 rows, columns;
    // Of the destination, in values.
    u32 pitch;
    float scale;
};

// Entry e has the blocks `first_block[e]..first_block[e + 1]`.
KERNEL BOUNDS(THREADS, 6) install(const float* flat, const Entry* entries, const u32* first_block, int count) {
    SHARED u32 found;
    // All threads look at once: a search by halves would wait for memory at every step.
    for (int e = threadIdx.x; e < count; e += THREADS) {
        if (first_block[e] <= blockIdx.x && blockIdx.x < first_block[e + 1]) found = e;
    }
    block_sync();
    Entry entry = entries[found];
    const float* source = flat + entry.source;
    u32 start = (blockIdx.x - first_block[found]) * SHARE, end = entry.rows * entry.columns;
    if (start + SHARE < end) end = start + SHARE;
    bool wide = entry.columns % 8 == 0 && entry.pitch % 8 == 0 && (u64)entry.destination % 16 == 0 && (u64)source % 16 == 0;
    if (wide) {
        UNROLL for (int i = 0; i < SHARE / THREADS / 8; i++) {
            u32 at = start + 8 * (threadIdx.x + i * THREADS), row = at / entry.columns;
            if (at >= end) break;
            float x[8];
            load8(x, source + at);
            UNROLL for (int j = 0; j < 8; j++) x[j] *= entry.scale;
            store_words(entry.destination + (u64)row * entry.pitch + (at - row * entry.columns), narrow8(x));
        }
    } else {
        for (u32 at = start + threadIdx.x; at < end; at += THREADS) {
            u32 row = at / entry.columns;
            entry.destination[(u64)row * entry.pitch + (at - row * entry.columns)] = narrow(source[at] * entry.scale);
        }
    }
}
EXPORT(install)
