// rope: a thread for EACH pairs of numbers, one or eight. Contract: mod.rs. E is the type; SIGN is 1 or -1.
#include "several.cuh"

extern "C" __global__ void __launch_bounds__(256)
rope(E* __restrict__ qkv,               // [rows, row]
     const u32* __restrict__ positions,  // [rows]
     const float* __restrict__ cosines,  // [table, half]
     const float* __restrict__ sines,    // [table, half]
     size_t rows, size_t row,            // the width of a row
     size_t heads, size_t half,          // heads that are rotated
     size_t table, u32* __restrict__ fault) {
    const size_t pairs = heads * half;
    for (size_t i = thread_number() * EACH; i < rows * pairs; i += thread_count() * EACH) {
        const size_t at = i / pairs, head = i % pairs / half, pair = i % half;
        const u32 position = positions[at];
        if (position >= table) {
            note(fault, position, table);
            continue;
        }
        E* const low = qkv + at * row + head * 2 * half + pair;
        Several<EACH> x = read<EACH>(low), y = read<EACH>(low + half);
        const Several<EACH> cosine = read<EACH>(cosines + position * half + pair);
        const Several<EACH> sine = read<EACH>(sines + position * half + pair);
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) rotate_pair(x.at[k], y.at[k], cosine.at[k], SIGN * sine.at[k]);
        write(low, x);
        write(low + half, y);
    }
}
