// Several numbers that lie beside each other, read and written by one access where they are as long as one:
// then they lie at a multiple of their length.
#pragma once

#include "number.cuh"

template <u32 N>
struct Several { float at[N]; };

template <u32 N>
__device__ __forceinline__ Several<N> read(const float* from) {
    Several<N> result;
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (u32 i = 0; i < N; i += 4) {
            const float4 it = *reinterpret_cast<const float4*>(from + i);
            result.at[i] = it.x, result.at[i + 1] = it.y, result.at[i + 2] = it.z, result.at[i + 3] = it.w;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < N; ++i) result.at[i] = from[i];
    }
    return result;
}

template <u32 N>
__device__ __forceinline__ Several<N> read(const bf16* from) {
    Several<N> result;
    u32 words[(N + 1) / 2];
    if constexpr (N == 8) {
        const uint4 it = *reinterpret_cast<const uint4*>(from);
        words[0] = it.x, words[1] = it.y, words[2] = it.z, words[3] = it.w;
    } else if constexpr (N == 4) {
        const uint2 it = *reinterpret_cast<const uint2*>(from);
        words[0] = it.x, words[1] = it.y;
    } else {
        static_assert(N == 1, "one number, four or eight");
        words[0] = from->bits;
    }
#pragma unroll
    for (u32 i = 0; i < N; ++i) result.at[i] = __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    return result;
}

template <u32 N>
__device__ __forceinline__ void write(float* to, const Several<N>& it) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (u32 i = 0; i < N; i += 4)
            *reinterpret_cast<float4*>(to + i) = {it.at[i], it.at[i + 1], it.at[i + 2], it.at[i + 3]};
    } else {
#pragma unroll
        for (u32 i = 0; i < N; ++i) to[i] = it.at[i];
    }
}

template <u32 N>
__device__ __forceinline__ void write(bf16* to, const Several<N>& it) {
    if constexpr (N == 1) {
        *to = round_to<bf16>(it.at[0]);
    } else {
        u32 words[N / 2];
#pragma unroll
        for (u32 i = 0; i < N / 2; ++i)
            words[i] = round_to<bf16>(it.at[2 * i]).bits | u32(round_to<bf16>(it.at[2 * i + 1]).bits) << 16;
        if constexpr (N == 8) *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
        else *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
    }
}

// Two numbers of a row, the first of which is column `k` of `columns`; by one access where they lie so.
template <class T>
__device__ __forceinline__ void write_pair(T* to, size_t k, size_t columns, float first, float second) {
    struct __align__(2 * sizeof(T)) Pair { T first, second; };
    if (k + 1 < columns && size_t(to) % sizeof(Pair) == 0) {
        *reinterpret_cast<Pair*>(to) = {round_to<T>(first), round_to<T>(second)};
        return;
    }
    if (k < columns) to[0] = round_to<T>(first);
    if (k + 1 < columns) to[1] = round_to<T>(second);
}
