// uniform: a thread for each block of four random words. Contract: mod.rs. E is the type.
#include "random.cuh"

extern "C" __global__ void __launch_bounds__(256)
uniform(E* __restrict__ to, size_t n, u64 first, u64 key, u64 stream, float bound) {
    const u64 blocks = (first % WORDS + n + WORDS - 1) / WORDS;
    const float step = 1.1920929e-7f;  // 2^-23
    for (u64 i = thread_number(); i < blocks; i += thread_count()) {
        const u64 block = first / WORDS + i;
        u32 words[WORDS];
        random_block(words, {key, stream}, block);
#pragma unroll
        for (u32 word = 0; word < WORDS; ++word) {
            const u64 place = block * WORDS + word;
            if (place < first || place - first >= n) continue;
            to[place - first] = round_to<E>((float(words[word] >> 8) * step - 1.0f) * bound);
        }
    }
}
