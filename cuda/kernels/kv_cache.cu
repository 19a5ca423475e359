// New keys and values into a cache. Knows rows `[queries | keys | values]` by where their keys start; knows no document.
#include "elementwise.cuh"

// Copies the keys and values of token t to cache row `cache_rows[t] * capacity + positions[t]`. A place that the cache does
// not have is left out rather than written beyond it. `width` is that of the keys, a multiple of eight.
KERNEL BOUNDS(256, 8)
kv_cache_append(const bf16* qkv, int qkv_pitch, int first, bf16* keys, int keys_pitch, bf16* values, int values_pitch,
                const u32* cache_rows, const u32* positions, int cache_row_count, int capacity, int tokens, int width) {
    Place at = place(tokens, 2 * width);
    if (!at.inside) return;
    u32 cache_row = cache_rows[at.row], position = positions[at.row];
    if (cache_row >= (u32)cache_row_count || position >= (u32)capacity) return;
    Words words = load_words(qkv + at.row * qkv_pitch + first + at.column);
    i64 to = (i64)cache_row * capacity + position;
    if (at.column < width) {
        store_words(keys + to * keys_pitch + at.column, words);
    } else {
        store_words(values + to * values_pitch + at.column - width, words);
    }
}
EXPORT(kv_cache_append)
