// 16 bytes at a time from global memory: copies to shared memory that go on while a thread does something else, and
// loads.
#pragma once
#include "path.h"

#include <cstdint>
#include <cuda_runtime.h>

namespace el::cuda {

__device__ inline uint32_t shared_address(const void *p) { return uint32_t(__cvta_generic_to_shared(p)); }

// The same place, in a register: the compiler would compute it anew at each use, which takes long.
template <typename T> __device__ T *hold_shared(T *p) {
    uint32_t at = shared_address(p);
    asm volatile("" : "+r"(at));
    return static_cast<T *>(__cvta_shared_to_generic(at));
}

// The same of global memory, of which the compiler knows that it is.
template <typename T> __device__ T *hold_global(T *p) {
    asm volatile("" : "+l"(p));
    __builtin_assume(__isGlobal(p));
    return p;
}

// 16 bytes, both sides aligned.
__device__ inline void copy_async(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// The same where what follows in memory is wanted too. Zeros where `exists` is false; `from` is not read then.
__device__ inline void copy16(void *to, const void *from, bool exists = true) {
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
}

// 16 bytes, kOffset behind both addresses: no address is reckoned for it.
template <int kOffset> __device__ void copy16_at(uint8_t *to, const uint8_t *from) {
    asm volatile("cp.async.cg.shared.global.L2::256B [%0+%2], [%1+%2], 16;" ::"r"(shared_address(to)), "l"(from),
                 "n"(kOffset)
                 : "memory");
}

// All copies since the last call are a group, even if there are none.
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most `open` groups, 1 to 3, of this thread are under way.
__device__ inline void wait_for_copies(int open) {
    if (open == 1)
        asm volatile("cp.async.wait_group 1;" ::: "memory");
    else if (open == 2)
        asm volatile("cp.async.wait_group 2;" ::: "memory");
    else
        asm volatile("cp.async.wait_group 3;" ::: "memory");
}

// Until at most kOpen of the closed groups are under way.
template <int kOpen> __device__ void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory"); }

// ---- runs of bytes by the copy engine, where the chip has one (sm_90 and later)

#if EL_PATH_90
constexpr bool kHasBulkCopies = true;
#else
constexpr bool kHasBulkCopies = false;
#endif

// One lane of a warp, all of which are here.
__device__ inline bool is_elected() {
    uint32_t elected = 0;
#if EL_PATH_90
    asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
#endif
    return elected;
}

// By all threads of a block, once: each warp's n barriers, at most 32. A warp needs only its own, but racecheck takes
// what some lanes set up for what all do, and warns unless the block meets after it.
__device__ inline void init_arrivals(uint64_t *barriers, uint32_t n) {
#if EL_PATH_90
    if (threadIdx.x % 32 < n)
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n"
                     "fence.mbarrier_init.release.cluster;" ::"r"(shared_address(barriers + threadIdx.x % 32))
                     : "memory");
    __syncthreads();
#endif
}

// What becomes of what was read in the second-level cache: weights are so much that they shall not displace what is
// read again and again: x, norms, instructions, rows of short contexts. As createpolicy.fractional makes them.
enum class L2 : uint64_t { kNormal = 0x1000000000000000, kEvictFirst = 0x12f0000000000000 };

// By one thread. Addresses and bytes: multiples of 16.
__device__ inline void copy_bulk(void *to, const void *from, uint32_t bytes, uint64_t *barrier, L2 policy) {
#if EL_PATH_90
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%3], %2;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
        "%4;" ::"r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(uint64_t(policy))
        : "memory");
#endif
}

// By all lanes of a warp, which are here: n <= 32 runs of so many bytes, which follow each other, to places `stride`
// bytes apart. They arrive as one copy. Addresses, bytes and stride: multiples of 16.
__device__ inline void copy_bulk_apart(void *to, uint32_t stride, const void *from, uint32_t bytes, uint32_t n,
                                       uint64_t *barrier) {
#if EL_PATH_90
    if (is_elected())
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                     "r"(n * bytes)
                     : "memory");
    __syncwarp();
    const uint32_t i = threadIdx.x % 32;
    if (i < n)
        asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
            "%4;" ::"r"(shared_address(to) + i * stride),
            "l"(static_cast<const uint8_t *>(from) + i * bytes), "r"(bytes), "r"(shared_address(barrier)),
            "l"(uint64_t(L2::kNormal))
            : "memory");
    __syncwarp();  // what lanes do together may come next
#endif
}

// Until the copy has arrived: parity 0 for the first on this barrier, 1 for the second, 0 for the third.
__device__ inline void wait_for_bulk(const uint64_t *barrier, uint32_t parity) {
#if EL_PATH_90
    uint32_t done = 0;
    while (!done)
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
#endif
}

// By all lanes of a warp, each of which has read what was copied, before one asks for a copy to the same place. That
// they meet is not enough: the fence orders what a lane has read and what the engine writes.
__device__ inline void release_to_copies() {
#if EL_PATH_90
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncwarp();
}

// Past the first-level cache; what follows in memory is wanted too.
__device__ inline uint4 load16(const void *from) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(from));
    return x;
}

}  // namespace el::cuda
