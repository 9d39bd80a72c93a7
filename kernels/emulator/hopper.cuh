// The twin of kernels/src/cuda/hopper.cuh for the processor. Layouts are written down once more, from
// NVIDIA's description; a run on a device has to confirm them.
#pragma once

#include "ptx.cuh"

struct __align__(64) TensorMap { u64 opaque[16]; };

namespace emulator {

// What driver.cpp puts into a `TensorMap`.
struct Map {
    const unsigned char* from;
    u64 width, height, stride;  // numbers, lines, bytes from a line to the next
    u32 box_width, box_height;
};

// A barrier in its eight bytes.
struct Phase {
    i64 bytes : 30;  // announced and not yet brought
    u64 missing : 16;
    u64 count : 16;
    u64 parity : 1;
};
static_assert(sizeof(Phase) == 8, "a barrier");

EMULATOR_QUIET static inline Phase* phase(u64* barrier) { return reinterpret_cast<Phase*>(barrier); }

EMULATOR_QUIET static inline void end_if_complete(u64* barrier) {
    Phase* it = phase(barrier);
    if (it->missing != 0 || it->bytes != 0) return;
    it->missing = it->count;
    it->parity ^= 1;
    emulator_wake(barrier);
}

struct Box {
    void* to;
    Map map;
    u32 x, y;
    u64* barrier;
};

// Bits 4 to 6 of an address in shared memory are changed by bits 7 to 9.
EMULATOR_QUIET static inline size_t swizzled(size_t offset) { return offset ^ (offset >> 7 & 7) << 4; }

EMULATOR_QUIET static inline void bring(void* data) {
    const Box* it = static_cast<const Box*>(data);
    const size_t base = size_t(static_cast<unsigned char*>(it->to) - emulator_shared);
    for (u32 line = 0; line < it->map.box_height; ++line) {
        for (u32 i = 0; i < it->map.box_width; ++i) {
            const u64 x = u64(it->x) + i, y = u64(it->y) + line;
            u16 number = 0;
            if (x < it->map.width && y < it->map.height)
                __builtin_memcpy(&number, it->map.from + y * it->map.stride + x * 2, 2);
            const size_t at = swizzled(base + line * 128 + i * 2);
            __builtin_memcpy(emulator_shared + at, &number, 2);
        }
    }
    phase(it->barrier)->bytes -= it->map.box_width * it->map.box_height * 2;
    end_if_complete(it->barrier);
}

EMULATOR_QUIET static inline size_t start_of(u64 operand) { return (operand & 0x3fff) << 4; }

// Number `i` of the 64 or more of an operand, at step `k` of its sixteen.
EMULATOR_QUIET static inline float number_of(u64 operand, bool transposed, u32 i, u32 k) {
    const size_t other = (operand >> 16 & 0x3fff) << 4, eight = (operand >> 32 & 0x3fff) << 4;
    if (operand >> 62 != 1) emulator_fail("an operand of wgmma that is not of 128 bytes a line");
    const size_t at = transposed ? i / 64 * other + k / 8 * eight + k % 8 * 128 + i % 64 * 2
                             : i / 8 * eight + i % 8 * 128 + k * 2;
    u16 bits;
    __builtin_memcpy(&bits, emulator_shared + swizzled(start_of(operand) + at), 2);
    return upper(bits, 0);
}

// Where the left operand is: in shared memory, perhaps transposed (MN-major), or in registers.
enum Left { STRAIGHT, TRANSPOSED, HELD };

// The number of the left operand that a thread of the 128 holds.
EMULATOR_QUIET static inline float held_number(const GroupProduct* all, u32 row, u32 k) {
    const GroupProduct& it = all[row / 16 * 32 + row % 8 * 4 + k % 8 / 2];
    return upper(it.held[row % 16 / 8 + k / 8 * 2], k % 2);
}

template <u32 N, Left LEFT, bool B_TRANSPOSED, bool KEEP>
EMULATOR_QUIET static inline void multiply_all(GroupProduct* all) {
    static thread_local float left[64][16], right[16][N];
    for (u32 k = 0; k < 16; ++k) {
        for (u32 i = 0; i < 64; ++i)
            left[i][k] = LEFT == HELD ? held_number(all, i, k) : number_of(all[0].a, LEFT == TRANSPOSED, i, k);
        for (u32 j = 0; j < N; ++j) right[k][j] = number_of(all[0].b, B_TRANSPOSED, j, k);
    }
    for (u32 row = 0; row < 64; ++row) {
        // Sixteen rows for each warp; a thread has two of them, and of these pairs of columns.
        GroupProduct* const quad = all + row / 16 * 32 + row % 8 * 4;
        const u32 half = row % 16 / 8 * 2;
        float sums[N];
        for (u32 j = 0; j < N; ++j) sums[j] = KEEP ? quad[j % 8 / 2].sums[j / 8 * 4 + half + j % 2] : 0.0f;
        for (u32 k = 0; k < 16; ++k)
            for (u32 j = 0; j < N; ++j) sums[j] += left[row][k] * right[k][j];
        for (u32 j = 0; j < N; ++j) quad[j % 8 / 2].sums[j / 8 * 4 + half + j % 2] = sums[j];
    }
}

}  // namespace emulator

