// A ring of stages in shared memory for Hopper. The producer waits until a stage is no longer read before it loads
// the tiles of step n into it; consumers wait until the tiles have arrived.
#pragma once

#include "hopper.cuh"

constexpr u32 LINE = 128;             // bytes of a line of a box
constexpr u32 BOX_BYTES = 64 * LINE;  // of 64 lines

template <u32 COUNT, u32 BYTES>
struct Stages {
    unsigned char* memory;  // [COUNT][BYTES]
    u64* barriers;          // [2][COUNT]: full, empty

    // `fillers` arrive before a stage is full, `readers` before it is empty. All threads of the block come; they
    // see as well what other barriers the first has made before.
    __device__ __forceinline__ Stages(unsigned char* memory, u64* barriers, u32 fillers, u32 readers)
        : memory(memory), barriers(barriers) {
        if (threadIdx.x == 0) {
            for (u32 n = 0; n < COUNT; ++n) {
                mbarrier_init(full(n), fillers);
                mbarrier_init(empty(n), readers);
            }
            fence_mbarrier_init();
        }
        __syncthreads();
    }

    __device__ __forceinline__ unsigned char* at(u32 n) const { return memory + n % COUNT * BYTES; }
    __device__ __forceinline__ u64* full(u32 n) const { return barriers + n % COUNT; }
    __device__ __forceinline__ u64* empty(u32 n) const { return barriers + COUNT + n % COUNT; }

    // `line` is the caller's.
    __device__ __forceinline__ void wait_full(u32 n, u32 line = __builtin_LINE()) const {
        mbarrier_wait(full(n), n / COUNT % 2, line);
    }
    __device__ __forceinline__ void wait_empty(u32 n, u32 line = __builtin_LINE()) const {
        if (n >= COUNT) mbarrier_wait(empty(n), (n / COUNT - 1) % 2, line);
    }
};

// sums += left right of a warpgroup over `n_steps` steps of 64, one or more, of which each stage holds one: the
// operands lie so far into it. A TRANSPOSED one has the summed index across lines.
template <bool A_TRANSPOSED, bool B_TRANSPOSED, u32 N, u32 COUNT, u32 BYTES>
__device__ __forceinline__ void add_stages(float (&sums)[N], const Stages<COUNT, BYTES>& stages, u32 n_steps, u32 left, u32 right) {
    const auto multiply_stage = [&](u32 n) {
        stages.wait_full(n);
        const unsigned char* const at = stages.at(n);
        wgmma_fence();
#pragma unroll
        for (u32 step = 0; step < 64; step += 16)
            wgmma<A_TRANSPOSED, B_TRANSPOSED>(sums, smem_descriptor(at + left + step * (A_TRANSPOSED ? LINE : 2), BOX_BYTES),
                                               smem_descriptor(at + right + step * (B_TRANSPOSED ? LINE : 2), BOX_BYTES));
        wgmma_commit();
    };
    // The first step by itself: within the loop nothing but products writes to the sums, or the compiler
    // would wait for each of them.
    keep_in_registers(sums);
    multiply_stage(0);
    for (u32 n = 1; n < n_steps; ++n) {
        multiply_stage(n);
        // The products of the step before are done: its stage may be filled again.
        wgmma_wait<1>();
        if (threadIdx.x % 128 == 0) mbarrier_arrive(stages.empty(n - 1));
    }
    wgmma_wait<0>();
    keep_in_registers(sums);
}
