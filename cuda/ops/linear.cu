// Embedding and matrix products for every format, through its own decode function: what fast paths are compared with.
#include "launch.h"
#include "ops/reduce.cuh"
#include "ops/source.cuh"

namespace el::cuda {
namespace {

constexpr int kWarps = 4, kTokens = 8;

// Calls visit(first column, kRun values) for this lane's share of a row.
template <typename Source, typename Visit>
__device__ void for_values(const Matrix &m, size_t row, uint32_t col_begin, uint32_t cols, Visit visit) {
    for (uint32_t i = threadIdx.x % 32 * Source::kRun; i < cols; i += 32 * Source::kRun) {
        float w[Source::kRun];
        Source::decode(m, row, col_begin + i, w);
        visit(i, w);
    }
}

// A warp makes one output for up to kTokens tokens.
template <typename Source> __global__ void linear_kernel(LinearCall c) {
    const uint32_t r = blockIdx.x * kWarps + threadIdx.x / 32;
    if (r >= c.rows) return;
    const int first = int(blockIdx.y) * kTokens, n = min(c.n - first, kTokens);
    const float *x = c.x + size_t(first) * c.cols;
    float sum[kTokens] = {};
    for_values<Source>(c.m, c.row_begin + r, c.col_begin, c.cols, [&](uint32_t i, const auto &w) {
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

// Of up to kTokens tokens, those that have chosen one expert: their pairs of a token and an expert; -1: it has not.
struct SameExpert {
    int pair[kTokens];
    bool own_is_first;  // of `own`, a pair

    __device__ SameExpert(const ExpertCall &e, int own) : own_is_first(false) {
        const int n_used = int(e.n_used), n_tokens = e.linear.n / n_used, first = own / n_used / kTokens * kTokens;
        const auto chosen = [&](int at) { return e.route[at / n_used * 2 * n_used + at % n_used]; };
        const float expert = chosen(own);
        bool any = false;
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            int found = -1;
            const int begin = (first + t) * n_used;
            for (int i = int(threadIdx.x % 32); i < n_used && first + t < n_tokens; i += 32)
                if (chosen(begin + i) == expert) found = begin + i;
            pair[t] = __reduce_max_sync(~0u, found);
            own_is_first |= !any && pair[t] == own;
            any |= pair[t] >= 0;
        }
    }
};

// A warp makes one output of one expert for the tokens that have chosen it, where the first of them is. Pairs lie along
// x, as only there a grid has room for any number of them.
template <typename Source> __global__ void expert_kernel(ExpertCall e) {
    const LinearCall &c = e.linear;
    const uint32_t r = blockIdx.y * kWarps + threadIdx.x / 32;
    if (r >= c.rows) return;
    const SameExpert same(e, int(blockIdx.x));
    if (!same.own_is_first) return;
    const size_t expert = size_t(e.route[blockIdx.x / e.n_used * 2 * e.n_used + blockIdx.x % e.n_used]);
    float sum[kTokens] = {};
    for_values<Source>(c.m, c.row_begin + expert * c.rows + r, c.col_begin, c.cols, [&](uint32_t i, const auto &w) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            if (same.pair[t] < 0) continue;
            const float *x = c.x + size_t(e.own_input ? same.pair[t] : same.pair[t] / int(e.n_used)) * c.cols + i;
            for (size_t j = 0; j < sizeof w / sizeof *w; ++j) sum[t] += w[j] * x[j];
        }
    });
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
        if (same.pair[t] < 0) continue;
        const float total = warp_sum(sum[t]);
        if (threadIdx.x % 32 == 0)
            c.out[size_t(same.pair[t]) * c.rows + r] = total + (c.bias ? c.bias[expert * c.rows + r] : 0.0f);
    }
}

// A warp for some columns of a row: in a decode step all others wait for this. It waits for nothing, so it must not
// start early; those after it may, but not before the step is there.
constexpr uint32_t kEmbedCols = 1024;
template <typename Source> __global__ void embed_kernel(Matrix m, const int32_t *token, float *out) {
    let_successor_start();
    const uint32_t begin = blockIdx.y * kEmbedCols;
    float *to = out + size_t(blockIdx.x) * m.cols + begin;
    for_values<Source>(m, size_t(token[blockIdx.x]), begin, min(kEmbedCols, m.cols - begin),
                       [&](uint32_t i, const auto &w) {
                           for (size_t j = 0; j < sizeof w / sizeof *w; ++j) to[i + j] = w[j];
                       });
}

}  // namespace

void embed(const Matrix &m, const int32_t *token, int n, float *out, cudaStream_t stream) {
    with_source(m, [&](auto source) {
        using Source = typename decltype(source)::type;
        const dim3 grid(unsigned(n), (m.cols + kEmbedCols - 1) / kEmbedCols);
        allow_shared(embed_kernel<Source>, 0);
        launch_early(embed_kernel<Source>, {grid, 32}, stream, false, m, token, out);  // not early: see bring_step()
    });
}

void linear(const LinearCall &c, cudaStream_t stream) {
    const dim3 grid((c.rows + kWarps - 1) / kWarps, (c.n + kTokens - 1) / kTokens);
    with_source(
        c.m, [&](auto source) { linear_kernel<typename decltype(source)::type><<<grid, 32 * kWarps, 0, stream>>>(c); });
}

void expert_linear(const ExpertCall &c, cudaStream_t stream) {
    const dim3 grid(c.linear.n, (c.linear.rows + kWarps - 1) / kWarps);
    with_source(c.linear.m, [&](auto source) {
        expert_kernel<typename decltype(source)::type><<<grid, 32 * kWarps, 0, stream>>>(c);
    });
}

}  // namespace el::cuda