EMULATOR_QUIET static inline void mbarrier_init(u64* barrier, u32 count) {
    emulator::Phase it = {};
    it.count = it.missing = count;
    __builtin_memcpy(barrier, &it, 8);
}
static inline void fence_mbarrier_init() {}
// Zeros are written as copies of nothing: without the fence they come when the thread ends.
static inline void zero_16_bytes(void* to) { emulator_copy_async(to, to, 16, 0); }
static inline void fence_proxy_async() {
    emulator_copy_commit();
    emulator_copy_wait(0);
}
EMULATOR_QUIET static inline void mbarrier_arrive(u64* barrier) {
    emulator_release(barrier);
    emulator::phase(barrier)->missing -= 1;
    emulator::end_if_complete(barrier);
}
EMULATOR_QUIET static inline void mbarrier_expect_tx(u64* barrier, u32 bytes) {
    emulator::phase(barrier)->bytes += bytes;
    mbarrier_arrive(barrier);
}
#if defined(WAIT_LIMIT_NS)
// Time is over where nothing can go on. Then the thread notes where it waits, as on a device.
extern "C" { u32* wait_note; }
EMULATOR_QUIET static inline void mbarrier_wait(u64* barrier, u32 parity, u32 line = __builtin_LINE()) {
    while (emulator::phase(barrier)->parity == parity) {
        if (emulator_sleep_or_give_up(barrier)) continue;
        if (atomicCAS(wait_note, 0u, line) == 0u) {
            const size_t at = size_t(reinterpret_cast<unsigned char*>(barrier) - emulator_shared);
            wait_note[1] = blockIdx.x, wait_note[2] = blockIdx.y, wait_note[3] = threadIdx.x;
            wait_note[4] = u32(at), wait_note[5] = parity;
        }
        emulator_fail("trap");
    }
    emulator_acquire(barrier);
}
#else
EMULATOR_QUIET static inline void mbarrier_wait(u64* barrier, u32 parity, u32 = 0) {
    while (emulator::phase(barrier)->parity == parity) emulator_sleep(barrier);
    emulator_acquire(barrier);
}
#endif
static inline void tma_load(void* to, const TensorMap* map, u32 x, u32 y, u64* barrier) {
    if (size_t(to) % 1024 != 0) emulator_fail("a box that is copied to no multiple of 1,024");
    emulator::Box it = {to, {}, x, y, barrier};
    __builtin_memcpy(&it.map, map, sizeof it.map);
    emulator_later(emulator::bring, &it, sizeof it);
}
static inline u64 smem_descriptor(const void* at, u32 other) {
    const size_t offset = size_t(static_cast<const unsigned char*>(at) - emulator_shared);
    return u64((offset & 0x3ffffu) >> 4) | u64(other >> 4) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}
static inline void wgmma_fence() {}
template <u32 N>
static inline void keep_in_registers(float (&)[N]) {}
static inline void wgmma_commit() { emulator_group_commit(); }
template <int LEFT>
static inline void wgmma_wait() { emulator_group_wait(LEFT); }
template <int N>
static inline void setmaxnreg_dec() {}
template <int N>
static inline void setmaxnreg_inc() {}
template <int A_TRANSPOSED, int B_TRANSPOSED, int KEEP = 1, u32 NUMBERS>
static inline void wgmma(float (&sums)[NUMBERS], u64 a, u64 b) {
    constexpr emulator::Left left = A_TRANSPOSED ? emulator::TRANSPOSED : emulator::STRAIGHT;
    emulator_group_multiply({sums, a, b, {}}, emulator::multiply_all<NUMBERS * 2, left, B_TRANSPOSED, KEEP>);
}
template <int B_TRANSPOSED, u32 NUMBERS>
static inline void wgmma_rs(float (&sums)[NUMBERS], const u32 (&a)[4], u64 b) {
    emulator_group_multiply({sums, 0, b, {a[0], a[1], a[2], a[3]}},
                            emulator::multiply_all<NUMBERS * 2, emulator::HELD, B_TRANSPOSED, true>);
}
