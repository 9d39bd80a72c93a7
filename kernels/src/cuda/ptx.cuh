// All PTX there is. kernels/emulator/ptx.cuh has the same functions for the processor.
#pragma once

#include "number.cuh"

// The shared memory of the block, of the size that the launch asks for.
#define SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

__device__ __forceinline__ u32 shared_address(const void* at) {
    return u32(__cvta_generic_to_shared(at));
}

// Barrier `ID` of `N` threads, whole warps; 0 is that of `__syncthreads`.
template <u32 ID, u32 N>
__device__ __forceinline__ void threads_wait() { asm volatile("bar.sync %0, %1;" ::"n"(ID), "n"(N) : "memory"); }

// 16 bytes to shared memory, of which the first `used` come from `from` and the others are zero.
__device__ __forceinline__ void copy_async(void* to, const void* from, u32 used = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(used)
                 : "memory");
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `LEFT` groups of this thread's copies are under way.
template <int LEFT>
__device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Four matrices of 8 by 8: lane l brings the address of row l % 8 of matrix l / 8, and gets of each
// the numbers 2 (l % 4) and the next of row l / 4.
__device__ __forceinline__ void load_matrices(u32 (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same of the transposed matrices: numbers 2 (l % 4) and the next of column l / 4.
__device__ __forceinline__ void load_matrices_transposed(u32 (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sums[16, 8] += a[16, 16] b[16, 8], bf16 times bf16 into f32.
__device__ __forceinline__ void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two numbers rounded to bf16, `low` in the lower half.
__device__ __forceinline__ u32 pack(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// A matrix of 8 by 8 of which lane l holds the numbers 2 (l % 4) and the next of row l / 4, transposed.
__device__ __forceinline__ u32 transpose_matrix(u32 pair) {
    u32 result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
    return result;
}

// Two to the x, to some units of the last place; numbers below the smallest normal one become zero.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
