// One step of AdamW over flat f32 buffers: partial sums of squares, the judgement of the step, the update. Nothing waits for
// the host: whether a step counts is decided here. Sums are in f64 and in one order whatever the device.
#include "elementwise.cuh"

const int THREADS = 256;
// Times four values that a thread of `gradient_squares` has on their way at once.
const int LOADS = 4;

// What became of a step; `StepReport` in Rust.
struct Report {
    double loss_sum;
    double norm;
    double clip;
    u32 ok;
    u32 halted;
};

// parts[block] = the sum of the squares of every gridDim-th run of values, each run one share of all threads. `count` is a
// multiple of four.
KERNEL BOUNDS(THREADS, 4) gradient_squares(const float* gradient, u64 count, double* parts) {
    SHARED double scratch[THREADS / 32];
    const u64 run = 4 * THREADS * LOADS;
    double sum = 0;
    for (u64 start = blockIdx.x * run; start < count; start += gridDim.x * run) {
        float g[LOADS][4] = {};
        UNROLL for (int j = 0; j < LOADS; j++) {
            u64 at = start + 4 * (threadIdx.x + j * THREADS);
            if (at < count) load4(g[j], gradient + at);
        }
        UNROLL for (int i = 0; i < 4 * LOADS; i++) sum += (double)g[i / 4][i % 4] * (double)g[i / 4][i % 4];
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
EXPORT(gradient_squares)

// A step counts when its norm and its loss are finite and no step before it was refused. One block.
KERNEL BOUNDS(THREADS, 1)
step_judge(const double* parts, int part_count, const double* loss_sum, float max_norm, u32* halted, Report* report) {
    SHARED double scratch[THREADS / 32];
    double sum = 0;
    for (int i = threadIdx.x; i < part_count; i += THREADS) sum += parts[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0) return;
    double norm = sqrt(sum), loss = *loss_sum, clip = max_norm / (norm + 1e-6);
    u32 before = *halted;
    // The difference of a number with itself is zero unless it is infinite or no number.
    bool ok = norm - norm == 0 && loss - loss == 0 && before == 0;
    *report = Report{loss, norm, clip < 1.0 ? clip : 1.0, ok, before};
    if (!ok) *halted = 1;
}
EXPORT(step_judge)

// AdamW as in PyTorch, on four values a thread. `decay` is 1 - lr * weight_decay, `rate` is lr over the correction of the
// first moment, `correction` one over that of the second.
KERNEL BOUNDS(THREADS, 6)
adamw(float* first, float* second, float* parameters, const float* gradient, u64 count, const Report* report, float beta1,
      float beta2, float epsilon, float decay, float rate, float correction) {
    u64 at = 4 * ((u64)blockIdx.x * THREADS + threadIdx.x);
    if (at >= count || !report->ok) return;
    float clip = (float)report->clip, m[4], v[4], p[4], g[4];
    load4(m, first + at);
    load4(v, second + at);
    load4(p, parameters + at);
    load4(g, gradient + at);
    UNROLL for (int i = 0; i < 4; i++) {
        float slope = g[i] * clip;
        m[i] = beta1 * m[i] + (1.0f - beta1) * slope;
        v[i] = beta2 * v[i] + (1.0f - beta2) * slope * slope;
        p[i] = p[i] * decay - rate * m[i] / (sqrtf(v[i] * correction) + epsilon);
    }
    store4(first + at, m);
    store4(second + at, v);
    store4(parameters + at, p);
}
EXPORT(adamw)
