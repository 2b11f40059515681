// Norms of rows and of equal parts of rows, and sums of what they give and a residual.
#include "launch.h"
#include "ops.h"
#include "ops/reduce.cuh"

namespace el::cuda {
namespace {

// kThreads for one part of one row; its values stay in registers if they are at most 4 * kKept for each.
template <int kThreads, int kKept> struct Part {
    float4 v[kKept];
    uint32_t n;

    // Of whole quads, `n` of them.
    template <typename Visit> __device__ void for_each(Visit visit) const {
#pragma unroll
        for (int j = 0; j < kKept; ++j) {
            const uint32_t i = uint32_t(j) * kThreads + threadIdx.x % kThreads;
            if (i < n) visit(j, i);
        }
    }
};

constexpr int kBlock = 256;

template <int kThreads, int kKept> __global__ void __launch_bounds__(kBlock) norm_kernel(NormCall c) {
    const uint32_t n = c.width / c.args.groups;
    const size_t part = size_t(blockIdx.x) * (kBlock / kThreads) + threadIdx.x / kThreads;
    auto four = [](const float *from, uint32_t i) { return reinterpret_cast<const float4 *>(from)[i]; };
    const float4 *x = reinterpret_cast<const float4 *>(c.x + part * n);
    float4 *out = reinterpret_cast<float4 *>(c.out + part * n);
    Part<kThreads, kKept> p;
    p.n = n / 4;
    let_successor_start();
    const size_t first = c.weight_width == c.width ? part % c.args.groups * n : 0;
    float4 weight[kKept];
    p.for_each([&](int j, uint32_t i) { weight[j] = c.weight ? four(c.weight + first, i) : float4{1, 1, 1, 1}; });
    wait_for_predecessor();
    if (part >= size_t(c.n) * c.args.groups) return;
    float mean = 0, squares = 0;
    p.for_each([&](int j, uint32_t i) {
        p.v[j] = x[i];
        mean += (p.v[j].x + p.v[j].y) + (p.v[j].z + p.v[j].w);
    });
    mean = c.args.kind == NormKind::kLayer ? block_sum<kThreads>(mean) / float(n) : 0;
    p.for_each([&](int j, uint32_t) {
        float4 &v = p.v[j];
        v = {v.x - mean, v.y - mean, v.z - mean, v.w - mean};
        squares += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    });
    const float scale = rsqrtf(block_sum<kThreads>(squares) / float(n) + c.args.epsilon);
    p.for_each([&](int j, uint32_t i) {
        const float4 &v = p.v[j], w = weight[j], b = c.bias ? four(c.bias + first, i) : float4{0, 0, 0, 0},
                     r = c.residual ? four(c.residual + part * n, i) : float4{0, 0, 0, 0};
        out[i] = {v.x * scale * w.x + b.x + r.x, v.y * scale * w.y + b.y + r.y, v.z * scale * w.z + b.z + r.z,
                  v.w * scale * w.w + b.w + r.w};
    });
}

// A block for one part of one row, of any length.
__global__ void any_norm_kernel(NormCall c) {
    const uint32_t n = c.width / c.args.groups, g = blockIdx.y;
    const size_t at = size_t(blockIdx.x) * c.width + size_t(g) * n;
    const float *x = c.x + at;
    float *out = c.out + at;
    begin_after_predecessor();
    float mean = 0;
    if (c.args.kind == NormKind::kLayer) {
        for (uint32_t i = threadIdx.x; i < n; i += kBlock) mean += x[i];
        mean = block_sum<kBlock>(mean) / float(n);
    }
    float squares = 0;
    for (uint32_t i = threadIdx.x; i < n; i += kBlock) squares += (x[i] - mean) * (x[i] - mean);
    const float scale = rsqrtf(block_sum<kBlock>(squares) / float(n) + c.args.epsilon);
    const size_t first = c.weight_width == c.width ? size_t(g) * n : 0;
    for (uint32_t i = threadIdx.x; i < n; i += kBlock) {
        float y = (x[i] - mean) * scale;
        if (c.weight) y *= c.weight[first + i];
        if (c.bias) y += c.bias[first + i];
        if (c.residual) y += c.residual[at + i];
        out[i] = y;
    }
}

}  // namespace

void norm(const NormCall &c, bool early, cudaStream_t stream) {
    const uint32_t n = c.width / c.args.groups;
    const size_t parts = size_t(c.n) * c.args.groups;
    const bool quads =
        n % 4 == 0 && aligned(c.x) && aligned(c.out) && aligned(c.weight) && aligned(c.bias) && aligned(c.residual);
    auto start = [&](void (*kernel)(NormCall), dim3 blocks) {
        allow_shared(kernel, 0);
        launch_early(kernel, {blocks, kBlock}, stream, early, c);
    };
    if (quads && n <= 512)
        start(norm_kernel<32, 4>, unsigned((parts + 7) / 8));
    else if (quads && n <= 4096)
        start(norm_kernel<kBlock, 4>, unsigned(parts));
    else if (quads && n <= 8192)
        start(norm_kernel<kBlock, 8>, unsigned(parts));
    else
        start(any_norm_kernel, dim3(unsigned(c.n), c.args.groups));
}

}  // namespace el::cuda
