// attention: one warp for a query of a head, a key for each of its threads. Contract: mod.rs. The path
// for all types; bf16 takes tensor.cu. DIM is the width of a head, E the type of rows, K that of keys
// and values. With PAGED these lie in the blocks of a cache (../paged), else in the rows.
#include "ptx.cuh"

constexpr u32 WARPS = 4;                         // cuda.rs: WARPS
constexpr u32 BLOCK = 32;                        // mod.rs: BLOCK; a key for each thread of a warp
constexpr u32 PARTS = (DIM + WARP - 1) / WARP;  // of a head, for each thread

// A query: its row, its position in its sequence, and where that begins: its first row, or the place
// of its first block in the table of blocks.
struct Place { u32 row, position, start; };

struct Heads { u32 query, kv; };

__device__ __forceinline__ u32 row_width(Heads heads) { return (heads.query + 2 * heads.kv) * DIM; }

#if PAGED
// Keys of block n of a sequence: [blocks][kv][BLOCK][DIM]. Values alike.
__device__ __forceinline__ const K* block_of(const K* all, const u32* table, Place at, u32 n, u32 head, Heads heads) {
    return all + (size_t(table[at.start + n]) * heads.kv + head) * BLOCK * DIM;
}
#endif

extern "C" __global__ void __launch_bounds__(WARPS * WARP, 4)
forward(const E* __restrict__ qkv,        // [rows, row]
        const u32* __restrict__ places,   // [queries, 3]
        const K* __restrict__ keys,       // PAGED: one layer of the cache
        const K* __restrict__ values,     // PAGED: likewise
        const u32* __restrict__ table,    // PAGED: blocks of all sequences
        E* __restrict__ out,              // [rows, query heads * DIM]
        float* __restrict__ lse,          // not PAGED: [rows, query heads]
        u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    const Heads heads = {query_heads, kv_heads};
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, head = blockIdx.y * WARPS + warp;
    if (head >= heads.query) return;
    const u32* const it = places + size_t(blockIdx.x) * 3;
    const Place at = {it[0], it[1], it[2]};
    const u32 kv = head / (heads.query / heads.kv), width = row_width(heads);
    float* const query = reinterpret_cast<float*>(memory) + warp * DIM;
    for (u32 d = lane; d < DIM; d += WARP) query[d] = to_f32(qkv[size_t(at.row) * width + head * DIM + d]);
    __syncwarp();
    float sums[PARTS], most = minus_infinity(), weight = 0.0f;
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) sums[part] = 0.0f;
    for (u32 n = 0; n <= at.position / BLOCK; ++n) {
        const u32 visible = min(at.position + 1 - n * BLOCK, BLOCK);
#if PAGED
        const K* const key = block_of(keys, table, at, n, kv, heads) + lane * DIM;
        const K* const value = block_of(values, table, at, n, kv, heads);
        const size_t step = DIM;
#else
        const size_t step = width;
        const K* const first = qkv + (size_t(at.start) + n * BLOCK) * width + (heads.query + kv) * DIM;
        const K* const key = first + lane * step;
        const K* const value = first + heads.kv * DIM;
#endif
        float score = minus_infinity();
        if (lane < visible) {
            score = 0.0f;
            for (u32 d = 0; d < DIM; ++d) score = fmaf(query[d], to_f32(key[d]), score);
            score *= scale;
        }
        float block_most = greater(score, __shfl_xor_sync(ALL, score, 16));
#pragma unroll
        for (int half = 8; half > 0; half /= 2)
            block_most = greater(block_most, __shfl_xor_sync(ALL, block_most, half));
        const float now = greater(__shfl_sync(ALL, block_most, 0), most);
        const float shrink = exponential(most - now);
        most = now;
        const float own = exponential(score - now);
        const float total = tree(own + __shfl_xor_sync(ALL, own, 16));
        weight = fmaf(weight, shrink, total);
#pragma unroll
        for (u32 part = 0; part < PARTS; ++part) sums[part] *= shrink;
        for (u32 i = 0; i < visible; ++i) {
            const float by = __shfl_sync(ALL, own, int(i));
#pragma unroll
            for (u32 part = 0; part < PARTS; ++part) {
                const u32 d = part * WARP + lane;
                if (d < DIM) sums[part] = fmaf(by, to_f32(value[i * step + d]), sums[part]);
            }
        }
    }
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) {
        const u32 d = part * WARP + lane;
        if (d < DIM) out[(size_t(at.row) * heads.query + head) * DIM + d] = round_to<E>(sums[part] / weight);
    }
#if !PAGED
    if (lane == 0)
        lse[size_t(at.row) * heads.query + head] = float(double(most) + logarithm(double(weight)));
#endif
}
