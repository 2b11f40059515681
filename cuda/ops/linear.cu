// Embedding and matrix products for every format, through its own decode function: what fast paths are compared with.
#include "ops.h"
#include "quant/formats.h"

namespace el::cuda {
namespace {

constexpr int kWarps = 4, kTokens = 8;

template <typename F> __device__ typename F::Block load_block(const uint8_t *p) {
    typename F::Block block;
    memcpy(&block, p, sizeof block);
    return block;
}

// Calls visit(first column, 32 values or one) for this lane's share of a row.
template <typename F, typename Visit>
__device__ void for_values(const uint8_t *row, uint32_t col_begin, uint32_t cols, Visit visit) {
    const uint32_t lane = threadIdx.x % 32;
    if constexpr (F::kValues == 1) {
        for (uint32_t i = lane; i < cols; i += 32) {
            const float w[1] = {F::decode1(load_block<F>(row + size_t(col_begin + i) * sizeof(typename F::Block)))};
            visit(i, w);
        }
    } else {
        for (uint32_t i = 32 * lane; i < cols; i += 32 * 32) {
            const uint32_t at = col_begin + i;
            float w[32];
            F::decode32(load_block<F>(row + at / F::kValues * sizeof(typename F::Block)), int(at % F::kValues / 32), w);
            visit(i, w);
        }
    }
}

__device__ float warp_sum(float x) {
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
    return x;
}

// A warp makes one output for up to kTokens tokens.
template <typename F> __global__ void linear_kernel(LinearCall c) {
    const uint32_t r = blockIdx.x * kWarps + threadIdx.x / 32;
    if (r >= c.rows) return;
    const int first = int(blockIdx.y) * kTokens, n = min(c.n - first, kTokens);
    const uint8_t *row = c.m.data + size_t(c.row_begin + r) * c.m.row_bytes;
    const float *x = c.x + size_t(first) * c.cols;
    float sum[kTokens] = {};
    for_values<F>(row, c.col_begin, c.cols, [&](uint32_t i, const auto &w) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            if (t >= n) break;
            for (size_t j = 0; j < sizeof w / sizeof *w; ++j) sum[t] += w[j] * x[size_t(t) * c.cols + i + j];
        }
    });
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
        const float total = warp_sum(sum[t]);
        if (t < n && threadIdx.x % 32 == 0) c.out[size_t(first + t) * c.rows + r] = total + (c.bias ? c.bias[r] : 0.0f);
    }
}

// A warp makes one output of one pair of a token and an expert.
template <typename F> __global__ void expert_kernel(ExpertCall e) {
    const LinearCall &c = e.linear;
    const uint32_t r = blockIdx.x * kWarps + threadIdx.x / 32;
    if (r >= c.rows) return;
    const size_t pair = blockIdx.y, token = pair / e.n_used;
    const size_t expert = size_t(e.route[token * 2 * e.n_used + pair % e.n_used]);
    const uint8_t *row = c.m.data + (c.row_begin + expert * c.rows + r) * c.m.row_bytes;
    const float *x = c.x + (e.own_input ? pair : token) * c.cols;
    float sum = 0;
    for_values<F>(row, c.col_begin, c.cols, [&](uint32_t i, const auto &w) {
        for (size_t j = 0; j < sizeof w / sizeof *w; ++j) sum += w[j] * x[i + j];
    });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) c.out[pair * c.rows + r] = sum + (c.bias ? c.bias[expert * c.rows + r] : 0.0f);
}

template <typename F> __global__ void embed_kernel(Matrix m, const int32_t *token, float *out) {
    const uint8_t *row = m.data + size_t(token[blockIdx.x]) * m.row_bytes;
    float *to = out + size_t(blockIdx.x) * m.cols;
    for_values<F>(row, 0, m.cols, [&](uint32_t i, const auto &w) {
        for (size_t j = 0; j < sizeof w / sizeof *w; ++j) to[i + j] = w[j];
    });
}

// Calls visit(type_identity<F>) for the format F that `format` names.
template <typename Visit> void with_format(Format format, Visit visit) {
    for_each_format([&](auto f) {
        if (decltype(f)::type::kFormat == format) visit(f);
    });
}

}  // namespace

void embed(const Matrix &m, const int32_t *token, int n, float *out, cudaStream_t stream) {
    with_format(m.format, [&](auto f) {
        using F = typename decltype(f)::type;
        embed_kernel<F><<<n, 32, 0, stream>>>(m, token, out);
    });
}

void linear(const LinearCall &c, cudaStream_t stream) {
    const dim3 grid((c.rows + kWarps - 1) / kWarps, (c.n + kTokens - 1) / kTokens);
    with_format(c.m.format, [&](auto f) {
        using F = typename decltype(f)::type;
        linear_kernel<F><<<grid, 32 * kWarps, 0, stream>>>(c);
    });
}

void expert_linear(const ExpertCall &c, cudaStream_t stream) {
    const dim3 grid((c.linear.rows + kWarps - 1) / kWarps, c.linear.n);
    with_format(c.linear.m.format, [&](auto f) {
        using F = typename decltype(f)::type;
        expert_kernel<F><<<grid, 32 * kWarps, 0, stream>>>(c);
    });
}

}  // namespace el::cuda
