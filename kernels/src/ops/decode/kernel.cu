// decode: what is done with the parts of products. Contract: mod.rs. E is the type of rows, G that of the
// gain, K that of the cache.
#include "ptx.cuh"

constexpr u32 NOBODY = 0xffffffffu;      // mod.rs: NOBODY
constexpr u32 BLOCK = 32;                // ../attention/mod.rs: BLOCK
constexpr u32 NORM_THREADS = 512;        // cuda.rs: NORM_THREADS
constexpr u32 WARPS = NORM_THREADS / WARP;

// The parts of one number, added in their order: [n][all] of them.
__device__ __forceinline__ float sum_of(const float* parts, size_t at, size_t all, u32 n) {
    float sum = parts[at];
    for (u32 part = 1; part < n; ++part) sum += parts[part * all + at];
    return sum;
}

extern "C" __global__ void __launch_bounds__(256)
total(const float* __restrict__ parts, E* __restrict__ out, size_t all, u32 n) {
    for (size_t i = thread_number(); i < all; i += thread_count()) out[i] = round_to<E>(sum_of(parts, i, all, n));
}

extern "C" __global__ void __launch_bounds__(256)
gate(const float* __restrict__ parts,  // [n][rows, 2 width]
     E* __restrict__ out,              // [rows, width]
     size_t rows, size_t width, u32 n) {
    const size_t all = rows * 2 * width;
    for (size_t i = thread_number(); i < rows * width; i += thread_count()) {
        const size_t at = i / width * 2 * width + i % width;
        const float gate = sum_of(parts, at, all, n), up = sum_of(parts, at + width, all, n);
        out[i] = round_to<E>(silu(gate) * up);
    }
}

// A block for each row: the residual stream gets the sum of the parts, where there are any, and `out` its norm.
extern "C" __global__ void __launch_bounds__(NORM_THREADS)
add_norm(const float* __restrict__ parts,  // [n][rows, width]
     E* __restrict__ x,                // [rows, width]
     const G* __restrict__ gain,       // [width]
     E* __restrict__ out,              // [rows, width]
     size_t rows, size_t width, u32 n, float eps) {
    SHARED(memory);
    float* const squares = reinterpret_cast<float*>(memory);  // [WARPS]
    const size_t row = size_t(blockIdx.x) * width, all = rows * width;
    float square = 0.0f;
    for (size_t i = threadIdx.x; i < width; i += NORM_THREADS) {
        E it = x[row + i];
        if (n > 0) {
            it = round_to<E>(to_f32(it) + sum_of(parts, row + i, all, n));
            x[row + i] = it;
        }
        square = fmaf(to_f32(it), to_f32(it), square);
    }
#pragma unroll
    for (int half = 16; half > 0; half /= 2) square += __shfl_xor_sync(ALL, square, half);
    if (threadIdx.x % WARP == 0) squares[threadIdx.x / WARP] = square;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (u32 warp = 0; warp < WARPS; ++warp) sum += squares[warp];
    const float by = 1.0f / sqrtf(sum / float(width) + eps);
    for (size_t i = threadIdx.x; i < width; i += NORM_THREADS)
        out[row + i] = round_to<E>(to_f32(round_to<E>(to_f32(x[row + i]) * by)) * to_f32(gain[i]));
}

// A thread for each pair of numbers of a head: queries and keys are rotated, keys and values go into their
// blocks: [blocks][kv heads][BLOCK][dim]. Rows of nobody are left out.
extern "C" __global__ void __launch_bounds__(256)
qkv(const float* __restrict__ parts,    // [n][rows, (query + 2 kv) dim]
    const float* __restrict__ cosines,  // [table, half]
    const float* __restrict__ sines,    // [table, half]
    const u32* __restrict__ positions,  // [rows]
    const u32* __restrict__ blocks,     // [rows, stride]
    E* __restrict__ queries,            // [rows, query dim]
    K* __restrict__ keys, K* __restrict__ values,
    size_t rows, u32 query_heads, u32 kv_heads, u32 half, u32 stride, u32 n_blocks, u32 n, u32 table,
    u32* __restrict__ fault) {  // of positions, and of blocks
    const u32 heads = query_heads + 2 * kv_heads, dim = 2 * half;
    const size_t each = size_t(heads) * half, width = size_t(heads) * dim;
    for (size_t i = thread_number(); i < rows * each; i += thread_count()) {
        const size_t row = i / each;
        const u32 head = u32(i % each / half), pair = u32(i % half), position = positions[row];
        if (position == NOBODY) continue;
        if (position >= table || position / BLOCK >= stride) {
            note(fault, position, table);
            continue;
        }
        const size_t at = row * width + size_t(head) * dim + pair;
        float low = sum_of(parts, at, rows * width, n), high = sum_of(parts, at + half, rows * width, n);
        if (head < query_heads + kv_heads) {
            const size_t angle = size_t(position) * half + pair;
            rotate_pair(low, high, cosines[angle], sines[angle]);
        }
        if (head < query_heads) {
            E* const to = queries + (row * query_heads + head) * dim + pair;
            to[0] = round_to<E>(low);
            to[half] = round_to<E>(high);
            continue;
        }
        const bool is_key = head < query_heads + kv_heads;
        const u32 kv = head - query_heads - (is_key ? 0 : kv_heads);
        const size_t block = blocks[row * stride + position / BLOCK];
        if (block >= n_blocks) {
            note(fault + 2, u32(block), n_blocks);
            continue;
        }
        K* const to = (is_key ? keys : values) + ((block * kv_heads + kv) * BLOCK + position % BLOCK) * dim + pair;
        to[0] = round_to<K>(low);
        to[half] = round_to<K>(high);
    }
}
