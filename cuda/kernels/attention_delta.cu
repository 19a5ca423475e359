// delta[head][row] = sum over a head of d_out * out, which the backward pass of attention subtracts. A few lanes of a warp own
// one row of one head, sixteen bytes a lane.
#include "elementwise.cuh"

KERNEL BOUNDS(256, 4)
attention_delta(const bf16* d_out, int d_pitch, const bf16* out, int pitch, float* delta, int delta_pitch, int rows, int heads, int head_dim,
                int lanes) {
    int group = (blockIdx.x * 256 + threadIdx.x) / lanes, lane = threadIdx.x % lanes;
    int row = group / heads, head = group % heads, at = head * head_dim + 8 * lane;
    float sum = 0;
    if (row < rows && 8 * lane < head_dim) {
        float a[8], b[8];
        widen8(a, load_words(d_out + (i64)row * d_pitch + at));
        widen8(b, load_words(out + (i64)row * pitch + at));
        UNROLL for (int i = 0; i < 8; i++) sum += a[i] * b[i];
    }
    for (int mask = lanes / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (row < rows && lane == 0) delta[(i64)head * delta_pitch + row] = sum;
}
EXPORT(attention_delta)
