// cross_entropy: a block of threads for each row of logits. Contract: mod.rs. E is the type of hidden
// states.
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

// The loss of a row, and with BACK the gradients of its logits, which lie where the logits did.
extern "C" __global__ void __launch_bounds__(THREADS)
loss(float* __restrict__ all,            // [rows, vocabulary]
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
        logits[i] = i == target ? share - scale : share;
    }
#endif
}

// The same where sums need not be the processor's: greatest logit and sum come from one pass, of a thread's
// own logits, then a tree over its warp, then the warps in order. Gradients are bf16 and lie where the logits
// do: those of a row fill the first half of it.
struct Running { float most, sum; };

__device__ __forceinline__ Running joined(const Running& a, const Running& b) {
    const float most = fmaxf(a.most, b.most);
    if (most == minus_infinity()) return {most, 0.0f};
    return {most, a.sum * exponential(a.most - most) + b.sum * exponential(b.most - most)};
}

extern "C" __global__ void __launch_bounds__(THREADS)
loss_in_place(float* all,                         // [rows, vocabulary]
              const u32* __restrict__ targets,    // [all rows]
              const u32* __restrict__ counted,    // [rows]
              float* __restrict__ nll,            // [all rows]
              size_t vocabulary, float scale) {
    SHARED(memory);
    Running* const parts = reinterpret_cast<Running*>(memory);  // [THREADS / WARP]
    float* const logits = all + size_t(blockIdx.x) * vocabulary;
    const u32 row = counted[blockIdx.x], target = targets[row];
    const float at_target = logits[target];
    Running own = {minus_infinity(), 0.0f};
#pragma unroll 4
    for (size_t i = threadIdx.x; i < vocabulary; i += THREADS) {
        const float logit = logits[i], most = fmaxf(own.most, logit);
        if (most > own.most) own.sum *= exponential(own.most - most);
        own.sum += exponential(logit - most);
        own.most = most;
    }
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2)
        own = joined(own, {__shfl_xor_sync(ALL, own.most, half), __shfl_xor_sync(ALL, own.sum, half)});
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = own;
    __syncthreads();
    own = parts[0];
#pragma unroll
    for (u32 i = 1; i < THREADS / WARP; ++i) own = joined(own, parts[i]);
    if (threadIdx.x == 0) nll[row] = float(logarithm(double(own.sum)) + double(own.most) - double(at_target));
#if BACK
    bf16* const gradients = reinterpret_cast<bf16*>(logits);
    const float factor = scale / own.sum;
    for (size_t first = 0; first < vocabulary; first += THREADS) {
        const size_t i = first + threadIdx.x;
        const float share = i < vocabulary ? exponential(logits[i] - own.most) * factor : 0.0f;
        // What is overwritten has been read by now.
        __syncthreads();
        if (i < vocabulary) gradients[i] = round_to<bf16>(i == target ? share - scale : share);
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
        all[counted[blockIdx.x] * width + i] = round_to<E>(some[blockIdx.x * width + i]);
}
