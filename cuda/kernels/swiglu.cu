// The gated activation `silu(gate) * up` of rows `[gate | up]`, and its gradient in place. Bound by memory: a thread has
// eight columns, whose reads are all under way before the first is used. Widths are multiples of eight.
#include "swiglu.cuh"

// h = gate * sigmoid(gate) * up
KERNEL BOUNDS(256, 6) swiglu(const bf16* gate_up, int gate_up_pitch, bf16* h, int h_pitch, int rows, int width) {
    Place at = place(rows, width);
    if (!at.inside) return;
    const bf16* row = gate_up + at.row * gate_up_pitch + at.column;
    Words gates = load_words(row), ups = load_words(row + width);
    store_words(h + at.row * h_pitch + at.column, gated(gates, ups));
}
EXPORT(swiglu)

// Gradients of gate and up over gate and up, and h, which the gradient of an adapter needs, over dh.
KERNEL BOUNDS(256, 6) swiglu_backward(bf16* gate_up, int gate_up_pitch, bf16* dh, int dh_pitch, int rows, int width) {
    Place at = place(rows, width);
    if (!at.inside) return;
    bf16* row = gate_up + at.row * gate_up_pitch + at.column;
    bf16* d_row = dh + at.row * dh_pitch + at.column;
    Words gates = load_words(row), ups = load_words(row + width), slopes = load_words(d_row);
    gated_backward(gates, ups, slopes);
    store_words(row, gates);
    store_words(row + width, ups);
    store_words(d_row, slopes);
}
EXPORT(swiglu_backward)
