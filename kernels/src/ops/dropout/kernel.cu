// dropout: a thread for each block of four random words. Contract: mod.rs. E is the type.
#include "number.cuh"

// Philox4x32-10; see src/random.rs.
__device__ __forceinline__ void philox(u32 (&counter)[4], u32 key0, u32 key1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u32 high0 = __umulhi(0xd2511f53u, counter[0]), low0 = 0xd2511f53u * counter[0];
        const u32 high1 = __umulhi(0xcd9e8d57u, counter[2]), low1 = 0xcd9e8d57u * counter[2];
        counter[0] = high1 ^ counter[1] ^ key0;
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key1;
        counter[3] = low0;
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
}

extern "C" __global__ void __launch_bounds__(256)
dropout(E* __restrict__ to, size_t n, u64 first, u64 key, u64 stream, u64 limit, float factor) {
    const u64 blocks = (first % 4 + n + 3) / 4;
    for (u64 i = thread_number(); i < blocks; i += thread_count()) {
        const u64 block = first / 4 + i;
        u32 words[4] = {u32(block), u32(block >> 32), u32(stream), u32(stream >> 32)};
        philox(words, u32(key), u32(key >> 32));
#pragma unroll
        for (u32 word = 0; word < 4; ++word) {
            const u64 place = block * 4 + word;
            if (place < first || place - first >= n) continue;
            E* const at = to + (place - first);
            *at = near<E>(words[word] >= limit ? wide(*at) * factor : 0.0f);
        }
    }
}
