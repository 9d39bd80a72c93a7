// The twin of kernels/src/cuda/ptx.cuh for the processor: the same functions, without PTX.
//
// Which thread holds which number of a matrix is written down here once more, by hand, from NVIDIA's
// description of the instructions. A run on a device has to confirm it (kernels/bench/gpu.sh).
#pragma once

#include "number.cuh"

#define SHARED(name) unsigned char* const name = emulator_shared

namespace emulator {

template <class T>
EMULATOR_QUIET static inline T* lane_of(void** all, unsigned lane) { return static_cast<T*>(all[lane]); }

EMULATOR_QUIET static inline float upper(u32 pair, unsigned half) {
    return __uint_as_float(half ? pair & 0xffff0000u : pair << 16);
}

struct Matrices { const void* row; u32* to; };

EMULATOR_QUIET static inline const u16* matrix_row(void** all, unsigned matrix, unsigned row) {
    const void* at = lane_of<Matrices>(all, matrix * 8 + row)->row;
    if (size_t(at) % 16 != 0) emulator_fail("ldmatrix of a row that is not aligned");
    return static_cast<const u16*>(at);
}

// Reads a row as the thread that brings it, so that ThreadSanitizer sees who reads.
static inline void touch(const void* row) {
    const volatile u64* at = static_cast<const volatile u64*>(row);
    (void)(at[0] + at[1]);
}

struct Multiply { float* sums; const u32 *a, *b; };

}  // namespace emulator

// Barrier `ID` of `N` threads, whole warps; 0 is that of `__syncthreads`.
template <u32 ID, u32 N>
static inline void threads_wait() { emulator_barrier(ID, N); }

// 16 bytes to shared memory, of which the first `used` come from `from` and the others are zero.
static inline void copy_async(void* to, const void* from, u32 used = 16) {
    emulator_copy_async(to, from, 16, used);
}

static inline void copy_commit() { emulator_copy_commit(); }

template <int LEFT>
static inline void copy_wait() { emulator_copy_wait(LEFT); }

// Four matrices of 8 by 8: lane l brings the address of row l % 8 of matrix l / 8, and gets of each
// the numbers 2 (l % 4) and the next of row l / 4.
static inline void load_matrices(u32 (&to)[4], const void* row) {
    emulator::touch(row);
    emulator::Matrices mine = {row, to};
    emulator_collective(0xffffffffu, &mine, [](void** all, unsigned) EMULATOR_QUIET {
        for (unsigned matrix = 0; matrix < 4; ++matrix) {
            for (unsigned lane = 0; lane < 32; ++lane) {
                const u16* from = emulator::matrix_row(all, matrix, lane / 4) + 2 * (lane % 4);
                emulator::lane_of<emulator::Matrices>(all, lane)->to[matrix] = from[0] | u32(from[1]) << 16;
            }
        }
    }, "ldmatrix");
}

// The same of the transposed matrices: numbers 2 (l % 4) and the next of column l / 4.
static inline void load_matrices_transposed(u32 (&to)[4], const void* row) {
    emulator::touch(row);
    emulator::Matrices mine = {row, to};
    emulator_collective(0xffffffffu, &mine, [](void** all, unsigned) EMULATOR_QUIET {
        for (unsigned matrix = 0; matrix < 4; ++matrix) {
            for (unsigned lane = 0; lane < 32; ++lane) {
                const u16* first = emulator::matrix_row(all, matrix, 2 * (lane % 4));
                const u16* second = emulator::matrix_row(all, matrix, 2 * (lane % 4) + 1);
                const unsigned column = lane / 4;
                emulator::lane_of<emulator::Matrices>(all, lane)->to[matrix] =
                    first[column] | u32(second[column]) << 16;
            }
        }
    }, "ldmatrix.trans");
}

// sums[16, 8] += a[16, 16] b[16, 8], bf16 times bf16 into f32.
static inline void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    emulator::Multiply mine = {sums, a, b};
    emulator_collective(0xffffffffu, &mine, [](void** all, unsigned) EMULATOR_QUIET {
        float left[16][16], right[16][8], sum[16][8];
        for (unsigned lane = 0; lane < 32; ++lane) {
            const emulator::Multiply* it = emulator::lane_of<emulator::Multiply>(all, lane);
            const unsigned row = lane / 4, pair = lane % 4 * 2;
            for (unsigned half = 0; half < 2; ++half) {
                left[row][pair + half] = emulator::upper(it->a[0], half);
                left[row + 8][pair + half] = emulator::upper(it->a[1], half);
                left[row][pair + 8 + half] = emulator::upper(it->a[2], half);
                left[row + 8][pair + 8 + half] = emulator::upper(it->a[3], half);
                right[pair + half][row] = emulator::upper(it->b[0], half);
                right[pair + 8 + half][row] = emulator::upper(it->b[1], half);
                sum[row][pair + half] = it->sums[half];
                sum[row + 8][pair + half] = it->sums[2 + half];
            }
        }
        for (unsigned row = 0; row < 16; ++row)
            for (unsigned step = 0; step < 16; ++step)
                for (unsigned column = 0; column < 8; ++column)
                    sum[row][column] += left[row][step] * right[step][column];
        for (unsigned lane = 0; lane < 32; ++lane) {
            float* to = emulator::lane_of<emulator::Multiply>(all, lane)->sums;
            const unsigned row = lane / 4, pair = lane % 4 * 2;
            for (unsigned half = 0; half < 2; ++half) {
                to[half] = sum[row][pair + half];
                to[2 + half] = sum[row + 8][pair + half];
            }
        }
    }, "mma.m16n8k16");
}

// Two numbers rounded to bf16, `low` in the lower half.
static inline u32 pack(float low, float high) {
    return round_to<bf16>(low).bits | u32(round_to<bf16>(high).bits) << 16;
}

// A matrix of 8 by 8 of which lane l holds the numbers 2 (l % 4) and the next of row l / 4, transposed.
static inline u32 transpose_matrix(u32 pair) {
    struct Pair { u32 given, got; } mine = {pair, 0};
    emulator_collective(0xffffffffu, &mine, [](void** all, unsigned) EMULATOR_QUIET {
        for (unsigned lane = 0; lane < 32; ++lane) {
            const unsigned row = lane % 4 * 2, column = lane / 4;
            const auto at = [&](unsigned line) EMULATOR_QUIET {
                return emulator::lane_of<Pair>(all, line * 4 + column / 2)->given >> column % 2 * 16 & 0xffffu;
            };
            emulator::lane_of<Pair>(all, lane)->got = at(row) | at(row + 1) << 16;
        }
    }, "movmatrix");
    return mine.got;
}

// Two to the x, to some units of the last place; numbers below the smallest normal one become zero.
static inline float power_of_two(float x) {
    const float y = float(__builtin_exp2(double(x)));
    return y < 1.17549435e-38f ? 0.0f : y;
}
