// Pairs of a token and an expert, sorted by expert on the device: products then read each expert's weights once for
// many of its tokens.
#include "device.h"
#include "ops/gemm.cuh"

namespace el::cuda {
namespace {

constexpr int kThreads = 1024;

// Each element becomes the sum of those before it; returns the sum of all. By a whole block.
__device__ int32_t sum_before(int32_t *x, uint32_t n, int32_t *warp_total) {
    int32_t total = 0;
    for (uint32_t begin = 0; begin < n; begin += kThreads) {
        const uint32_t i = begin + threadIdx.x, lane = threadIdx.x % 32;
        const int32_t own = i < n ? x[i] : 0;
        int32_t sum = own;
        for (uint32_t step = 1; step < 32; step *= 2) {
            const int32_t other = __shfl_up_sync(~0u, sum, step);
            if (lane >= step) sum += other;
        }
        if (lane == 31) warp_total[threadIdx.x / 32] = sum;
        __syncthreads();
        int32_t before = total;
        for (uint32_t w = 0; w < kThreads / 32; ++w) {
            if (w < threadIdx.x / 32) before += warp_total[w];
            total += warp_total[w];
        }
        if (i < n) x[i] = before + sum - own;
        __syncthreads();
    }
    return total;
}

// The order of an expert's pairs is not the same every time; no result depends on it.
__global__ void __launch_bounds__(kThreads) sort_kernel(SortCall c) {
    __shared__ int32_t n[kMostExperts], begin[kMostExperts], warp_total[kThreads / 32];
    const uint32_t n_pairs = uint32_t(c.n) * c.n_used;
    auto expert_of = [&](uint32_t pair) {
        const float e = c.route[pair / c.n_used * 2 * c.n_used + pair % c.n_used];
        return min(uint32_t(e), c.n_experts - 1);
    };
    for (uint32_t e = threadIdx.x; e < c.n_experts; e += kThreads) n[e] = 0;
    __syncthreads();
    for (uint32_t p = threadIdx.x; p < n_pairs; p += kThreads) atomicAdd(n + expert_of(p), 1);
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < c.n_experts; e += kThreads) {
        begin[e] = n[e];
        c.out.of_expert[e] = n[e];
    }
    __syncthreads();
    sum_before(begin, c.n_experts, warp_total);
    for (uint32_t e = threadIdx.x; e < c.n_experts; e += kThreads) n[e] = (n[e] + c.tile - 1) / c.tile;
    __syncthreads();
    const int32_t n_tiles = sum_before(n, c.n_experts, warp_total);
    if (threadIdx.x == 0) *c.out.n_tiles = n_tiles;
    for (uint32_t e = threadIdx.x; e < c.n_experts; e += kThreads)
        for (int32_t done = 0, all = c.out.of_expert[e]; done < all; done += c.tile)
            c.out.tiles[n[e] + done / c.tile] = {int32_t(e), begin[e] + done, min(c.tile, all - done)};
    __syncthreads();
    for (uint32_t p = threadIdx.x; p < n_pairs; p += kThreads)
        c.out.order[atomicAdd(begin + expert_of(p), 1)] = int32_t(p);
}

}  // namespace

void sort_pairs(const SortCall &call, cudaStream_t stream) { sort_kernel<<<1, kThreads, 0, stream>>>(call); }

}  // namespace el::cuda
