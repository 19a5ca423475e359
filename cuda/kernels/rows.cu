// Rows of a matrix by index: gathered (which is also the lookup of embeddings) and scattered. Knows no meaning of a row.
// Widths are multiples of eight.
#include "elementwise.cuh"

// out[i] = x[indices[i]]. A row that x does not have comes out as NaN, so that a wrong index shows in the loss.
KERNEL BOUNDS(256, 8)
gather_rows(const bf16* x, int x_pitch, int x_rows, const u32* indices, bf16* out, int out_pitch, int rows, int width) {
    Place at = place(rows, width);
    if (!at.inside) return;
    u32 from = indices[at.row];
    Words words = from < (u32)x_rows ? load_words(x + (i64)from * x_pitch + at.column) : filled(0xffffffffu);
    store_words(out + at.row * out_pitch + at.column, words);
}
EXPORT(gather_rows)

// out[t] = x[inverse[t]], zeros where that is negative, NaN where x has no such row.
KERNEL BOUNDS(256, 8)
scatter_rows(const bf16* x, int x_pitch, int x_rows, const int* inverse, bf16* out, int out_pitch, int rows, int width) {
    Place at = place(rows, width);
    if (!at.inside) return;
    int from = inverse[at.row];
    Words words = filled(from < 0 ? 0 : 0xffffffffu);
    if (from >= 0 && from < x_rows) words = load_words(x + (i64)from * x_pitch + at.column);
    store_words(out + at.row * out_pitch + at.column, words);
}
EXPORT(scatter_rows)
