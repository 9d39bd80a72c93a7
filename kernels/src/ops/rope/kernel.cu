// rope: a thread for each pair of numbers. Contract: mod.rs. E is the type; SIGN is 1 or -1.
#include "number.cuh"

extern "C" __global__ void __launch_bounds__(256)
turn(E* __restrict__ qkv,               // [rows, row]
     const u32* __restrict__ positions,  // [rows]
     const float* __restrict__ cosines,  // [table, half]
     const float* __restrict__ sines,    // [table, half]
     size_t rows, size_t row,            // the width of a row
     size_t heads, size_t half,          // heads that are turned
     size_t table, u32* __restrict__ fault) {
    const size_t pairs = heads * half;
    for (size_t i = thread_number(); i < rows * pairs; i += thread_count()) {
        const size_t at = i / pairs, head = i % pairs / half, pair = i % half;
        const u32 position = positions[at];
        if (position >= table) {
            note(fault, position, table);
            continue;
        }
        E* const low = qkv + at * row + head * 2 * half + pair;
        const float x = wide(low[0]), y = wide(low[half]);
        const float cosine = cosines[position * half + pair];
        const float sine = sines[position * half + pair];
        const float turned = SIGN * (y * sine);
        low[0] = near<E>(fmaf(x, cosine, -turned));
        low[half] = near<E>(fmaf(y, cosine, SIGN * (x * sine)));
    }
}
