// Stages of attention: shared among workers by heads, blocks of tokens and parts of the past.
#include "backend/cpu/executable.h"
#include "backend/host/rotation.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el::cpu {

void CpuExecutable::attention_stage(const Op &op, const Step &step, Worker worker) const noexcept {
    const AttentionArgs &a = op.attention;
    const size_t block = std::max<size_t>(kAttentionRows / (a.n_heads / a.n_kv_heads), 1), n = size_t(step.n_tokens);
    const uint32_t parts = attention_parts(op, step, worker.of);
    size_t task = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = begin + 1;
        while (end < n && end < begin + block && step.sequence_of[end] == step.sequence_of[begin]) end++;
        for (uint32_t head = 0; head < a.n_kv_heads; head++)
            for (uint32_t part = 0; part < parts; part++, task++)
                if (task % size_t(worker.of) == size_t(worker.number))
                    attention_part(op, step, {begin, end}, head, part, parts,
                                   memory_.workers[size_t(worker.number)].attention);
    }
    if (parts == 1) return;
    pool_.barrier();
    combine_parts(op, step, parts, worker);
}

// With few tokens and a long past, the past of a head is cut so that all workers have the same to do.
uint32_t CpuExecutable::attention_parts(const Op &op, const Step &step, int n_workers) const noexcept {
    constexpr int32_t kMinRows = 4 * kPageTokens;  // worth a part
    const size_t n = size_t(step.n_tokens);
    if (n_workers == 1 || n > kSplitTokens || n * op.attention.n_kv_heads >= 4 * size_t(n_workers)) return 1;
    const uint32_t group = program_.cache_layers[op.attention.cache_layer].group;
    int32_t longest = 0;
    for (size_t t = 0; t < n; t++) {
        const size_t at = size_t(group) * step.limits.max_tokens + t;
        longest = std::max(longest, step.visible_end[at] - step.visible_begin[at]);
    }
    return uint32_t(std::clamp<int32_t>(longest / kMinRows, 1, std::min<int32_t>(n_workers, kMaxParts)));
}

void CpuExecutable::attention_part(const Op &op, const Step &step, SplitRange tokens, uint32_t head, uint32_t part,
                                   uint32_t parts, float *scratch) const noexcept {
    const AttentionArgs &a = op.attention;
    const CacheLayer layer = program_.cache_layers[a.cache_layer];
    const Memory::Planes &planes = memory_.cache[layer.group];
    const uint32_t heads = a.n_heads / a.n_kv_heads;
    const size_t k_page = size_t(a.n_kv_heads) * kPageTokens * planes.k_row_bytes;
    const size_t v_page = size_t(a.n_kv_heads) * kPageTokens * planes.v_row_bytes;
    const size_t first_page = size_t(layer.index) * n_pages_[layer.group],
                 at = size_t(layer.group) * step.limits.max_tokens;
    AttentionCall call;
    call.n_tokens = uint32_t(tokens.end - tokens.begin);
    call.n_heads = heads;
    call.dim_k = a.head_dim_k;
    call.dim_v = a.head_dim_v;
    call.scale = a.scale;
    call.soft_cap = a.soft_cap;
    call.rotate = memory_.host.k(a.cache_layer).rotated ? host::rotate : nullptr;
    const float *sinks = store_.vector(op.weight[0]);
    call.sinks = sinks && part == 0 ? sinks + head * heads : nullptr;
    call.q_stride = width(op.in[0]);
    call.q = data(op.in[0]) + tokens.begin * call.q_stride + size_t(head) * heads * a.head_dim_k;
    call.pages = step.pages_of(layer.group, uint32_t(step.sequence_of[tokens.begin]));
    call.k = planes.k + first_page * k_page + head * kPageTokens * planes.k_row_bytes;
    call.v = planes.v + first_page * v_page + head * kPageTokens * planes.v_row_bytes;
    call.k_page_bytes = k_page;
    call.v_page_bytes = v_page;
    call.k_row_bytes = planes.k_row_bytes;
    call.v_row_bytes = planes.v_row_bytes;
    call.k_type = k_type_;
    call.v_type = v_type_;
    call.visible_begin = step.visible_begin + at + tokens.begin;
    call.visible_end = step.visible_end + at + tokens.begin;
    call.ancestors = step.ancestors + tokens.begin;
    const int32_t begin =
        *std::min_element(call.visible_begin, call.visible_begin + call.n_tokens) / int32_t(kPageTokens);
    const int32_t end = *std::max_element(call.visible_end, call.visible_end + call.n_tokens);
    const SplitRange pages = split(size_t(std::max(0, (end + int32_t(kPageTokens) - 1) / int32_t(kPageTokens) - begin)),
                                   int(part), int(parts));
    call.begin = (begin + int32_t(pages.begin)) * int32_t(kPageTokens);
    call.end = (begin + int32_t(pages.end)) * int32_t(kPageTokens);
    call.scratch = scratch;
    call.out_stride = size_t(a.n_heads) * a.head_dim_v;
    call.out = (parts == 1 ? data(op.out) : memory_.split + part * kSplitTokens * call.out_stride) +
               tokens.begin * call.out_stride + size_t(head) * heads * a.head_dim_v;
    call.max_sum = nullptr;
    if (parts > 1)
        call.max_sum =
            memory_.split_statistics + ((size_t(part) * a.n_kv_heads + head) * kSplitTokens + tokens.begin) * heads * 2;
    kernels_.attention(call);
}

void CpuExecutable::combine_parts(const Op &op, const Step &step, uint32_t parts, Worker worker) const noexcept {
    const AttentionArgs &a = op.attention;
    const uint32_t heads = a.n_heads / a.n_kv_heads;
    const SplitRange mine = split(size_t(step.n_tokens) * a.n_heads, worker.number, worker.of);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t token = i / a.n_heads, head = i % a.n_heads;
        auto statistics = [&](size_t part) {
            return memory_.split_statistics +
                   (((part * a.n_kv_heads + head / heads) * kSplitTokens + token) * heads + head % heads) * 2;
        };
        float maximum = -INFINITY, total = 0, share[kMaxParts];
        for (size_t p = 0; p < parts; p++) maximum = std::max(maximum, statistics(p)[0]);
        for (size_t p = 0; p < parts; p++) {
            share[p] = statistics(p)[1] != 0 ? std::exp(statistics(p)[0] - maximum) : 0.0f;
            total += share[p] * statistics(p)[1];
        }
        const size_t stride = size_t(a.n_heads) * a.head_dim_v;
        float *out = data(op.out) + token * stride + head * a.head_dim_v;
        for (uint32_t d = 0; d < a.head_dim_v; d++) {
            float sum = 0;
            for (size_t p = 0; p < parts; p++)
                sum += share[p] * memory_.split[(p * kSplitTokens + token) * stride + head * a.head_dim_v + d];
            out[d] = total != 0 ? sum / total : 0.0f;  // NaN stays NaN
        }
    }
}

}  // namespace el::cpu
