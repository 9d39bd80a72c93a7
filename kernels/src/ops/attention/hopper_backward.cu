// The backward pass of attention of bf16 by Hopper's warpgroups: scores are made again, once for the
// gradients of keys and values and once for those of queries, so that everything has one writer. Contract:
// mod.rs, but for the sums, which are chains of `wgmma` steps: those of keys and values over the query heads
// of a group and over tiles of 64 tokens, those of queries over blocks of 64 keys, all rising, with weights
// and gradients of scores rounded to bf16.
#include "attention_hopper.cuh"

constexpr u32 STAGES = 3;    // hopper.rs: BACK_STAGES
constexpr u32 STEP = 64;     // lines of a stage: tokens beside keys, keys beside tokens
constexpr u32 N = STEP / 2;  // scores of a thread
constexpr u32 TILE_BYTES = CONSUMERS * HALF_BYTES;
constexpr u32 STAGE_BYTES = 2 * HALF_BYTES;
constexpr u32 NUMBER_THREADS = 64;  // of the first warpgroup: those that bring `lse` and `delta`
constexpr float LOG2_E = 1.44269504f;

struct Heads {
    u32 query, kv;
    __device__ __forceinline__ u32 group() const { return query / kv; }
    __device__ __forceinline__ u32 key(u32 head) const { return (query + head) * DIM; }
    __device__ __forceinline__ u32 value(u32 head) const { return (query + kv + head) * DIM; }
    __device__ __forceinline__ size_t row() const { return (size_t(query) + 2 * kv) * DIM; }
};

// Barriers: both tiles are there, a stage is there, nobody reads it any more.
struct Barriers { u64 *tiles, *full, *empty; };

__device__ __forceinline__ Barriers barriers_in(u64* at, u32 arrivals) {
    const Barriers it = {at, at + 1, at + 1 + STAGES};
    if (threadIdx.x == 0) {
        phase_init(it.tiles, 1);
        for (u32 i = 0; i < STAGES; ++i) {
            phase_init(it.full + i, arrivals);
            phase_init(it.empty + i, CONSUMER_WARPS);
        }
        phase_fence();
    }
    __syncthreads();
    return it;
}

// A score becomes a weight, the gradient of a weight that of a score before it was scaled.
__device__ __forceinline__ void weigh(float& score, float& d_weight, float factor, float lse, float delta) {
    score = power_of_two(fmaf(score, factor, -lse));
    d_weight = score * (d_weight - delta);
}

// Pairs that do not see each other weigh nothing.
template <class Sees>
__device__ __forceinline__ void mask(float (&weights)[N], float (&d_scores)[N], const Sees& sees) {
#pragma unroll
    for (u32 i = 0; i < N; ++i)
        if (!sees(i % 4 / 2 * 8, i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2)) weights[i] = d_scores[i] = 0.0f;
}

// The products of results and their gradients: a thread for each eight numbers of a head.
extern "C" __global__ void __launch_bounds__(256)
delta(const bf16* __restrict__ d_out, const bf16* __restrict__ out,  // [rows, heads * DIM]
      float* __restrict__ to, size_t n) {                            // [rows, heads]
    const size_t i = thread_number();
    const bool here = i < n * (DIM / 8);
    float sum = 0.0f;
    if (here) {
        const uint4 a = reinterpret_cast<const uint4*>(d_out)[i], b = reinterpret_cast<const uint4*>(out)[i];
        const u32 left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (u32 k = 0; k < 4; ++k) {
            sum = fmaf(__uint_as_float(left[k] << 16), __uint_as_float(right[k] << 16), sum);
            sum = fmaf(__uint_as_float(left[k] & 0xffff0000u), __uint_as_float(right[k] & 0xffff0000u), sum);
        }
    }
#pragma unroll
    for (int half = DIM / 16; half > 0; half /= 2) sum += __shfl_xor_sync(ALL, sum, half);
    if (here && i % (DIM / 8) == 0) to[i / (DIM / 8)] = sum;
}

