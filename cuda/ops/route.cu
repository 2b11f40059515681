// Which experts each token takes: a warp for a row, as in a decode step all wait for one row.
#include "launch.h"
#include "ops.h"
#include "ops/reduce.cuh"

#include <cmath>

namespace el::cuda {
namespace {

constexpr uint32_t kWarps = 4;

// Larger for a larger logit, then for a lower number; NaN loses against everything. Never 0.
__device__ uint64_t rank_of(float x, uint32_t expert) {
    uint32_t bits = 0;
    if (x == x) {
        bits = __float_as_uint(x + 0.0f);                // no negative zero
        bits ^= bits >> 31 ? 0xFFFFFFFFu : 0x80000000u;  // float order as integer order
    }
    return uint64_t(bits) << 32 | uint32_t(~expert);
}

__global__ void __launch_bounds__(32 * kWarps)
    route_kernel(RouteArgs a, const float *logits, const int32_t *sequence_of, int n, float *out) {
    begin_after_predecessor();
    const uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= uint32_t(n)) return;
    logits += sequence_of && sequence_of[row] < 0 ? 0 : size_t(row) * a.n_experts;
    out += size_t(row) * 2 * a.n_used;
    float highest = -INFINITY, sum = 0, chosen = 0;
    for (uint32_t e = lane; e < a.n_experts; e += 32) highest = fmaxf(highest, logits[e]);
    for (int i = 16; i > 0; i /= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, i));
    for (uint32_t e = lane; e < a.n_experts; e += 32) sum += expf(logits[e] - highest);
    sum = warp_sum(sum);
    uint64_t last = ~uint64_t(0);
    for (uint32_t i = 0; i < a.n_used; ++i) {
        uint64_t best = 0;  // of those after the last one
        for (uint32_t e = lane; e < a.n_experts; e += 32) {
            const uint64_t rank = rank_of(logits[e], e);
            if (rank < last) best = max(best, rank);
        }
        for (int j = 16; j > 0; j /= 2) best = max(best, __shfl_xor_sync(~0u, best, j));
        last = best;
        const uint32_t expert = ~uint32_t(best);
        const float share = expf(logits[expert] - highest) / sum;
        chosen += share;
        if (i % 32 != lane) continue;
        out[i] = float(expert);
        out[a.n_used + i] = share;
    }
    for (uint32_t i = lane; i < a.n_used; i += 32) out[a.n_used + i] *= a.normalize ? a.scale / chosen : a.scale;
}

}  // namespace

void route(const RouteArgs &args, const float *logits, const int32_t *sequence_of, float *out, int n, bool early,
           cudaStream_t stream) {
    const auto blocks = unsigned((n + int(kWarps) - 1) / int(kWarps));
    allow_shared(route_kernel, 0);
    launch_early(route_kernel, {blocks, 32 * kWarps}, stream, early, args, logits, sequence_of, n, out);
}

}  // namespace el::cuda
