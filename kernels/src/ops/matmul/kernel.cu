// matmul: tiles of 64 by 64, every element one chain of fused multiply-adds. Contract: mod.rs. The path
// for all types; products of bf16 take tensor.cu. A, B and C are the types, FORM is 0 for `x wᵀ`, 1 for
// `dy w` and 2 for `dyᵀ x`.
#include "ptx.cuh"

constexpr u32 TILE = 64;      // cuda.rs: TILE
constexpr u32 STEPS = 16;     // of the sum, at a time
constexpr u32 THREADS = 256;  // cuda.rs: THREADS
constexpr u32 EACH = 4;       // rows, and columns, of a thread
constexpr u32 ROW = TILE + 4;  // of shared memory, padded

struct Shape {
    size_t rows, columns, depth;
    size_t a_stride, b_stride, c_stride;
};

__device__ __forceinline__ float left(const A* a, const Shape& it, size_t row, size_t step) {
    if (row >= it.rows || step >= it.depth) return 0.0f;
    return to_f32(FORM == 2 ? a[step * it.a_stride + row] : a[row * it.a_stride + step]);
}

__device__ __forceinline__ float right(const B* b, const Shape& it, size_t step, size_t column) {
    if (column >= it.columns || step >= it.depth) return 0.0f;
    return to_f32(FORM == 0 ? b[column * it.b_stride + step] : b[step * it.b_stride + column]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
matmul(const A* __restrict__ a, const B* __restrict__ b, C* __restrict__ c, size_t rows, size_t columns,
       size_t depth, size_t a_stride, size_t b_stride, size_t c_stride, u32 add) {
    const Shape shape = {rows, columns, depth, a_stride, b_stride, c_stride};
    SHARED(memory);
    float(*const lefts)[ROW] = reinterpret_cast<float(*)[ROW]>(memory);  // [STEPS][ROW]
    float(*const rights)[ROW] = lefts + STEPS;                           // [STEPS][ROW]
    const size_t first_row = size_t(blockIdx.y) * TILE, first_column = size_t(blockIdx.x) * TILE;
    const u32 row = threadIdx.x / (TILE / EACH) * EACH, column = threadIdx.x % (TILE / EACH) * EACH;
    float sums[EACH][EACH];
#pragma unroll
    for (u32 i = 0; i < EACH; ++i)
#pragma unroll
        for (u32 j = 0; j < EACH; ++j) {
            const size_t at_row = first_row + row + i, at_column = first_column + column + j;
            const bool here = add && at_row < rows && at_column < columns;
            sums[i][j] = here ? to_f32(c[at_row * c_stride + at_column]) : 0.0f;
        }
    for (size_t step = 0; step < depth; step += STEPS) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < TILE * STEPS; i += THREADS) {
            // Neighbours read neighbours, along whichever index is contiguous.
            const u32 along = FORM == 2 ? i % TILE : i / STEPS, by = FORM == 2 ? i / TILE : i % STEPS;
            lefts[by][along] = left(a, shape, first_row + along, step + by);
            const u32 beside = FORM == 0 ? i / STEPS : i % TILE, down = FORM == 0 ? i % STEPS : i / TILE;
            rights[down][beside] = right(b, shape, step + down, first_column + beside);
        }
        __syncthreads();
        const u32 n = depth - step < STEPS ? u32(depth - step) : STEPS;
        for (u32 s = 0; s < n; ++s) {
            float l[EACH], r[EACH];
#pragma unroll
            for (u32 i = 0; i < EACH; ++i) l[i] = lefts[s][row + i];
#pragma unroll
            for (u32 j = 0; j < EACH; ++j) r[j] = rights[s][column + j];
#pragma unroll
            for (u32 i = 0; i < EACH; ++i)
#pragma unroll
                for (u32 j = 0; j < EACH; ++j) sums[i][j] = fmaf(l[i], r[j], sums[i][j]);
        }
    }
#pragma unroll
    for (u32 i = 0; i < EACH; ++i)
#pragma unroll
        for (u32 j = 0; j < EACH; ++j) {
            const size_t at_row = first_row + row + i, at_column = first_column + column + j;
            if (at_row < rows && at_column < columns) c[at_row * c_stride + at_column] = round_to<C>(sums[i][j]);
        }
}
