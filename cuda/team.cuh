// Some warps of a block that wait for each other.
#pragma once
#include <cstdint>
#include <cuda_runtime.h>

namespace el::cuda {

// Until all `n_threads` of the team, whole warps, have come here; what they wrote to memory is visible then.
__device__ inline void wait_for_team(uint32_t team, uint32_t n_threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "r"(n_threads) : "memory");
}

}  // namespace el::cuda
