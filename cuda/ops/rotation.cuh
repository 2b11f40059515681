// The transform of keys that are kept in few bits (backend/host/rotation.h), by all threads of a block on shared
// memory.
#pragma once
#include "backend/host/rotation.h"

#include <cuda_runtime.h>

namespace el::cuda {

__device__ inline void flip(float *x, uint32_t n) {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        if (host::rotation_flips(i)) x[i] = -x[i];
    __syncthreads();
}

__device__ inline void hadamard_blocks(float *x, uint32_t n) {
    for (uint32_t begin = 0, size; begin < n; begin += size, x += size) {
        size = 1u << (31 - __clz(int(n - begin)));
        const float scale = rsqrtf(float(size));
        for (uint32_t half = 1; half < size; half *= 2) {
            for (uint32_t i = threadIdx.x; i < size / 2; i += blockDim.x) {
                float *p = x + i / half * 2 * half + i % half;
                const float a = p[0], b = p[half];
                p[0] = a + b;
                p[half] = a - b;
            }
            __syncthreads();
        }
        for (uint32_t i = threadIdx.x; i < size; i += blockDim.x) x[i] *= scale;
        __syncthreads();
    }
}

__device__ inline void rotate(float *x, uint32_t n) {
    flip(x, n);
    hadamard_blocks(x, n);
}
__device__ inline void rotate_back(float *x, uint32_t n) {
    hadamard_blocks(x, n);
    flip(x, n);
}

}  // namespace el::cuda
