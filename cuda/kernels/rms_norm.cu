// Root-mean-square norm of rows, forward and backward. A row is read once and kept in registers: a warp owns a narrow row,
// a block a wide one. Statistics in f32; the normed value is rounded to bfloat16 before the weight, as Hugging Face's Llama
// does it. Widths are multiples of eight.
#include "elementwise.cuh"

// Most times eight values of a thread.
const int VECTORS = 4;

// The row of a thread, which it shares with `lanes` threads: a warp, or the block.
struct Row {
    i64 index;
    int lane;
    int lanes;
};
DEVICE Row row_of(int lanes) {
    return Row{(i64)blockIdx.x * (blockDim.x / lanes) + threadIdx.x / lanes, (int)threadIdx.x % lanes, lanes};
}
DEVICE int column(Row row, int vector) { return 8 * (row.lane + vector * row.lanes); }
DEVICE float row_sum(Row row, float x, float* scratch) { return row.lanes == 32 ? warp_sum(x) : block_sum(x, scratch); }

DEVICE void load_row(Words (&out)[VECTORS], Row row, const bf16* values, int width) {
    UNROLL for (int v = 0; v < VECTORS; v++) {
        out[v] = Words{};
        if (column(row, v) < width) out[v] = load_words(values + column(row, v));
    }
}

// y = w * round(x / rms(x))
KERNEL BOUNDS(256, 4)
rms_norm(const bf16* x, int x_pitch, const bf16* weight, bf16* y, int y_pitch, int rows, int width, int lanes, float epsilon) {
    SHARED float scratch[8];
    Row row = row_of(lanes);
    if (row.index >= rows) return;
    Words kept[VECTORS];
    load_row(kept, row, x + row.index * x_pitch, width);
    float squares = 0;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        float values[8];
        widen8(values, kept[v]);
        UNROLL for (int i = 0; i < 8; i++) squares += values[i] * values[i];
    }
    float scale = 1.0f / sqrtf(row_sum(row, squares, scratch) / width + epsilon);
    y += row.index * y_pitch;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        if (column(row, v) >= width) break;
        float values[8], weights[8];
        widen8(values, kept[v]);
        widen8(weights, load_words(weight + column(row, v)));
        UNROLL for (int i = 0; i < 8; i++) values[i] *= scale;
        round8(values);
        UNROLL for (int i = 0; i < 8; i++) values[i] *= weights[i];
        store_words(y + column(row, v), narrow8(values));
    }
}
EXPORT(rms_norm)

// dx = (w dy - n mean(w dy n)) / rms(x) + residual with n = x / rms(x), and y = the norm itself, which the gradients of
// adapters that read it need. `residual` may be null and may be dx; y may be null.
KERNEL BOUNDS(256, 3)
rms_norm_backward(const bf16* dy, int dy_pitch, const bf16* x, int x_pitch, const bf16* weight, const bf16* residual,
                  int residual_pitch, bf16* dx, int dx_pitch, bf16* y, int y_pitch, int rows, int width, int lanes,
                  float epsilon) {
    SHARED float scratch[2][8];
    Row row = row_of(lanes);
    if (row.index >= rows) return;
    Words kept[VECTORS], slopes_kept[VECTORS], residual_kept[VECTORS] = {};
    load_row(kept, row, x + row.index * x_pitch, width);
    load_row(slopes_kept, row, dy + row.index * dy_pitch, width);
    if (residual) load_row(residual_kept, row, residual + row.index * residual_pitch, width);
    float squares = 0, products = 0;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        if (column(row, v) >= width) break;
        float values[8], weights[8], slopes[8];
        widen8(values, kept[v]);
        widen8(weights, load_words(weight + column(row, v)));
        widen8(slopes, slopes_kept[v]);
        UNROLL for (int i = 0; i < 8; i++) {
            squares += values[i] * values[i];
            products += values[i] * weights[i] * slopes[i];
        }
    }
    float scale = 1.0f / sqrtf(row_sum(row, squares, scratch[0]) / width + epsilon);
    float mean = row_sum(row, products, scratch[1]) * scale / width;
    dx += row.index * dx_pitch;
    if (y) y += row.index * y_pitch;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        if (column(row, v) >= width) break;
        float values[8], weights[8], slopes[8], added[8];
        widen8(values, kept[v]);
        widen8(weights, load_words(weight + column(row, v)));
        widen8(slopes, slopes_kept[v]);
        widen8(added, residual_kept[v]);
        UNROLL for (int i = 0; i < 8; i++) {
            values[i] *= scale;
            slopes[i] = (weights[i] * slopes[i] - values[i] * mean) * scale + added[i];
        }
        round8(values);
        UNROLL for (int i = 0; i < 8; i++) values[i] *= weights[i];
        store_words(dx + column(row, v), narrow8(slopes));
        if (y) store_words(y + column(row, v), narrow8(values));
    }
}
EXPORT(rms_norm_backward)
