// Products of bf16 by Hopper's warpgroups: one of them has boxes of the operands copied to shared memory,
// stage after stage, the others multiply 64 rows each. Contract: mod.rs, but for the order within a step of
// sixteen: an element is a chain of `wgmma` steps over the summed index, in rising order, begun at zero or
// at what `out` holds. The size of a tile cannot be seen in it.
//
// C is the type of the result, FORM as in kernel.cu. A tile is 64 CONSUMERS x COLUMNS.
#include "hopper.cuh"

constexpr u32 STEP = 64;                               // of the sum: 128 bytes; cuda.rs: BOX
constexpr u32 STAGES = 4;                              // hopper.rs: STAGES
constexpr u32 ROWS = 64 * CONSUMERS;
constexpr u32 THREADS = 128 * (CONSUMERS + 1);
constexpr u32 LINE = 128;                              // bytes of a line of a box
constexpr u32 BOX_BYTES = 64 * LINE;                   // of 64 lines
constexpr u32 A_BYTES = ROWS * LINE, B_BYTES = COLUMNS * LINE, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr u32 NUMBERS = COLUMNS / 2;                   // of a thread
constexpr u32 GROUP = 8;                               // rows of tiles that are near in time
constexpr bool A_TURNED = FORM == 2, B_TURNED = FORM != 0;  // the summed index is not the contiguous one

struct Tile { u32 row, column; };

__device__ __forceinline__ Tile tile_of(size_t rows, size_t columns) {
    const size_t n_rows = (rows + ROWS - 1) / ROWS, n_columns = (columns + COLUMNS - 1) / COLUMNS;
    const size_t group = blockIdx.x / (GROUP * n_columns), in_group = blockIdx.x % (GROUP * n_columns);
    const size_t left = n_rows - group * GROUP, height = left < GROUP ? left : GROUP;
    return {u32(group * GROUP + in_group % height) * ROWS, u32(in_group / height) * COLUMNS};
}

// One operand of a stage: `lines` lines of 64 steps; or, turned, 64 lines of steps for every 64 numbers.
template <bool TURNED, u32 LINES>
__device__ __forceinline__ void fetch(unsigned char* to, const TensorMap* map, u32 first, u32 step, u64* barrier) {
    if constexpr (TURNED) {
#pragma unroll
        for (u32 i = 0; i < LINES / 64; ++i) copy_box(to + i * BOX_BYTES, map, first + i * 64, step, barrier);
    } else {
        copy_box(to, map, step, first, barrier);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
matmul(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, C* __restrict__ c, size_t rows,
       size_t columns, size_t depth, size_t c_stride, u32 add) {
    SHARED(memory);
    u64* const full = reinterpret_cast<u64*>(memory + STAGES * STAGE_BYTES);  // [STAGES]: copies have come
    u64* const empty = full + STAGES;                                        // [STAGES]: nobody reads any more
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < STAGES; ++i) {
            phase_init(full + i, 1);
            phase_init(empty + i, CONSUMERS);
        }
        phase_fence();
    }
    __syncthreads();
    const Tile tile = tile_of(rows, columns);
    const u32 n_steps = u32((depth + STEP - 1) / STEP);
    if (threadIdx.x < 128) {
        registers_less<40>();
        if (threadIdx.x != 0) return;
        for (u32 n = 0; n < n_steps; ++n) {
            const u32 stage = n % STAGES;
            if (n >= STAGES) phase_wait(empty + stage, (n / STAGES - 1) % 2);
            unsigned char* const to = memory + stage * STAGE_BYTES;
            phase_expect(full + stage, STAGE_BYTES);
            fetch<A_TURNED, ROWS>(to, &a, tile.row, n * STEP, full + stage);
            fetch<B_TURNED, COLUMNS>(to + A_BYTES, &b, tile.column, n * STEP, full + stage);
        }
        return;
    }
    registers_more<232>();
    const u32 consumer = threadIdx.x / 128 - 1, lane = threadIdx.x % WARP;
    const size_t own_row = tile.row + consumer * 64 + threadIdx.x % 128 / WARP * 16 + lane / 4;
    const size_t own_column = tile.column + lane % 4 * 2;
    float sums[NUMBERS];
    // Of four numbers two lie in one row and two eight rows below; the next four are eight columns on.
#pragma unroll
    for (u32 i = 0; i < NUMBERS; ++i) {
        const size_t r = own_row + i % 4 / 2 * 8, k = own_column + i / 4 * 8 + i % 2;
        sums[i] = add && r < rows && k < columns ? wide(c[r * c_stride + k]) : 0.0f;
    }
    const auto multiply_stage = [&](u32 n) {
        const u32 stage = n % STAGES;
        phase_wait(full + stage, n / STAGES % 2);
        const unsigned char* const left = memory + stage * STAGE_BYTES + consumer * BOX_BYTES;
        const unsigned char* const right = memory + stage * STAGE_BYTES + A_BYTES;
        group_fence();
#pragma unroll
        for (u32 step = 0; step < STEP; step += 16)
            multiply_group<A_TURNED, B_TURNED>(sums, operand(left + step * (A_TURNED ? LINE : 2), BOX_BYTES),
                                               operand(right + step * (B_TURNED ? LINE : 2), BOX_BYTES));
        group_commit();
    };
    // The first step by itself: within the loop nothing but products writes to the sums, or the compiler
    // would wait for each of them.
    group_hold(sums);
    multiply_stage(0);
    for (u32 n = 1; n < n_steps; ++n) {
        multiply_stage(n);
        // The products of the step before are done: its stage may be filled again.
        group_wait<1>();
        if (threadIdx.x % 128 == 0) phase_arrive(empty + (n - 1) % STAGES);
    }
    group_wait<0>();
    group_hold(sums);
#pragma unroll
    for (u32 i = 0; i < NUMBERS; ++i) {
        const size_t r = own_row + i % 4 / 2 * 8, k = own_column + i / 4 * 8 + i % 2;
        if (r < rows && k < columns) c[r * c_stride + k] = near<C>(sums[i]);
    }
}
