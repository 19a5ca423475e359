// What every kernel is written with: types, conversions, warps, and the portable matrix unit (compute capability 8.0 and
// above). Knows no kernel. Under EMULATED the same names are given by `emulator/emulated.h`, so that kernels run as C++
// on a processor in tests; so nothing here needs a header of CUDA.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// A bfloat16 as it is stored: the upper half of an f32.
struct bf16 {
    u16 bits;
};

// Sixteen bytes, the widest access of a thread: eight bfloat16 or four f32.
struct alignas(16) Words {
    u32 word[4];
};

#ifdef EMULATED
#include "emulated.h"
#else

#define DEVICE __device__ __forceinline__
#define DEVICE_METHOD __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define SHARED __shared__
// A kernel's dynamic shared memory, aligned for the bulk copy engine.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) char name[]
#define EXPORT(name)
#define UNROLL _Pragma("unroll")

DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 float_to_bits(float x) { return __float_as_uint(x); }

// Round to nearest even.
DEVICE bf16 narrow(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// Two values in one word; `low` is the first in memory.
DEVICE u32 narrow2(float low, float high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

// Base 2, the unit of the chip; relative error about 2^-22.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// One over x; relative error about 2^-23, and zero where the result would be denormal.
DEVICE float reciprocal_fast(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Hides where a value comes from, so that the compiler does not compute ahead, and keep in registers, what follows from it.
DEVICE void opaque(u32& value) { asm volatile("" : "+r"(value)); }

DEVICE void block_sync() { __syncthreads(); }
DEVICE void warp_sync() { __syncwarp(); }
// Barrier `id` (1 to 15) among the first `threads` that come to it; a multiple of 32.
DEVICE void barrier_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEVICE void barrier_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// The value of lane `lane ^ mask`, and of lane `lane`. All 32 lanes take part.
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE u32 shuffle_xor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE int shuffle_xor(int x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE double shuffle_xor(double x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE int shuffle(int x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }

// d += a * b with a 16 x 16 (rows, k), b 16 x 8 (k, columns), d 16 x 8, bfloat16 in and f32 out. Lane l holds of d the rows
// l / 4 (d[0], d[1]) and l / 4 + 8 (d[2], d[3]) at columns 2 (l % 4) and the next; of a the same rows (a[0], a[2] and a[1],
// a[3]) at k = 2 (l % 4) (a[0], a[1]) and 8 more (a[2], a[3]); of b column l / 4 at the same k (b[0]) and 8 more (b[1]).
DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The address of shared memory as instructions take it.
DEVICE u32 shared_address(const void* pointer) { return (u32)__cvta_generic_to_shared(pointer); }

// Four 8 x 8 matrices of 16-bit values: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes), and gets of matrix
// i in out[i] row l / 4, columns 2 (l % 4) and the next; transposed: of column l / 4, rows 2 (l % 4) and the next.
DEVICE void load_matrices(u32 (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void load_matrices_transposed(u32 (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Copies 16 bytes to shared memory in the background; zeros where `valid` is false.
DEVICE void copy_async(void* shared, const void* global, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
}
// Copies four bytes to shared memory in the background.
DEVICE void copy_async4(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` committed groups are under way.
template <int pending>
DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#endif

DEVICE float widen(bf16 x) { return bits_to_float((u32)x.bits << 16); }
DEVICE float widen_low(u32 two) { return bits_to_float(two << 16); }
DEVICE float widen_high(u32 two) { return bits_to_float(two & 0xffff0000u); }
// What a value becomes when it is stored.
DEVICE float rounded(float x) { return widen(narrow(x)); }

DEVICE Words load_words(const void* pointer) { return *(const Words*)pointer; }
DEVICE void store_words(void* pointer, Words words) { *(Words*)pointer = words; }

// Where 16-byte chunk `chunk` of a row lies, in bytes, in a tile of shared memory whose rows are `chunks` chunks, a multiple
// of eight. Chunks are turned by the row, so that one chunk of eight rows is read from all banks at once.
DEVICE int swizzled(int row, int chunk, int chunks) { return (row * chunks + (chunk ^ (row & 7))) * 16; }

DEVICE void widen8(float (&out)[8], Words words) {
    UNROLL for (int i = 0; i < 4; i++) {
        out[2 * i] = widen_low(words.word[i]);
        out[2 * i + 1] = widen_high(words.word[i]);
    }
}
DEVICE Words narrow8(const float (&x)[8]) {
    Words words;
    UNROLL for (int i = 0; i < 4; i++) words.word[i] = narrow2(x[2 * i], x[2 * i + 1]);
    return words;
}

template <class T>
DEVICE T warp_sum(T x) {
    UNROLL for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}
DEVICE float warp_max(float x) {
    UNROLL for (int mask = 16; mask > 0; mask /= 2) {
        float other = shuffle_xor(x, mask);
        x = x > other ? x : other;
    }
    return x;
}

// The sum over all threads of a block, to all of them, in an order that does not change. `scratch` is shared memory for
// one value a warp, and may be used again after the next `block_sync`.
template <class T>
DEVICE T block_sum(T x, T* scratch) {
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) scratch[warp] = x;
    block_sync();
    T sum = 0;
    for (int i = 0; i < warps; i++) sum += scratch[i];
    return sum;
}
DEVICE float block_max(float x, float* scratch) {
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) scratch[warp] = x;
    block_sync();
    float best = scratch[0];
    for (int i = 1; i < warps; i++) best = scratch[i] > best ? scratch[i] : best;
    return best;
}
