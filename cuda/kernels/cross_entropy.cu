// Cross-entropy of rows of f32 logits, with its gradient over the same memory, and the sum of losses. One block a row: one
// pass for the largest logit and the sum of exponentials, a second one for the gradient. Knows no head and no mask.
#include "elementwise.cuh"

const int THREADS = 1024;
// Times four values that a thread has on their way at once.
const int LOADS = 4;
// Values that a block takes at once.
const int CHUNK = THREADS * LOADS * 4;
const float LOWEST = -3.0e38f;
// The target of a row that predicts nothing.
const u32 NO_TARGET = 0xffffffffu;

// Four bfloat16, as they are stored.
struct alignas(8) Four {
    u32 word[2];
};

// cap * tanh(z / cap). The error is absolute, about 2^-22 of the cap, and softmax sees no other.
DEVICE float capped(float z, float cap, float inverse) {
    return cap - 2.0f * cap * reciprocal_fast(1.0f + exp2_fast(2.0f * LOG2_E * inverse * z));
}

// The first of four columns, for each load of a thread.
DEVICE int column(int chunk, int load) { return chunk * CHUNK + 4 * (int)threadIdx.x + 4 * THREADS * load; }

// A thread's logits of a chunk. Those beyond the row count nothing: their exponential is zero.
DEVICE void load_chunk(float (&z)[LOADS][4], const float* row, int chunk, int columns, float cap, float inverse) {
    UNROLL for (int j = 0; j < LOADS; j++) {
        UNROLL for (int i = 0; i < 4; i++) z[j][i] = 0;
        if (column(chunk, j) < columns) load4(z[j], row + column(chunk, j));
    }
    if (cap != 0) {
        UNROLL for (int i = 0; i < 4 * LOADS; i++) z[i / 4][i % 4] = capped(z[i / 4][i % 4], cap, inverse);
    }
    UNROLL for (int i = 0; i < 4 * LOADS; i++) {
        if (column(chunk, i / 4) + i % 4 >= columns) z[i / 4][i % 4] = -infinite();
    }
}

// losses[row] = log(sum(exp(z))) - z[target], and with `gradient` row r of `scale * (softmax - onehot)` as bfloat16 from the
// first byte of row r of the logits on. A row whose target is NO_TARGET counts nothing and its logits are not read; any other
// target that is no column gives NaN.
KERNEL BOUNDS(THREADS, 1)
cross_entropy(float* logits, int pitch, const u32* targets, float* losses, int columns, float cap, int gradient, float scale) {
    SHARED float scratch[2][THREADS / 32];
    float* row = logits + (i64)blockIdx.x * pitch;
    u32 target = targets[blockIdx.x];
    if (target == NO_TARGET) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        if (gradient) {
            for (int i = threadIdx.x; i < columns; i += THREADS) ((bf16*)row)[i] = bf16{0};
        }
        return;
    }
    float inverse = 1.0f / cap, chosen = target < (u32)columns ? row[target] : no_number();
    if (cap != 0) chosen = capped(chosen, cap, inverse);
    int chunks = (columns + CHUNK - 1) / CHUNK;
    float best = LOWEST, sum = 0;
    // From the end, so that the second pass, which must go from the start, finds what was read last in the cache.
    for (int chunk = chunks - 1; chunk >= 0; chunk--) {
        float z[LOADS][4], old = best;
        load_chunk(z, row, chunk, columns, cap, inverse);
        UNROLL for (int i = 0; i < 4 * LOADS; i++) best = z[i / 4][i % 4] > best ? z[i / 4][i % 4] : best;
        sum *= exp2_fast((old - best) * LOG2_E);
        UNROLL for (int i = 0; i < 4 * LOADS; i++) sum += exp2_fast((z[i / 4][i % 4] - best) * LOG2_E);
    }
    float peak = block_max(best, scratch[0]);
    sum = block_sum(sum * exp2_fast((best - peak) * LOG2_E), scratch[1]);
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) - (chosen - peak);
    if (!gradient) return;

    float factor = scale / sum;
    for (int chunk = 0; chunk < chunks; chunk++) {
        float z[LOADS][4];
        load_chunk(z, row, chunk, columns, cap, inverse);
        // What is written ends before the next chunk, but covers what other threads read of this one.
        block_sync();
        UNROLL for (int j = 0; j < LOADS; j++) {
            int first = column(chunk, j);
            float d[4];
            UNROLL for (int i = 0; i < 4; i++) {
                d[i] = exp2_fast((z[j][i] - peak) * LOG2_E) * factor;
                if (first + i == (int)target) d[i] -= scale;
            }
            if (cap != 0) {
                UNROLL for (int i = 0; i < 4; i++) d[i] *= 1.0f - z[j][i] * inverse * (z[j][i] * inverse);
            }
            bf16* to = (bf16*)row + first;
            if (first + 4 <= columns) {
                *(Four*)to = Four{{narrow2(d[0], d[1]), narrow2(d[2], d[3])}};
            } else {
                UNROLL for (int i = 0; i < 4; i++) {
                    if (first + i < columns) to[i] = narrow(d[i]);
                }
            }
        }
    }
}
EXPORT(cross_entropy)

// sum += losses, in one order whatever the device. One block.
KERNEL BOUNDS(THREADS, 1) loss_sum(const float* losses, int count, double* sum) {
    SHARED double scratch[THREADS / 32];
    double own = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) own += losses[i];
    own = block_sum(own, scratch);
    if (threadIdx.x == 0) *sum += own;
}
EXPORT(loss_sum)
