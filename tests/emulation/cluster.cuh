// In place of cuda/cluster.cuh.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

constexpr bool kHasClusters = true;

inline void arrive_in_cluster() { emulation::arrive_in_cluster(); }
inline void wait_for_cluster() { emulation::wait_for_cluster(); }
inline uintptr_t address_in(uint32_t block, const void *p) { return emulation::address_in(block, p); }
template <typename T> void send(uintptr_t to, uintptr_t barrier, const T &x) {
    emulation::send(to, barrier, &x, sizeof x);
}
inline void expect(uint64_t *barrier, uint32_t bytes) { emulation::expect(barrier, bytes); }
inline void wait_for_bytes(const uint64_t *barrier) { emulation::wait_for_bytes(barrier); }
inline unsigned count_arrival(unsigned *counter, unsigned last) { return atomicInc(counter, last); }

}  // namespace el::cuda
