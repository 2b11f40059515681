// Rows of several tokens are quantized once for all blocks that multiply them.
#include "ops/quantized_input.cuh"

namespace el::cuda {
namespace {

__global__ void __launch_bounds__(kMostThreads) quantize_kernel(const QuantizeCall a) {
    const size_t row_bytes = quantized_row_bytes(a.cols);
    __shared__ float squares[kMostWarps];
    let_successor_start();
    const Eight weights = first_weights(a.weight, a.cols);
    wait_for_predecessor();
    uint8_t *out = a.out + size_t(blockIdx.x) * row_bytes;
    const float mine = warp_sum(quantize_row(a.x + size_t(blockIdx.x) * a.cols, a.weight, weights, a.cols, out));
    if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0)
        *reinterpret_cast<float *>(out + row_bytes - kFactorBytes) =
            a.norm ? norm_factor(squares, a.cols, a.epsilon) : 1.0f;
}

}  // namespace

void quantize_rows(const QuantizeCall &c, bool early, cudaStream_t stream) {
    launch_early(quantize_kernel, {unsigned(c.n), kMostThreads}, stream, early, c);
}

}  // namespace el::cuda
