// paged: keys and values of new tokens go into their blocks: [layers][blocks][kv heads][BLOCK][dim] each.
// Contract: mod.rs. E is the type of rows, K that of the cache. Attention to them is in ../attention.
#include "number.cuh"

constexpr u32 BLOCK = 32;  // ../attention/mod.rs: BLOCK

// `places` are a token's row, its position and where its sequence begins in the table: [tokens, 3].
extern "C" __global__ void __launch_bounds__(256)
append(const E* __restrict__ qkv, const u32* __restrict__ places, const u32* __restrict__ table,
       K* __restrict__ keys, K* __restrict__ values, size_t tokens, u32 query_heads, u32 kv_heads, u32 dim) {
    const size_t each = size_t(kv_heads) * dim;
    for (size_t i = thread_number(); i < tokens * each; i += thread_count()) {
        const u32* const at = places + i / each * 3;
        const u32 head = u32(i % each / dim), d = u32(i % dim);
        const E* const row = qkv + size_t(at[0]) * (query_heads + 2 * kv_heads) * dim;
        const size_t block = table[at[2] + at[1] / BLOCK];
        const size_t to = ((block * kv_heads + head) * BLOCK + at[1] % BLOCK) * dim + d;
        keys[to] = round_to<K>(to_f32(row[(query_heads + head) * dim + d]));
        values[to] = round_to<K>(to_f32(row[(query_heads + kv_heads + head) * dim + d]));
    }
}
