// Ops on rows: gates, scales, slices, rope and sums of experts.
#include "launch.h"
#include "ops/activation.cuh"
#include "ops/heads.cuh"

namespace el::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gate_kernel(GateCall c, size_t n) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    c.out[i] = gated(c.activation, c.a[c.a_width == 1 ? i / c.width : i], c.b ? c.b[i] : 1.0f);
}

template <typename T> __global__ void add_kernel(const T *a, const T *b, size_t n, T *out) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    if constexpr (std::is_same_v<T, float4>)
        out[i] = {a[i].x + b[i].x, a[i].y + b[i].y, a[i].z + b[i].z, a[i].w + b[i].w};
    else
        out[i] = a[i] + b[i];
}

__global__ void scale_kernel(ScaleCall c, size_t n) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    float factor = c.args.factor;
    if (c.args.interval)
        factor *= 1.0f + c.args.slope * logf(1.0f + float(uint32_t(c.position[i / c.width]) / c.args.interval));
    if (c.weight) factor *= *c.weight;
    c.out[i] = c.x[i] * factor + (c.bias ? c.bias[i % c.width] : 0.0f);
}

__global__ void soft_cap_kernel(float cap, const float *x, size_t n, float *out) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) out[i] = cap * tanhf(x[i] / cap);
}

__global__ void slice_kernel(SliceArgs a, const float *x, uint32_t in_width, size_t n, float *out) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    const size_t width = size_t(a.groups) * a.n, row = i / width, g = i % width / a.n;
    out[i] = x[row * in_width + g * (in_width / a.groups) + a.begin + i % a.n];
}

__global__ void take_kernel(const float *x, const int32_t *row, uint32_t width, size_t n, float *out) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) out[i] = x[size_t(row[i / width]) * width + i % width];
}

// A block for a token, a thread for each pair of each head; the rest of a head is copied.
__global__ void rope_kernel(Rope r, const int32_t *position, const float *x, float *out) {
    begin_after_predecessor();
    auto *turns = &dynamic_shared_as<float2>();
    const RopeArgs &a = r.args;
    const uint32_t half = a.dims / 2, width = a.n_heads * a.head_dim;
    make_turns(r, position[blockIdx.x], turns);
    __syncthreads();
    x += size_t(blockIdx.x) * width;
    out += size_t(blockIdx.x) * width;
    for (uint32_t i = threadIdx.x; i < a.n_heads * half; i += blockDim.x) {
        const uint32_t head = i / half, pair = i % half;
        const bool interleaved = a.pairs == RopePairs::kInterleaved;
        const uint32_t first = head * a.head_dim + (interleaved ? 2 * pair : pair),
                       second = interleaved ? first + 1 : first + half;
        const float p = x[first], q = x[second];
        const float2 turn = turns[pair];
        out[first] = p * turn.x - q * turn.y;
        out[second] = p * turn.y + q * turn.x;
    }
    const uint32_t rest = a.head_dim - a.dims;
    for (uint32_t i = threadIdx.x; i < a.n_heads * rest; i += blockDim.x) {
        const uint32_t at = i / rest * a.head_dim + a.dims + i % rest;
        out[at] = x[at];
    }
}

__global__ void expert_scale_kernel(ExpertScaleCall c, size_t n) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    const uint32_t part = c.width / c.n_used;
    const size_t row = i / c.width, slot = i % c.width / part;
    const size_t expert = size_t(c.route[row * 2 * c.n_used + slot]);
    c.out[i] = c.x[i] * c.scales[expert] + (c.bias ? c.bias[expert * part + i % part] : 0.0f);
}

__global__ void combine_kernel(const float *parts, const float *route, uint32_t n_used, uint32_t width, size_t n,
                               float *out) {
    begin_after_predecessor();
    const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    const size_t row = i / width;
    float sum = 0;
    for (uint32_t j = 0; j < n_used; ++j)
        sum += route[row * 2 * n_used + n_used + j] * parts[(row * n_used + j) * width + i % width];
    out[i] = sum;
}

// A thread for each of n.
template <typename... Params, typename... Args>
void start(void (*kernel)(Params...), size_t n, bool early, cudaStream_t stream, Args &&...args) {
    allow_shared(kernel, 0);
    launch_early(kernel, {unsigned((n + kThreads - 1) / kThreads), kThreads}, stream, early, args...);
}

}  // namespace

void gate(const GateCall &c, bool early, cudaStream_t stream) {
    const size_t n = size_t(c.n) * c.width;
    start(gate_kernel, n, early, stream, c, n);
}
void add(const float *a, const float *b, size_t n, float *out, bool early, cudaStream_t stream) {
    if (n % 4 == 0)
        start(add_kernel<float4>, n / 4, early, stream, reinterpret_cast<const float4 *>(a),
              reinterpret_cast<const float4 *>(b), n / 4, reinterpret_cast<float4 *>(out));
    else
        start(add_kernel<float>, n, early, stream, a, b, n, out);
}
void scale(const ScaleCall &c, bool early, cudaStream_t stream) {
    const size_t n = size_t(c.n) * c.width;
    start(scale_kernel, n, early, stream, c, n);
}
void soft_cap(float cap, const float *x, size_t n, float *out, bool early, cudaStream_t stream) {
    start(soft_cap_kernel, n, early, stream, cap, x, n, out);
}
void slice(const SliceArgs &args, const float *x, uint32_t in_width, float *out, int n, bool early,
           cudaStream_t stream) {
    const size_t total = size_t(n) * args.groups * args.n;
    start(slice_kernel, total, early, stream, args, x, in_width, total, out);
}
void take_rows(const float *x, const int32_t *row, uint32_t width, float *out, int n, bool early, cudaStream_t stream) {
    const size_t total = size_t(n) * width;
    start(take_kernel, total, early, stream, x, row, width, total, out);
}
void rope(const Rope &r, const int32_t *position, const float *x, float *out, int n, bool early, cudaStream_t stream) {
    const size_t shared_bytes = r.args.dims / 2 * sizeof(float2);
    allow_shared(rope_kernel, shared_bytes);
    launch_early(rope_kernel, {unsigned(n), kThreads, shared_bytes}, stream, early, r, position, x, out);
}
void expert_scale(const ExpertScaleCall &c, bool early, cudaStream_t stream) {
    const size_t n = size_t(c.n) * c.width;
    start(expert_scale_kernel, n, early, stream, c, n);
}
void combine(const float *parts, const float *route, uint32_t n_used, uint32_t width, float *out, int n, bool early,
             cudaStream_t stream) {
    const size_t total = size_t(n) * width;
    start(combine_kernel, total, early, stream, parts, route, n_used, width, total, out);
}

}  // namespace el::cuda
