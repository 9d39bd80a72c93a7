// decode: attention of new tokens, one for each row, to the cached keys of their sequences, by tensor cores.
// Contract: mod.rs. A block of threads has a row, a head of keys and SPLIT keys, counted from the start of
// the sequence; `combine` adds what they find, in order. So a row's numbers depend on its own keys alone.
//
// Keys are the rows of an instruction and the query heads that share them its eight columns: scores are
// K Qᵀ, results Vᵀ times the weights. DIM is the width of a head.
#include "attention_tensor.cuh"

constexpr u32 NOBODY = 0xffffffffu;  // mod.rs: NOBODY
constexpr u32 SPLIT = 256;           // mod.rs: SPLIT
constexpr u32 BLOCK = 32;            // ../attention/mod.rs: BLOCK; keys of a block of the cache
constexpr u32 KEYS = 64;             // that are loaded at once, 16 for each warp; cuda.rs: KEYS
constexpr u32 HEADS = 8;             // columns of an instruction; cuda.rs: HEADS
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 TILE = KEYS * LENGTH;  // numbers of keys or values in shared memory
constexpr u32 STEPS = DIM / 16;

// What a thread keeps of its two heads.
struct Running {
    float sums[STEPS][4];  // of two rows of results, eight apart, two heads each
    float most[2], weight[2];
};

// Eight threads hold a head's numbers, four apart.
__device__ __forceinline__ float greatest_of_keys(float it) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) it = greater(it, __shfl_xor_sync(ALL, it, step));
    return it;
}

__device__ __forceinline__ float sum_of_keys(float it) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) it += __shfl_xor_sync(ALL, it, step);
    return it;
}

// Scores of 16 keys become weights, and what runs is brought up to date. `visible` are the keys that are there.
__device__ __forceinline__ void weigh(float (&scores)[4], Running& running, u32 visible, float scale) {
    const u32 key = threadIdx.x % WARP / 4;
#pragma unroll
    for (u32 n = 0; n < 4; ++n) scores[n] = key + n / 2 * 8 < visible ? scores[n] * scale : minus_infinity();
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const float most = greater(greatest_of_keys(greater(scores[half], scores[half + 2])), running.most[half]);
        // A warp that sees no key yet has no greatest score; then nothing is weighed.
        const float level = most == minus_infinity() ? 0.0f : most;
        const float shrink = exponential(running.most[half] - level);
        scores[half] = exponential(scores[half] - level);
        scores[half + 2] = exponential(scores[half + 2] - level);
        running.weight[half] = fmaf(running.weight[half], shrink, sum_of_keys(scores[half] + scores[half + 2]));
        running.most[half] = most;
#pragma unroll
        for (u32 d = 0; d < STEPS; ++d) {
            running.sums[d][half] *= shrink;
            running.sums[d][half + 2] *= shrink;
        }
    }
}

