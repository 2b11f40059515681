// Attention over pages for every head size and cache format, with the softmax computed page by page (Milakov and
// Gimelshein 2018, "Online normalizer calculation for softmax").
#include "ops/cache_row.cuh"
#include "ops/rotation.cuh"

namespace el::cuda {
namespace {

constexpr int kThreads = 128;

// A block for one query head of one token. Dynamic shared memory: q [dim_k], out [dim_v].
template <typename K, typename V> __global__ void attention_kernel(AttentionCall c) {
    extern __shared__ float shared[];
    __shared__ float scores[kPageTokens];
    const AttentionArgs &a = c.args;
    const uint32_t token = blockIdx.x, head = blockIdx.y, kv_head = head / (a.n_heads / a.n_kv_heads);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *q = shared, *out = shared + a.head_dim_k;
    const float *from = c.q + (size_t(token) * a.n_heads + head) * a.head_dim_k;
    for (uint32_t i = threadIdx.x; i < a.head_dim_k; i += kThreads) q[i] = from[i] * a.scale;
    for (uint32_t i = threadIdx.x; i < a.head_dim_v; i += kThreads) out[i] = 0;
    __syncthreads();
    if (c.k.rotated) rotate(q, a.head_dim_k);

    const size_t at = size_t(c.group) * c.step.limits.max_tokens + token;
    const int32_t begin = c.step.visible_begin[at], end = c.step.visible_end[at];
    const StepLimits &limits = c.step.limits;
    const int32_t *pages =
        c.step.block_table +
        (size_t(c.group) * limits.max_sequences + size_t(c.step.sequence_of[token])) * limits.max_pages;
    const uint64_t ancestors = c.step.ancestors[token];
    const int32_t drafts = ancestors ? end - 64 + __clzll(int64_t(ancestors)) : end;
    float maximum = c.sinks ? c.sinks[head] : -INFINITY, total = c.sinks ? 1.0f : 0.0f;
    for (int32_t page = begin / int32_t(kPageTokens); page * int32_t(kPageTokens) < end; ++page) {
        for (uint32_t i = warp; i < kPageTokens; i += kThreads / 32) {  // a warp makes one score at a time
            const int32_t row = page * int32_t(kPageTokens) + int32_t(i);
            const bool seen = row >= begin && row < end && (row < drafts || (ancestors >> (row - drafts) & 1));
            float sum = 0;
            if (seen) {
                const uint8_t *k = c.k.row(pages[page] * int32_t(kPageTokens) + int32_t(i), kv_head);
                for (uint32_t d = lane * kRun<K>; d < a.head_dim_k; d += 32 * kRun<K>) {
                    float values[kRun<K>];
                    read_run<K>(k, d, values);
                    for (uint32_t j = 0; j < kRun<K> && d + j < a.head_dim_k; ++j) sum += q[d + j] * values[j];
                }
            }
            for (int j = 16; j > 0; j /= 2) sum += __shfl_xor_sync(~0u, sum, j);
            if (a.soft_cap > 0) sum = a.soft_cap * tanhf(sum / a.soft_cap);
            if (lane == 0) scores[i] = seen ? sum : -INFINITY;
        }
        __syncthreads();
        float now = maximum;
        for (float s : scores) now = fmaxf(now, s);
        const float keep = maximum == -INFINITY ? 0.0f : expf(maximum - now);
        total *= keep;
        for (float s : scores) total += s == -INFINITY ? 0.0f : expf(s - now);
        for (uint32_t d = threadIdx.x * kRun<V>; d < a.head_dim_v; d += kThreads * kRun<V>) {
            float sum[kRun<V>];
            for (uint32_t j = 0; j < kRun<V>; ++j) sum[j] = d + j < a.head_dim_v ? out[d + j] * keep : 0.0f;
            for (uint32_t i = 0; i < kPageTokens; ++i) {
                if (scores[i] == -INFINITY) continue;
                const float share = expf(scores[i] - now);
                float values[kRun<V>];
                read_run<V>(c.v.row(pages[page] * int32_t(kPageTokens) + int32_t(i), kv_head), d, values);
                for (uint32_t j = 0; j < kRun<V>; ++j) sum[j] += share * values[j];
            }
            for (uint32_t j = 0; j < kRun<V> && d + j < a.head_dim_v; ++j) out[d + j] = sum[j];
        }
        maximum = now;
        __syncthreads();
    }
    float *to = c.out + (size_t(token) * a.n_heads + head) * a.head_dim_v;
    for (uint32_t i = threadIdx.x; i < a.head_dim_v; i += kThreads) to[i] = total > 0 ? out[i] / total : 0.0f;
}

}  // namespace

void attention(const AttentionCall &c, cudaStream_t stream) {
    if (c.n > kDecodeTokens && flash_attention(c, stream)) return;
    const size_t bytes = (size_t(c.args.head_dim_k) + c.args.head_dim_v) * sizeof(float);
    with_cache_format(c.k.format, [&](auto k) {
        with_cache_format(c.v.format, [&](auto v) {
            using K = typename decltype(k)::type;
            using V = typename decltype(v)::type;
            attention_kernel<K, V><<<dim3(c.n, c.args.n_heads), kThreads, bytes, stream>>>(c);
        });
    });
}

}  // namespace el::cuda
