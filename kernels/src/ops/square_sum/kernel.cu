// square_sum: eight threads for each block of 4,096 numbers, one for each lane. Contract: mod.rs. E is
// the type. The blocks' sums are added in order by the
// host, or on the device.
#include "ptx.cuh"

constexpr u32 BLOCK = 4096;   // cpu.rs: BLOCK
constexpr u32 SQUARES = 8;    // cpu.rs: LANES

extern "C" __global__ void __launch_bounds__(256)
square_sum(const E* __restrict__ x, double* __restrict__ sums, size_t n) {
    const size_t block = thread_number() / SQUARES;
    const u32 lane = threadIdx.x % SQUARES;
    const size_t start = block * BLOCK, end = start + BLOCK < n ? start + BLOCK : n;
    double sum = 0.0;
    for (size_t i = start + lane; i < end; i += SQUARES) {
        const double it = double(to_f32(x[i]));
        sum = fma(it, it, sum);
    }
#pragma unroll
    for (int half = SQUARES / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL, sum, half);
    if (lane == 0 && start < n) sums[block] = sum;
}

// The sum of the blocks' sums by one block of threads, where it need not be the processor's: those of a
// thread, then a tree over its warp, then the warps in order.
constexpr u32 THREADS = 1024;  // cuda.rs: ADDERS

extern "C" __global__ void __launch_bounds__(THREADS)
add_sums(const double* __restrict__ sums, double* __restrict__ total, size_t n) {
    SHARED(memory);
    double* const parts = reinterpret_cast<double*>(memory);  // [THREADS / WARP]
    double sum = 0.0;
#pragma unroll 8
    for (size_t i = threadIdx.x; i < n; i += THREADS) sum += sums[i];
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL, sum, half);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0.0;
    for (u32 i = 0; i < THREADS / WARP; ++i) sum += parts[i];
    *total = sum;
}
