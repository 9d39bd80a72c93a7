// The backward pass of attention: a thread for each pair of a query and a key, scores are made again.
// Contract: mod.rs. The path for all types; bf16 takes tensor.cu. DIM is the width of a head, E the type
// of rows.
#include "ptx.cuh"

constexpr u32 BLOCK = 32;                        // mod.rs: BLOCK
constexpr u32 PARTS = (DIM + WARP - 1) / WARP;  // of a head, for each thread

struct Heads { u32 query, kv; };

__device__ __forceinline__ u32 row_width(Heads heads) { return (heads.query + 2 * heads.kv) * DIM; }

// The product of a query's result and its gradient; sixteen threads for each query and head.
extern "C" __global__ void __launch_bounds__(128)
delta(const E* __restrict__ d_out, const E* __restrict__ out,  // [rows, heads * DIM]
      float* __restrict__ to, size_t n) {                      // [rows, heads]
    const size_t i = thread_number() / LANES;
    float sum = 0.0f;
    if (i < n)
        for (u32 d = threadIdx.x % LANES; d < DIM; d += LANES)
            sum = fmaf(to_f32(d_out[i * DIM + d]), to_f32(out[i * DIM + d]), sum);
    sum = tree(sum);
    if (i < n && threadIdx.x % LANES == 0) to[i] = sum;
}

// What both backward kernels have of a tile of queries and a block of keys, in shared memory.
constexpr u32 QUERIES = 8;      // cuda.rs: QUERIES
constexpr u32 THREADS = 256;    // QUERIES * BLOCK: a thread for each pair
constexpr u32 LINE = DIM + 1;   // of shared memory, padded

struct Tile {
    float *query, *d_out;     // [QUERIES][LINE]
    float *key, *value;       // [BLOCK][LINE]
    float *weight, *d_score;  // [QUERIES][BLOCK]
};

__device__ __forceinline__ Tile tile_in(unsigned char* memory) {
    float* const at = reinterpret_cast<float*>(memory);
    float* const keys = at + 2 * QUERIES * LINE;
    float* const weights = keys + 2 * BLOCK * LINE;
    return {at, at + QUERIES * LINE, keys, keys + BLOCK * LINE, weights, weights + QUERIES * BLOCK};
}

struct Given {
    const E *d_out, *qkv;
    const float *lse, *delta;
    Heads heads;
    float scale;
};

// Rows from `first`, as many as there are up to `end`, zeros after them.
__device__ __forceinline__ void load(float* to, u32 n, const E* from, size_t width, u32 first, u32 end) {
    for (u32 i = threadIdx.x; i < n * DIM; i += THREADS) {
        const u32 row = i / DIM, d = i % DIM;
        to[row * LINE + d] = first + row < end ? to_f32(from[(first + row) * width + d]) : 0.0f;
    }
}

__device__ __forceinline__ void load_queries(const Tile& tile, const Given& it, u32 head, u32 first, u32 end) {
    load(tile.query, QUERIES, it.qkv + head * DIM, row_width(it.heads), first, end);
    load(tile.d_out, QUERIES, it.d_out + head * DIM, size_t(it.heads.query) * DIM, first, end);
}

__device__ __forceinline__ void load_keys(const Tile& tile, const Given& it, u32 kv, u32 first, u32 end) {
    const u32 width = row_width(it.heads);
    load(tile.key, BLOCK, it.qkv + (it.heads.query + kv) * DIM, width, first, end);
    load(tile.value, BLOCK, it.qkv + (it.heads.query + it.heads.kv + kv) * DIM, width, first, end);
}

// The weight of this thread's pair and the gradient of its score. Rows are counted in the batch.
__device__ __forceinline__ void weigh(const Tile& tile, const Given& it, u32 head, u32 query, u32 key, u32 end) {
    const u32 i = threadIdx.x / BLOCK, j = threadIdx.x % BLOCK;
    float score = 0.0f, d_weight = 0.0f;
    for (u32 d = 0; d < DIM; ++d) {
        score = fmaf(tile.query[i * LINE + d], tile.key[j * LINE + d], score);
        d_weight = fmaf(tile.d_out[i * LINE + d], tile.value[j * LINE + d], d_weight);
    }
    const bool visible = query + i < end && key + j <= query + i;
    float weight = 0.0f, d_score = 0.0f;
    if (visible) {
        const size_t at = size_t(query + i) * it.heads.query + head;
        weight = exponential(score * it.scale - it.lse[at]);
        d_score = weight * (d_weight - it.delta[at]) * it.scale;
    }
    tile.weight[threadIdx.x] = weight;
    tile.d_score[threadIdx.x] = d_score;
}

