// attention of bf16 by Hopper's warpgroups, forward: a tile is up to 128 tokens of one query head. Contract:
// mod.rs, but for the sums: keys come in blocks of 128 from the start of the sequence, exponentials are
// powers of two, weights are rounded to bf16 before they meet the values, and sums are chains of `wgmma`
// steps. A tile does not cross a multiple of 128 of its sequence, so that each of its tokens sees keys of
// each of its blocks: what a row gets depends on its own keys alone, wherever they lie.
//
// While the products of values with one block's weights are made, so are the scores of the next block. With
// PAGED keys and values lie in the blocks of a cache, here called pages, else in the rows.
#include "attention_hopper.cuh"

constexpr u32 STAGES = 2;             // hopper.rs: STAGES
constexpr u32 KEYS = 128;             // of a block
constexpr u32 N = KEYS / 2;           // scores of a thread
constexpr u32 TILE_BYTES = CONSUMERS * HALF_BYTES;
constexpr u32 KEY_BYTES = KEYS / 64 * HALF_BYTES;
constexpr float LOG2_E = 1.44269504f;
#if PAGED
constexpr u32 PAGE = 32;              // mod.rs: BLOCK; keys of a page, which are 32 lines for each head
constexpr u32 PAGES = KEYS / PAGE;    // of a block
constexpr u32 PAGE_BYTES = PAGE * LINE;
#endif

typedef Stages<STAGES, KEY_BYTES> Blocks;

// A row's greatest score, which four neighbouring threads look for.
__device__ __forceinline__ float greatest_of_four(float it) {
    it = fmaxf(it, __shfl_xor_sync(ALL, it, 1));
    return fmaxf(it, __shfl_xor_sync(ALL, it, 2));
}

// What a thread keeps of its two rows; `weight` is of its own columns.
struct Running { float most[2], weight[2], shrink[2]; };

// Scores become weights, and what runs is brought up to date. With MASKED a row sees the block's first
// `visible` keys.
template <bool MASKED>
__device__ __forceinline__ void weigh(float (&scores)[N], Running& running, const u32 (&visible)[2], float factor) {
    const u32 column = threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        float most = running.most[half];
#pragma unroll
        for (u32 i = 0; i < N; i += 4)
#pragma unroll
            for (u32 n = 2 * half; n < 2 * half + 2; ++n) {
                if (MASKED && i * 2 + column + n % 2 >= visible[half]) scores[i + n] = minus_infinity();
                most = fmaxf(most, scores[i + n]);
            }
        most = greatest_of_four(most);
        // A row that sees nothing yet has no greatest score; then nothing is weighed.
        const float level = most == minus_infinity() ? 0.0f : most * factor;
        running.shrink[half] = power_of_two(fmaf(running.most[half], factor, -level));
        float total = running.weight[half] * running.shrink[half];
#pragma unroll
        for (u32 i = 0; i < N; i += 4)
#pragma unroll
            for (u32 n = 2 * half; n < 2 * half + 2; ++n) {
                scores[i + n] = power_of_two(fmaf(scores[i + n], factor, -level));
                total += scores[i + n];
            }
        running.weight[half] = total;
        running.most[half] = most;
    }
}

// The block whose first key is `first`; `token` is the position of the first of the thread's two rows, `lowest`
// of the first of its warpgroup.
__device__ __forceinline__ void weigh_block(float (&scores)[N], Running& running, u32 token, u32 lowest, u32 first, float factor) {
    u32 visible[2];
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        const u32 last = token + half * 8;
        visible[half] = last < first ? 0 : last - first + 1;
    }
    if (first + KEYS > lowest + 1) weigh<true>(scores, running, visible, factor);
    else weigh<false>(scores, running, visible, factor);
}

// A tile: its first row, where its sequence begins (PAGED: in the table of pages), and how many keys it sees.
struct Place {
    u32 row, start, n_keys, n_blocks, head, key_column, value_column;
    const u32* table;
    u32 kv, kv_heads;
};

// Has block `n` of the keys, or of the values, copied to its stage; PAGED: as many pages as there are.
__device__ __forceinline__ void copy_block(const Blocks& blocks, const TensorMap* map, u32 column, const Place& at, u32 n) {
    blocks.wait_empty(n);
    unsigned char* const to = blocks.at(n);
    u64* const barrier = blocks.full(n);
#if PAGED
    const u32 n_pages = min((at.n_keys - n * KEYS + PAGE - 1) / PAGE, PAGES);
    mbarrier_expect_tx(barrier, n_pages * PIECES * PAGE_BYTES);
    for (u32 page = 0; page < n_pages; ++page) {
        const u32 row = (at.table[at.start + n * PAGES + page] * at.kv_heads + at.kv) * PAGE;
#pragma unroll
        for (u32 piece = 0; piece < PIECES; ++piece)
            tma_load(to + (piece * PAGES + page) * PAGE_BYTES, map, column + piece * 64, row, barrier);
    }
#else
    mbarrier_expect_tx(barrier, KEY_BYTES);
    copy_tile<KEYS / 64>(to, map, column, at.start + n * KEYS, barrier);
#endif
}

