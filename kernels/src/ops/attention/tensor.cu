// attention of bf16 by tensor cores, forward: a tile of up to 64 rows is some tokens with all query heads
// that share a head of keys, so that one load of keys serves them all; for a single token too. Contract:
// mod.rs, but for the sums: keys come in blocks of 64 from the start of the sequence, weights are rounded
// to bf16 before they meet the values, and sums are chains of `mma` steps. What a row gets depends on its
// own keys alone, wherever they lie.
//
// DIM is the width of a head: a multiple of 16. With PAGED keys and values lie in the blocks of a cache,
// else in the rows.
#include "attention_tensor.cuh"

constexpr u32 ROWS = 64;      // tensor.rs: ROWS; of a tile, 16 for each warp
constexpr u32 KEYS = 64;      // of a block
constexpr u32 N = KEYS / 8;   // instructions over keys

// Some tokens of a sequence: the first one's row and position, how many, and where the sequence begins.
struct Tokens { u32 row, position, n, start; };

#if PAGED
constexpr u32 BLOCK = 32;  // mod.rs: BLOCK; keys of a block of the cache
#endif

struct Keys {
    const bf16 *keys, *values;
    size_t stride;     // of rows, not PAGED
    const u32* table;  // PAGED
    size_t block;      // PAGED: numbers of a block, all heads
};

// Where the head's part of a key begins.
__device__ __forceinline__ size_t key_at(const Keys& it, const Tokens& tokens, u32 key) {
#if PAGED
    return it.table[tokens.start + key / BLOCK] * it.block + key % BLOCK * DIM;
#else
    return (size_t(tokens.start) + key) * it.stride;
#endif
}

// Keys or values of a block; those beyond the last become zero.
__device__ __forceinline__ void load(bf16* to, const bf16* from, const Keys& it, const Tokens& tokens, u32 first, u32 n_keys) {
    load_lines<KEYS>(to, from, [&](u32 key) {
        return first + key < n_keys ? from + key_at(it, tokens, first + key) : nullptr;
    });
}

// The greatest, and the sum, of a row's numbers, which four neighbouring threads hold.
__device__ __forceinline__ float greatest_of_four(float it) {
    it = greater(it, __shfl_xor_sync(ALL, it, 1));
    return greater(it, __shfl_xor_sync(ALL, it, 2));
}

__device__ __forceinline__ float sum_of_four(float it) {
    it += __shfl_xor_sync(ALL, it, 1);
    return it + __shfl_xor_sync(ALL, it, 2);
}

// What a thread keeps of its two rows.
struct Running {
    float sums[D][4];  // 0 and 1 of the first row, 2 and 3 of the second
    float most[2], weight[2];
};

// Scores become weights, and what runs is brought up to date. `visible` is how many keys of the block
// each of the two rows sees.
__device__ __forceinline__ void weigh(float (&scores)[N][4], Running& running, const u32 (&visible)[2], float scale) {
    const u32 column = threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        float most = running.most[half];
#pragma unroll
        for (u32 j = 0; j < N; ++j)
#pragma unroll
            for (u32 n = 2 * half; n < 2 * half + 2; ++n) {
                const bool sees = j * 8 + column + n % 2 < visible[half];
                scores[j][n] = sees ? scores[j][n] * scale : minus_infinity();
                most = greater(most, scores[j][n]);
            }
        most = greatest_of_four(most);
        // A row that sees nothing yet has no greatest score; then nothing is weighed.
        const float level = most == minus_infinity() ? 0.0f : most;
        const float shrink = exponential(running.most[half] - level);
        float total = 0.0f;
#pragma unroll
        for (u32 j = 0; j < N; ++j)
#pragma unroll
            for (u32 n = 2 * half; n < 2 * half + 2; ++n) {
                scores[j][n] = exponential(scores[j][n] - level);
                total += scores[j][n];
            }
        running.weight[half] = fmaf(running.weight[half], shrink, sum_of_four(total));
        running.most[half] = most;
#pragma unroll
        for (u32 d = 0; d < D; ++d) {
            running.sums[d][2 * half] *= shrink;
            running.sums[d][2 * half + 1] *= shrink;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
forward(const bf16* __restrict__ qkv,     // [rows, row]
        const u32* __restrict__ tiles,    // [n, 4]: `Tokens`
        const bf16* __restrict__ keys,    // PAGED: one layer of the cache
        const bf16* __restrict__ values,  // PAGED: likewise
        const u32* __restrict__ table,    // PAGED: blocks of all sequences
        bf16* __restrict__ out,           // [rows, query heads * DIM]
        float* __restrict__ lse,          // not PAGED: [rows, query heads]
        u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    bf16* const query_tile = reinterpret_cast<bf16*>(memory);  // [ROWS][LENGTH]
    bf16* const key_tile = query_tile + ROWS * LENGTH;         // [KEYS][LENGTH]
    bf16* const value_tile = key_tile + KEYS * LENGTH;         // [KEYS][LENGTH]
    const u32* const it = tiles + size_t(blockIdx.x) * 4;
    const Tokens tokens = {it[0], it[1], it[2], it[3]};
    const u32 kv = blockIdx.y, group = query_heads / kv_heads, n_rows = tokens.n * group;
    const size_t width = (size_t(query_heads) + 2 * kv_heads) * DIM;
#if PAGED
    const size_t head = size_t(kv) * BLOCK * DIM;
    const Keys from = {keys + head, values + head, 0, table, size_t(kv_heads) * BLOCK * DIM};
#else
    const bf16* const first_key = qkv + (size_t(query_heads) + kv) * DIM;
    const Keys from = {first_key, first_key + size_t(kv_heads) * DIM, width, nullptr, 0};
#endif
    load_lines<ROWS>(query_tile, qkv, [&](u32 row) {
        const size_t at = (size_t(tokens.row) + row / group) * width + (kv * group + row % group) * DIM;
        return row < n_rows ? qkv + at : nullptr;
    });
    const u32 own = threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4;  // the first of this thread's rows
    Running running;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        running.most[half] = minus_infinity();
        running.weight[half] = 0.0f;
    }
    clear(running.sums);
    const u32 n_keys = tokens.position + tokens.n;
    for (u32 first = 0; first < n_keys; first += KEYS) {
        __syncthreads();
        load(key_tile, from.keys, from, tokens, first, n_keys);
        copy_commit();
        load(value_tile, from.values, from, tokens, first, n_keys);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        float scores[N][4];
        products(scores, query_tile, threadIdx.x / WARP * 16, key_tile);
        u32 visible[2];
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            const u32 last = tokens.position + (own + half * 8) / group;
            visible[half] = last < first ? 0 : last - first + 1;
        }
        weigh(scores, running, visible, scale);
        copy_wait<0>();
        __syncthreads();
        add_weighed(running.sums, scores, value_tile);
    }
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 row = own + half * 8;
        if (row >= n_rows) continue;
        const size_t head = (size_t(tokens.row) + row / group) * query_heads + kv * group + row % group;
        write_row(out + head * DIM, running.sums, half, running.weight[half]);
#if !PAGED
        if (threadIdx.x % 4 == 0)
            lse[head] = float(double(running.most[half]) + logarithm(double(running.weight[half])));
#endif
    }
}
