// sample: a block of threads for each row picks a token, the same one as the processor. Contract: mod.rs.
// Weights are whole numbers where they are added, so that no order of threads shows in a sum.
#include "ptx.cuh"

constexpr u32 THREADS = 1024;            // cuda.rs: THREADS
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 BUCKETS = 256;             // of a digit of eight bits
constexpr u32 CHUNK = 4096;              // exponentials that are added together; cuda.rs: CHUNK
constexpr u32 NONE = 0xffffffffu;
constexpr u32 FIELDS = 12;               // of a row of `rows`; cuda.rs: FIELDS

// What a row is picked by.
struct Sampling {
    float temperature, top_p, min_p, penalty;
    u32 top_k;
    u64 uniform;  // times 2^53
};

// Shared memory of a block.
struct Memory {
    u64* buckets;     // [BUCKETS]
    u64* of_warps;    // [WARPS + 1]
    float* chunk;     // [CHUNK]
    u32* seen;        // [words]: a bit for each token that occurred
    u32* suppressed;  // [words]: one for each that may not come
};

// A score as a whole number of the same order.
__device__ __forceinline__ u32 ordered(float it) {
    const u32 bits = __float_as_uint(it);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float number_of(u32 order) {
    return __uint_as_float(order >> 31 ? order & 0x7fffffffu : ~order);
}

// A weight between 0 and 1 as a multiple of 2^-44.
__device__ __forceinline__ u64 whole(float weight) {
    return weight > 0.0f ? u64(double(weight) * 17592186044416.0) : 0;
}

// What each thread brings, over the block; all get it.
template <class T, class Join>
__device__ __forceinline__ T over_block(const Memory& memory, T mine, const Join& join) {
#pragma unroll
    for (int half = 16; half > 0; half /= 2) mine = join(mine, __shfl_xor_sync(ALL, mine, half));
    __syncthreads();
    if (threadIdx.x % WARP == 0) memory.of_warps[threadIdx.x / WARP] = u64(mine);
    __syncthreads();
    T all = T(memory.of_warps[0]);
    for (u32 warp = 1; warp < WARPS; ++warp) all = join(all, T(memory.of_warps[warp]));
    return all;
}

struct Least { __device__ u32 operator()(u32 a, u32 b) const { return a < b ? a : b; } };
struct Greatest { __device__ u32 operator()(u32 a, u32 b) const { return a > b ? a : b; } };
struct Sum { __device__ u64 operator()(u64 a, u64 b) const { return a + b; } };

// The first token that `is` holds for; NONE if there is none.
template <class Is>
__device__ __forceinline__ u32 first_that(const Memory& memory, u32 n, const Is& is) {
    u32 first = NONE;
    for (u32 i = threadIdx.x; i < n; i += THREADS)
        if (first == NONE && is(i)) first = i;
    return over_block(memory, first, Least());
}

// The greatest score, as `ordered`.
template <class Score>
__device__ __forceinline__ u32 greatest_of(const Memory& memory, u32 n, const Score& score) {
    u32 most = 0;
    for (u32 i = threadIdx.x; i < n; i += THREADS) most = Greatest()(most, ordered(score(i)));
    return over_block(memory, most, Greatest());
}

// The greatest key whose tokens, with those of greater keys, weigh at least `need`; `before` becomes what the
// greater ones weigh. All keys together weigh as much. Digit by digit, the highest first.
template <class Key, class Weight>
__device__ __forceinline__ u32 key_at(const Memory& memory, u32 n, u64 need, u64& before, const Key& key,
                                      const Weight& weight) {
    u32 found = 0;
    before = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < BUCKETS) memory.buckets[threadIdx.x] = 0;
        __syncthreads();
        for (u32 i = threadIdx.x; i < n; i += THREADS) {
            const u32 it = key(i);
            const u64 mine = weight(i);
            if (mine > 0 && (shift == 24 || it >> (shift + 8) == found)) atomicAdd(memory.buckets + (it >> shift) % BUCKETS, mine);
        }
        __syncthreads();
        u32 bucket = BUCKETS - 1;
        while (bucket > 0 && before + memory.buckets[bucket] < need) before += memory.buckets[bucket--];
        found = found << 8 | bucket;
    }
    return found;
}