// Both consumers clear the lines of the last block of values from `used` on: what lies there is of others, or
// nothing, and a weight of zero times what is no number is none.
__device__ __forceinline__ void clear_lines(unsigned char* values, u32 used) {
    if (used == KEYS) return;
    const u32 thread = threadIdx.x - 128;
    for (u32 line = used + thread / 8; line < KEYS; line += CONSUMERS * 16)
#pragma unroll
        for (u32 piece = 0; piece < PIECES; ++piece)
            zero_16_bytes(values + (piece * KEYS + line) * LINE + thread % 8 * 16);
    fence_proxy_async();
    threads_wait<1, CONSUMERS * 128>();
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
forward(const __grid_constant__ TensorMap qkv,        // [rows, row]
        const __grid_constant__ TensorMap key_map,    // PAGED: one layer of the cache, [lines, DIM]; else `qkv`
        const __grid_constant__ TensorMap value_map,  // likewise
        const u32* __restrict__ tiles,                // [n, 4]: `Sequence` in cuda.rs
        const u32* __restrict__ table,                // PAGED: blocks of all sequences
        bf16* __restrict__ out,                       // [rows, query heads * DIM]
        float* __restrict__ lse,                      // not PAGED: [rows, query heads]
        u32 query_heads, u32 kv_heads, float scale) {
    SHARED(memory);
    unsigned char* const key_stages = memory + TILE_BYTES;
    unsigned char* const value_stages = key_stages + STAGES * KEY_BYTES;
    u64* const own_tile = reinterpret_cast<u64*>(value_stages + STAGES * KEY_BYTES);  // a barrier: the queries are there
    if (threadIdx.x == 0) mbarrier_init(own_tile, 1);
    const Blocks keys(key_stages, own_tile + 1, 1, CONSUMER_WARPS);
    const Blocks values(value_stages, own_tile + 1 + 2 * STAGES, 1, CONSUMER_WARPS);
    const u32* const tile = tiles + size_t(blockIdx.y) * 4;
    const u32 row = tile[0], position = tile[1], start = tile[3];
    const u32 kv = blockIdx.x / (query_heads / kv_heads), n_keys = position + tile[2];
#if PAGED
    const u32 key_column = 0, value_column = 0;
#else
    const u32 key_column = (query_heads + kv) * DIM, value_column = key_column + kv_heads * DIM;
#endif
    const Place at = {row, start, n_keys, (n_keys + KEYS - 1) / KEYS, blockIdx.x, key_column, value_column,
                      table, kv, kv_heads};
    if (threadIdx.x < 128) {
        setmaxnreg_dec<24>();
        if (threadIdx.x != 0) return;
        mbarrier_expect_tx(own_tile, TILE_BYTES);
        copy_tile<CONSUMERS>(memory, &qkv, at.head * DIM, at.row, own_tile);
        for (u32 n = 0; n < at.n_blocks; ++n) {
            copy_block(keys, &key_map, at.key_column, at, n);
            copy_block(values, &value_map, at.value_column, at, n);
        }
        return;
    }
    setmaxnreg_inc<240>();
    const u32 consumer = threadIdx.x / 128 - 1;
    const u32 lowest = position + consumer * 64, own = lowest + first_row();
    const unsigned char* const queries = memory + consumer * BOX_BYTES;
    const float factor = scale * LOG2_E;
    Running running = {{minus_infinity(), minus_infinity()}, {0.0f, 0.0f}, {1.0f, 1.0f}};
    float sums[DIM / 2], scores[N];
    u32 weights[KEYS / 16][4];
    clear(sums);
    mbarrier_wait(own_tile, 0);
    keys.wait_full(0);
    products<CONSUMERS, KEYS / 64>(scores, queries, keys.at(0));
    wgmma_wait<0>();
    keep_in_registers(scores);
    give_back(keys.empty(0));
    weigh_block(scores, running, own, lowest, 0, factor);
    pack_weights(weights, scores);
    for (u32 n = 1; n < at.n_blocks; ++n) {
        keys.wait_full(n);
        products<CONSUMERS, KEYS / 64>(scores, queries, keys.at(n));
        values.wait_full(n - 1);
        add_weighed<KEYS / 64>(sums, weights, values.at(n - 1));
        wgmma_wait<1>();
        keep_in_registers(scores);
        give_back(keys.empty(n));
        weigh_block(scores, running, own, lowest, n * KEYS, factor);
        wgmma_wait<0>();
        keep_in_registers(sums);
        give_back(values.empty(n - 1));
#pragma unroll
        for (u32 i = 0; i < DIM / 2; ++i) sums[i] *= running.shrink[i % 4 / 2];
        pack_weights(weights, scores);
    }
    const u32 last = at.n_blocks - 1;
    values.wait_full(last);
    clear_lines(values.at(last), n_keys - last * KEYS);
    add_weighed<KEYS / 64>(sums, weights, values.at(last));
    wgmma_wait<0>();
    keep_in_registers(sums);
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        float weight = running.weight[half];
        weight += __shfl_xor_sync(ALL, weight, 1);
        weight += __shfl_xor_sync(ALL, weight, 2);
        const u32 token = own + half * 8;
        if (token >= n_keys) continue;
        const size_t head = (size_t(row) + token - position) * query_heads + at.head;
        write_row(out + head * DIM, sums, half, 1.0f / weight);
#if !PAGED
        if (threadIdx.x % 4 == 0)
            lse[head] = float(double(running.most[half]) * double(scale) + logarithm(double(weight)));
#endif
    }
}
