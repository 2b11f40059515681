// What goes into the cache, and what is done to it between steps.
#include "launch.h"
#include "ops/cache_row.cuh"
#include "ops/rotation.cuh"

namespace el::cuda {
namespace {

// A block for one head of one token, whose values lie in shared memory meanwhile.
template <typename F> __global__ void write_kernel(Plane p, const int32_t *slot, const float *x) {
    float *values = reinterpret_cast<float *>(dynamic_shared());
    if (slot[blockIdx.x] < 0) return;
    const uint32_t head = blockIdx.y;
    x += (size_t(blockIdx.x) * p.n_kv_heads + head) * p.head_dim;
    const uint32_t n = uint32_t(p.row_bytes / sizeof(typename F::Block) * F::kValues);
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) values[i] = i < p.head_dim ? x[i] : 0.0f;
    __syncthreads();
    if (p.rotated) rotate(values, p.head_dim);
    write_row<F>(p.row(slot[blockIdx.x], head), n, values);
}

__global__ void copy_kernel(Plane p, const int32_t *from, const int32_t *to) {
    const uint8_t *a = p.row(from[blockIdx.x], blockIdx.y);
    uint8_t *b = p.row(to[blockIdx.x], blockIdx.y);
    for (size_t i = threadIdx.x; i < p.row_bytes; i += blockDim.x) b[i] = a[i];
}

// A block for one head of one row, which lies in shared memory meanwhile.
template <typename F> __global__ void turn_kernel(Plane p, Rope r, const int32_t *slots, int32_t positions) {
    float *values = reinterpret_cast<float *>(dynamic_shared());
    uint8_t *row = p.row(slots[blockIdx.x], blockIdx.y);
    const uint32_t n = uint32_t(p.row_bytes / sizeof(typename F::Block) * F::kValues), half = r.args.dims / 2;
    for (uint32_t i = threadIdx.x * kRun<F>; i < n; i += blockDim.x * kRun<F>) read_run<F>(row, i, n, values + i);
    __syncthreads();
    if (p.rotated) rotate_back(values, p.head_dim);
    for (uint32_t i = threadIdx.x; i < half; i += blockDim.x) {
        const bool interleaved = r.args.pairs == RopePairs::kInterleaved;
        float &a = values[interleaved ? 2 * i : i], &b = values[interleaved ? 2 * i + 1 : i + half];
        double s, c;
        sincos(positions * (double(r.frequencies[i]) / (r.factors ? r.factors[i] : 1.0f)), &s, &c);
        const float x = a, y = b;
        a = x * float(c) - y * float(s);
        b = x * float(s) + y * float(c);
    }
    __syncthreads();
    if (p.rotated) rotate(values, p.head_dim);
    write_row<F>(row, n, values);
}

// `packed` has rows as formats have them.
template <typename F>
__global__ void pack_kernel(Plane p, const int32_t *slots, uint8_t *packed, size_t stride, bool to_plane) {
    uint8_t *row = p.row(slots[blockIdx.x], blockIdx.y);
    packed += blockIdx.x * stride + blockIdx.y * p.row_bytes;
    for (uint32_t i = threadIdx.x; 2 * i < p.row_bytes; i += blockDim.x) {
        uint32_t at = 2 * i;
        if constexpr (F::kValues > 1) {
            constexpr uint32_t kHalves = sizeof(typename F::Block) / 2;
            at = uint32_t(QuantizedRow<F::kFormat>(int(p.head_dim)).half_at(int(i / kHalves), int(i % kHalves)));
        }
        uint16_t &here = *reinterpret_cast<uint16_t *>(row + at), &there = reinterpret_cast<uint16_t *>(packed)[i];
        if (to_plane)
            here = there;
        else
            there = here;
    }
}

// Bytes of a row's values as floats.
template <typename F> size_t row_floats(const Plane &p) {
    return p.row_bytes / sizeof(typename F::Block) * F::kValues * sizeof(float);
}

// A block for each head of n rows.
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), const Plane &p, int n, size_t shared_bytes, cudaStream_t stream, Args... args) {
    launch_early(kernel, {dim3(unsigned(n), p.n_kv_heads), 64, shared_bytes}, stream, false, args...);
}

}  // namespace

bool plane_format_known(Format format) {
    bool known = false;
    with_cache_format(format, [&](auto) { known = true; });
    return known;
}

void cache_write(const Plane &p, const int32_t *slot, const float *x, int n, cudaStream_t stream) {
    with_cache_format(p.format, [&](auto f) {
        using F = typename decltype(f)::type;
        launch(write_kernel<F>, p, n, row_floats<F>(p), stream, p, slot, x);
    });
}

void copy_rows(const Plane &p, const int32_t *from, const int32_t *to, int n, cudaStream_t stream) {
    launch(copy_kernel, p, n, 0, stream, p, from, to);
}

void turn_rows(const Plane &p, const Rope &rope, const int32_t *slots, int n, int32_t positions, cudaStream_t stream) {
    with_cache_format(p.format, [&](auto f) {
        using F = typename decltype(f)::type;
        launch(turn_kernel<F>, p, n, row_floats<F>(p), stream, p, rope, slots, positions);
    });
}

void pack_rows(const Plane &p, const int32_t *slots, int n, uint8_t *packed, size_t stride, bool to_plane,
               cudaStream_t stream) {
    with_cache_format(p.format, [&](auto f) {
        using F = typename decltype(f)::type;
        launch(pack_kernel<F>, p, n, 0, stream, p, slots, packed, stride, to_plane);
    });
}

}  // namespace el::cuda
