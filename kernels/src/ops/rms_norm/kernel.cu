// rms_norm: sixteen threads for each row, one for each lane of the sums. Contract: mod.rs. E is the
// type of rows, G that of the gain.
#include "ptx.cuh"

constexpr u32 THREADS = 128;  // cuda.rs: THREADS

extern "C" __global__ void __launch_bounds__(THREADS)
forward(const E* __restrict__ x,     // [rows, width]
        const G* __restrict__ gain,  // [width]
        E* __restrict__ out,         // [rows, width]
        float* __restrict__ scale,   // [rows]
        size_t rows, size_t width, float eps) {
    const size_t row = thread_number() / LANES;
    const u32 lane = threadIdx.x % LANES;
    const bool here = row < rows;  // all threads of a warp have to come to the tree
    const E* const from = x + row * width;
    float square = 0.0f;
    if (here)
        for (size_t i = lane; i < width; i += LANES) square = fmaf(to_f32(from[i]), to_f32(from[i]), square);
    square = tree(square);
    if (!here) return;
    const float by = 1.0f / sqrtf(square / float(width) + eps);
    for (size_t i = lane; i < width; i += LANES)
        out[row * width + i] = round_to<E>(to_f32(round_to<E>(to_f32(from[i]) * by)) * to_f32(gain[i]));
    if (lane == 0) scale[row] = by;
}

extern "C" __global__ void __launch_bounds__(THREADS)
backward(const E* __restrict__ d_out,      // [rows, width]
         const E* __restrict__ x,          // [rows, width]
         const G* __restrict__ gain,       // [width]
         const float* __restrict__ scale,  // [rows]
         E* __restrict__ d_x,              // [rows, width]
         size_t rows, size_t width) {
    const size_t row = thread_number() / LANES;
    const u32 lane = threadIdx.x % LANES;
    const bool here = row < rows;
    const size_t start = row * width;
    float dot = 0.0f;
    if (here)
        for (size_t i = lane; i < width; i += LANES)
            dot = fmaf(to_f32(d_out[start + i]) * to_f32(gain[i]), to_f32(x[start + i]), dot);
    dot = tree(dot);
    if (!here) return;
    const float by = scale[row];
    const float back = dot * by * by * by / float(width);
    for (size_t i = lane; i < width; i += LANES) {
        const float straight = to_f32(d_out[start + i]) * to_f32(gain[i]) * by;
        const float d = straight - to_f32(x[start + i]) * back;
        d_x[start + i] = round_to<E>(to_f32(d_x[start + i]) + d);
    }
}

// A chain for each column down the rows. All threads of a block make the factors of a tile ready in shared
// memory, and a thread for each column goes on with its chain.
constexpr u32 COLUMNS = 32;  // cuda.rs: COLUMNS
constexpr u32 TILE = 64;     // rows; cuda.rs: TILE

extern "C" __global__ void __launch_bounds__(THREADS)
backward_gain(const E* __restrict__ d_out,      // [rows, width]
              const E* __restrict__ x,          // [rows, width]
              const float* __restrict__ scale,  // [rows]
              float* __restrict__ d_gain,       // [width]
              size_t rows, size_t width) {
    SHARED(memory);
    float2(*const factors)[COLUMNS] = reinterpret_cast<float2(*)[COLUMNS]>(memory);  // [TILE][COLUMNS]
    const u32 own = threadIdx.x % COLUMNS;
    const size_t column = size_t(blockIdx.x) * COLUMNS + own;
    const bool is_chain = threadIdx.x < COLUMNS && column < width;
    float sum = is_chain ? d_gain[column] : 0.0f;
    for (size_t first = 0; first < rows; first += TILE) {
        const size_t end = first + TILE < rows ? first + TILE : rows;
        __syncthreads();
        if (column < width)
#pragma unroll 8
            for (size_t row = first + threadIdx.x / COLUMNS; row < end; row += THREADS / COLUMNS) {
                const size_t at = row * width + column;
                factors[row - first][own] = make_float2(to_f32(d_out[at]), to_f32(x[at]) * scale[row]);
            }
        __syncthreads();
        if (is_chain)
            for (u32 row = 0; row < u32(end - first); ++row)
                sum = fmaf(factors[row][own].x, factors[row][own].y, sum);
    }
    if (is_chain) d_gain[column] = sum;
}
