// adamw: a thread for each weight. Contract: mod.rs. With MASTER the step is made on `master`, and
// `weight` is its bf16.
#include "number.cuh"

extern "C" __global__ void __launch_bounds__(256)
adamw(float* __restrict__ exact, bf16* __restrict__ rounded, float* __restrict__ m,
      float* __restrict__ v, const float* __restrict__ gradient, size_t n, float factor, float keep,
      float one_less_beta1, float beta2, float one_less_beta2, float eps, float size, float root) {
    for (size_t i = thread_number(); i < n; i += thread_count()) {
        const float g = gradient[i] * factor;
        const float first = m[i] + (g - m[i]) * one_less_beta1;
        const float second = fmaf(g * g, one_less_beta2, v[i] * beta2);
        const float below = sqrtf(second) / root + eps;
        const float weight = exact[i] * keep - size * (first / below);
        m[i] = first;
        v[i] = second;
        exact[i] = weight;
#if MASTER
        rounded[i] = near<bf16>(weight);
#endif
    }
}
