// Products of bf16 by tensor cores. Contract: mod.rs, but for the order within a step of sixteen: an
// element is a chain of `mma` steps over the summed index, in rising order, begun at zero or at what
// `out` holds. The size of a tile cannot be seen in it, so a row's numbers do not depend on how many rows
// come along.
//
// C is the type of the result, FORM as in kernel.cu. ROWS x COLUMNS is the tile of a block, STEP how much
// of the sum is in shared memory at a time, ROW_WARPS x COLUMN_WARPS how a tile is shared out. Strides are
// multiples of eight numbers and operands begin at multiples of 16 bytes. FUSED is what is done to sums before
// they are written, as in hopper.cu; then a tile has 128 columns, a head or 64 gates and what is beside them,
// and its numbers are brought together in shared memory first.
#include "matmul_tile.cuh"
#include "several.cuh"
#include "tiles.cuh"

constexpr u32 STAGES = 4;                                  // cuda.rs: STAGES
constexpr u32 THREADS = ROW_WARPS * COLUMN_WARPS * WARP;   // cuda.rs: `Tile`
constexpr u32 WARP_ROWS = ROWS / ROW_WARPS, WARP_COLUMNS = COLUMNS / COLUMN_WARPS;
constexpr u32 M = WARP_ROWS / 16, N = WARP_COLUMNS / 8;    // instructions of a warp, per sixteen steps

static_assert(WARP_ROWS % 16 == 0 && WARP_COLUMNS % 16 == 0 && STEP % 32 == 0, "a tile");

// The rows of `a` in the shape that `multiply` wants: 16 rows from `row`, 16 steps from `step`.
__device__ __forceinline__ void load_a(u32 (&to)[4], const bf16* tile, u32 row, u32 step) {
    const u32 lane = threadIdx.x % WARP, line = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    if (A_TRANSPOSED)
        load_matrices_transposed(to, tile + place<ROWS>(step + line + third, (row + second) / CHUNK));
    else
        load_matrices(to, tile + place<STEP>(row + line + second, (step + third) / CHUNK));
}

// The columns of `b`: 16 of them from `column`, as two times eight.
__device__ __forceinline__ void load_b(u32 (&to)[4], const bf16* tile, u32 column, u32 step) {
    const u32 lane = threadIdx.x % WARP, line = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    if (B_TRANSPOSED)
        load_matrices_transposed(to, tile + place<COLUMNS>(step + line + second, (column + third) / CHUNK));
    else
        load_matrices(to, tile + place<STEP>(column + line + third, (step + second) / CHUNK));
}

__device__ __forceinline__ void multiply_step(float (&sums)[M][N][4], const bf16* a, const bf16* b, u32 row, u32 column) {
#pragma unroll
    for (u32 step = 0; step < STEP; step += 16) {
        u32 left[M][4];
#pragma unroll
        for (u32 i = 0; i < M; ++i) load_a(left[i], a, row + i * 16, step);
#pragma unroll
        for (u32 j = 0; j < N; j += 2) {
            u32 right[4];
            load_b(right, b, column + j * 8, step);
            const u32 first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
            for (u32 i = 0; i < M; ++i) {
                multiply(sums[i][j], left[i], first);
                multiply(sums[i][j + 1], left[i], second);
            }
        }
    }
}

// The tile's numbers, as bf16, in lines that begin in different banks.
constexpr u32 LINE = COLUMNS + CHUNK;

__device__ __forceinline__ void gather(bf16* tile, const float (&sums)[M][N][4], u32 row, u32 column) {
    const u32 own_row = row + threadIdx.x % WARP / 4, own_column = column + threadIdx.x % 4 * 2;
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < M; ++i)
#pragma unroll
        for (u32 j = 0; j < N; ++j)
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                bf16* const to = tile + (own_row + i * 16 + half * 8) * LINE + own_column + j * 8;
                *reinterpret_cast<u32*>(to) = pack(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
    __syncthreads();
}

