// The backward pass of attention of bf16 by tensor cores: scores are made again, once for the gradients of
// keys and values and once for those of queries, so that everything has one writer. Contract: mod.rs, but
// for the sums, which are chains of `mma` steps over tiles in rising order, with weights and gradients of
// scores rounded to bf16. DIM is the width of a head: a multiple of 16.
#include "attention_tensor.cuh"

constexpr u32 KEYS = 64;        // of a block, 16 for each warp where these are the rows; cuda.rs: TENSOR_KEYS
constexpr u32 FEW_ROWS = 32;    // of queries beside a block of keys; cuda.rs: TENSOR_FEW_ROWS
constexpr u32 MANY_ROWS = 64;   // of queries, 16 for each warp; cuda.rs: TENSOR_ROWS

struct Given {
    const bf16 *d_out, *qkv;
    const float *lse, *delta;
    u32 query_heads, kv_heads, kv;
    float scale;

    __device__ __forceinline__ u32 group() const { return query_heads / kv_heads; }
    __device__ __forceinline__ size_t width() const { return (size_t(query_heads) + 2 * kv_heads) * DIM; }
    // The head of a packed row, counted over all tokens.
    __device__ __forceinline__ size_t head(u32 token, u32 row) const {
        return (size_t(token) + row / group()) * query_heads + kv * group() + row % group();
    }
    // Where a packed row's query begins in `qkv` and `d_qkv`.
    __device__ __forceinline__ size_t query(u32 token, u32 row) const {
        return (size_t(token) + row / group()) * width() + (kv * group() + row % group()) * DIM;
    }
    // Where a token's key does, and its value.
    __device__ __forceinline__ size_t key(u32 token) const { return token * width() + (size_t(query_heads) + kv) * DIM; }
    __device__ __forceinline__ size_t value(u32 token) const { return key(token) + size_t(kv_heads) * DIM; }
};

template <u32 ROWS>
__device__ __forceinline__ void load_queries(bf16* queries, bf16* d_outs, const Given& it, u32 token, u32 n_rows) {
    load_lines<ROWS>(queries, it.qkv, [&](u32 row) { return row < n_rows ? it.qkv + it.query(token, row) : nullptr; });
    load_lines<ROWS>(d_outs, it.d_out, [&](u32 row) { return row < n_rows ? it.d_out + it.head(token, row) * DIM : nullptr; });
}

__device__ __forceinline__ void load_keys(bf16* keys, bf16* values, const Given& it, u32 first, u32 end) {
    load_lines<KEYS>(keys, it.qkv, [&](u32 key) { return first + key < end ? it.qkv + it.key(first + key) : nullptr; });
    load_lines<KEYS>(values, it.qkv, [&](u32 key) { return first + key < end ? it.qkv + it.value(first + key) : nullptr; });
}

// A score becomes a weight, the gradient of a weight that of a score.
__device__ __forceinline__ void weigh(float& score, float& d_weight, bool visible, float scale, float lse, float delta) {
    const float weight = visible ? exponential(score * scale - lse) : 0.0f;
    d_weight = visible ? weight * (d_weight - delta) * scale : 0.0f;
    score = weight;
}

