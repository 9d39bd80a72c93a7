// What moments are kept in; see moments.rs. MOMENTS: 0 f32, 1 bf16, 2 a byte each, and for every BLOCK of them,
// which 32 threads have, an exponent.
#pragma once

#include "random.cuh"
#include "several.cuh"

constexpr u32 BLOCK = 256;  // moments.rs: BLOCK

// One of the two neighbours in bf16.
__device__ __forceinline__ u16 half_of(float exact, u32 chance) { return u16((__float_as_uint(exact) + chance) >> 16); }

// See `Format` in moments.rs: TOP is the greatest exponent of a byte.
template <u32 TOP, bool SIGNED>
struct Format {
    static constexpr u32 MANTISSA = 23, KEPT = 3, MOST_SHIFT = 31, LAST = TOP - 1;

    __device__ static __forceinline__ u32 exponent(u32 greatest) {
        return min((greatest + (1u << (MANTISSA - KEPT)) - 1) >> MANTISSA, 254u);
    }

    __device__ static __forceinline__ u32 byte(float exact, u32 exponent, u32 chance) {
        const u32 all = __float_as_uint(exact), bits = all & 0x7fffffffu, own = bits >> MANTISSA;
        if (own == 0 || exponent == 0) return 0;
        const u32 below = exponent > own ? exponent - own : 0;
        const u32 shift = MANTISSA - KEPT + (below > LAST ? below - LAST : 0);
        u32 code = 0;
        if (shift <= MOST_SHIFT) {
            const u32 mantissa = (bits & 0x7fffffu) | 0x800000u;
            code = (LAST - min(below, LAST)) << KEPT;
            code = min(code + ((mantissa + (chance << (shift - 16))) >> shift), ((TOP + 1) << KEPT) - 1);
        }
        if (SIGNED) return code | (all >> 31 << 7);
        return code > 1 ? code : 1;
    }

    __device__ static __forceinline__ float number(u32 byte, u32 exponent) {
        if (exponent == 0) return 0.0f;
        const u32 code = SIGNED ? byte & 0x7fu : byte, own = code >> KEPT, least = own > 1 ? own : 1;
        const u32 mantissa = (code & 7u) | (own > 0 ? 8u : 0u);
        const float size = float(mantissa) * __uint_as_float((127u - KEPT - (TOP - least)) << MANTISSA);
        const float scaled = size * __uint_as_float(exponent << MANTISSA);
        return SIGNED && byte >> 7 ? -scaled : scaled;
    }
};

typedef Format<15, true> Signed;
typedef Format<31, false> Positive;

#if MOMENTS == 0
typedef float Kept;
#elif MOMENTS == 1
typedef bf16 Kept;
#else
typedef unsigned char Kept;
#endif

// The moments of `count` weights from `i` on, of all `n`.
template <class Of, u32 EACH>
__device__ __forceinline__ Several<EACH> read_moments(const Kept* all, size_t i, u32 count, size_t n) {
#if MOMENTS == 2
    Several<EACH> it;
    const u32 exponent = count > 0 ? all[n + i / BLOCK] : 0;
    if (WIDE && count == EACH) {
        const uint2 words = *reinterpret_cast<const uint2*>(all + i);
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) it.at[k] = Of::number((k < 4 ? words.x : words.y) >> k % 4 * 8 & 0xffu, exponent);
    } else {
#pragma unroll
        for (u32 k = 0; k < EACH; ++k) it.at[k] = k < count ? Of::number(all[i + k], exponent) : 0.0f;
    }
    return it;
#else
    return read<EACH>(all + i);
#endif
}

// Writes them, rounded by the lower or the upper halves of random words.
template <class Of, u32 EACH>
__device__ __forceinline__ void write_moments(Kept* all, size_t i, u32 count, size_t n, const Several<EACH>& it,
                                              const u32 (&words)[EACH], u32 half) {
#if MOMENTS == 0
    write(all + i, it);
#elif MOMENTS == 1
    Several<EACH> rounded;
#pragma unroll
    for (u32 k = 0; k < EACH; ++k)
        rounded.at[k] = __uint_as_float(u32(half_of(it.at[k], words[k] >> half & 0xffffu)) << 16);
    write(all + i, rounded);
#else
    u32 greatest = 0;
#pragma unroll
    for (u32 k = 0; k < EACH; ++k)
        if (k < count) greatest = max(greatest, __float_as_uint(it.at[k]) & 0x7fffffffu);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) greatest = max(greatest, __shfl_xor_sync(ALL, greatest, step));
    const u32 exponent = Of::exponent(greatest);
    u32 bytes[EACH];
#pragma unroll
    for (u32 k = 0; k < EACH; ++k) bytes[k] = Of::byte(it.at[k], exponent, words[k] >> half & 0xffffu);
    if (WIDE && count == EACH) {
        *reinterpret_cast<uint2*>(all + i) = {bytes[0] | bytes[1] << 8 | bytes[2] << 16 | bytes[3] << 24,
                                              bytes[4] | bytes[5] << 8 | bytes[6] << 16 | bytes[7] << 24};
    } else {
#pragma unroll
        for (u32 k = 0; k < EACH; ++k)
            if (k < count) all[i + k] = static_cast<unsigned char>(bytes[k]);
    }
    __syncwarp();  // all have read the exponent before
    if (count > 0 && i % BLOCK == 0) all[n + i / BLOCK] = static_cast<unsigned char>(exponent);
#endif
}
