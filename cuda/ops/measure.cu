#include "ops/measure.h"

#include "launch.h"
#include "warp_matrix.cuh"

namespace el::cuda {
namespace {

__global__ void __launch_bounds__(kReadThreads) read_kernel(ReadCall c) {
    constexpr size_t kChunk = kReadChunkBytes / sizeof(uint4);
    uint4 sum = {};
    for (size_t at = blockIdx.x * kChunk + threadIdx.x; at < c.n; at += gridDim.x * kChunk) {
        uint4 x[kReadsInFlight];
#pragma unroll
        for (int i = 0; i < kReadsInFlight; ++i) x[i] = c.data[at + size_t(i) * kReadThreads];
#pragma unroll
        for (int i = 0; i < kReadsInFlight; ++i) {
            sum.x ^= x[i].x;
            sum.y ^= x[i].y;
            sum.z ^= x[i].z;
            sum.w ^= x[i].w;
        }
    }
    c.sums[blockIdx.x * kReadThreads + threadIdx.x] = sum;
}

__global__ void __launch_bounds__(kMultiplyThreads) multiply_kernel(float *out, int n_steps) {
    constexpr uint32_t kOnes = 0x3c003c00;  // 1, 1
    const uint32_t a[4] = {kOnes, kOnes, kOnes, kOnes};
    float sum[kMultiplySums][4] = {};
    for (int step = 0; step < n_steps; ++step)
#pragma unroll
        for (int i = 0; i < kMultiplySums; ++i) multiply_add(sum[i], a, kOnes, kOnes);
    float all = 0;
#pragma unroll
    for (int i = 0; i < kMultiplySums; ++i) all += sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3];
    out[blockIdx.x * kMultiplyThreads + threadIdx.x] = all;
}

}  // namespace

void read_all(const ReadCall &call, int n_blocks, cudaStream_t stream) {
    launch_early(read_kernel, {unsigned(n_blocks), kReadThreads}, stream, false, call);
}

void multiply_long(float *out, int n_steps, int n_blocks, cudaStream_t stream) {
    launch_early(multiply_kernel, {unsigned(n_blocks), kMultiplyThreads}, stream, false, out, n_steps);
}

}  // namespace el::cuda
