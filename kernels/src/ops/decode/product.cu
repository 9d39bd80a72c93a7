// decode: products of few rows by tensor cores, weights as the left operand. Contract: mod.rs. A block of
// threads has 64 features, up to TILE_ROWS rows and one part of the sum; a number of a part is a chain of `mma`
// steps over its range in rising order, begun at zero. Neither TILE_ROWS nor the number of rows can be seen in it.
//
// Strides are multiples of eight numbers and operands begin at multiples of 16 bytes.
#include "tiles.cuh"

constexpr u32 FEATURES = 64;                   // mod.rs: FEATURES; 16 for each warp
constexpr u32 THREADS = 128;                   // cuda.rs: THREADS
constexpr u32 STEP = 64;                       // mod.rs: STEP
constexpr u32 STAGES = 4;                      // cuda.rs: STAGES
constexpr u32 CHUNKS = STEP / CHUNK;
constexpr u32 LINES = TILE_ROWS < 16 ? 16 : TILE_ROWS;         // of rows in shared memory: loads take sixteen at once
constexpr u32 A_LENGTH = FEATURES * STEP, LENGTH = A_LENGTH + LINES * STEP;

static_assert(TILE_ROWS % 8 == 0 && (TILE_ROWS == 8 || TILE_ROWS % 16 == 0), "rows of a tile");

extern "C" __global__ void __launch_bounds__(THREADS)
product(const bf16* __restrict__ w,  // [features, depth]
        const bf16* __restrict__ x,  // [rows, depth]
        float* __restrict__ parts,   // [parts, rows, features]
        size_t features, size_t rows, size_t depth, size_t w_stride, size_t x_stride,
        size_t each) {  // of the sum, for a part
    SHARED(memory);
    bf16* const stages = reinterpret_cast<bf16*>(memory);  // [STAGES][FEATURES + LINES][STEP]
    const size_t n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t first_feature = blockIdx.x / n_tiles * FEATURES, first_row = blockIdx.x % n_tiles * TILE_ROWS;
    const size_t start = blockIdx.y * each, end = start + each < depth ? start + each : depth;
    const Source of_w = {w, w_stride, features, end}, of_x = {x, x_stride, rows, end};  // the part ends there
    const auto fetch = [&](u32 stage, size_t step) {
        if (step >= end) return;
        load<FEATURES, STEP, THREADS>(stages + stage * LENGTH, of_w, first_feature, step);
        load<TILE_ROWS, STEP, THREADS>(stages + stage * LENGTH + A_LENGTH, of_x, first_row, step);
    };
    begin_stages<STAGES, STEP>(start, fetch);
    float sums[TILE_ROWS / 8][4];
#pragma unroll
    for (u32 j = 0; j < TILE_ROWS / 8; ++j)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) sums[j][n] = 0.0f;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 line = lane % 8, second = lane / 8 % 2, third = lane / 16;
    use_stages<STAGES, STEP>(start, end, fetch, [&](u32 stage) {
        const bf16* const left = stages + stage * LENGTH;
        const bf16* const right = left + A_LENGTH;
#pragma unroll
        for (u32 chunk = 0; chunk < CHUNKS; chunk += 2) {
            u32 a[4];
            load_matrices(a, left + place<STEP>(warp * 16 + line + second * 8, chunk + third));
#pragma unroll
            for (u32 j = 0; j < TILE_ROWS / 8; j += 2) {
                u32 b[4];
                load_matrices(b, right + place<STEP>(j * 8 + line + third * 8, chunk + second));
                const u32 low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
                multiply(sums[j], a, low);
                if (TILE_ROWS > 8) multiply(sums[TILE_ROWS > 8 ? j + 1 : j], a, high);
            }
        }
    });
    float* const to = parts + blockIdx.y * rows * features;
    // Numbers 0 and 1 of a thread's four are of one feature and two rows, 2 and 3 eight features on.
#pragma unroll
    for (u32 j = 0; j < TILE_ROWS / 8; ++j)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) {
            const size_t feature = first_feature + warp * 16 + lane / 4 + n / 2 * 8;
            const size_t row = first_row + j * 8 + lane % 4 * 2 + n % 2;
            if (feature < features && row < rows) to[row * features + feature] = sums[j][n];
        }
}
