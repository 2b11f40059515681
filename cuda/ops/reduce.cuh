// Sums and other joins over the threads of a warp or a block.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

__device__ inline float warp_sum(float x) {
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
    return x;
}

// Of M values of each thread, each joined over kLanes >= M neighbours, powers of two; thread i gets value i % M. Each
// round halves the values and joins two threads.
template <int M, int kLanes, int kStep = 1, typename T, typename Join> __device__ T join_lanes(T (&v)[M], Join join) {
    if constexpr (M > 1) {
        const bool odd = threadIdx.x & kStep;
        T half[M / 2];
#pragma unroll
        for (int i = 0; i < M / 2; ++i) {
            const T keep = odd ? v[2 * i + 1] : v[2 * i], send = odd ? v[2 * i] : v[2 * i + 1];
            half[i] = join(keep, __shfl_xor_sync(~0u, send, kStep));
        }
        return join_lanes<M / 2, kLanes, 2 * kStep>(half, join);
    } else {
#pragma unroll
        for (int step = kStep; step < kLanes; step *= 2) v[0] = join(v[0], __shfl_xor_sync(~0u, v[0], step));
        return v[0];
    }
}

// Sums of M values over the lanes of a warp; lane l gets value l % M.
template <int M> __device__ float reduce(float (&v)[M]) {
    return join_lanes<M, 32>(v, [](float a, float b) { return a + b; });
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
