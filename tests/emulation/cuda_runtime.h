// As much of CUDA as the kernels tested here use, on the CPU: each thread of a block is a fiber, which runs until it
// waits for others. Asynchronous copies arrive as late as they may.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static
#define __launch_bounds__(...)

struct uint2 {
    uint32_t x, y;
};
struct uint4 {
    uint32_t x, y, z, w;
};
struct int4 {
    int32_t x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaStream_t = void *;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
inline const char *cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaFree(void *) { return cudaSuccess; }

namespace emulation {

// Runs all blocks, one after the other. `shared_bytes`: dynamic shared memory, filled with garbage for each block.
void run(dim3 blocks, dim3 threads, size_t shared_bytes, const std::function<void()> &kernel);

extern size_t shared_bytes;  // of the last run
uint8_t *dynamic_shared();
void wait_for_block();
void wait_for_warp();
uint32_t shuffle_xor(uint32_t value, int mask);
void copy_async(void *to, const void *from, size_t bytes);
void close_copies();
void wait_for_copies(int open);

}  // namespace emulation

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emulation::wait_for_block(); }
inline void __syncwarp() { emulation::wait_for_warp(); }
template <typename T> T __shfl_xor_sync(uint32_t, T value, int mask) {
    static_assert(sizeof(T) == 4);
    return std::bit_cast<T>(emulation::shuffle_xor(std::bit_cast<uint32_t>(value), mask));
}

template <typename T> T min(T a, T b) { return a < b ? a : b; }
template <typename T> T max(T a, T b) { return a > b ? a : b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline int __float2int_rn(float x) { return x == x ? int(std::nearbyint(x)) : 0; }
inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += int(int8_t(a >> i)) * int(int8_t(b >> i));
    return c;
}
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t bytes = low | uint64_t(high) << 32;
    uint32_t out = 0;
    for (int i = 0; i < 4; ++i) out |= uint32_t(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return out;
}
