// As much of CUDA as the kernels tested here use, on the CPU: each thread of a block is a fiber, which runs until it
// waits for others. Asynchronous copies and stores arrive as late as they may.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static
#define __launch_bounds__(...)

struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(16) int4 {
    int32_t x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaStream_t = void *;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum cudaDeviceAttr {};
inline const char *cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaFree(void *) { return cudaSuccess; }
inline cudaError_t cudaFreeHost(void *) { return cudaSuccess; }

namespace emulation {

// Dynamic shared memory is filled with what is no number for each block.
struct Launch {
    dim3 blocks, threads;
    size_t shared_bytes = 0;
    unsigned cluster = 1;  // blocks along x that run at the same time; all others: one after the other
};
void run(const Launch &launch, const std::function<void()> &kernel);

// What the kernels before are yet to write: run() calls `hide` before each cluster, and `show` when all threads that
// still can do something wait for the kernel before; and at the end of the cluster.
struct Predecessors {
    std::function<void()> hide, show;
};
extern Predecessors predecessors;
void wait_for_predecessor();

extern size_t shared_bytes;  // of the last run
extern size_t copied_bytes;  // asynchronously, in the last run
uint8_t *dynamic_shared();
void wait_for_block();
void wait_for_warp();
int count_in_block(bool x);  // of how many threads it is true
// Of some warps of the block.
void wait_for_team(unsigned team, unsigned n_threads);

// What all lanes of the warp give, in their order, until the second wait of the warp from now.
constexpr size_t kMaxExchangedBytes = 48;
const void *exchange(const void *mine, size_t bytes);
template <typename T> const T *of_warp(const T &mine) {
    static_assert(sizeof(T) <= kMaxExchangedBytes);
    return static_cast<const T *>(exchange(&mine, sizeof(T)));
}

extern bool early_copies;                                   // arrive when they are asked for
void copy_async(void *to, const void *from, size_t bytes);  // from NULL: zeros
void close_copies();
void wait_for_copies(int open);

// Of runs of bytes, announced by a barrier, whose first wait gets them. Who waited makes a fence before the next.
extern bool has_bulk_copies;     // whether kernels use them
extern unsigned fitting_blocks;  // on a multiprocessor at once
void begin_copies(uint64_t *barrier);
// n runs, to places `stride` bytes apart.
void copy_bulk(void *to, const void *from, size_t bytes, uint64_t *barrier, size_t n = 1, size_t stride = 0);
void wait_for_bulk(const uint64_t *barrier, unsigned parity);
void make_fence();

// ---- of clusters
void arrive_in_cluster();
void wait_for_cluster();
uintptr_t address_in(unsigned block, const void *p);
void expect(uint64_t *barrier, size_t bytes);
void send(uintptr_t to, uintptr_t barrier, const void *from, size_t bytes);
void wait_for_bytes(const uint64_t *barrier);

[[noreturn]] void stop(const char *why);
inline void check_alignment(const void *p, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(p) % bytes) stop("an address is not aligned");
}

}  // namespace emulation

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emulation::wait_for_block(); }
inline int __syncthreads_count(bool x) { return emulation::count_in_block(x); }
inline void __syncwarp() { emulation::wait_for_warp(); }
inline void __threadfence() {}
template <typename T> T __shfl_xor_sync(uint32_t, T x, int mask) {
    return emulation::of_warp(x)[threadIdx.x % 32 ^ unsigned(mask)];
}
template <typename T> T __shfl_sync(uint32_t, T x, int lane) { return emulation::of_warp(x)[lane & 31]; }
template <typename T> T __shfl_down_sync(uint32_t, T x, unsigned lanes) {
    const T *all = emulation::of_warp(x);
    return threadIdx.x % 32 + lanes < 32 ? all[threadIdx.x % 32 + lanes] : x;
}
inline uint32_t __ballot_sync(uint32_t, bool x) {
    const bool *all = emulation::of_warp(x);
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(all[i]) << i;
    return bits;
}
inline bool __any_sync(uint32_t lanes, bool x) { return __ballot_sync(lanes, x) != 0; }

template <typename T> T min(T a, T b) { return a < b ? a : b; }
template <typename T> T max(T a, T b) { return a > b ? a : b; }
template <typename T> T __reduce_min_sync(uint32_t, T x) {
    const T *all = emulation::of_warp(x);
    for (int i = 0; i < 32; ++i) x = min(x, all[i]);
    return x;
}
template <typename T> T __reduce_max_sync(uint32_t, T x) {
    const T *all = emulation::of_warp(x);
    for (int i = 0; i < 32; ++i) x = max(x, all[i]);
    return x;
}
inline unsigned atomicInc(unsigned *p, unsigned most) {
    const unsigned old = *p;
    *p = old >= most ? 0 : old + 1;
    return old;
}

inline unsigned atomicAdd(unsigned *p, unsigned x) { return std::exchange(*p, *p + x); }

template <typename T> T __ldcg(const T *p) {
    emulation::check_alignment(p, alignof(T));
    return *p;
}
template <typename T> T __ldcv(const T *p) { return __ldcg(p); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __cosf(float x) { return std::cos(x); }
inline float __sinf(float x) { return std::sin(x); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline int __float2int_rn(float x) { return x == x ? int(std::nearbyint(x)) : 0; }
inline int __clz(int x) { return std::countl_zero(uint32_t(x)); }
inline int __clzll(int64_t x) { return std::countl_zero(uint64_t(x)); }
inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(uint32_t(x)) + 1 : 0; }
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
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
    return uint32_t((low | uint64_t(high) << 32) >> (shift & 31));
}
