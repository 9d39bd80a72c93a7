// adamw: a thread for EACH weights, one or four. Contract: mod.rs. MASTER says where the exact weights are: 0
// in `exact` alone, 1 in `exact`, and `rounded` is their bf16, 2 in `rounded` and `low`, the 16 bits that are
// left.
#include "several.cuh"

// The exact weight of bf16 and 16 bits more; see `joined` in cpu.rs.
__device__ __forceinline__ float joined(u16 high, u16 low) {
    return __uint_as_float((u32(high) << 16) + u32(int(short(low))));
}

struct Parts { u16 at[EACH]; };

__device__ __forceinline__ Parts read_parts(const u16* from) {
    Parts it;
    if constexpr (EACH == 4) {
        const uint2 words = *reinterpret_cast<const uint2*>(from);
        it.at[0] = u16(words.x), it.at[1] = u16(words.x >> 16), it.at[2] = u16(words.y), it.at[3] = u16(words.y >> 16);
    } else {
        it.at[0] = *from;
    }
    return it;
}

__device__ __forceinline__ void write_parts(u16* to, const Parts& it) {
    if constexpr (EACH == 4)
        *reinterpret_cast<uint2*>(to) = {it.at[0] | u32(it.at[1]) << 16, it.at[2] | u32(it.at[3]) << 16};
    else
        *to = it.at[0];
}

extern "C" __global__ void __launch_bounds__(256)
adamw(float* __restrict__ exact, u16* __restrict__ low, bf16* __restrict__ rounded, float* __restrict__ m,
      float* __restrict__ v, const float* __restrict__ gradient, size_t n, float factor, float keep,
      float one_less_beta1, float beta2, float one_less_beta2, float eps, float size, float root) {
    for (size_t i = thread_number() * EACH; i < n; i += thread_count() * EACH) {
        const Several<EACH> g_before = read<EACH>(gradient + i);
        Several<EACH> first = read<EACH>(m + i), second = read<EACH>(v + i), weight;
#if MASTER == 2
        Parts highs = read_parts(&rounded[i].bits), lows = read_parts(low + i);
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) weight.at[k] = joined(highs.at[k], lows.at[k]);
#else
        weight = read<EACH>(exact + i);
#endif
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) {
            const float g = g_before.at[k] * factor;
            first.at[k] += (g - first.at[k]) * one_less_beta1;
            second.at[k] = fmaf(g * g, one_less_beta2, second.at[k] * beta2);
            const float below = sqrtf(second.at[k]) / root + eps;
            weight.at[k] = weight.at[k] * keep - size * (first.at[k] / below);
        }
        write(m + i, first);
        write(v + i, second);
#if MASTER == 2
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) {
            const u32 bits = __float_as_uint(weight.at[k]), high = (bits + 0x8000u) >> 16;
            highs.at[k] = u16(high);
            lows.at[k] = u16(bits);
        }
        write_parts(&rounded[i].bits, highs);
        write_parts(low + i, lows);
#else
        write(exact + i, weight);
#if MASTER == 1
        write(rounded + i, weight);
#endif
#endif
    }
}
