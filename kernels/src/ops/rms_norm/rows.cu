// rms_norm of bf16 with a block of threads for each row, and the row in registers. Contract: mod.rs, but for
// the sums over a row: those of a thread's own numbers, then a tree over its warp, then the warps in order.
// The gain's gradient is summed over ROWS rows at a time, and these sums are added in order.
//
// G is the type of the gain. A thread has CHUNKS times eight numbers of a row; widths are multiples of eight.
#include "ptx.cuh"
#include "several.cuh"

constexpr u32 THREADS = 256;  // rows.rs: THREADS
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 EACH = 8;       // numbers of a copy: 16 bytes
constexpr u32 ROWS = 16;      // rows.rs: ROWS
constexpr u32 COLUMNS = 32;   // rows.rs: COLUMNS; of the gain's gradient, for each block

typedef Several<EACH> Eight;

// The sum over the block, for all of its threads. `parts` is of one call alone.
__device__ __forceinline__ float block_sum(float sum, float* parts) {
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL, sum, half);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = sum;
    __syncthreads();
    float total = parts[0];
#pragma unroll
    for (u32 i = 1; i < WARPS; ++i) total += parts[i];
    return total;
}

// Where a thread's n-th eight numbers of a row begin.
__device__ __forceinline__ size_t place(u32 n) { return (size_t(n) * THREADS + threadIdx.x) * EACH; }

extern "C" __global__ void __launch_bounds__(THREADS)
forward(const bf16* __restrict__ x,  // [rows, width]
        const G* __restrict__ gain,  // [width]
        bf16* __restrict__ out,      // [rows, width]
        float* __restrict__ scale,   // [rows]
        size_t width, float eps) {
    SHARED(memory);
    float* const parts = reinterpret_cast<float*>(memory);  // [WARPS]
    const size_t start = size_t(blockIdx.x) * width;
    Eight row[CHUNKS];
    float square = 0.0f;
#pragma unroll
    for (u32 n = 0; n < CHUNKS; ++n) {
        if (place(n) >= width) break;
        row[n] = read<EACH>(x + start + place(n));
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) square = fmaf(row[n].at[i], row[n].at[i], square);
    }
    const float by = 1.0f / sqrtf(block_sum(square, parts) / float(width) + eps);
#pragma unroll
    for (u32 n = 0; n < CHUNKS; ++n) {
        if (place(n) >= width) break;
        const Eight gains = read<EACH>(gain + place(n));
        Eight result;
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) result.at[i] = to_f32(round_to<bf16>(row[n].at[i] * by)) * gains.at[i];
        write(out + start + place(n), result);
    }
    if (threadIdx.x == 0) scale[blockIdx.x] = by;
}

// A block goes down ROWS rows; with GAIN it leaves the sums of the gain's gradient over them.
extern "C" __global__ void __launch_bounds__(THREADS)
backward(const bf16* __restrict__ d_out,   // [rows, width]
         const bf16* __restrict__ x,       // [rows, width]
         const G* __restrict__ gain,       // [width]
         const float* __restrict__ scale,  // [rows]
         bf16* __restrict__ d_x,           // [rows, width]
         float* __restrict__ sums,         // [blocks, width], with GAIN
         size_t rows, size_t width) {
    SHARED(memory);
    float* const parts = reinterpret_cast<float*>(memory);  // [2][WARPS]
    const size_t first = size_t(blockIdx.x) * ROWS, end = first + ROWS < rows ? first + ROWS : rows;
    Eight gains[CHUNKS], d_gain[CHUNKS];
#pragma unroll
    for (u32 n = 0; n < CHUNKS; ++n) {
        if (place(n) >= width) break;
        gains[n] = read<EACH>(gain + place(n));
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) d_gain[n].at[i] = 0.0f;
    }
    for (size_t at = first; at < end; ++at) {
        const size_t start = at * width;
        const float by = scale[at];
        Eight d[CHUNKS], row[CHUNKS];
        float dot = 0.0f;
#pragma unroll
        for (u32 n = 0; n < CHUNKS; ++n) {
            if (place(n) >= width) break;
            d[n] = read<EACH>(d_out + start + place(n));
            row[n] = read<EACH>(x + start + place(n));
#pragma unroll
            for (u32 i = 0; i < EACH; ++i) {
                if (GAIN) d_gain[n].at[i] = fmaf(d[n].at[i], row[n].at[i] * by, d_gain[n].at[i]);
                d[n].at[i] *= gains[n].at[i];
                dot = fmaf(d[n].at[i], row[n].at[i], dot);
            }
        }
        // Who still reads the parts of the row before this one writes others.
        const float back = block_sum(dot, parts + at % 2 * WARPS) * by * by * by / float(width);
#pragma unroll
        for (u32 n = 0; n < CHUNKS; ++n) {
            if (place(n) >= width) break;
            Eight sum = read<EACH>(d_x + start + place(n));
#pragma unroll
            for (u32 i = 0; i < EACH; ++i) sum.at[i] += d[n].at[i] * by - row[n].at[i] * back;
            write(d_x + start + place(n), sum);
        }
    }
#if GAIN
#pragma unroll
    for (u32 n = 0; n < CHUNKS; ++n) {
        if (place(n) >= width) break;
        float4* const to = reinterpret_cast<float4*>(sums + size_t(blockIdx.x) * width + place(n));
        const float* const from = d_gain[n].at;
        to[0] = {from[0], from[1], from[2], from[3]};
        to[1] = {from[4], from[5], from[6], from[7]};
    }
#endif
}

// d_gain += the blocks' sums: for each column eight threads take every eighth of them, and one adds the eight.
extern "C" __global__ void __launch_bounds__(THREADS)
add_sums(const float* __restrict__ sums, float* __restrict__ d_gain, size_t blocks, size_t width) {
    SHARED(memory);
    float(*const parts)[COLUMNS] = reinterpret_cast<float(*)[COLUMNS]>(memory);  // [THREADS / COLUMNS][COLUMNS]
    const u32 part = threadIdx.x / COLUMNS, own = threadIdx.x % COLUMNS;
    const size_t column = size_t(blockIdx.x) * COLUMNS + own;
    float sum = 0.0f;
    if (column < width)
#pragma unroll 8
        for (size_t i = part; i < blocks; i += THREADS / COLUMNS) sum += sums[i * width + column];
    parts[part][own] = sum;
    __syncthreads();
    if (part != 0 || column >= width) return;
    float total = d_gain[column];
#pragma unroll
    for (u32 i = 0; i < THREADS / COLUMNS; ++i) total += parts[i][own];
    d_gain[column] = total;
}