// The first token at which the sum of weights is above `bound`; NONE if the sum of all is not.
template <class Weight>
__device__ __forceinline__ u32 token_at(const Memory& memory, u32 n, u64 bound, const Weight& weight) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, rounds = (n + THREADS - 1) / THREADS;
    const u32 begin = min(n, warp * rounds * WARP), end = min(n, begin + rounds * WARP);
    u64 mine = 0;
    for (u32 i = begin + lane; i < end; i += WARP) mine += weight(i);
#pragma unroll
    for (int half = 16; half > 0; half /= 2) mine += __shfl_xor_sync(ALL, mine, half);
    __syncthreads();
    if (lane == 0) memory.of_warps[warp] = mine;
    if (threadIdx.x == 0) memory.of_warps[WARPS] = NONE;
    __syncthreads();
    u64 sum = 0;
    u32 which = 0;
    while (which < WARPS && sum + memory.of_warps[which] <= bound) sum += memory.of_warps[which++];
    if (warp == which) {
        for (u32 first = begin; first < end; first += WARP) {
            u64 all = first + lane < end ? weight(first + lane) : 0;
#pragma unroll
            for (u32 step = 1; step < WARP; step *= 2) {
                const u64 lower = __shfl_sync(ALL, all, int(lane < step ? lane : lane - step));
                all += lane < step ? 0 : lower;
            }
            const u32 above = __ballot_sync(ALL, sum + all > bound);
            if (above != 0) {
                if (lane == 0) {
                    u32 place = 0;
                    while (!(above >> place & 1)) ++place;
                    memory.of_warps[WARPS] = first + place;
                }
                break;
            }
            sum += __shfl_sync(ALL, all, WARP - 1);
        }
    }
    __syncthreads();
    return u32(memory.of_warps[WARPS]);
}

// ln Σ exp of the logits: the processor's lanes and its tree.
__device__ __forceinline__ double log_sum(const Memory& memory, const float* logits, u32 n, float greatest) {
    float lane = 0.0f;
    for (u32 first = 0; first < n; first += CHUNK) {
        const u32 count = min(n - first, CHUNK);
        __syncthreads();
        for (u32 i = threadIdx.x; i < count; i += THREADS) memory.chunk[i] = exponential(logits[first + i] - greatest);
        __syncthreads();
        if (threadIdx.x < LANES)
            for (u32 i = threadIdx.x; i < count; i += LANES) lane += memory.chunk[i];
    }
    if (threadIdx.x < WARP) lane = tree(lane);
    __syncthreads();
    if (threadIdx.x == 0) memory.chunk[0] = lane;
    __syncthreads();
    return logarithm(double(memory.chunk[0])) + double(greatest);
}

// A bit for each token of a list.
__device__ __forceinline__ void mark(u32* bits, u32 words, const u32* list, u32 n, u32 vocabulary) {
    for (u32 i = threadIdx.x; i < words; i += THREADS) bits[i] = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < n; i += THREADS)
        if (list[i] < vocabulary) atomicOr(bits + list[i] / 32, 1u << list[i] % 32);
}

// Draws from scores as they are after penalties: temperature, top-k, top-p, min-p.
template <class Score>
__device__ __forceinline__ u32 draw(const Memory& memory, u32 n, const Sampling& by, const Score& penalised) {
    const auto scaled = [&](u32 i) { return by.temperature != 1.0f ? penalised(i) / by.temperature : penalised(i); };
    float least = minus_infinity();
    if (by.top_k > 0 && by.top_k < n) {
        u64 before;
        const auto key = [&](u32 i) { return ordered(scaled(i)); };
        least = number_of(key_at(memory, n, by.top_k, before, key, [](u32) { return u64(1); }));
    }
    const float most = number_of(greatest_of(memory, n, scaled));
    if (most == minus_infinity()) return NONE;
    const auto weight = [&](u32 i) {
        const float score = scaled(i);
        return score < least ? 0.0f : exponential(score - most);
    };
    u32 lowest = 0, last = NONE;  // of the weights that stay, and the last token that has it
    if (by.top_p < 1.0f) {
        const auto share = [&](u32 i) { return whole(weight(i)); };
        u64 all = 0;
        for (u32 i = threadIdx.x; i < n; i += THREADS) all += share(i);
        all = over_block(memory, all, Sum());
        const u64 out = u64((1.0 - double(by.top_p)) * double(all));
        const u64 need = out < all ? all - out : 1;
        u64 before;
        lowest = key_at(memory, n, need, before, [&](u32 i) { return __float_as_uint(weight(i)); }, share);
        const u64 each = whole(__uint_as_float(lowest));
        if (each == 0) return NONE;
        const auto is_tie = [&](u32 i) { return u64(__float_as_uint(weight(i)) == lowest); };
        last = token_at(memory, n, (need - before + each - 1) / each - 1, is_tie);
    }
    const auto kept = [&](u32 i) {
        const float it = weight(i);
        const u32 bits = __float_as_uint(it);
        const bool stays = bits > lowest || (bits == lowest && i <= last);
        return stays && !(it < by.min_p) ? whole(it) : 0;
    };
    u64 all = 0;
    for (u32 i = threadIdx.x; i < n; i += THREADS) all += kept(i);
    all = over_block(memory, all, Sum());
    if (all == 0) return NONE;
    const u64 bound = __umul64hi(by.uniform, all) << 11 | by.uniform * all >> 53;
    return token_at(memory, n, bound < all ? bound : all - 1, kept);
}

