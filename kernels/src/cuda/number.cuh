// Numbers as the processor's twin has them (src/dtype.rs, src/cpu/math.rs): the same operations in
// the same order, so the same bits. Compiled with --fmad=false: what is fused says so.
#pragma once

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct bf16 { u16 bits; };

__device__ __forceinline__ float to_f32(float it) { return it; }
__device__ __forceinline__ float to_f32(bf16 it) { return __uint_as_float(u32(it.bits) << 16); }

template <class T> struct RoundTo;
template <> struct RoundTo<float> {
    __device__ static __forceinline__ float of(float it) { return it; }
};
template <> struct RoundTo<bf16> {
    __device__ static __forceinline__ bf16 of(float it) {
        const u32 bits = __float_as_uint(it);
        const u32 rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        const u32 quiet = bits >> 16 | 0x40u;
        bf16 result;
        result.bits = u16(it != it ? quiet : rounded);
        return result;
    }
};
// The nearest number of a type, ties to even.
template <class T>
__device__ __forceinline__ T round_to(float it) { return RoundTo<T>::of(it); }

__device__ __forceinline__ float greater(float a, float b) { return a > b ? a : b; }

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// e to the x; see `exp` in src/cpu/math.rs.
__device__ __forceinline__ float exponential(float x) {
    const float least = -87.0f, greatest = 88.0f, rounder = 12582912.0f;
    float held = x < least ? least : x;
    held = held > greatest ? greatest : held;
    const float shifted = fmaf(held, 1.44269504f, rounder);
    const float n = shifted - rounder;
    const float r = fmaf(n, 2.1219444e-4f, fmaf(n, -0.6933594f, held));
    float p = 1.9875691e-4f;
    p = fmaf(r, p, 1.3981999e-3f);
    p = fmaf(r, p, 8.333452e-3f);
    p = fmaf(r, p, 4.1665796e-2f);
    p = fmaf(r, p, 1.6666665e-1f);
    p = fmaf(r, p, 0.5f);
    p = fmaf(r * r, p, r) + 1.0f;
    const float power = __uint_as_float((__float_as_uint(shifted) << 23) + 0x3f800000u);
    float y = p * power;
    y = x < least ? 0.0f : y;
    return x > greatest ? x * 3.40282347e38f : y;
}

// What a gate lets through; see ops/swiglu.
__device__ __forceinline__ float silu(float gate) { return gate / (1.0f + exponential(-gate)); }

// Turns a pair of numbers of a head; see ops/rope.
__device__ __forceinline__ void rotate_pair(float& x, float& y, float cosine, float sine) {
    const float rotated = fmaf(x, cosine, -(y * sine));
    y = fmaf(y, cosine, x * sine);
    x = rotated;
}

// The natural logarithm of a positive number; see `ln` there.
__device__ __forceinline__ double logarithm(double x) {
    const u64 bits = u64(__double_as_longlong(x));
    i64 exponent = i64(bits >> 52) - 1023;
    double mantissa = __longlong_as_double(i64((bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull));
    if (mantissa > 1.4142135623730951) {
        mantissa /= 2.0;
        exponent += 1;
    }
    const double z = (mantissa - 1.0) / (mantissa + 1.0);
    const double square = z * z;
    double series = 0.0;
    for (int k = 10; k >= 0; --k) series = series * square + 1.0 / double(2 * k + 1);
    return 2.0 * z * series + double(exponent) * 0.6931471805599453;
}

// The lanes of the twin's sums, and the tree over them: halves onto halves. Sixteen threads next to
// each other hold a lane each; all get the sum. All threads of the warp have to come.
constexpr u32 LANES = 16;
constexpr u32 WARP = 32;
constexpr u32 ALL = 0xffffffffu;

__device__ __forceinline__ float tree(float lane) {
#pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) lane += __shfl_xor_sync(ALL, lane, half);
    return lane;
}

// Which of all threads of the launch this is, and how many there are.
__device__ __forceinline__ size_t thread_number() { return size_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ size_t thread_count() { return size_t(gridDim.x) * blockDim.x; }

// Keeps the first index that does not exist, plus one, and how many there are; the host asks for it
// when it next waits.
__device__ __forceinline__ void note(u32* fault, u32 index, size_t len) {
    if (atomicCAS(fault, 0u, index + 1u) == 0u) fault[1] = u32(len);
}
