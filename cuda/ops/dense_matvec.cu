// Few tokens times matrices of floats: each warp makes kRows rows, with loads of 16 bytes of weights, the first of them
// before its input is there.
#include "launch.h"
#include "ops/matvec.h"
#include "ops/reduce.cuh"
#include "quant/formats.h"

namespace el::cuda {
namespace {

constexpr uint32_t kWarps = 8, kRows = 4;

// 16 bytes as floats.
template <typename F> struct Chunk {
    static constexpr uint32_t kValues = 16 / sizeof(typename F::Block);
    uint4 bytes;
    __device__ void load(const uint8_t *from) { bytes = *reinterpret_cast<const uint4 *>(from); }
    __device__ float value(uint32_t i) const {
        const uint32_t words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
        typename F::Block block;
        if constexpr (kValues == 4) {
            memcpy(&block, &words[i], sizeof block);
        } else {
            const uint16_t half = uint16_t(words[i / 2] >> 16 * (i % 2));
            memcpy(&block, &half, sizeof block);
        }
        return F::decode1(block);
    }
};

struct Args {
    const uint8_t *data;  // the first row that is wanted, at the first column
    size_t row_bytes;
    uint32_t rows, cols;
    const float *x, *bias;  // x [n, cols]; bias NULL: none
    float *out;             // [n, rows]
    int n;
};

template <typename F, int N> __global__ void __launch_bounds__(32 * kWarps)
    dense_kernel(const __grid_constant__ Args a) {
    constexpr uint32_t kValues = Chunk<F>::kValues;
    const uint32_t first = (blockIdx.x * kWarps + threadIdx.x / 32) * kRows, lane = threadIdx.x % 32;
    float sum[kRows][N] = {};
    Chunk<F> next[kRows];
    auto ask = [&](uint32_t col) {
        if (col >= a.cols) return;
#pragma unroll
        for (uint32_t r = 0; r < kRows; ++r)  // rows that do not exist are the last one again
            next[r].load(a.data + size_t(min(first + r, a.rows - 1)) * a.row_bytes + col * sizeof(typename F::Block));
    };
    let_successor_start();
    ask(lane * kValues);
    wait_for_predecessor();
    if (first >= a.rows) return;
    for (uint32_t col = lane * kValues; col < a.cols; col += 32 * kValues) {
        Chunk<F> w[kRows];
#pragma unroll
        for (uint32_t r = 0; r < kRows; ++r) w[r] = next[r];
        ask(col + 32 * kValues);
#pragma unroll
        for (int t = 0; t < N; ++t) {
            if (t >= a.n) break;
            float x[kValues];
#pragma unroll
            for (uint32_t i = 0; i < kValues; i += 4)
                *reinterpret_cast<float4 *>(x + i) =
                    *reinterpret_cast<const float4 *>(a.x + size_t(t) * a.cols + col + i);
#pragma unroll
            for (uint32_t r = 0; r < kRows; ++r)
#pragma unroll
                for (uint32_t i = 0; i < kValues; ++i) sum[r][t] += w[r].value(i) * x[i];
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < kRows; ++r)
#pragma unroll
        for (int t = 0; t < N; ++t) {
            const float total = warp_sum(sum[r][t]);
            if (lane == 0 && t < a.n && first + r < a.rows)
                a.out[size_t(t) * a.rows + first + r] = total + (a.bias ? a.bias[first + r] : 0.0f);
        }
}

}  // namespace

bool dense_matvec(const LinearCall &c, const Chip &chip, cudaStream_t stream) {
    const FormatInfo &info = format_info(c.m.format);
    if (c.n > kMatvecTokens || info.values != 1) return false;
    const Args a = {c.m.data + c.row_begin * c.m.row_bytes + c.col_begin * info.bytes,
                    c.m.row_bytes,
                    c.rows,
                    c.cols,
                    c.x,
                    c.bias,
                    c.out,
                    c.n};
    const uint32_t values = 16 / info.bytes;
    if (c.cols % values || c.col_begin % values || c.m.row_bytes % 16) return false;
    const Grid grid = {(c.rows + kWarps * kRows - 1) / (kWarps * kRows), 32 * kWarps};
    FormatList<F16, BF16, F32>::for_each([&](auto f) {
        using F = typename decltype(f)::type;
        if (F::kFormat != c.m.format) return;
        if (c.n == 1) return launch_early(dense_kernel<F, 1>, grid, stream, chip.early, a);
        if (c.n == 2) return launch_early(dense_kernel<F, 2>, grid, stream, chip.early, a);
        if (c.n <= 4) return launch_early(dense_kernel<F, 4>, grid, stream, chip.early, a);
        launch_early(dense_kernel<F, 8>, grid, stream, chip.early, a);
    });
    return true;
}

}  // namespace el::cuda
