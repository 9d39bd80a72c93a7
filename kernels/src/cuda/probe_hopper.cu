// The forms of `wgmma` that products of matrices do not use: attention's. What they do to whole numbers is
// compared with the definition.
#include "hopper.cuh"

constexpr u32 BOX_BYTES = 64 * 128;

// What a thread of a warpgroup holds of a[64, 64].
__device__ __forceinline__ void hold(u32 (&left)[4][4], const bf16* a) {
    const u32 row = threadIdx.x % 128 / WARP * 16 + threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
    const u32* const words = reinterpret_cast<const u32*>(a);  // [64, 32]
#pragma unroll
    for (u32 i = 0; i < 16; ++i) left[i / 4][i % 4] = words[(row + i % 2 * 8) * 32 + (i / 4 * 16 + i % 4 / 2 * 8 + pair) / 2];
}

// Writes the sums [64, 2 N] of a warpgroup.
template <u32 N>
__device__ __forceinline__ void write_sums(float* to, const float (&sums)[N]) {
    const u32 row = threadIdx.x % 128 / WARP * 16 + threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < N; ++i) to[(row + i % 4 / 2 * 8) * 2 * N + i / 4 * 8 + pair + i % 2] = sums[i];
}

// straight[64, 2 N] = a[64, 64] b[2 N, 64]ᵀ with `a` in shared memory, held[64, 2 N] the same with `a` in
// registers, transposed[64, 2 N] = a[64, 64] c[64, 2 N].
template <u32 N>
__device__ __forceinline__ void forms(const bf16* a, const unsigned char* boxes, float* straight, float* held, float* transposed) {
    constexpr u32 LINES = N / 32;  // boxes of 64 lines, or of 64 columns
    const unsigned char* const right = boxes + BOX_BYTES;
    const unsigned char* const lines = right + 2 * BOX_BYTES;
    float sums[N];
    u32 left[4][4];
    hold(left, a);
    const auto finish = [&](float* to) {
        wgmma_commit();
        wgmma_wait<0>();
        keep_in_registers(sums);
        write_sums(to, sums);
#pragma unroll
        for (u32 i = 0; i < N; ++i) sums[i] = 0.0f;
        keep_in_registers(sums);
        wgmma_fence();
    };
    wgmma_fence();
    wgmma<0, 0, 0>(sums, smem_descriptor(boxes, 0), smem_descriptor(right, 0));
#pragma unroll
    for (u32 k = 16; k < 64; k += 16) wgmma<0, 0>(sums, smem_descriptor(boxes + k * 2, 0), smem_descriptor(right + k * 2, 0));
    finish(straight);
#pragma unroll
    for (u32 k = 0; k < 64; k += 16) wgmma_rs<0>(sums, left[k / 16], smem_descriptor(right + k * 2, 0));
    finish(held);
#pragma unroll
    for (u32 k = 0; k < 64; k += 16)
        wgmma_rs<1>(sums, left[k / 16], smem_descriptor(lines + k * 128, LINES > 1 ? BOX_BYTES : 0));
    finish(transposed);
}

extern "C" __global__ void __launch_bounds__(128)
groups(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
       const __grid_constant__ TensorMap c_map, const bf16* __restrict__ a, float* __restrict__ out) {
    SHARED(memory);
    u64* const here = reinterpret_cast<u64*>(memory + 5 * BOX_BYTES);
    if (threadIdx.x == 0) {
        mbarrier_init(here, 1);
        fence_mbarrier_init();
        mbarrier_expect_tx(here, 5 * BOX_BYTES);
        tma_load(memory, &a_map, 0, 0, here);
        for (u32 i = 0; i < 2; ++i) tma_load(memory + (1 + i) * BOX_BYTES, &b_map, 0, i * 64, here);
        for (u32 i = 0; i < 2; ++i) tma_load(memory + (3 + i) * BOX_BYTES, &c_map, i * 64, 0, here);
    }
    __syncthreads();
    mbarrier_wait(here, 0);
    constexpr u32 WIDE = 64 * 128, NARROW = 64 * 64;
    forms<64>(a, memory, out, out + WIDE, out + 2 * WIDE);
    forms<32>(a, memory, out + 3 * WIDE, out + 3 * WIDE + NARROW, out + 3 * WIDE + 2 * NARROW);
}

// out[2, 64, 64] = a[64, 64] c[64, 64] by each of two warpgroups, with `c` in boxes of 32 lines, of which they
// clear those from `used` on together.
extern "C" __global__ void __launch_bounds__(256)
pages(const __grid_constant__ TensorMap c_map, const bf16* __restrict__ a, float* __restrict__ out, u32 used) {
    SHARED(memory);
    u64* const here = reinterpret_cast<u64*>(memory + BOX_BYTES);
    if (threadIdx.x == 0) {
        mbarrier_init(here, 1);
        fence_mbarrier_init();
        mbarrier_expect_tx(here, BOX_BYTES);
        for (u32 i = 0; i < 2; ++i) tma_load(memory + i * BOX_BYTES / 2, &c_map, 0, i * 32, here);
    }
    __syncthreads();
    mbarrier_wait(here, 0);
    for (u32 chunk = used * 8 + threadIdx.x; chunk < 64 * 8; chunk += 256) zero_16_bytes(memory + chunk * 16);
    fence_proxy_async();
    threads_wait<1, 256>();
    u32 left[4][4];
    float sums[32];
    hold(left, a);
#pragma unroll
    for (u32 i = 0; i < 32; ++i) sums[i] = 0.0f;
    keep_in_registers(sums);
    wgmma_fence();
#pragma unroll
    for (u32 k = 0; k < 64; k += 16) wgmma_rs<1>(sums, left[k / 16], smem_descriptor(memory + k * 128, 0));
    wgmma_commit();
    wgmma_wait<0>();
    keep_in_registers(sums);
    write_sums(out + threadIdx.x / 128 * 64 * 64, sums);
}

// Powers of two.
extern "C" __global__ void __launch_bounds__(128)
powers(const float* __restrict__ x, float* __restrict__ y) { y[threadIdx.x] = power_of_two(x[threadIdx.x]); }
