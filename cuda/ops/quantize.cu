// Rows of several tokens are quantized once for all blocks that multiply them.
#include "ops/quantized_input.cuh"

namespace el::cuda {
namespace {

__global__ void __launch_bounds__(32 * kMatvecWarps) quantize_kernel(const QuantizeCall a) {
    const size_t row_bytes = quantized_row_bytes(a.cols);
    __shared__ float4 squares[kSquares];
    let_successor_start();
    if (threadIdx.x < kSquares) squares[threadIdx.x] = {};
    RowQuantizer row(a.weight, a.cols);
    wait_for_predecessor();
    __syncthreads();
    uint8_t *out = a.out + size_t(blockIdx.x) * row_bytes;
    const float mine = warp_sum(row.run(a.x + size_t(blockIdx.x) * a.cols, out));
    if (threadIdx.x % 32 == 0) reinterpret_cast<float *>(squares)[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0)
        *reinterpret_cast<float *>(out + row_bytes - kFactorBytes) =
            a.norm ? norm_factor(squares, 1.0f / float(a.cols), a.epsilon) : 1.0f;
}

}  // namespace

void quantize_rows(const QuantizeCall &c, bool early, cudaStream_t stream) {
    launch_early(quantize_kernel, {unsigned(c.n), 32 * kMatvecWarps}, stream, early, c);
}

}  // namespace el::cuda