// `blocks` are the first keys of blocks of 128 and the ends of their sequences: [n, 2].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
backward_keys(const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap d_out,
              const float* __restrict__ lse, const float* __restrict__ delta, const u32* __restrict__ blocks,
              bf16* __restrict__ d_qkv, u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    unsigned char* const keys = memory;
    unsigned char* const values = keys + TILE_BYTES;
    unsigned char* const stages = values + TILE_BYTES;  // [STAGES]: queries and gradients of results
    float* const numbers = reinterpret_cast<float*>(stages + STAGES * STAGE_BYTES);  // [STAGES][2][STEP]
    const Barriers barriers = barriers_in(reinterpret_cast<u64*>(numbers + STAGES * 2 * STEP), 1 + NUMBER_THREADS);
    const Heads heads = {query_heads, kv_heads};
    const u32 kv = blockIdx.x, first = blocks[blockIdx.y * 2], end = blocks[blockIdx.y * 2 + 1];
    const u32 per_head = (end - first + STEP - 1) / STEP, n_steps = per_head * heads.group();
    if (threadIdx.x < 128) {
        registers_less<24>();
        // One thread has boxes copied, 64 bring what belongs to each token.
        const u32 place = threadIdx.x - WARP;
        if (threadIdx.x != 0 && place >= NUMBER_THREADS) return;
        if (threadIdx.x == 0) {
            phase_expect(barriers.tiles, 2 * TILE_BYTES);
            copy_tile<CONSUMERS>(keys, &qkv, heads.key(kv), first, barriers.tiles);
            copy_tile<CONSUMERS>(values, &qkv, heads.value(kv), first, barriers.tiles);
        }
        for (u32 n = 0; n < n_steps; ++n) {
            const u32 stage = n % STAGES, head = kv * heads.group() + n / per_head, token = first + n % per_head * STEP;
            u64* const full = barriers.full + stage;
            if (n >= STAGES) phase_wait(barriers.empty + stage, (n / STAGES - 1) % 2);
            if (threadIdx.x == 0) {
                unsigned char* const to = stages + stage * STAGE_BYTES;
                phase_expect(full, STAGE_BYTES);
                copy_tile<1>(to, &qkv, head * DIM, token, full);
                copy_tile<1>(to + HALF_BYTES, &d_out, head * DIM, token, full);
            } else {
                const size_t at = size_t(token + place) * query_heads + head;
                const bool here = token + place < end;
                numbers[stage * 2 * STEP + place] = here ? lse[at] * LOG2_E : 0.0f;
                numbers[(stage * 2 + 1) * STEP + place] = here ? delta[at] : 0.0f;
                phase_arrive(full);
            }
        }
        return;
    }
    registers_more<240>();
    const u32 consumer = threadIdx.x / 128 - 1, own_first = first + consumer * 64, own = own_first + first_row();
    const float factor = scale * LOG2_E;
    float d_key[DIM / 2], d_value[DIM / 2];
    clear(d_key);
    clear(d_value);
    phase_wait(barriers.tiles, 0);
    for (u32 n = 0; n < n_steps; ++n) {
        const u32 stage = n % STAGES, token = first + n % per_head * STEP;
        const unsigned char* const queries = stages + stage * STAGE_BYTES;
        const unsigned char* const d_outs = queries + HALF_BYTES;
        phase_wait(barriers.full + stage, n / STAGES % 2);
        // Tokens that come before all of the keys see none of them.
        if (token + STEP > own_first) {
            float weights[N], d_scores[N];
            products<CONSUMERS, 1>(weights, keys + consumer * BOX_BYTES, queries);
            products<CONSUMERS, 1>(d_scores, values + consumer * BOX_BYTES, d_outs);
            group_wait<0>();
            group_hold(weights);
            group_hold(d_scores);
            const float* const lses = numbers + stage * 2 * STEP;
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                const u32 column = i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
                weigh(weights[i], d_scores[i], factor, lses[column], lses[STEP + column]);
            }
            if (token < own_first + 64 || token + STEP > end)
                mask(weights, d_scores, [&](u32 row, u32 column) {
                    return own + row <= token + column && token + column < end;
                });
            u32 left[STEP / 16][4], d_left[STEP / 16][4];
            pack_weights(left, weights);
            pack_weights(d_left, d_scores);
            add_weighed<1>(d_value, left, d_outs);
            add_weighed<1>(d_key, d_left, queries);
            group_wait<0>();
            group_hold(d_value);
            group_hold(d_key);
        }
        give_back(barriers.empty + stage);
    }
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 key = own + half * 8;
        if (key >= end) continue;
        write_row(d_qkv + key * heads.row() + heads.key(kv), d_key, half, scale);
        write_row(d_qkv + key * heads.row() + heads.value(kv), d_value, half, 1.0f);
    }
}