// 16 keys of a tile, from `first` on, of which `visible` are there.
__device__ __forceinline__ void attend(Running& running, const u32 (&queries)[STEPS][2], const bf16* keys,
                                       const bf16* values, u32 first, u32 visible, float scale) {
    const Corner it = corner();
    float scores[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (u32 d = 0; d < STEPS; ++d) {
        u32 lines[4];
        load_matrices(lines, keys + place(first + it.line + it.second * 8, d * 2 + it.third));
        multiply(scores, lines, queries[d]);
    }
    weigh(scores, running, visible, scale);
    const u32 weights[2] = {transpose_matrix(pack(scores[0], scores[1])), transpose_matrix(pack(scores[2], scores[3]))};
#pragma unroll
    for (u32 d = 0; d < STEPS; ++d) {
        u32 lines[4];
        load_matrices_transposed(lines, values + place(first + it.line + it.third * 8, d * 2 + it.second));
        multiply(running.sums[d], lines, weights);
    }
}

// What the warps found becomes the split's: results that are not divided yet, greatest scores and weights.
__device__ __forceinline__ void join(unsigned char* memory, const Running& running, float* sums, float* levels,
                                     u32 splits, u32 group) {
    float* const found = reinterpret_cast<float*>(memory);    // [WARPS][HEADS][DIM]
    float* const found_levels = found + WARPS * HEADS * DIM;  // [WARPS][HEADS][2]
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, column = lane % 4 * 2;
#pragma unroll
    for (u32 n = 0; n < 4; ++n)
#pragma unroll
        for (u32 d = 0; d < STEPS; ++d)
            found[(warp * HEADS + column + n % 2) * DIM + d * 16 + lane / 4 + n / 2 * 8] = running.sums[d][n];
    if (lane < 4)
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            found_levels[(warp * HEADS + column + half) * 2] = running.most[half];
            found_levels[(warp * HEADS + column + half) * 2 + 1] = running.weight[half];
        }
    __syncthreads();
    for (u32 i = threadIdx.x; i < group * DIM; i += THREADS) {
        const u32 head = i / DIM, d = i % DIM;
        float most = minus_infinity();
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) most = greater(most, found_levels[(w * HEADS + head) * 2]);
        float sum = 0.0f, weight = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) {
            const float by = exponential(found_levels[(w * HEADS + head) * 2] - most);
            sum = fmaf(by, found[(w * HEADS + head) * DIM + d], sum);
            weight = fmaf(by, found_levels[(w * HEADS + head) * 2 + 1], weight);
        }
        sums[size_t(head) * splits * DIM + d] = sum;
        if (d == 0) {
            levels[size_t(head) * splits * 2] = most;
            levels[size_t(head) * splits * 2 + 1] = weight;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
split(const bf16* __restrict__ queries,   // [rows, query heads * DIM]
      const u32* __restrict__ positions,  // [rows]
      const u32* __restrict__ blocks,     // [rows, stride]
      const bf16* __restrict__ keys,      // one layer of the cache
      const bf16* __restrict__ values,    // likewise
      float* __restrict__ sums,           // [rows, query heads, splits, DIM]
      float* __restrict__ levels,         // [rows, query heads, splits, 2]
      u32 query_heads, u32 kv_heads, u32 stride, u32 n_blocks, float scale) {
    SHARED(memory);
    bf16* const query_tile = reinterpret_cast<bf16*>(memory);  // [HEADS][LENGTH]
    bf16* const tiles = query_tile + HEADS * LENGTH;           // [2] of keys and values
    const size_t row = blockIdx.x / kv_heads;
    const u32 kv = blockIdx.x % kv_heads, group = query_heads / kv_heads, splits = gridDim.y;
    const u32 start = blockIdx.y * SPLIT, position = positions[row];
    if (position == NOBODY || position < start || position / BLOCK >= stride) return;
    const u32 n_keys = min(position + 1 - start, SPLIT);
    const bf16* const own = queries + (row * query_heads + kv * group) * DIM;
    load_lines<HEADS>(query_tile, queries, [&](u32 head) { return head < group ? own + head * DIM : nullptr; });
    const auto fetch = [&](u32 first) {
        bf16* const to = tiles + first / KEYS % 2 * 2 * TILE;
        if (first >= n_keys) return;
        const auto at = [&](u32 line, const bf16* all) {
            const u32 key = start + first + line;
            if (first + line >= n_keys) return static_cast<const bf16*>(nullptr);
            const size_t block = blocks[row * stride + key / BLOCK];
            if (block >= n_blocks) return static_cast<const bf16*>(nullptr);  // `qkv` has told of it
            return all + ((block * kv_heads + kv) * BLOCK + key % BLOCK) * DIM;
        };
        load_lines<KEYS>(to, keys, [&](u32 line) { return at(line, keys); });
        load_lines<KEYS>(to + TILE, values, [&](u32 line) { return at(line, values); });
    };
    fetch(0);
    copy_commit();
    Running running;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        running.most[half] = minus_infinity();
        running.weight[half] = 0.0f;
    }
#pragma unroll
    for (u32 d = 0; d < STEPS; ++d)
#pragma unroll
        for (u32 n = 0; n < 4; ++n) running.sums[d][n] = 0.0f;
    u32 query[STEPS][2];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (u32 first = 0; first < n_keys; first += KEYS) {
        fetch(first + KEYS);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        if (first == 0) {
            // Two steps at once; the second is not looked at where there is none.
#pragma unroll
            for (u32 d = 0; d < STEPS; d += 2) {
                u32 four[4];
                load_matrices(four, query_tile + place(lane % 8, d * 2 + lane / 8));
                query[d][0] = four[0];
                query[d][1] = four[1];
                if (d + 1 < STEPS) {
                    query[d + 1 < STEPS ? d + 1 : d][0] = four[2];
                    query[d + 1 < STEPS ? d + 1 : d][1] = four[3];
                }
            }
        }
        const bf16* const tile = tiles + first / KEYS % 2 * 2 * TILE;
        const u32 mine = first + warp * 16, visible = n_keys > mine ? n_keys - mine : 0;
        attend(running, query, tile, tile + TILE, warp * 16, visible, scale);
        // Nobody reads the tile any more that is overwritten next.
        __syncthreads();
    }
    copy_wait<0>();
    const size_t head = (row * query_heads + kv * group) * splits + blockIdx.y;
    join(memory, running, sums + head * DIM, levels + head * 2, splits, group);
}

// A block for each head of a row: the splits, added in their order.
extern "C" __global__ void __launch_bounds__(THREADS)
combine(const float* __restrict__ sums,     // [rows, query heads, splits, DIM]
        const float* __restrict__ levels,   // [rows, query heads, splits, 2]
        const u32* __restrict__ positions,  // [rows]
        bf16* __restrict__ out,             // [rows, query heads * DIM]
        u32 query_heads, u32 splits) {
    const size_t head = blockIdx.x;
    const u32 position = positions[head / query_heads];
    if (position == NOBODY) return;
    const u32 n = min(position / SPLIT + 1, splits);
    const float* const level = levels + head * splits * 2;
    float most = minus_infinity();
    for (u32 i = 0; i < n; ++i) most = greater(most, level[i * 2]);
    for (u32 d = threadIdx.x; d < DIM; d += THREADS) {
        float sum = 0.0f, weight = 0.0f;
        for (u32 i = 0; i < n; ++i) {
            const float by = exponential(level[i * 2] - most);
            sum = fmaf(by, sums[(head * splits + i) * DIM + d], sum);
            weight = fmaf(by, level[i * 2 + 1], weight);
        }
        out[head * DIM + d] = round_to<bf16>(sum / weight);
    }
}
