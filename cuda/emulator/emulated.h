// What `kernels/prelude.cuh` gives on a device, for a processor: the threads of a block are fibers that are switched where
// they wait, so shared memory, barriers, warps and matrix instructions mean the same. Blocks run one after the other.
// Knows no kernel. Background copies happen at the wait that covers them, so a forgotten wait shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace emulated {

struct Index {
    unsigned x, y, z;
};

struct Copy {
    void* to;
    const void* from;
    bool valid;
    int group;
};

// A thread of the block.
struct Fiber {
    Index thread;
    int warp, lane;
    bool done;
    std::vector<Copy> copies;
    int groups;
    void* context;
};

// What the lanes of a warp show each other.
struct Exchange {
    u64 word[32];
    u32 a[32][4], b[32][2];
    const void* row[32];
};

extern thread_local Fiber* current;
extern thread_local Index block_index, block_size, grid_size;

char* dynamic_shared();
// Lets the other threads of the block run. A thread that waits calls it in a loop; `progress` says that something moved.
void yield();
void progress();
void barrier(int id, int threads, bool wait);
void warp_barrier();
Exchange& exchange();
[[noreturn]] void fail(const char* why);

struct Registration {
    Registration(const char* name, void (*invoke)(const void* const*));
};

template <class... A, size_t... I>
void invoke(void (*kernel)(A...), const void* const* arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<A>*)arguments[I]...);
}
template <class... A>
void invoke(void (*kernel)(A...), const void* const* arguments) {
    invoke(kernel, arguments, std::index_sequence_for<A...>{});
}

template <class T>
T shuffle(T x, int lane) {
    static_assert(sizeof(T) <= 8, "a word");
    Exchange& words = exchange();
    memcpy(&words.word[current->lane], &x, sizeof(T));
    warp_barrier();
    memcpy(&x, &words.word[lane & 31], sizeof(T));
    warp_barrier();
    return x;
}

}  // namespace emulated

using std::max;
using std::min;

#define DEVICE static inline
#define DEVICE_METHOD inline
#define KERNEL extern "C" void
#define BOUNDS(threads, blocks)
#define SHARED static thread_local
#define DYNAMIC_SHARED(name) char* name = emulated::dynamic_shared()
#define EXPORT(name) \
    static emulated::Registration registration_##name(#name, [](const void* const* arguments) { emulated::invoke(name, arguments); });
#define UNROLL
#define __restrict__

#define threadIdx (emulated::current->thread)
#define blockIdx (emulated::block_index)
#define blockDim (emulated::block_size)
#define gridDim (emulated::grid_size)

DEVICE float bits_to_float(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
DEVICE u32 float_to_bits(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
DEVICE bf16 narrow(float x) {
    u32 bits = float_to_bits(x);
    if (x != x) return bf16{0x7fff};
    return bf16{(u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
DEVICE u32 narrow2(float low, float high) { return (u32)narrow(low).bits | (u32)narrow(high).bits << 16; }
DEVICE float exp2_fast(float x) { return exp2f(x); }
DEVICE float reciprocal_fast(float x) { return 1.0f / x; }

DEVICE void opaque(u32&) {}

DEVICE void block_sync() { emulated::barrier(0, (int)(blockDim.x * blockDim.y * blockDim.z), true); }
DEVICE void warp_sync() { emulated::warp_barrier(); }
DEVICE void barrier_sync(int id, int threads) { emulated::barrier(id, threads, true); }
DEVICE void barrier_arrive(int id, int threads) { emulated::barrier(id, threads, false); }

template <class T>
T shuffle_xor(T x, int mask) {
    return emulated::shuffle(x, emulated::current->lane ^ mask);
}
template <class T>
T shuffle(T x, int lane) {
    return emulated::shuffle(x, lane);
}

DEVICE float emulated_half(u32 two, int which) { return bits_to_float(which ? two & 0xffff0000u : two << 16); }

DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    emulated::Exchange& all = emulated::exchange();
    int lane = emulated::current->lane;
    memcpy(all.a[lane], a, sizeof(a));
    all.b[lane][0] = b0;
    all.b[lane][1] = b1;
    emulated::warp_barrier();
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        float sum = d[i];
        for (int k = 0; k < 16; k++) {
            u32 left = all.a[4 * (row % 8) + (k % 8) / 2][row / 8 + 2 * (k / 8)];
            u32 right = all.b[4 * column + (k % 8) / 2][k / 8];
            sum += emulated_half(left, k % 2) * emulated_half(right, k % 2);
        }
        d[i] = sum;
    }
    emulated::warp_barrier();
}

DEVICE void emulated_load_matrices(u32 (&out)[4], const void* row, bool transposed) {
    emulated::Exchange& all = emulated::exchange();
    int lane = emulated::current->lane;
    all.row[lane] = row;
    if ((size_t)row % 16) emulated::fail("a row of load_matrices is not aligned");
    emulated::warp_barrier();
    for (int i = 0; i < 4; i++) {
        u16 two[2];
        for (int j = 0; j < 2; j++) {
            int r = transposed ? 2 * (lane % 4) + j : lane / 4, c = transposed ? lane / 4 : 2 * (lane % 4) + j;
            two[j] = ((const u16*)all.row[8 * i + r])[c];
        }
        out[i] = two[0] | (u32)two[1] << 16;
    }
    emulated::warp_barrier();
}
DEVICE void load_matrices(u32 (&out)[4], const void* row) { emulated_load_matrices(out, row, false); }
DEVICE void load_matrices_transposed(u32 (&out)[4], const void* row) { emulated_load_matrices(out, row, true); }

DEVICE void copy_async(void* shared, const void* global, bool valid) {
    if ((size_t)shared % 16 || (valid && (size_t)global % 16)) emulated::fail("copy_async is not aligned");
    emulated::current->copies.push_back({shared, global, valid, emulated::current->groups});
}
DEVICE void copy_async4(void* shared, const void* global) { memcpy(shared, global, 4); }
DEVICE void copy_commit() { emulated::current->groups++; }
template <int pending>
void copy_wait() {
    emulated::Fiber& fiber = *emulated::current;
    std::vector<emulated::Copy> left;
    for (const emulated::Copy& copy : fiber.copies) {
        if (copy.group >= fiber.groups - pending) {
            left.push_back(copy);
        } else if (copy.valid) {
            memcpy(copy.to, copy.from, 16);
        } else {
            memset(copy.to, 0, 16);
        }
    }
    fiber.copies.swap(left);
}
