// elementwise: a thread for each number. Contract: mod.rs. A and B are the types.
#include "number.cuh"

extern "C" __global__ void __launch_bounds__(256)
copy(const A* __restrict__ from, B* __restrict__ to, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count()) to[i] = round_to<B>(to_f32(from[i]));
}

extern "C" __global__ void __launch_bounds__(256)
add(const A* __restrict__ x, B* __restrict__ to, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count()) to[i] = round_to<B>(to_f32(to[i]) + to_f32(x[i]));
}

extern "C" __global__ void __launch_bounds__(256)
scale(B* __restrict__ to, float factor, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count()) to[i] = round_to<B>(to_f32(to[i]) * factor);
}

// Rows of one type to rows of another, each at its stride.
extern "C" __global__ void __launch_bounds__(256)
copy_rows(const A* __restrict__ from, B* __restrict__ to, size_t columns, size_t from_stride, size_t to_stride, size_t n) {
    for (size_t i = thread_number(); i < n; i += thread_count())
        to[i / columns * to_stride + i % columns] = round_to<B>(to_f32(from[i / columns * from_stride + i % columns]));
}
