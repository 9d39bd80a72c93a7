// A kernel for each function of ptx.cuh that depends on how the hardware lays matrices out: what it does
// to numbers that are known is compared with the definition, on the emulated device and on a real one.
#include "ptx.cuh"

// Which number of a tile of 16 by 16 each thread gets: four numbers of two halves from each kind of load.
extern "C" __global__ void __launch_bounds__(32)
loads(const bf16* __restrict__ tile,  // [16, 16]
      u32* __restrict__ straight,     // [32, 4]
      u32* __restrict__ transposed) {     // [32, 4]
    SHARED(memory);
    bf16* const shared = reinterpret_cast<bf16*>(memory);  // [16, 16]
    copy_async(shared + threadIdx.x * 8, tile + threadIdx.x * 8);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    // Matrix l / 8 is the quarter of rows (l / 8) % 2 and columns l / 16.
    const bf16* const row = shared + (threadIdx.x % 16) * 16 + threadIdx.x / 16 * 8;
    u32 of[4];
    load_matrices(of, row);
    for (u32 i = 0; i < 4; ++i) straight[threadIdx.x * 4 + i] = of[i];
    load_matrices_transposed(of, row);
    for (u32 i = 0; i < 4; ++i) transposed[threadIdx.x * 4 + i] = of[i];
}

// c[16, 8] += a[16, 16] b[8, 16]ᵀ, through shared memory.
extern "C" __global__ void __launch_bounds__(32)
product(const bf16* __restrict__ a, const bf16* __restrict__ b, float* __restrict__ c) {
    SHARED(memory);
    bf16* const left = reinterpret_cast<bf16*>(memory);  // [16, 16]
    bf16* const right = left + 256;                      // [16, 16], of which eight rows are not there
    copy_async(left + threadIdx.x * 8, a + threadIdx.x * 8);
    copy_async(right + threadIdx.x * 8, threadIdx.x < 16 ? b + threadIdx.x * 8 : b, threadIdx.x < 16 ? 16 : 0);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    const u32 line = threadIdx.x % 8, second = threadIdx.x / 8 % 2, third = threadIdx.x / 16;
    u32 rows[4], columns[4];
    load_matrices(rows, left + (line + second * 8) * 16 + third * 8);
    load_matrices(columns, right + (line + third * 8) * 16 + second * 8);
    const u32 first[2] = {columns[0], columns[1]};
    const u32 row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    float sums[4] = {c[row * 8 + column], c[row * 8 + column + 1], c[(row + 8) * 8 + column],
                     c[(row + 8) * 8 + column + 1]};
    multiply(sums, rows, first);
    c[row * 8 + column] = sums[0];
    c[row * 8 + column + 1] = sums[1];
    c[(row + 8) * 8 + column] = sums[2];
    c[(row + 8) * 8 + column + 1] = sums[3];
}

// Part of a copy, and pairs of rounded numbers.
extern "C" __global__ void __launch_bounds__(32)
pairs(const bf16* __restrict__ from,   // [32, 8]
      const float* __restrict__ wide,  // [64]
      bf16* __restrict__ parts,        // [32, 8]: of line i the first i % 9 numbers
      u32* __restrict__ packed) {      // [32]
    SHARED(memory);
    bf16* const shared = reinterpret_cast<bf16*>(memory);  // [32, 8]
    copy_async(shared + threadIdx.x * 8, from + threadIdx.x * 8, threadIdx.x % 9 * 2);
    copy_commit();
    copy_wait<0>();
    for (u32 i = 0; i < 8; ++i) parts[threadIdx.x * 8 + i] = shared[threadIdx.x * 8 + i];
    packed[threadIdx.x] = pack(wide[threadIdx.x * 2], wide[threadIdx.x * 2 + 1]);
}

// A matrix of 8 by 8, transposed.
extern "C" __global__ void __launch_bounds__(32)
transposes(const u32* __restrict__ straight, u32* __restrict__ transposed) {
    transposed[threadIdx.x] = transpose_matrix(straight[threadIdx.x]);
}
