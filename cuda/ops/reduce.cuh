// Sums over the threads of a warp and of a block, for all of them.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

__device__ inline float warp_sum(float x) {
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
    return x;
}

// Over kThreads neighbours: a warp, or all of the block.
template <int kThreads> __device__ float block_sum(float x) {
    x = warp_sum(x);
    if constexpr (kThreads > 32) {
        __shared__ float part[kThreads / 32];
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
        __syncthreads();
        x = 0;
        for (float p : part) x += p;
        __syncthreads();
    }
    return x;
}

}  // namespace el::cuda
