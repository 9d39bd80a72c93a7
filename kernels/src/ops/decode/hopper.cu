// decode: products of few rows by Hopper's warpgroup, weights as the left operand. Contract: mod.rs. A block
// of threads has 64 features, up to TILE_ROWS rows and one part of the sum: one warp has boxes of both operands
// copied to shared memory, stage after stage, the other four multiply. A number of a part is a chain of
// `wgmma` steps over its range in rising order, begun at zero. TILE_ROWS cannot be seen in it.
#include "stages.cuh"

constexpr u32 FEATURES = 64;                           // mod.rs: FEATURES
constexpr u32 STEP = 64;                               // mod.rs: STEP; 128 bytes
constexpr u32 A_BYTES = FEATURES * LINE, B_BYTES = TILE_ROWS * LINE, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr u32 NUMBERS = TILE_ROWS / 2;                 // of a thread

extern "C" __global__ void __launch_bounds__(160)
product(const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap x,
        float* __restrict__ parts,  // [parts, rows, features]
        size_t features, size_t rows, size_t depth, size_t each) {
    SHARED(memory);
    const Stages<STAGES, STAGE_BYTES> stages(memory, reinterpret_cast<u64*>(memory + STAGES * STAGE_BYTES), 1, 1);
    const size_t n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const u32 first_feature = u32(blockIdx.x / n_tiles) * FEATURES, first_row = u32(blockIdx.x % n_tiles) * TILE_ROWS;
    const size_t start = blockIdx.y * each, end = start + each < depth ? start + each : depth;
    const u32 n_steps = u32((end - start + STEP - 1) / STEP);
    if (threadIdx.x >= 128) {
        if (threadIdx.x != 128) return;
        for (u32 n = 0; n < n_steps; ++n) {
            stages.wait_empty(n);
            u64* const full = stages.full(n);
            mbarrier_expect_tx(full, STAGE_BYTES);
            tma_load(stages.at(n), &w, u32(start) + n * STEP, first_feature, full);
            tma_load(stages.at(n) + A_BYTES, &x, u32(start) + n * STEP, first_row, full);
        }
        return;
    }
    float sums[NUMBERS];
#pragma unroll
    for (u32 i = 0; i < NUMBERS; ++i) sums[i] = 0.0f;
    add_stages<false, false>(sums, stages, n_steps, 0, A_BYTES);
    const u32 lane = threadIdx.x % WARP;
    float* const to = parts + blockIdx.y * rows * features;
    // Of four numbers two are of one feature and two rows, and two eight features on; the next four are
    // eight rows on.
#pragma unroll
    for (u32 i = 0; i < NUMBERS; ++i) {
        const size_t feature = first_feature + threadIdx.x / WARP * 16 + lane / 4 + i % 4 / 2 * 8;
        const size_t row = first_row + i / 4 * 8 + lane % 4 * 2 + i % 2;
        if (feature < features && row < rows) to[row * features + feature] = sums[i];
    }
}
