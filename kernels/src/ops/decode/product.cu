// decode: products of few rows by tensor cores, weights as the left operand. Contract: mod.rs. A block of
// threads has 64 features, up to TILE_ROWS rows and one part of the sum; a number of a part is a chain of `mma`
// steps over its range in rising order, begun at zero. Neither TILE_ROWS nor the number of rows can be seen in it.
//
// Strides are multiples of eight numbers and operands begin at multiples of 16 bytes.
#include "ptx.cuh"

constexpr u32 FEATURES = 64;                   // mod.rs: FEATURES; 16 for each warp
constexpr u32 THREADS = 128;                   // cuda.rs: THREADS
constexpr u32 STEP = 64;                       // mod.rs: STEP
constexpr u32 STAGES = 4;                      // cuda.rs: STAGES
constexpr u32 CHUNK = 8;                       // numbers of a copy: 16 bytes
constexpr u32 CHUNKS = STEP / CHUNK;
constexpr u32 LINES = TILE_ROWS < 16 ? 16 : TILE_ROWS;         // of rows in shared memory: loads take sixteen at once
constexpr u32 A_LENGTH = FEATURES * STEP, LENGTH = A_LENGTH + LINES * STEP;

static_assert(TILE_ROWS % 8 == 0 && (TILE_ROWS == 8 || TILE_ROWS % 16 == 0), "rows of a tile");

// The place of a chunk in its line is changed by the line, so that eight lines' chunks lie in different banks.
__device__ __forceinline__ u32 place(u32 line, u32 chunk) { return line * STEP + (chunk ^ line % 8) * CHUNK; }

struct Source {
    const bf16* at;
    size_t stride, lines, end;  // `end` of the part of the sum
};

// Copies lines that begin at `first`, and steps from `step` on; what is not there becomes zero.
template <u32 COUNT>
__device__ __forceinline__ void load(bf16* to, const Source& from, size_t first, size_t step) {
#pragma unroll
    for (u32 i = threadIdx.x; i < COUNT * CHUNKS; i += THREADS) {
        const u32 line = i / CHUNKS, chunk = i % CHUNKS;
        const size_t at = step + chunk * CHUNK;
        const bool here = first + line < from.lines && at < from.end;
        const size_t left = here ? from.end - at : 0;
        const bf16* const source = here ? from.at + (first + line) * from.stride + at : from.at;
        copy_async(to + place(line, chunk), source, u32(left < CHUNK ? left : CHUNK) * 2);
    }
}

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
    const Source of_w = {w, w_stride, features, end}, of_x = {x, x_stride, rows, end};
    const auto fetch = [&](u32 stage, size_t step) {
        if (step >= end) return;
        load<FEATURES>(stages + stage * LENGTH, of_w, first_feature, step);
        load<TILE_ROWS>(stages + stage * LENGTH + A_LENGTH, of_x, first_row, step);
    };
#pragma unroll
    for (u32 stage = 0; stage < STAGES - 1; ++stage) {
        fetch(stage, start + size_t(stage) * STEP);
        copy_commit();
    }
    float sums[TILE_ROWS / 8][4];
#pragma unroll
    for (u32 j = 0; j < TILE_ROWS / 8; ++j)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) sums[j][n] = 0.0f;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 line = lane % 8, second = lane / 8 % 2, third = lane / 16;
    u32 stage = 0;
    for (size_t step = start; step < end; step += STEP) {
        // The oldest copies are there for this thread, and after the barrier those of all; and nobody
        // reads the stage any more that is overwritten next.
        copy_wait<STAGES - 2>();
        __syncthreads();
        fetch((stage + STAGES - 1) % STAGES, step + (STAGES - 1) * STEP);
        copy_commit();
        const bf16* const left = stages + stage * LENGTH;
        const bf16* const right = left + A_LENGTH;
#pragma unroll
        for (u32 chunk = 0; chunk < CHUNKS; chunk += 2) {
            u32 a[4];
            load_matrices(a, left + place(warp * 16 + line + second * 8, chunk + third));
#pragma unroll
            for (u32 j = 0; j < TILE_ROWS / 8; j += 2) {
                u32 b[4];
                load_matrices(b, right + place(j * 8 + line + third * 8, chunk + second));
                const u32 low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
                multiply(sums[j], a, low);
                if (TILE_ROWS > 8) multiply(sums[TILE_ROWS > 8 ? j + 1 : j], a, high);
            }
        }
        stage = (stage + 1) % STAGES;
    }
    copy_wait<0>();
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