// `blocks` are the first keys of blocks and the ends of their sequences: [n, 2].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
backward_keys(const bf16* __restrict__ d_out, const bf16* __restrict__ qkv, const float* __restrict__ lse,
              const float* __restrict__ delta, const u32* __restrict__ blocks, bf16* __restrict__ d_qkv,
              u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    bf16* const keys = reinterpret_cast<bf16*>(memory);  // [KEYS][LENGTH]
    bf16* const values = keys + KEYS * LENGTH;           // [KEYS][LENGTH]
    bf16* const queries = values + KEYS * LENGTH;        // [FEW_ROWS][LENGTH]
    bf16* const d_outs = queries + FEW_ROWS * LENGTH;    // [FEW_ROWS][LENGTH]
    float* const lses = reinterpret_cast<float*>(d_outs + FEW_ROWS * LENGTH);  // [FEW_ROWS]
    float* const deltas = lses + FEW_ROWS;                                     // [FEW_ROWS]
    const Given it = {d_out, qkv, lse, delta, query_heads, kv_heads, blockIdx.y, scale};
    const u32 first = blocks[blockIdx.x * 2], end = blocks[blockIdx.x * 2 + 1];
    const u32 group = it.group(), tokens = FEW_ROWS / group;
    const u32 row = threadIdx.x / WARP * 16, own = row + threadIdx.x % WARP / 4;  // of this thread's keys
    float d_key[D][4], d_value[D][4];
    clear(d_key);
    clear(d_value);
    load_keys(keys, values, it, first, end);
    for (u32 token = first; token < end; token += tokens) {
        const u32 n_rows = min(tokens, end - token) * group;
        __syncthreads();
        load_queries<FEW_ROWS>(queries, d_outs, it, token, n_rows);
        copy_commit();
        if (threadIdx.x < n_rows) {
            lses[threadIdx.x] = lse[it.head(token, threadIdx.x)];
            deltas[threadIdx.x] = delta[it.head(token, threadIdx.x)];
        }
        copy_wait<0>();
        __syncthreads();
        float weights[FEW_ROWS / 8][4], d_scores[FEW_ROWS / 8][4];
        products(weights, keys, row, queries);
        products(d_scores, values, row, d_outs);
#pragma unroll
        for (u32 j = 0; j < FEW_ROWS / 8; ++j)
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const u32 query = j * 8 + threadIdx.x % 4 * 2 + n % 2, key = first + own + n / 2 * 8;
                const bool visible = query < n_rows && key <= token + query / group;
                weigh(weights[j][n], d_scores[j][n], visible, scale, lses[query], deltas[query]);
            }
        add_weighed(d_value, weights, d_outs);
        add_weighed(d_key, d_scores, queries);
    }
    copy_wait<0>();
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 key = first + own + half * 8;
        if (key >= end) continue;
        write_row(d_qkv + it.key(key), d_key, half, 1.0f);
        write_row(d_qkv + it.value(key), d_value, half, 1.0f);
    }
}

// `tiles` are the first tokens of tiles, and the starts and ends of their sequences: [n, 3].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
backward_queries(const bf16* __restrict__ d_out, const bf16* __restrict__ qkv, const float* __restrict__ lse,
                 const float* __restrict__ delta, const u32* __restrict__ tiles, bf16* __restrict__ d_qkv,
                 u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    bf16* const keys = reinterpret_cast<bf16*>(memory);  // [KEYS][LENGTH]
    bf16* const values = keys + KEYS * LENGTH;           // [KEYS][LENGTH]
    bf16* const queries = values + KEYS * LENGTH;        // [MANY_ROWS][LENGTH]
    bf16* const d_outs = queries + MANY_ROWS * LENGTH;   // [MANY_ROWS][LENGTH]
    const Given it = {d_out, qkv, lse, delta, query_heads, kv_heads, blockIdx.y, scale};
    const u32 token = tiles[blockIdx.x * 3], start = tiles[blockIdx.x * 3 + 1], end = tiles[blockIdx.x * 3 + 2];
    const u32 group = it.group(), tokens = min(MANY_ROWS / group, end - token), n_rows = tokens * group;
    const u32 row = threadIdx.x / WARP * 16, own = row + threadIdx.x % WARP / 4;
    float own_lse[2], own_delta[2];
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const bool here = own + half * 8 < n_rows;
        own_lse[half] = here ? lse[it.head(token, own + half * 8)] : 0.0f;
        own_delta[half] = here ? delta[it.head(token, own + half * 8)] : 0.0f;
    }
    float d_query[D][4];
    clear(d_query);
    load_queries<MANY_ROWS>(queries, d_outs, it, token, n_rows);
    for (u32 first = start; first < token + tokens; first += KEYS) {
        __syncthreads();
        load_keys(keys, values, it, first, end);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
        float weights[KEYS / 8][4], d_scores[KEYS / 8][4];
        products(weights, queries, row, keys);
        products(d_scores, d_outs, row, values);
#pragma unroll
        for (u32 j = 0; j < KEYS / 8; ++j)
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const u32 query = own + n / 2 * 8, key = first + j * 8 + threadIdx.x % 4 * 2 + n % 2;
                const bool visible = query < n_rows && key <= token + query / group;
                weigh(weights[j][n], d_scores[j][n], visible, scale, own_lse[n / 2], own_delta[n / 2]);
            }
        add_weighed(d_query, d_scores, keys);
    }
#pragma unroll
    for (u32 half = 0; half < 2; ++half)
        if (own + half * 8 < n_rows) write_row(d_qkv + it.query(token, own + half * 8), d_query, half, 1.0f);
}
