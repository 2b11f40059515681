// Norm, rope and the cache's rows in one kernel: a warp for each head of q, k and v of each token.
#include "launch.h"
#include "ops/heads.cuh"

namespace el::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

template <int kDim> __global__ void __launch_bounds__(kThreads)
    rope_and_write_kernel(const __grid_constant__ HeadsCall call) {
    __shared__ float heads[kWarps][kDim];
    __shared__ float2 turns[kDim / 2];
    let_successor_start();
    const AttentionCall &c = call.attention;
    const uint32_t token = blockIdx.y, n_q = c.args.n_heads, n_kv = c.args.n_kv_heads,
                   job = blockIdx.x * kWarps + threadIdx.x / 32;
    const Rope &rope = call.q_rope.args.dims ? call.q_rope : call.k_rope;
    if (rope.args.dims) make_turns(rope, __ldcg(c.step.position + token), turns);
    __syncthreads();
    wait_for_predecessor();
    if (job >= n_q + (call.k ? 2 * n_kv : 0)) return;
    const bool is_q = job < n_q, is_k = !is_q && job < n_q + n_kv;
    const uint32_t head = is_q ? job : is_k ? job - n_q : job - n_q - n_kv;
    const float *from = is_q ? c.q + (size_t(token) * n_q + head) * kDim
                             : (is_k ? call.k : call.v) + (size_t(token) * n_kv + head) * kDim;
    const HeadNorm &norm = is_q ? call.q_norm : is_k ? call.k_norm : call.v_norm;
    const Pairs pairs(is_q ? &call.q_rope.args : is_k ? &call.k_rope.args : nullptr);
    HeadPairs<kDim> x;
    x.load(from, pairs);
    HeadFactors<kDim> factors;
    factors.load(pairs, turns, weight_of(norm, head));
    prepare_head(x, norm, factors);
    float *values = is_q ? call.q_out + (size_t(token) * n_q + head) * kDim : heads[threadIdx.x / 32];
    x.each(pairs, [&](uint32_t at, float value) { values[at] = value; });
    if (is_q) return;
    __syncwarp();
    const int32_t slot = c.step.slot[size_t(c.group) * c.step.limits.max_tokens + token];
    if (slot < 0) return;
    const Plane &plane = is_k ? c.k : c.v;
    if (plane.rotated) rotate_by_warp(values, kDim);
    encode_row<kDim>(plane.format, values, plane.row(slot, head), nullptr);
}

}  // namespace

void rope_and_write(const HeadsCall &call, bool early, cudaStream_t stream) {
    const AttentionArgs &a = call.attention.args;
    const uint32_t jobs = a.n_heads + (call.k ? 2 * a.n_kv_heads : 0);
    with_tile_dim(a.head_dim_k, [&](auto dim) {
        const dim3 blocks((jobs + kWarps - 1) / kWarps, unsigned(call.attention.n));
        launch_early(rope_and_write_kernel<dim()>, {blocks, kThreads}, stream, early, call);
    });
}

}  // namespace el::cuda
