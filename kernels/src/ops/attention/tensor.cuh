// What attention's kernels for tensor cores share. DIM is the width of a head, a multiple of 16.
//
// Rows of queries are packed: row r of a tile is token r / group and query head r % group of those that
// share a head of keys.
#pragma once

#include "tiles.cuh"

constexpr u32 THREADS = 128;  // cuda.rs: TENSOR_THREADS
constexpr u32 CHUNKS = DIM / CHUNK;
constexpr u32 LENGTH = (DIM + 63) / 64 * 64;  // of a line of shared memory; cuda.rs: `line`
constexpr u32 D = DIM / 8;                    // instructions over a head

static_assert(DIM % 16 == 0, "a head");

__device__ __forceinline__ u32 place(u32 line, u32 chunk) { return place<LENGTH>(line, chunk); }

// Copies lines of DIM numbers; `at` says where a line lies, null where it is not there: it becomes zero.
template <u32 LINES, class At>
__device__ __forceinline__ void load_lines(bf16* to, const bf16* somewhere, const At& at) {
    for (u32 i = threadIdx.x; i < LINES * CHUNKS; i += THREADS) {
        const u32 line = i / CHUNKS, chunk = i % CHUNKS;
        const bf16* const from = at(line);
        copy_async(to + place(line, chunk), from ? from + chunk * CHUNK : somewhere, from ? 16 : 0);
    }
}

// What of a matrix's address a thread brings: its line, and which of the matrices beside and below.
struct Corner { u32 line, second, third; };

__device__ __forceinline__ Corner corner() {
    const u32 lane = threadIdx.x % WARP;
    return {lane % 8, lane / 8 % 2, lane / 16};
}

// sums[16, 8 N] = left[16, DIM] right[8 N, DIM]ᵀ; the left lines begin at `row`.
template <u32 N>
__device__ __forceinline__ void products(float (&sums)[N][4], const bf16* left, u32 row, const bf16* right) {
    const Corner it = corner();
#pragma unroll
    for (u32 j = 0; j < N; ++j)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) sums[j][n] = 0.0f;
#pragma unroll
    for (u32 d = 0; d < CHUNKS; d += 2) {
        u32 lines[4];
        load_matrices(lines, left + place(row + it.line + it.second * 8, d + it.third));
#pragma unroll
        for (u32 j = 0; j < N; j += 2) {
            u32 columns[4];
            load_matrices(columns, right + place(j * 8 + it.line + it.third * 8, d + it.second));
            const u32 low[2] = {columns[0], columns[1]}, high[2] = {columns[2], columns[3]};
            multiply(sums[j], lines, low);
            multiply(sums[j + 1], lines, high);
        }
    }
}

// sums[16, DIM] += weights[16, 8 N] lines[8 N, DIM]; weights are rounded to bf16.
template <u32 N>
__device__ __forceinline__ void add_weighed(float (&sums)[D][4], const float (&weights)[N][4], const bf16* lines) {
    const Corner it = corner();
#pragma unroll
    for (u32 j = 0; j < N; j += 2) {
        const u32 left[4] = {pack(weights[j][0], weights[j][1]), pack(weights[j][2], weights[j][3]),
                             pack(weights[j + 1][0], weights[j + 1][1]), pack(weights[j + 1][2], weights[j + 1][3])};
#pragma unroll
        for (u32 d = 0; d < D; d += 2) {
            u32 right[4];
            load_matrices_transposed(right, lines + place(j * 8 + it.line + it.second * 8, d + it.third));
            const u32 low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
            multiply(sums[d], left, low);
            multiply(sums[d + 1], left, high);
        }
    }
}

__device__ __forceinline__ void clear(float (&sums)[D][4]) {
#pragma unroll
    for (u32 d = 0; d < D; ++d)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) sums[d][n] = 0.0f;
}

// Writes one of a thread's two rows of sums: DIM numbers from `to` on, its own of them.
__device__ __forceinline__ void write_row(bf16* to, const float (&sums)[D][4], u32 half, float over) {
    u32* const at = reinterpret_cast<u32*>(to + threadIdx.x % 4 * 2);
#pragma unroll
    for (u32 d = 0; d < D; ++d) at[d * 4] = pack(sums[d][2 * half] / over, sums[d][2 * half + 1] / over);
}
