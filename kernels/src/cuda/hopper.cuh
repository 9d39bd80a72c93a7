// Instructions of Hopper (sm_90a); kernels/emulator/hopper.cuh has the same functions for the processor.
#pragma once

#include "ptx.cuh"

// Where a matrix lies in device memory; made by the driver.
struct __align__(64) TensorMap { u64 opaque[16]; };

// Barriers in shared memory: a phase ends when `count` arrivals have come and all announced bytes.
__device__ __forceinline__ void mbarrier_init(u64* barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

// Lets copies and products to come see what this thread wrote to shared memory; other threads' after a barrier.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Sixteen bytes of zeros to shared memory, which copies and products see after `fence_proxy_async`.
__device__ __forceinline__ void zero_16_bytes(void* to) { *static_cast<uint4*>(to) = make_uint4(0, 0, 0, 0); }

// Lets other threads, and copies, see barriers that were made.
__device__ __forceinline__ void fence_mbarrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_proxy_async();
}

__device__ __forceinline__ void mbarrier_arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and announces bytes that copies will bring.
__device__ __forceinline__ void mbarrier_expect_tx(u64* barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

#if defined(WAIT_LIMIT_NS)
// Where a kernel notes that it gave up: words of the host's memory, which src/cuda/watchdog.rs reads.
extern "C" { __device__ u32* wait_note; }

// Notes where this thread waits, the first to come here, and ends the launch; the others wait for that.
__device__ __forceinline__ void give_up(u64* barrier, u32 parity, u32 line) {
    volatile u32* const note = wait_note;
    if (atomicCAS(wait_note, 0u, line) == 0u) {
        note[1] = blockIdx.x, note[2] = blockIdx.y, note[3] = threadIdx.x;
        note[4] = shared_address(barrier), note[5] = parity;
        __threadfence_system();
        asm volatile("trap;");
    }
    while (true) asm volatile("nanosleep.u32 1000;");
}

__device__ __forceinline__ u64 nanoseconds() {
    u64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

__device__ __forceinline__ bool mbarrier_try_wait(u64* barrier, u32 parity) {
    u32 ended;
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}"
        : "=r"(ended)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
    return ended != 0;
}

// Waits for the end of the phase of that parity, the first being 0, or so long and no longer.
__device__ __forceinline__ void mbarrier_wait(u64* barrier, u32 parity, u32 line = __builtin_LINE()) {
    if (mbarrier_try_wait(barrier, parity)) return;
    const u64 start = nanoseconds();
    while (!mbarrier_try_wait(barrier, parity))
        if (nanoseconds() - start > WAIT_LIMIT_NS) give_up(barrier, parity, line);
}
#else
// Waits for the end of the phase of that parity; the first is 0.
__device__ __forceinline__ void mbarrier_wait(u64* barrier, u32 parity, u32 = 0) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra end;\n"
        "bra again;\n"
        "end:\n"
        "}" ::"r"(shared_address(barrier)), "r"(parity)
        : "memory");
}
#endif

// A box of a matrix to shared memory, 128 bytes a line, with chunks of 16 bytes changed by the line; its
// bytes count for the barrier. What lies outside of the matrix becomes zero.
__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, u32 x, u32 y, u64* barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_address(to)),
        "l"(u64(map)), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

// An operand in shared memory, 128 bytes a line: `other` is how far the next 64 numbers of a line are, where
// there are more, and eight lines are 1,024 bytes.
__device__ __forceinline__ u64 smem_descriptor(const void* at, u32 other) {
    return u64((shared_address(at) & 0x3ffffu) >> 4) | u64(other >> 4) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Keeps the compiler from moving what it does to sums across products that are under way.
template <u32 N>
__device__ __forceinline__ void keep_in_registers(float (&sums)[N]) {
#pragma unroll
    for (u32 i = 0; i < N; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

// Waits until at most `LEFT` of the committed groups of products are under way.
template <int LEFT>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

template <int N>
__device__ __forceinline__ void setmaxnreg_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N>
__device__ __forceinline__ void setmaxnreg_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }

// The numbers of a thread as operands of an instruction, which come first, and as its registers.
#define SUMS_4(at) "+f"(sums[at]), "+f"(sums[at + 1]), "+f"(sums[at + 2]), "+f"(sums[at + 3])
#define SUMS_8(at) SUMS_4(at), SUMS_4(at + 4)
#define SUMS_16(at) SUMS_8(at), SUMS_8(at + 8)
#define SUMS_32(at) SUMS_16(at), SUMS_16(at + 16)
#define SUMS_64(at) SUMS_32(at), SUMS_32(at + 32)
#define SUMS_128(at) SUMS_64(at), SUMS_64(at + 64)

#define PLACES_4 "%0, %1, %2, %3"
#define PLACES_8 PLACES_4 ", %4, %5, %6, %7"
#define PLACES_16 PLACES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define PLACES_32 PLACES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PLACES_64 PLACES_32 \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
    ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PLACES_128 PLACES_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
    ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95" \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
    ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// sums[64, 2 n] += a[64, 16] b[16, 2 n] of a warpgroup, for n numbers of each thread; TRANSPOSED operands have
// the summed index across lines. Without KEEP the sums begin at zero.
#define WGMMA(NUMBERS, COLUMNS, REST)                                                                 \
    template <int A_TRANSPOSED, int B_TRANSPOSED, int KEEP = 1>                                                        \
    __device__ __forceinline__ void wgmma(float (&sums)[NUMBERS], u64 a, u64 b) {                     \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32.bf16.bf16 {" PLACES_##NUMBERS "}, " \
                     REST ";"                                                                                  \
                     : SUMS_##NUMBERS(0)                                                                       \
                     : "l"(a), "l"(b), "n"(KEEP), "n"(A_TRANSPOSED), "n"(B_TRANSPOSED));                               \
    }
WGMMA(4, 8, "%4, %5, %6, 1, 1, %7, %8")
WGMMA(8, 16, "%8, %9, %10, 1, 1, %11, %12")
WGMMA(16, 32, "%16, %17, %18, 1, 1, %19, %20")
WGMMA(32, 64, "%32, %33, %34, 1, 1, %35, %36")
WGMMA(64, 128, "%64, %65, %66, 1, 1, %67, %68")
WGMMA(128, 256, "%128, %129, %130, 1, 1, %131, %132")

// The same with `a` in registers: of sixteen rows of each warp a thread has, as bf16, numbers 2 (l % 4) and
// the next of row l / 4 and of the row eight below, and then those eight further on.
#define WGMMA_RS(NUMBERS, COLUMNS, REST)                                                                  \
    template <int B_TRANSPOSED>                                                                                    \
    __device__ __forceinline__ void wgmma_rs(float (&sums)[NUMBERS], const u32 (&a)[4], u64 b) {          \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32.bf16.bf16 {" PLACES_##NUMBERS "}, " \
                     REST ";"                                                                                  \
                     : SUMS_##NUMBERS(0)                                                                       \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(B_TRANSPOSED));                     \
    }
WGMMA_RS(32, 64, "{%32, %33, %34, %35}, %36, 1, 1, 1, %37")
WGMMA_RS(64, 128, "{%64, %65, %66, %67}, %68, 1, 1, 1, %69")
