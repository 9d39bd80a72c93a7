// adamw: a thread for EACH weights. Contract: mod.rs. MASTER says where the exact weights are: 0 in `exact`
// alone, 1 in `exact`, and `rounded` is their bf16, 2 in `rounded` and `low`, the 16 bits that are left. MOMENTS
// says what moments are kept in. WIDE: all lies at multiples of 16 bytes and there are whole EACH of them.
#include "adamw_moments.cuh"

#if MOMENTS == 2
constexpr u32 EACH = 8;
#else
constexpr u32 EACH = WIDE ? 4 : 1;
#endif

// The exact weight of bf16 and 16 bits more; see `joined` in masters.rs.
__device__ __forceinline__ float joined(u16 high, u16 low) {
    return __uint_as_float((u32(high) << 16) + u32(int(short(low))));
}

struct Parts { u16 at[EACH]; };

__device__ __forceinline__ Parts read_parts(const u16* from, u32 count) {
    Parts it;
    if constexpr (WIDE) {
#pragma unroll
        for (u32 k = 0; k < EACH; k += 4) {
            const uint2 words = *reinterpret_cast<const uint2*>(from + k);
            it.at[k] = u16(words.x), it.at[k + 1] = u16(words.x >> 16);
            it.at[k + 2] = u16(words.y), it.at[k + 3] = u16(words.y >> 16);
        }
    } else {
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) it.at[k] = k < count ? from[k] : 0;
    }
    return it;
}

__device__ __forceinline__ void write_parts(u16* to, const Parts& it, u32 count) {
    if constexpr (WIDE) {
#pragma unroll
        for (u32 k = 0; k < EACH; k += 4)
            *reinterpret_cast<uint2*>(to + k) = {it.at[k] | u32(it.at[k + 1]) << 16, it.at[k + 2] | u32(it.at[k + 3]) << 16};
    } else {
#pragma unroll
        for (u32 k = 0; k < EACH; ++k)
            if (k < count) to[k] = it.at[k];
    }
}

__device__ __forceinline__ Several<EACH> read_some(const float* from, u32 count) {
    if constexpr (WIDE) {
        return read<EACH>(from);
    } else {
        Several<EACH> it;
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) it.at[k] = k < count ? from[k] : 0.0f;
        return it;
    }
}

template <class T>
__device__ __forceinline__ void write_some(T* to, const Several<EACH>& it, u32 count) {
    if constexpr (WIDE) {
        write(to, it);
    } else {
#pragma unroll
        for (u32 k = 0; k < EACH; ++k)
            if (k < count) to[k] = round_to<T>(it.at[k]);
    }
}

// The words of EACH places from `first` on.
__device__ __forceinline__ void random_words(u32 (&words)[EACH], const Random& random, u64 first) {
    u32 block[WORDS];
#pragma unroll
    for (u32 k = 0; k < EACH; ++k) {
        // Where all is wide, `first` is a multiple of four.
        if (!WIDE || k % WORDS == 0) random_block(block, random, (first + k) / WORDS);
        const u32 word = WIDE ? k % WORDS : u32((first + k) % WORDS);
        words[k] = word == 0 ? block[0] : word == 1 ? block[1] : word == 2 ? block[2] : block[3];
    }
}

extern "C" __global__ void __launch_bounds__(256)
adamw(float* __restrict__ exact, u16* __restrict__ low, bf16* __restrict__ rounded, Kept* __restrict__ m,
      Kept* __restrict__ v, const float* __restrict__ gradient, size_t n, u64 place, u64 key, u64 stream,
      float factor, float keep, float one_less_beta1, float beta2, float one_less_beta2, float eps, float size,
      float root) {
    // The threads of a warp have a block of bytes together, the last one's too.
    const size_t end = MOMENTS == 2 ? (n + BLOCK - 1) / BLOCK * BLOCK : n;
    for (size_t i = thread_number() * EACH; i < end; i += thread_count() * EACH) {
        const u32 count = i < n ? u32(min(n - i, size_t(EACH))) : 0;
        Several<EACH> weight = {}, first = {}, second = {};
        u32 words[EACH] = {};
        if (count > 0) {
            const Several<EACH> g_before = read_some(gradient + i, count);
            first = read_moments<Signed, EACH>(m, i, count, n), second = read_moments<Positive, EACH>(v, i, count, n);
#if MASTER == 2
            const Parts highs = read_parts(&rounded[i].bits, count), lows = read_parts(low + i, count);
#pragma unroll
            for (u32 k = 0; k < EACH; ++k) weight.at[k] = joined(highs.at[k], lows.at[k]);
#else
            weight = read_some(exact + i, count);
#endif
#pragma unroll
            for (u32 k = 0; k < EACH; ++k) {
                const float g = g_before.at[k] * factor;
                first.at[k] += (g - first.at[k]) * one_less_beta1;
                second.at[k] = fmaf(g * g, one_less_beta2, second.at[k] * beta2);
                const float below = sqrtf(second.at[k]) / root + eps;
                weight.at[k] = weight.at[k] * keep - size * (first.at[k] / below);
            }
            if (MOMENTS != 0) random_words(words, {key, stream}, place + i);
        }
        write_moments<Signed, EACH>(m, i, count, n, first, words, 0);
        write_moments<Positive, EACH>(v, i, count, n, second, words, 16);
        if (count == 0) continue;
#if MASTER == 2
        Parts highs, lows;
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) {
            const u32 bits = __float_as_uint(weight.at[k]);
            highs.at[k] = u16((bits + 0x8000u) >> 16);
            lows.at[k] = u16(bits);
        }
        write_parts(&rounded[i].bits, highs, count);
        write_parts(low + i, lows, count);
#else
        write_some(exact + i, weight, count);
#if MASTER == 1
        write_some(rounded + i, weight, count);
#endif
#endif
    }
}
