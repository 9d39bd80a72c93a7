// Products of bf16 by Hopper's warpgroups: one of them has boxes of the operands copied to shared memory,
// stage after stage, the others multiply 64 rows each. Contract: mod.rs, but for the order within a step of
// sixteen: an element is a chain of `wgmma` steps over the summed index, in rising order, begun at zero or
// at what `out` holds. The size of a tile cannot be seen in it.
//
// C is the type of the result, FORM as in kernel.cu. A tile is 64 CONSUMERS x COLUMNS. FUSED says what is done
// to sums before they are written, all of it to the bit as the operation that does it alone: 1 rotates queries
// and keys with heads of 128 by their positions, 2 makes products of gates, whose columns and those beside
// them, `width` further on, a tile has half of each.
#include "matmul_tile.cuh"
#include "several.cuh"
#include "stages.cuh"

constexpr u32 STEP = 64;                               // of the sum: 128 bytes; hopper.rs: STEP
constexpr u32 STAGES = 4;                              // hopper.rs: STAGES
constexpr u32 ROWS = 64 * CONSUMERS;
constexpr u32 THREADS = 128 * (CONSUMERS + 1);
constexpr u32 A_BYTES = ROWS * LINE, B_BYTES = COLUMNS * LINE, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr u32 NUMBERS = COLUMNS / 2;                   // of a thread

#if FUSED == 1
// What turning needs: see ops/rope.
struct Turn {
    const u32* positions;  // [rows]
    const float *cosines, *sines;  // [table, 64]
    size_t table, heads;   // heads that are rotated
    u32* fault;
};

// Turns a row's two heads; four numbers of a thread are of two rows, 32 numbers on is the other of a pair.
__device__ __forceinline__ void turn(float (&sums)[NUMBERS], const Turn& it, size_t row, u32 half, size_t first_head) {
    const u32 position = it.positions[row];
    if (position >= it.table) return note(it.fault, position, it.table);
#pragma unroll
    for (u32 head = 0; head < 2; ++head) {
        if (first_head + head >= it.heads) continue;
#pragma unroll
        for (u32 n = 0; n < 32; n += 4) {
            const size_t at = size_t(position) * 64 + n * 2 + threadIdx.x % 4 * 2;
            const float2 cosine = *reinterpret_cast<const float2*>(it.cosines + at);
            const float2 sine = *reinterpret_cast<const float2*>(it.sines + at);
#pragma unroll
            for (u32 k = 0; k < 2; ++k) {
                float &low = sums[head * 64 + n + half * 2 + k], &high = sums[head * 64 + n + half * 2 + k + 32];
                low = to_f32(round_to<C>(low)), high = to_f32(round_to<C>(high));
                rotate_pair(low, high, k ? cosine.y : cosine.x, k ? sine.y : sine.x);
            }
        }
    }
}
#endif

// One operand of a stage: `lines` lines of 64 steps; or, transposed, 64 lines of steps for every 64 numbers.
template <bool TRANSPOSED, u32 LINES>
__device__ __forceinline__ void fetch(unsigned char* to, const TensorMap* map, u32 first, u32 step, u64* barrier) {
    if constexpr (TRANSPOSED) {
#pragma unroll
        for (u32 i = 0; i < LINES / 64; ++i) tma_load(to + i * BOX_BYTES, map, first + i * 64, step, barrier);
    } else {
        tma_load(to, map, step, first, barrier);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
matmul(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
       const C* from,  // what the sums begin with, as `c` lies and perhaps it; null is zero
       C* c, size_t rows, size_t columns, size_t depth, size_t c_stride
#if FUSED == 1
       , const u32* __restrict__ positions, const float* __restrict__ cosines, const float* __restrict__ sines,
       size_t table, size_t heads, u32* __restrict__ fault
#elif FUSED == 2
       , C* __restrict__ products  // [rows, columns]: `columns` are those of gates
#endif
) {
    SHARED(memory);
    const Stages<STAGES, STAGE_BYTES> stages(memory, reinterpret_cast<u64*>(memory + STAGES * STAGE_BYTES), 1, CONSUMERS);
    const Tile tile = tile_of<ROWS>(rows, columns);
    const u32 n_steps = u32((depth + STEP - 1) / STEP);
    if (threadIdx.x < 128) {
        setmaxnreg_dec<40>();
        if (threadIdx.x != 0) return;
        for (u32 n = 0; n < n_steps; ++n) {
            stages.wait_empty(n);
            u64* const full = stages.full(n);
            mbarrier_expect_tx(full, STAGE_BYTES);
            unsigned char* const to = stages.at(n);
            fetch<A_TRANSPOSED, ROWS>(to, &a, u32(tile.row), n * STEP, full);
#if FUSED == 2
            fetch<false, COLUMNS / 2>(to + A_BYTES, &b, u32(tile.column), n * STEP, full);
            fetch<false, COLUMNS / 2>(to + A_BYTES + B_BYTES / 2, &b, u32(columns + tile.column), n * STEP, full);
#else
            fetch<B_TRANSPOSED, COLUMNS>(to + A_BYTES, &b, u32(tile.column), n * STEP, full);
#endif
        }
        return;
    }
    setmaxnreg_inc<232>();
    const u32 consumer = threadIdx.x / 128 - 1, lane = threadIdx.x % WARP;
    const size_t own_row = tile.row + consumer * 64 + threadIdx.x % 128 / WARP * 16 + lane / 4;
    const size_t own_column = tile.column + lane % 4 * 2;
    float sums[NUMBERS];
    // Of four numbers two lie in one row and two eight rows below; the next four are eight columns on.
#pragma unroll
    for (u32 i = 0; i < NUMBERS; ++i) {
        const size_t r = own_row + i % 4 / 2 * 8, k = own_column + i / 4 * 8 + i % 2;
        sums[i] = from && r < rows && k < columns ? to_f32(from[r * c_stride + k]) : 0.0f;
    }
    add_stages<A_TRANSPOSED, B_TRANSPOSED>(sums, stages, n_steps, consumer * BOX_BYTES, A_BYTES);
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const size_t r = own_row + half * 8;
        if (r >= rows) continue;
        C* const to = c + r * c_stride + own_column;
#if FUSED == 1
        turn(sums, {positions, cosines, sines, table, heads, fault}, r, half, tile.column / 128);
#endif
#if FUSED == 2
#pragma unroll
        for (u32 i = half * 2; i < NUMBERS / 2; i += 4) {
            const size_t at = i / 4 * 8, k = own_column + at;
            float product[2];
#pragma unroll
            for (u32 n = 0; n < 2; ++n) {
                const float gate = to_f32(round_to<C>(sums[i + n])), up = to_f32(round_to<C>(sums[i + n + NUMBERS / 2]));
                product[n] = to_f32(round_to<C>(silu(gate))) * up;
            }
            write_pair(to + at, k, columns, sums[i], sums[i + 1]);
            write_pair(to + columns + at, k, columns, sums[i + NUMBERS / 2], sums[i + 1 + NUMBERS / 2]);
            write_pair(products + r * columns + k, k, columns, product[0], product[1]);
        }
#else
#pragma unroll
        for (u32 i = half * 2; i < NUMBERS; i += 4)
            write_pair(to + i / 4 * 8, own_column + i / 4 * 8, columns, sums[i], sums[i + 1]);
#endif
    }
}
