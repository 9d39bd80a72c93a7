// swiglu: a thread for each number of a row. Contract: mod.rs. E is the type.
#include "number.cuh"

extern "C" __global__ void __launch_bounds__(256)
forward(const E* __restrict__ gate_up,  // [rows, 2 width]
        E* __restrict__ out,            // [rows, width]
        size_t width, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count()) {
        const size_t at = i / width * 2 * width + i % width;
        const float gate = wide(gate_up[at]);
        const E silu = near<E>(gate / (1.0f + exponential(-gate)));
        out[i] = near<E>(wide(silu) * wide(gate_up[at + width]));
    }
}

extern "C" __global__ void __launch_bounds__(256)
backward(const E* __restrict__ d_out,    // [rows, width]
         const E* __restrict__ gate_up,  // [rows, 2 width]
         E* __restrict__ d_gate_up,      // [rows, 2 width]
         size_t width, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count()) {
        const size_t at = i / width * 2 * width + i % width;
        const float d = wide(d_out[i]), gate = wide(gate_up[at]), up = wide(gate_up[at + width]);
        const float sigmoid = 1.0f / (1.0f + exponential(-gate));
        d_gate_up[at + width] = near<E>(d * gate * sigmoid);
        const float slope = sigmoid * fmaf(gate, 1.0f - sigmoid, 1.0f);
        d_gate_up[at] = near<E>(d * up * slope);
    }
}
