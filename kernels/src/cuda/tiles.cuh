// Tiles of bf16 in shared memory for tensor cores: where their numbers lie, how they are copied there, and how
// copies of later tiles are under way while one is worked on.
#pragma once

#include "ptx.cuh"

constexpr u32 CHUNK = 8;  // numbers of a copy: 16 bytes

// A tile is lines of LENGTH numbers. The place of a chunk in its line is changed by the line, so that eight lines'
// chunks lie in different banks.
template <u32 LENGTH>
__device__ __forceinline__ u32 place(u32 line, u32 chunk) {
    constexpr u32 CHUNKS = LENGTH / CHUNK, LINES_OF_BANKS = LENGTH < 64 ? 64 / LENGTH : 1;
    constexpr u32 SWAPPED = CHUNKS < 8 ? CHUNKS : 8;
    return line * LENGTH + (chunk ^ line / LINES_OF_BANKS % SWAPPED) * CHUNK;
}

struct Source {
    const bf16* at;
    size_t stride;
    size_t lines, length;  // what there is
};

// Copies a tile that begins at a line and a number of it; what is not there becomes zero.
template <u32 LINES, u32 LENGTH, u32 THREADS>
__device__ __forceinline__ void load(bf16* to, const Source& from, size_t line, size_t first) {
    constexpr u32 CHUNKS = LENGTH / CHUNK;
#pragma unroll
    for (u32 i = threadIdx.x; i < LINES * CHUNKS; i += THREADS) {
        const size_t at_line = line + i / CHUNKS, at = first + i % CHUNKS * CHUNK;
        const bool here = at_line < from.lines && at < from.length;
        const size_t left = here ? from.length - at : 0;
        const u32 used = u32(left < CHUNK ? left : CHUNK) * 2;
        const bf16* const source = here ? from.at + at_line * from.stride + at : from.at;
        copy_async(to + place<LENGTH>(i / CHUNKS, i % CHUNKS), source, used);
    }
}

// Begins the copies of all stages but one: `fetch(stage, step)` copies what is summed from `step` on, LENGTH
// numbers of each chain, or nothing where the sum has an end.
template <u32 STAGES, u32 LENGTH, class Fetch>
__device__ __forceinline__ void begin_stages(size_t start, const Fetch& fetch) {
#pragma unroll
    for (u32 stage = 0; stage < STAGES - 1; ++stage) {
        fetch(stage, start + size_t(stage) * LENGTH);
        copy_commit();
    }
}

// Goes on with them: `multiply(stage)` for all of the sum in turn.
template <u32 STAGES, u32 LENGTH, class Fetch, class Multiply>
__device__ __forceinline__ void use_stages(size_t start, size_t end, const Fetch& fetch, const Multiply& multiply) {
    u32 stage = 0;
    for (size_t step = start; step < end; step += LENGTH) {
        // The oldest copies are there for this thread, and after the barrier those of all; and nobody
        // reads the stage any more that is overwritten next.
        copy_wait<STAGES - 2>();
        __syncthreads();
        fetch((stage + STAGES - 1) % STAGES, step + (STAGES - 1) * LENGTH);
        copy_commit();
        multiply(stage);
        stage = (stage + 1) % STAGES;
    }
    copy_wait<0>();
}