// `blocks` are the first rows of blocks of keys and the ends of their sequences: [n, 2]. One block of
// threads walks over the query heads of a group and the queries from its keys on.
extern "C" __global__ void __launch_bounds__(THREADS)
backward_keys(const E* __restrict__ d_out, const E* __restrict__ qkv, const float* __restrict__ lse,
              const float* __restrict__ delta, const u32* __restrict__ blocks, E* __restrict__ d_qkv,
              u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    const Tile tile = tile_in(memory);
    const Given it = {d_out, qkv, lse, delta, {query_heads, kv_heads}, scale};
    const u32 first = blocks[blockIdx.x * 2], end = blocks[blockIdx.x * 2 + 1], kv = blockIdx.y;
    constexpr u32 SHARE = THREADS / BLOCK, EACH = (DIM + SHARE - 1) / SHARE;
    const u32 own = threadIdx.x / SHARE, column = threadIdx.x % SHARE;  // this thread's key and columns
    float d_key[EACH], d_value[EACH];
#pragma unroll
    for (u32 i = 0; i < EACH; ++i) d_key[i] = d_value[i] = 0.0f;
    load_keys(tile, it, kv, first, end);
    const u32 group = query_heads / kv_heads;
    for (u32 head = kv * group; head < (kv + 1) * group; ++head) {
        for (u32 query = first; query < end; query += QUERIES) {
            __syncthreads();
            load_queries(tile, it, head, query, end);
            __syncthreads();
            weigh(tile, it, head, query, first, end);
            __syncthreads();
            for (u32 i = 0; i < QUERIES; ++i) {
                const float weight = tile.weight[i * BLOCK + own], d_score = tile.d_score[i * BLOCK + own];
#pragma unroll
                for (u32 e = 0; e < EACH; ++e) {
                    const u32 d = e * SHARE + column;
                    if (d >= DIM) continue;
                    d_value[e] = fmaf(weight, tile.d_out[i * LINE + d], d_value[e]);
                    d_key[e] = fmaf(d_score, tile.query[i * LINE + d], d_key[e]);
                }
            }
        }
    }
    if (first + own >= end) return;
    E* const to = d_qkv + size_t(first + own) * row_width(it.heads) + (query_heads + kv) * DIM;
#pragma unroll
    for (u32 e = 0; e < EACH; ++e) {
        const u32 d = e * SHARE + column;
        if (d >= DIM) continue;
        to[d] = round_to<E>(d_key[e]);
        to[kv_heads * DIM + d] = round_to<E>(d_value[e]);
    }
}

// `tiles` are the first rows of tiles of queries, and the starts and ends of their sequences: [n, 3].
// One block of threads walks over the blocks of keys.
extern "C" __global__ void __launch_bounds__(THREADS)
backward_queries(const E* __restrict__ d_out, const E* __restrict__ qkv, const float* __restrict__ lse,
                 const float* __restrict__ delta, const u32* __restrict__ tiles, E* __restrict__ d_qkv,
                 u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    const Tile tile = tile_in(memory);
    const Given it = {d_out, qkv, lse, delta, {query_heads, kv_heads}, scale};
    const u32* const at = tiles + size_t(blockIdx.x) * 3;
    const u32 query = at[0], start = at[1], end = at[2], head = blockIdx.y;
    const u32 own = threadIdx.x / WARP, lane = threadIdx.x % WARP;  // this thread's query and columns
    float d_query[PARTS];
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) d_query[part] = 0.0f;
    load_queries(tile, it, head, query, end);
    const u32 last = min(query + QUERIES, end) - 1;
    for (u32 key = start; key <= last; key += BLOCK) {
        __syncthreads();
        load_keys(tile, it, head / (query_heads / kv_heads), key, end);
        __syncthreads();
        weigh(tile, it, head, query, key, end);
        __syncthreads();
        for (u32 j = 0; j < BLOCK; ++j) {
            const float d_score = tile.d_score[own * BLOCK + j];
#pragma unroll
            for (u32 part = 0; part < PARTS; ++part) {
                const u32 d = part * WARP + lane;
                if (d < DIM) d_query[part] = fmaf(d_score, tile.key[j * LINE + d], d_query[part]);
            }
        }
    }
    if (query + own >= end) return;
    E* const to = d_qkv + size_t(query + own) * row_width(it.heads) + head * DIM;
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) {
        const u32 d = part * WARP + lane;
        if (d < DIM) to[d] = round_to<E>(d_query[part]);
    }
}
