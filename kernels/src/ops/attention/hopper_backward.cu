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

// A head's numbers of a matrix: from `column` on.
struct Head { const TensorMap* map; u32 column; };

// 64 HALVES lines of two matrices, one behind the other; copies and what they announce count for `barrier`.
template <u32 HALVES>
__device__ __forceinline__ void copy_both(unsigned char* to, const Head& first, const Head& second, u32 row, u64* barrier) {
    mbarrier_expect_tx(barrier, 2 * HALVES * HALF_BYTES);
    copy_tile<HALVES>(to, first.map, first.column, row, barrier);
    copy_tile<HALVES>(to + HALVES * HALF_BYTES, second.map, second.column, row, barrier);
}

// Scores and gradients of weights: a consumer's lines of both tiles with those of a stage.
__device__ __forceinline__ void both_products(float (&scores)[N], float (&d_weights)[N], const unsigned char* tiles, const unsigned char* stage) {
    products<CONSUMERS, 1>(scores, tiles, stage);
    products<CONSUMERS, 1>(d_weights, tiles + TILE_BYTES, stage + HALF_BYTES);
    wgmma_wait<0>();
    keep_in_registers(scores);
    keep_in_registers(d_weights);
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
    unsigned char* const at_stages = memory + 2 * TILE_BYTES;  // after keys and values: queries and gradients of results
    float* const numbers = reinterpret_cast<float*>(at_stages + STAGES * STAGE_BYTES);  // [STAGES][2][STEP]
    u64* const both = reinterpret_cast<u64*>(numbers + STAGES * 2 * STEP);  // a barrier: keys and values are there
    if (threadIdx.x == 0) mbarrier_init(both, 1);
    const Stages<STAGES, STAGE_BYTES> stages(at_stages, both + 1, 1 + NUMBER_THREADS, CONSUMER_WARPS);
    const Heads heads = {query_heads, kv_heads};
    const u32 kv = blockIdx.x, first = blocks[blockIdx.y * 2], end = blocks[blockIdx.y * 2 + 1];
    const u32 per_head = (end - first + STEP - 1) / STEP, n_steps = per_head * heads.group();
    if (threadIdx.x < 128) {
        setmaxnreg_dec<24>();
        // One thread has boxes copied, 64 bring what belongs to each token.
        const u32 place = threadIdx.x - WARP;
        if (threadIdx.x != 0 && place >= NUMBER_THREADS) return;
        if (threadIdx.x == 0)
            copy_both<CONSUMERS>(memory, {&qkv, heads.key(kv)}, {&qkv, heads.value(kv)}, first, both);
        for (u32 n = 0; n < n_steps; ++n) {
            const u32 stage = n % STAGES, head = kv * heads.group() + n / per_head, token = first + n % per_head * STEP;
            stages.wait_empty(n);
            if (threadIdx.x == 0) {
                copy_both<1>(stages.at(n), {&qkv, head * DIM}, {&d_out, head * DIM}, token, stages.full(n));
            } else {
                const size_t at = size_t(token + place) * query_heads + head;
                const bool here = token + place < end;
                numbers[stage * 2 * STEP + place] = here ? lse[at] * LOG2_E : 0.0f;
                numbers[(stage * 2 + 1) * STEP + place] = here ? delta[at] : 0.0f;
                mbarrier_arrive(stages.full(n));
            }
        }
        return;
    }
    setmaxnreg_inc<240>();
    const u32 consumer = threadIdx.x / 128 - 1, own_first = first + consumer * 64, own = own_first + first_row();
    const float factor = scale * LOG2_E;
    float d_key[DIM / 2], d_value[DIM / 2];
    clear(d_key);
    clear(d_value);
    mbarrier_wait(both, 0);
    for (u32 n = 0; n < n_steps; ++n) {
        const u32 stage = n % STAGES, token = first + n % per_head * STEP;
        const unsigned char* const queries = stages.at(n);
        const unsigned char* const d_outs = queries + HALF_BYTES;
        stages.wait_full(n);
        // Tokens that come before all of the keys see none of them.
        if (token + STEP > own_first) {
            float weights[N], d_scores[N];
            both_products(weights, d_scores, memory + consumer * BOX_BYTES, queries);
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
            wgmma_wait<0>();
            keep_in_registers(d_value);
            keep_in_registers(d_key);
        }
        give_back(stages.empty(n));
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
    unsigned char* const at_stages = memory + 2 * TILE_BYTES;  // after queries and gradients of results: keys and values
    u64* const both = reinterpret_cast<u64*>(at_stages + STAGES * STAGE_BYTES);  // a barrier: the former are there
    if (threadIdx.x == 0) mbarrier_init(both, 1);
    const Stages<STAGES, STAGE_BYTES> stages(at_stages, both + 1, 1, CONSUMER_WARPS);
    const Heads heads = {query_heads, kv_heads};
    const u32* const tile = tiles + size_t(blockIdx.y) * 3;
    const u32 head = blockIdx.x, kv = head / heads.group(), token = tile[0], start = tile[1], end = tile[2];
    const u32 n_steps = (min(token + TILE, end) - start + STEP - 1) / STEP;
    if (threadIdx.x < 128) {
        setmaxnreg_dec<24>();
        if (threadIdx.x != 0) return;
        copy_both<CONSUMERS>(memory, {&qkv, head * DIM}, {&d_out, head * DIM}, token, both);
        for (u32 n = 0; n < n_steps; ++n) {
            stages.wait_empty(n);
            copy_both<1>(stages.at(n), {&qkv, heads.key(kv)}, {&qkv, heads.value(kv)}, start + n * STEP, stages.full(n));
        }
        return;
    }
    setmaxnreg_inc<240>();
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
    mbarrier_wait(both, 0);
    for (u32 n = 0; n < n_steps; ++n) {
        const u32 first = start + n * STEP;
        const unsigned char* const keys = stages.at(n);
        stages.wait_full(n);
        // Keys that come after all of the tokens are seen by none of them.
        if (first < own_first + 64) {
            float weights[N], d_scores[N];
            both_products(weights, d_scores, memory + consumer * BOX_BYTES, keys);
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
            wgmma_wait<0>();
            keep_in_registers(d_query);
        }
        give_back(stages.empty(n));
    }
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 row = own + half * 8;
        if (row < end) write_row(d_qkv + row * heads.row() + head * DIM, d_query, half, scale);
    }
}
