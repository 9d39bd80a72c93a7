// What a kernel sees of CUDA when it is compiled as C++ for the processor: keywords, built-in
// variables, warp functions. Only built-ins of the compiler are used, so that compiling is quick.
//
// A CUDA thread is a fiber (fibers.cpp). Threads of a warp run one after another until all of them
// have come to the same warp function; the last to come does it for all.
#pragma once

typedef __SIZE_TYPE__ size_t;

// What is done for other threads, behind their backs: ThreadSanitizer does not look at it.
#define EMULATOR_QUIET __attribute__((no_sanitize("thread")))

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

struct uint3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emulator {

struct Thread {
    uint3 index;
    unsigned lane, warp;
};

// What is done for a whole warp: `operands[lane]` is what each of its threads in `mask` brought.
typedef void (*Operation)(void** operands, unsigned mask);

// What a thread of a warpgroup brings to a product; and the product, for all 128 of them.
struct GroupProduct {
    float* sums;
    unsigned long long a, b;
    unsigned held[4];  // the left operand where it is in registers
};
typedef void (*GroupOperation)(GroupProduct* all);

}  // namespace emulator

// The running thread and its block. Fibers of a block stay on one thread of the system.
#define EMULATOR_LOCAL extern "C" __attribute__((tls_model("initial-exec"))) __thread
EMULATOR_LOCAL emulator::Thread* emulator_thread;
EMULATOR_LOCAL uint3 emulator_block_index;
EMULATOR_LOCAL uint3 emulator_block_size;
EMULATOR_LOCAL uint3 emulator_grid_size;
EMULATOR_LOCAL unsigned char* emulator_shared;

extern "C" {
// Waits for the threads in `mask` of the warp; the last to come does `operation`.
void emulator_collective(unsigned mask, void* mine, emulator::Operation operation, const char* name);
// Barrier `id` for `count` threads of the block; a count of 0 is all that live.
void emulator_barrier(unsigned id, unsigned count);
// Copies at the wait that ends its group, so that what reads too early reads poison; or at once, so
// that what is still read is overwritten.
void emulator_copy_async(void* to, const void* from, unsigned bytes, unsigned used);
void emulator_copy_commit(void);
void emulator_copy_wait(unsigned groups_left);
// Sleeps until somebody wakes who waits for this.
void emulator_sleep(const void* what);
// The same; false where nobody can wake it any more.
bool emulator_sleep_or_give_up(const void* what);
void emulator_wake(const void* what);
// Does it when nothing else can go on; or at once. The data are copied.
void emulator_later(void (*action)(void*), void* data, size_t bytes);
// A product of the 128 threads of a warpgroup: made at the wait that ends its group; or at once.
void emulator_group_multiply(emulator::GroupProduct mine, emulator::GroupOperation operation);
void emulator_group_commit(void);
void emulator_group_wait(unsigned groups_left);
// What this thread did before the one, others that do the other afterwards see. For ThreadSanitizer.
void emulator_release(void* what);
void emulator_acquire(void* what);
// Ends the launch with an error.
[[noreturn]] void emulator_fail(const char* why);
}

#define threadIdx (emulator_thread->index)
#define blockIdx emulator_block_index
#define blockDim emulator_block_size
#define gridDim emulator_grid_size

static inline void __syncthreads() { emulator_barrier(0, 0); }

static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulator_collective(mask, nullptr, [](void**, unsigned) EMULATOR_QUIET {}, "__syncwarp");
}

namespace emulator {

template <class T>
struct Shuffle {
    T value, got;
    unsigned from;
};

template <class T>
static inline T shuffle(unsigned mask, T value, unsigned from, const char* name) {
    Shuffle<T> mine = {value, value, from};
    emulator_collective(mask, &mine, [](void** all, unsigned mask) EMULATOR_QUIET {
        for (unsigned lane = 0; lane < 32; ++lane) {
            if (!(mask >> lane & 1)) continue;
            Shuffle<T>* to = static_cast<Shuffle<T>*>(all[lane]);
            if (!(mask >> to->from & 1)) emulator_fail("a shuffle from a thread that takes no part");
            to->got = static_cast<Shuffle<T>*>(all[to->from])->value;
        }
    }, name);
    return mine.got;
}

}  // namespace emulator

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    unsigned first = emulator_thread->lane & ~unsigned(width - 1);
    return emulator::shuffle(mask, value, first | (unsigned(from) & unsigned(width - 1)), "__shfl_sync");
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int other, int = 32) {
    return emulator::shuffle(mask, value, emulator_thread->lane ^ unsigned(other), "__shfl_xor_sync");
}

static inline unsigned __ballot_sync(unsigned mask, int vote) {
    struct Ballot { int vote; unsigned all; } mine = {vote != 0, 0};
    emulator_collective(mask, &mine, [](void** all, unsigned mask) EMULATOR_QUIET {
        unsigned votes = 0;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (mask >> lane & 1) votes |= unsigned(static_cast<Ballot*>(all[lane])->vote) << lane;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (mask >> lane & 1) static_cast<Ballot*>(all[lane])->all = votes;
    }, "__ballot_sync");
    return mine.all;
}

static inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned value) {
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

static inline unsigned atomicOr(unsigned* at, unsigned bits) { return __atomic_fetch_or(at, bits, __ATOMIC_SEQ_CST); }
static inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long more) {
    return __atomic_fetch_add(at, more, __ATOMIC_SEQ_CST);
}

static inline float __uint_as_float(unsigned bits) { float it; __builtin_memcpy(&it, &bits, 4); return it; }
static inline unsigned __float_as_uint(float it) { unsigned bits; __builtin_memcpy(&bits, &it, 4); return bits; }
static inline long long __double_as_longlong(double it) { long long bits; __builtin_memcpy(&bits, &it, 8); return bits; }
static inline double __longlong_as_double(long long bits) { double it; __builtin_memcpy(&it, &bits, 8); return it; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }

static inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline float sqrtf(float it) { return __builtin_sqrtf(it); }
static inline float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
