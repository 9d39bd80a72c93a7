// embedding: a block of threads for each row. Contract: mod.rs. A is what is read, B what is written.
#include "number.cuh"

extern "C" __global__ void __launch_bounds__(128)
forward(const A* __restrict__ table,  // [vocabulary, width] at `stride`
        const u32* __restrict__ ids,  // [rows]
        B* __restrict__ out,          // [rows, width]
        size_t width, size_t stride, size_t vocabulary, u32* __restrict__ fault) {
    const size_t row = blockIdx.x;
    const u32 id = ids[row];
    if (id >= vocabulary) {
        if (threadIdx.x == 0) note(fault, id, vocabulary);
        return;
    }
    for (size_t i = threadIdx.x; i < width; i += blockDim.x)
        out[row * width + i] = round_to<B>(to_f32(table[id * stride + i]));
}

// A block for some columns of each id that there is: it adds the rows with that id in their order, and
// nobody else writes to that row of the table.
extern "C" __global__ void __launch_bounds__(128)
backward(const A* __restrict__ d_out,   // [rows, width]
         const u32* __restrict__ lists,  // [n, 3]: an id, the first and the end of its rows in `order`
         const u32* __restrict__ order,  // [rows]: rows by their ids
         float* __restrict__ d_table,    // [vocabulary, width] at `stride`
         size_t width, size_t stride) {
    const size_t i = size_t(blockIdx.y) * blockDim.x + threadIdx.x;
    if (i >= width) return;
    const u32* const list = lists + size_t(blockIdx.x) * 3;
    float* const to = d_table + list[0] * stride + i;
    float sum = *to;
#pragma unroll 4
    for (u32 at = list[1]; at < list[2]; ++at) sum += to_f32(d_out[order[at] * width + i]);
    *to = sum;
}
