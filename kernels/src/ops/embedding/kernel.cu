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
        out[row * width + i] = near<B>(wide(table[id * stride + i]));
}

// The block of the first row with an id adds all rows with that id, in their order: nobody else
// writes to that row of the table.
extern "C" __global__ void __launch_bounds__(128)
backward(const A* __restrict__ d_out,  // [rows, width]
         const u32* __restrict__ ids,  // [rows]
         float* __restrict__ d_table,  // [vocabulary, width] at `stride`
         size_t rows, size_t width, size_t stride, size_t vocabulary, u32* __restrict__ fault) {
    const size_t first = blockIdx.x;
    const u32 id = ids[first];
    if (id >= vocabulary) {
        if (threadIdx.x == 0) note(fault, id, vocabulary);
        return;
    }
    for (size_t row = 0; row < first; ++row)
        if (ids[row] == id) return;
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) {
        float sum = d_table[id * stride + i];
        for (size_t row = first; row < rows; ++row)
            if (ids[row] == id) sum += wide(d_out[row * width + i]);
        d_table[id * stride + i] = sum;
    }
}