#if FUSED == 1
// Turns a head of each row; see ops/rope.
__device__ __forceinline__ void turn(bf16* c, const bf16* tile, size_t rows, size_t c_stride, const u32* positions,
                                     const float* cosines, const float* sines, size_t table, bool is_turned, u32* fault) {
    constexpr u32 HALF = COLUMNS / 2, CHUNKS = HALF / CHUNK;
    for (u32 i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
        const u32 row = i / CHUNKS, at = i % CHUNKS * CHUNK;
        if (row >= rows) continue;
        Several<CHUNK> x = read<CHUNK>(tile + row * LINE + at), y = read<CHUNK>(tile + row * LINE + HALF + at);
        const u32 position = positions[row];
        if (is_turned && position >= table) note(fault, position, table);
        if (is_turned && position < table) {
            const Several<CHUNK> cosine = read<CHUNK>(cosines + size_t(position) * HALF + at);
            const Several<CHUNK> sine = read<CHUNK>(sines + size_t(position) * HALF + at);
#pragma unroll
            for (u32 k = 0; k < CHUNK; ++k) rotate_pair(x.at[k], y.at[k], cosine.at[k], sine.at[k]);
        }
        write(c + row * c_stride + at, x);
        write(c + row * c_stride + HALF + at, y);
    }
}
#elif FUSED == 2
// Writes gates, what is beside them, and products of gates; see ops/swiglu. `left` columns are there.
__device__ __forceinline__ void gate(bf16* c, bf16* products, const bf16* tile, size_t rows, size_t left, size_t width) {
    constexpr u32 CHUNKS = WRITTEN / CHUNK;
    for (u32 i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
        const u32 row = i / CHUNKS, at = i % CHUNKS * CHUNK;
        if (row >= rows || at >= left) continue;
        const Several<CHUNK> gates = read<CHUNK>(tile + row * LINE + at), ups = read<CHUNK>(tile + row * LINE + WRITTEN + at);
        Several<CHUNK> result;
#pragma unroll
        for (u32 k = 0; k < CHUNK; ++k)
            result.at[k] = to_f32(round_to<bf16>(silu(gates.at[k]))) * ups.at[k];
        write(c + row * 2 * width + at, gates);
        write(c + row * 2 * width + width + at, ups);
        write(products + row * width + at, result);
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 1)
matmul(const bf16* __restrict__ a, const bf16* __restrict__ b,
       const C* from,  // what the sums begin with, as `c` lies and perhaps it; null is zero
       C* c, size_t rows, size_t columns, size_t depth, size_t a_stride, size_t b_stride, size_t c_stride
#if FUSED == 1
       , const u32* __restrict__ positions, const float* __restrict__ cosines, const float* __restrict__ sines,
       size_t table, size_t heads, u32* __restrict__ fault
#elif FUSED == 2
       , C* __restrict__ products  // [rows, columns]: `columns` are those of gates
#endif
) {
    SHARED(memory);
    constexpr u32 A_LENGTH = ROWS * STEP, LENGTH = A_LENGTH + COLUMNS * STEP;
    bf16* const stages = reinterpret_cast<bf16*>(memory);  // [STAGES][LENGTH]
    const Source from_a = {a, a_stride, A_TRANSPOSED ? depth : rows, A_TRANSPOSED ? rows : depth};
    const Source from_b = {b, b_stride, B_TRANSPOSED ? depth : columns * (COLUMNS / WRITTEN), B_TRANSPOSED ? columns : depth};
    const Tile tile = tile_of<ROWS>(rows, columns);
    const size_t first_row = tile.row, first_column = tile.column;
    const auto fetch = [&](u32 stage, size_t step) {
        bf16* const to = stages + stage * LENGTH;
        if (step >= depth) return;
        if (A_TRANSPOSED) load<STEP, ROWS, THREADS>(to, from_a, step, first_row);
        else load<ROWS, STEP, THREADS>(to, from_a, first_row, step);
        if (B_TRANSPOSED) load<STEP, COLUMNS, THREADS>(to + A_LENGTH, from_b, step, first_column);
        else load<WRITTEN, STEP, THREADS>(to + A_LENGTH, from_b, first_column, step);
#if FUSED == 2
        // A half's lines are a multiple of eight, within which chunks are changed by the line.
        load<COLUMNS - WRITTEN, STEP, THREADS>(to + A_LENGTH + WRITTEN * STEP, from_b, columns + first_column, step);
#endif
    };
    begin_stages<STAGES, STEP>(0, fetch);
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 row = warp / COLUMN_WARPS * WARP_ROWS, column = warp % COLUMN_WARPS * WARP_COLUMNS;
    // Numbers 0 and 1 of a thread's four lie in one row, 2 and 3 eight rows below.
    const size_t own_row = first_row + row + lane / 4, own_column = first_column + column + lane % 4 * 2;
    float sums[M][N][4];
#pragma unroll
    for (u32 i = 0; i < M; ++i)
#pragma unroll
        for (u32 j = 0; j < N; ++j)
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const size_t r = own_row + i * 16 + n / 2 * 8, k = own_column + j * 8 + n % 2;
                sums[i][j][n] = from && r < rows && k < columns ? to_f32(from[r * c_stride + k]) : 0.0f;
            }
    use_stages<STAGES, STEP>(0, depth, fetch, [&](u32 stage) {
        const bf16* const at = stages + stage * LENGTH;
        multiply_step(sums, at, at + A_LENGTH, row, column);
    });
#if FUSED != 0
    bf16* const together = reinterpret_cast<bf16*>(memory);  // [ROWS][LINE]
    gather(together, sums, row, column);
    const size_t left_rows = rows - first_row;
#endif
#if FUSED == 1
    turn(c + first_row * c_stride + first_column, together, left_rows, c_stride, positions + first_row, cosines, sines,
         table, first_column / COLUMNS < heads, fault);
#elif FUSED == 2
    gate(c + first_row * c_stride + first_column, products + first_row * columns + first_column, together, left_rows,
         columns - first_column, columns);
#else
#pragma unroll
    for (u32 i = 0; i < M; ++i)
#pragma unroll
        for (u32 j = 0; j < N; ++j)
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                const size_t r = own_row + i * 16 + half * 8, k = own_column + j * 8;
                if (r < rows) write_pair(c + r * c_stride + k, k, columns, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
#endif
}