// `out` is for each row what came (0: a token, 1: a logit that is none, 2: nothing can be picked), the token,
// and the bits of its log-probability or of the logit.
extern "C" __global__ void __launch_bounds__(THREADS)
pick(const float* __restrict__ logits,  // [rows, vocabulary]
     const u32* __restrict__ rows,      // [rows, FIELDS]
     const u32* __restrict__ lists,     // tokens that occurred, and such that may not come
     u32* __restrict__ out,             // [rows, 3]
     u32 vocabulary) {
    SHARED(bytes);
    const u32 words = (vocabulary + 31) / 32, n = vocabulary;
    Memory memory;
    memory.buckets = reinterpret_cast<u64*>(bytes);
    memory.of_warps = memory.buckets + BUCKETS;
    memory.chunk = reinterpret_cast<float*>(memory.of_warps + WARPS + 1);
    memory.seen = reinterpret_cast<u32*>(memory.chunk + CHUNK);
    memory.suppressed = memory.seen + words;
    const u32* const row = rows + size_t(blockIdx.x) * FIELDS;
    const float* const own = logits + size_t(blockIdx.x) * vocabulary;
    u32* const to = out + size_t(blockIdx.x) * 3;
    const Sampling by = {__uint_as_float(row[4]), __uint_as_float(row[5]), __uint_as_float(row[6]),
                         __uint_as_float(row[7]), row[8], u64(row[9]) | u64(row[10]) << 32};
    const u32 bad = first_that(memory, n, [&](u32 i) { return !(own[i] < -minus_infinity()); });
    if (bad != NONE) {
        if (threadIdx.x == 0) {
            to[0] = 1;
            to[1] = bad;
            to[2] = __float_as_uint(own[bad]);
        }
        return;
    }
    const bool has_seen = row[1] > 0 && by.penalty != 1.0f, has_suppressed = row[3] > 0;
    if (has_seen) mark(memory.seen, words, lists + row[0], row[1], vocabulary);
    if (has_suppressed) mark(memory.suppressed, words, lists + row[2], row[3], vocabulary);
    __syncthreads();
    const auto penalised = [&](u32 i) {
        float score = own[i];
        if (has_seen && memory.seen[i / 32] >> i % 32 & 1) score = score < 0.0f ? score * by.penalty : score / by.penalty;
        if (has_suppressed && memory.suppressed[i / 32] >> i % 32 & 1) score = minus_infinity();
        return score;
    };
    u32 token;
    if (by.temperature == 0.0f) {
        const float most = number_of(greatest_of(memory, n, penalised));
        token = first_that(memory, n, [&](u32 i) { return penalised(i) == most && most > minus_infinity(); });
    } else {
        token = draw(memory, n, by, penalised);
    }
    if (token == NONE) {
        if (threadIdx.x == 0) to[0] = 2;
        return;
    }
    const float most = number_of(greatest_of(memory, n, [&](u32 i) { return own[i]; }));
    const double all = log_sum(memory, own, n, most);
    if (threadIdx.x == 0) {
        to[0] = 0;
        to[1] = token;
        to[2] = __float_as_uint(float(double(own[token]) - all));
    }
}
