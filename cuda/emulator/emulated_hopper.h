// What `kernels/hopper.cuh` gives on a device, for a processor. The copy engine copies at once, products are done where they
// are asked for; descriptors, swizzles and fragments are decoded as the device decodes them. Knows no kernel.
#pragma once

struct alignas(64) TensorMap {
    u64 word[16];
};
#define TENSOR_MAP TensorMap

// Offsets from the start of dynamic shared memory stand for shared addresses, so that they fit a descriptor.
DEVICE u32 shared_address(const void* pointer) { return (u32)((const char*)pointer - emulated::dynamic_shared()); }

struct EmulatedBarrier {
    u16 count, pending;
    int bytes_and_phase;  // bytes awaited times two, plus the phase
};
DEVICE void emulated_settle(EmulatedBarrier* barrier) {
    emulated::progress();
    if (barrier->pending == 0 && barrier->bytes_and_phase / 2 == 0) {
        barrier->pending = barrier->count;
        barrier->bytes_and_phase ^= 1;
    }
}
DEVICE void barrier_init(u64* barrier, int count) {
    *(EmulatedBarrier*)barrier = EmulatedBarrier{(u16)count, (u16)count, 0};
}
DEVICE void barrier_publish() {}
DEVICE void barrier_arrive(u64* word) {
    EmulatedBarrier* barrier = (EmulatedBarrier*)word;
    if (barrier->pending == 0) emulated::fail("a barrier has more arrivals than its count");
    barrier->pending--;
    emulated_settle(barrier);
}
DEVICE void barrier_expect(u64* word, int bytes) {
    ((EmulatedBarrier*)word)->bytes_and_phase += 2 * bytes;
    barrier_arrive(word);
}
DEVICE void barrier_wait(u64* word, int parity) {
    EmulatedBarrier* barrier = (EmulatedBarrier*)word;
    while ((barrier->bytes_and_phase & 1) == parity) emulated::yield();
}

DEVICE char* emulated_swizzled(u32 address) {
    return emulated::dynamic_shared() + (address ^ (address >> 7 & 7) << 4);
}
DEVICE void copy_box(void* shared, const TensorMap* map, int column, int head, int row, u64* word) {
    const bf16* matrix = (const bf16*)map->word[0];
    i64 head_dim = map->word[1], heads = map->word[2], rows = map->word[3], pitch = map->word[4], box_rows = map->word[5];
    u32 base = shared_address(shared);
    if (base % 1024) emulated::fail("a box is not at a multiple of 1024 bytes");
    for (i64 r = 0; r < box_rows; r++) {
        for (i64 c = 0; c < 64; c++) {
            bool inside = row + r >= 0 && row + r < rows && head < heads && column + c < head_dim;
            bf16 value = inside ? matrix[(row + r) * pitch + head * head_dim + column + c] : bf16{0};
            *(bf16*)emulated_swizzled(base + (u32)(r * 128 + c * 2)) = value;
        }
    }
    ((EmulatedBarrier*)word)->bytes_and_phase -= 2 * (int)(box_rows * 128);
    emulated_settle((EmulatedBarrier*)word);
}

template <int count>
void registers_take() {}
template <int count>
void registers_give() {}
DEVICE void copies_fence() {}
DEVICE void wgmma_fence() {}
DEVICE void wgmma_commit() {}
template <int pending>
void wgmma_wait() {}
template <class T>
void pin(T&) {}

// One value of a tile, in shared memory that begins at `memory`.
DEVICE float emulated_element(const char* memory, u64 tile, int line, int depth, int transposed) {
    u32 start = (u32)(tile & 0x3fff) << 4, leading = (u32)(tile >> 16 & 0x3fff) << 4, stride = (u32)(tile >> 32 & 0x3fff) << 4;
    u32 address = transposed ? start + line / 64 * leading + depth / 8 * stride + depth % 8 * 128 + line % 64 * 2
                             : start + line / 8 * stride + line % 8 * 128 + depth * 2;
    u32 swizzled = address ^ (address >> 7 & 7) << 4;
    return bits_to_float((u32)((const bf16*)(memory + swizzled))->bits << 16);
}
template <int transposed_b, int count, class Left>
void emulated_product(float (&d)[count], const char* memory, Left left, u64 b, int add) {
    int lane = emulated::current->lane;
    if (!add) {
        for (int i = 0; i < count; i++) d[i] = 0;
    }
    for (int k = 0; k < 16; k++) {
        float upper = left(lane / 4, k), lower = left(lane / 4 + 8, k);
        for (int j = 0; j < count / 2; j++) {
            int at = j / 2 * 4 + j % 2;
            float right = emulated_element(memory, b, j / 2 * 8 + 2 * (lane % 4) + j % 2, k, transposed_b);
            d[at] += upper * right;
            d[at + 2] += lower * right;
        }
    }
}
template <int transposed_b, int count>
void wgmma(float (&d)[count], u64 a, u64 b, int add) {
    const char* memory = emulated::dynamic_shared();
    int first = 16 * (emulated::current->warp % 4);
    auto left = [=](int row, int k) { return emulated_element(memory, a, first + row, k, 0); };
    emulated_product<transposed_b>(d, memory, left, b, add);
}
template <int transposed_b, int count>
void wgmma(float (&d)[count], const u32 (&a)[4], u64 b, int add) {
    emulated::Exchange& all = emulated::exchange();
    memcpy(all.a[emulated::current->lane], a, sizeof(a));
    emulated::warp_barrier();
    auto left = [&](int row, int k) {
        return emulated_half(all.a[4 * (row % 8) + (k % 8) / 2][row / 8 + 2 * (k / 8)], k % 2);
    };
    emulated_product<transposed_b>(d, emulated::dynamic_shared(), left, b, add);
    emulated::warp_barrier();
}
