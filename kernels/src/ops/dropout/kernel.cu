// dropout: a thread for each block of four random words. Contract: mod.rs. E is the type.
#include "random.cuh"

extern "C" __global__ void __launch_bounds__(256)
dropout(E* __restrict__ to, size_t n, u64 first, u64 key, u64 stream, u64 limit, float factor) {
    const u64 blocks = (first % WORDS + n + WORDS - 1) / WORDS;
    for (u64 i = thread_number(); i < blocks; i += thread_count()) {
        const u64 block = first / WORDS + i;
        u32 words[WORDS];
        random_block(words, {key, stream}, block);
#pragma unroll
        for (u32 word = 0; word < WORDS; ++word) {
            const u64 place = block * WORDS + word;
            if (place < first || place - first >= n) continue;
            E* const at = to + (place - first);
            *at = round_to<E>(words[word] >= limit ? to_f32(*at) * factor : 0.0f);
        }
    }
}
