// cross_entropy: a block of threads for each row of logits. Contract: mod.rs. E is the type of hidden
// states, G that of the gradients of logits.
#include "ptx.cuh"

constexpr u32 THREADS = 256;  // cuda.rs: THREADS

__device__ __forceinline__ float greatest_of(const float* logits, size_t n, float* parts) {
    float most = minus_infinity();
    for (size_t i = threadIdx.x; i < n; i += THREADS) most = greater(most, logits[i]);
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2) most = greater(most, __shfl_xor_sync(ALL, most, half));
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = most;
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < THREADS / WARP; ++i) most = greater(most, parts[i]);
    return most;
}

// The loss of a row, and with BACK the gradients of its logits, which may lie where the logits do. The
// logits are of no use afterwards.
extern "C" __global__ void __launch_bounds__(THREADS)
loss(float* all,                         // [rows, vocabulary]
     G* gradients,                       // [rows, vocabulary]
     const u32* __restrict__ targets,    // [all rows]
     const u32* __restrict__ counted,    // [rows]: which of all rows they are
     float* __restrict__ nll,            // [all rows]
     size_t vocabulary, float scale) {
    SHARED(memory);
    float* const parts = reinterpret_cast<float*>(memory);  // [THREADS / WARP + 1]
    float* const logits = all + size_t(blockIdx.x) * vocabulary;
    const u32 row = counted[blockIdx.x], target = targets[row];
    const float most = greatest_of(logits, vocabulary, parts);
    const float at_target = logits[target];
    __syncthreads();
    for (size_t i = threadIdx.x; i < vocabulary; i += THREADS) logits[i] = exponential(logits[i] - most);
    __syncthreads();
    if (threadIdx.x < WARP) {
        float sum = 0.0f;
        for (size_t i = threadIdx.x % LANES; i < vocabulary; i += LANES) sum += logits[i];
        sum = tree(sum);
        if (threadIdx.x == 0) {
            parts[THREADS / WARP] = sum;
            nll[row] = float(logarithm(double(sum)) + double(most) - double(at_target));
        }
    }
#if BACK
    __syncthreads();
    const float factor = scale / parts[THREADS / WARP];
    for (size_t i = threadIdx.x; i < vocabulary; i += THREADS) {
        const float share = logits[i] * factor;
        gradients[size_t(blockIdx.x) * vocabulary + i] = near<G>(i == target ? share - scale : share);
    }
#endif
}

// Rows that count, brought together.
extern "C" __global__ void __launch_bounds__(THREADS)
gather(const E* __restrict__ all, const u32* __restrict__ counted, E* __restrict__ some, size_t width) {
    for (size_t i = threadIdx.x; i < width; i += THREADS)
        some[blockIdx.x * width + i] = all[counted[blockIdx.x] * width + i];
}

// And put back.
extern "C" __global__ void __launch_bounds__(THREADS)
scatter(const float* __restrict__ some, const u32* __restrict__ counted, E* __restrict__ all, size_t width) {
    for (size_t i = threadIdx.x; i < width; i += THREADS)
        all[counted[blockIdx.x] * width + i] = near<E>(some[blockIdx.x * width + i]);
}
