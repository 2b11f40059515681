// Rows of several tokens are quantized once for all blocks that multiply them.
#include "ops/quantized_input.cuh"

namespace el::cuda {
namespace {

// Where a token's row goes, and the factor of its values.
struct OwnRow {
    uint8_t *row;
    float *factor;
    __device__ explicit OwnRow(const QuantizeCall &a) {
        const size_t row_bytes = quantized_row_bytes(a.cols);
        row = a.out + size_t(blockIdx.x) * row_bytes;
        factor = reinterpret_cast<float *>(row + row_bytes - kFactorBytes);
    }
};
struct SharedRow {
    TokenOfChunks row;
    float *factor;
    __device__ explicit SharedRow(const QuantizeCall &a)
        : row{a.out, blockIdx.x}, factor(factors_behind(a.out, a.cols) + blockIdx.x) {}
};

template <typename Place> __global__ void __launch_bounds__(32 * kMatvecWarps) quantize_kernel(const QuantizeCall a) {
    __shared__ float squares[kMatvecWarps];
    let_successor_start();
    const uint32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
    const float *x = a.x + size_t(blockIdx.x) * a.cols;
    with_quantizer(x, a.norm, a.weight, a.cols, warp, kMatvecWarps, [&](auto &&row) {
        wait_for_predecessor();
        const float own = row.run(Place(a).row);
        if (lane == 0) squares[warp] = own;
    });
    __syncthreads();
    if (warp > 0) return;
    const float factor = a.norm ? norm_factor(squares, kMatvecWarps, 1.0f / float(a.cols), a.epsilon) : 1.0f;
    if (lane == 0) *Place(a).factor = factor;
}

}  // namespace

void quantize_rows(const QuantizeCall &c, bool early, cudaStream_t stream) {
    const auto kernel = c.together ? quantize_kernel<SharedRow> : quantize_kernel<OwnRow>;
    launch_early(kernel, {unsigned(c.n), 32 * kMatvecWarps}, stream, early, c);
}

}  // namespace el::cuda
