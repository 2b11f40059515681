// Blocks of a cluster, where the chip has them: stores to each other's shared memory that count as bytes on a barrier
// of the block that gets them, so that nobody has to wait for its own stores. Elsewhere these do nothing. And how
// blocks that are in no cluster meet.
#pragma once
#include "async_copy.cuh"

namespace el::cuda {

#if EL_PATH_90
constexpr bool kHasClusters = true;
#else
constexpr bool kHasClusters = false;
#endif

// Every thread of the cluster arrives once and waits once; what was written to memory before need not be visible then.
__device__ inline void arrive_in_cluster() {
#if EL_PATH_90
    asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
}
__device__ inline void wait_for_cluster() {
#if EL_PATH_90
    asm volatile("barrier.cluster.wait;" ::: "memory");
#endif
}

// Where another block of the cluster has what this one has at `p` in shared memory.
__device__ inline uint32_t address_in(uint32_t block, const void *p) {
    uint32_t there = 0;
#if EL_PATH_90
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(block));
#endif
    return there;
}

// Addresses of the same block by address_in().
__device__ inline void send(uint32_t to, uint32_t barrier, const float4 &x) {
#if EL_PATH_90
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(to),
        "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "r"(barrier)
        : "memory");
#endif
}
__device__ inline void send(uint32_t to, uint32_t barrier, const float2 &x) {
#if EL_PATH_90
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1,%2}, [%3];" ::"r"(to),
                 "f"(x.x), "f"(x.y), "r"(barrier)
                 : "memory");
#endif
}

// By one thread, once for a barrier of this block, before others send: all that will come.
__device__ inline void expect(uint64_t *barrier, uint32_t bytes) {
#if EL_PATH_90
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n"
                 "fence.mbarrier_init.release.cluster;\n"
                 "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
#endif
}
__device__ inline void wait_for_bytes(const uint64_t *barrier) {
#if EL_PATH_90
    uint32_t done = 0;
    while (!done)
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], 0; selp.u32 "
                     "%0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(shared_address(barrier))
                     : "memory");
#endif
}

// Counts up to `last`, then from 0 again; what it was. By one thread of a block, after a barrier: what the block wrote
// is there for all of a block that counts later, after a barrier of its own.
__device__ inline unsigned count_arrival(unsigned *counter, unsigned last) {
    unsigned before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(last) : "memory");
    return before;
}

}  // namespace el::cuda
