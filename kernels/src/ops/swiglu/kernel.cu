// swiglu: a thread for EACH numbers of a row, one or eight. Contract: mod.rs. E is the type.
#include "several.cuh"

extern "C" __global__ void __launch_bounds__(256)
forward(const E* __restrict__ gate_up,  // [rows, 2 width]
        E* __restrict__ out,            // [rows, width]
        size_t width, size_t n) {
    for (size_t i = thread_number() * EACH; i < n; i += thread_count() * EACH) {
        const size_t at = i / width * 2 * width + i % width;
        const Several<EACH> gate = read<EACH>(gate_up + at);
        Several<EACH> up = read<EACH>(gate_up + at + width);
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) up.at[k] *= to_f32(round_to<E>(silu(gate.at[k])));
        write(out + i, up);
    }
}

extern "C" __global__ void __launch_bounds__(256)
backward(const E* __restrict__ d_out,    // [rows, width]
         const E* __restrict__ gate_up,  // [rows, 2 width]
         E* __restrict__ d_gate_up,      // [rows, 2 width]
         size_t width, size_t n) {
    for (size_t i = thread_number() * EACH; i < n; i += thread_count() * EACH) {
        const size_t at = i / width * 2 * width + i % width;
        const Several<EACH> d = read<EACH>(d_out + i), gate = read<EACH>(gate_up + at);
        const Several<EACH> up = read<EACH>(gate_up + at + width);
        Several<EACH> d_gate, d_up;
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) {
            const float sigmoid = 1.0f / (1.0f + exponential(-gate.at[k]));
            d_up.at[k] = d.at[k] * gate.at[k] * sigmoid;
            const float slope = sigmoid * fmaf(gate.at[k], 1.0f - sigmoid, 1.0f);
            d_gate.at[k] = d.at[k] * up.at[k] * slope;
        }
        write(d_gate_up + at + width, d_up);
        write(d_gate_up + at, d_gate);
    }
}
