// Kernels that do one thing as fast as the chip can.
#pragma once
#include "device.h"

namespace el::cuda {

constexpr int kReadThreads = 1024, kReadsInFlight = 4;  // one block of these for each multiprocessor
constexpr size_t kReadChunkBytes = kReadThreads * kReadsInFlight * sizeof(uint4);

struct ReadCall {
    const uint4 *data;
    size_t n;     // a multiple of what kReadChunkBytes holds
    uint4 *sums;  // [blocks * kReadThreads] exclusive ors of what each thread read, so that nothing can be left out
};
void read_all(const ReadCall &call, int n_blocks, cudaStream_t stream);

constexpr int kMultiplyThreads = 512, kMultiplySums = 8;
constexpr double kMultiplyFlops = 2.0 * 16 * 8 * 16 * kMultiplyThreads / 32 * kMultiplySums;  // of a block's step
// Products of [16, 16] by [16, 8] matrices of float16 ones in registers. out [blocks * kMultiplyThreads]: sums of what
// each thread holds of them.
void multiply_long(float *out, int n_steps, int n_blocks, cudaStream_t stream);

}  // namespace el::cuda
