// Random numbers by their place; see src/random.rs.
#pragma once

#include "number.cuh"

constexpr u32 WORDS = 4;  // of a block

// Philox4x32-10: from the number of a block and of a stream, in this order, to the block.
__device__ __forceinline__ void philox(u32 (&counter)[WORDS], u32 key0, u32 key1) {
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

struct Random { u64 key, stream; };

__device__ __forceinline__ void random_block(u32 (&words)[WORDS], const Random& random, u64 block) {
    words[0] = u32(block), words[1] = u32(block >> 32);
    words[2] = u32(random.stream), words[3] = u32(random.stream >> 32);
    philox(words, u32(random.key), u32(random.key >> 32));
}
