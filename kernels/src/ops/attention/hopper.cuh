// What attention's kernels for Hopper share. DIM is the width of a head: 64 or 128.
//
// One warpgroup of a block has boxes copied to shared memory, stage after stage; two multiply, 64 rows
// each. A tile of 64 HALVES lines of a head lies there as one piece for every 64 numbers of the lines, each
// of 64 HALVES lines of 128 bytes.
#pragma once

#include "stages.cuh"

constexpr u32 CONSUMERS = 2;                    // hopper.rs: CONSUMERS
constexpr u32 THREADS = 128 * (CONSUMERS + 1);  // hopper.rs: THREADS
constexpr u32 CONSUMER_WARPS = 4 * CONSUMERS;
constexpr u32 PIECES = DIM / 64;
constexpr u32 HALF_BYTES = PIECES * BOX_BYTES;  // of 64 lines of a head
constexpr u32 TILE = 64 * CONSUMERS;            // hopper.rs: TILE

static_assert(DIM % 64 == 0, "a head");

// 64 HALVES lines from `row` on, a head's numbers from `column` on.
template <u32 HALVES>
__device__ __forceinline__ void copy_tile(unsigned char* to, const TensorMap* map, u32 column, u32 row, u64* barrier) {
#pragma unroll
    for (u32 piece = 0; piece < PIECES; ++piece)
#pragma unroll
        for (u32 half = 0; half < HALVES; ++half)
            tma_load(to + (piece * HALVES + half) * BOX_BYTES, map, column + piece * 64, row + half * 64, barrier);
}

// sums[64, 2 N] = left[64, DIM] right[2 N, DIM]ᵀ, begun and not waited for.
template <u32 LEFT_HALVES, u32 RIGHT_HALVES, u32 N>
__device__ __forceinline__ void products(float (&sums)[N], const unsigned char* left, const unsigned char* right) {
    wgmma_fence();
#pragma unroll
    for (u32 d = 0; d < DIM; d += 16) {
        const u64 a = smem_descriptor(left + d / 64 * LEFT_HALVES * BOX_BYTES + d % 64 * 2, 0);
        const u64 b = smem_descriptor(right + d / 64 * RIGHT_HALVES * BOX_BYTES + d % 64 * 2, 0);
        if (d == 0) wgmma<0, 0, 0>(sums, a, b);
        else wgmma<0, 0, 1>(sums, a, b);
    }
    wgmma_commit();
}

// sums[64, DIM] += weights[64, 16 STEPS] lines[16 STEPS, DIM], begun and not waited for.
template <u32 HALVES, u32 STEPS>
__device__ __forceinline__ void add_weighed(float (&sums)[DIM / 2], const u32 (&weights)[STEPS][4], const unsigned char* lines) {
    wgmma_fence();
#pragma unroll
    for (u32 step = 0; step < STEPS; ++step)
        wgmma_rs<1>(sums, weights[step], smem_descriptor(lines + step * 16 * LINE, HALVES * BOX_BYTES));
    wgmma_commit();
}

// Weights as a left operand: rounded to bf16.
template <u32 STEPS>
__device__ __forceinline__ void pack_weights(u32 (&to)[STEPS][4], const float (&from)[STEPS * 8]) {
#pragma unroll
    for (u32 step = 0; step < STEPS; ++step)
#pragma unroll
        for (u32 i = 0; i < 4; ++i) to[step][i] = pack(from[step * 8 + i * 2], from[step * 8 + i * 2 + 1]);
}

__device__ __forceinline__ void clear(float (&sums)[DIM / 2]) {
#pragma unroll
    for (u32 i = 0; i < DIM / 2; ++i) sums[i] = 0.0f;
}

// A warp of a consumer has read what it needs.
__device__ __forceinline__ void give_back(u64* barrier) {
    __syncwarp();
    if (threadIdx.x % WARP == 0) mbarrier_arrive(barrier);
}

// The first of a thread's two rows of 64; the other one is eight below.
__device__ __forceinline__ u32 first_row() { return threadIdx.x % 128 / WARP * 16 + threadIdx.x % WARP / 4; }

// Writes one of a thread's two rows of sums, its own numbers of them, from `to` on.
__device__ __forceinline__ void write_row(bf16* to, const float (&sums)[DIM / 2], u32 half, float by) {
    u32* const at = reinterpret_cast<u32*>(to + threadIdx.x % 4 * 2);
#pragma unroll
    for (u32 d = 0; d < DIM / 8; ++d) at[d * 4] = pack(sums[d * 4 + half * 2] * by, sums[d * 4 + half * 2 + 1] * by);
}