// `tiles` are the first tokens of tiles of 128, and the starts and ends of their sequences: [n, 3].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
backward_queries(const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap d_out,
                 const float* __restrict__ lse, const float* __restrict__ delta, const u32* __restrict__ tiles,
                 bf16* __restrict__ d_qkv, u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    unsigned char* const queries = memory;
    unsigned char* const d_outs = queries + TILE_BYTES;
    unsigned char* const stages = d_outs + TILE_BYTES;  // [STAGES]: keys and values
    const Barriers barriers = barriers_in(reinterpret_cast<u64*>(stages + STAGES * STAGE_BYTES), 1);
    const Heads heads = {query_heads, kv_heads};
    const u32* const tile = tiles + size_t(blockIdx.y) * 3;
    const u32 head = blockIdx.x, kv = head / heads.group(), token = tile[0], start = tile[1], end = tile[2];
    const u32 n_steps = (min(token + TILE, end) - start + STEP - 1) / STEP;
    if (threadIdx.x < 128) {
        registers_less<24>();
        if (threadIdx.x != 0) return;
        phase_expect(barriers.tiles, 2 * TILE_BYTES);
        copy_tile<CONSUMERS>(queries, &qkv, head * DIM, token, barriers.tiles);
        copy_tile<CONSUMERS>(d_outs, &d_out, head * DIM, token, barriers.tiles);
        for (u32 n = 0; n < n_steps; ++n) {
            const u32 stage = n % STAGES, row = start + n * STEP;
            if (n >= STAGES) phase_wait(barriers.empty + stage, (n / STAGES - 1) % 2);
            unsigned char* const to = stages + stage * STAGE_BYTES;
            phase_expect(barriers.full + stage, STAGE_BYTES);
            copy_tile<1>(to, &qkv, heads.key(kv), row, barriers.full + stage);
            copy_tile<1>(to + HALF_BYTES, &qkv, heads.value(kv), row, barriers.full + stage);
        }
        return;
    }
    registers_more<240>();
    const u32 consumer = threadIdx.x / 128 - 1, own_first = token + consumer * 64, own = own_first + first_row();
    const float factor = scale * LOG2_E;
    float own_lse[2], own_delta[2], d_query[DIM / 2];
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const size_t at = size_t(own + half * 8) * query_heads + head;
        own_lse[half] = own + half * 8 < end ? lse[at] * LOG2_E : 0.0f;
        own_delta[half] = own + half * 8 < end ? delta[at] : 0.0f;
    }
    clear(d_query);
    phase_wait(barriers.tiles, 0);
    for (u32 n = 0; n < n_steps; ++n) {
        const u32 stage = n % STAGES, first = start + n * STEP;
        const unsigned char* const keys = stages + stage * STAGE_BYTES;
        phase_wait(barriers.full + stage, n / STAGES % 2);
        // Keys that come after all of the tokens are seen by none of them.
        if (first < own_first + 64) {
            float weights[N], d_scores[N];
            products<CONSUMERS, 1>(weights, queries + consumer * BOX_BYTES, keys);
            products<CONSUMERS, 1>(d_scores, d_outs + consumer * BOX_BYTES, keys + HALF_BYTES);
            group_wait<0>();
            group_hold(weights);
            group_hold(d_scores);
#pragma unroll
            for (u32 i = 0; i < N; ++i)
                weigh(weights[i], d_scores[i], factor, own_lse[i % 4 / 2], own_delta[i % 4 / 2]);
            if (first + STEP > own_first || own_first + 64 > end)
                mask(weights, d_scores, [&](u32 row, u32 column) {
                    return first + column <= own + row && own + row < end;
                });
            u32 d_left[STEP / 16][4];
            pack_weights(d_left, d_scores);
            add_weighed<1>(d_query, d_left, keys);
            group_wait<0>();
            group_hold(d_query);
        }
        give_back(barriers.empty + stage);
    }
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 row = own + half * 8;
        if (row < end) write_row(d_qkv + row * heads.row() + head * DIM, d_query, half, scale);
    }
}
