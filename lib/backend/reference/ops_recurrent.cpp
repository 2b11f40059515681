#include "backend/reference/ops.h"

#include <algorithm>
#include <cmath>

namespace el::reference {
namespace {

float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// dst = x brought to length 1
void unit(const float *x, uint32_t n, float epsilon, float *out) {
    const float scale = 1.0f / std::sqrt(dot(x, x, n) + epsilon);
    for (uint32_t i = 0; i < n; ++i) out[i] = x[i] * scale;
}

void begin_state(StateSlots state, size_t n) {
    if (state.before)
        std::copy_n(state.before, n, state.after);
    else
        std::fill_n(state.after, n, 0.0f);
}

}  // namespace

void short_conv(const ShortConvArgs &args, const ShortConvInput &in, const SequenceTokens &tokens, StateSlots state,
                float *out) {
    const size_t past = args.kernel - 1, stride = in.channels;
    float *window = state.after + in.c;  // [past] with a stride: the last inputs
    for (size_t i = 0; i < past; ++i) window[i * stride] = state.before ? state.before[in.c + i * stride] : 0.0f;
    tokens.for_each([&](size_t t) {
        const float x = in.x[t * stride + in.c];
        float sum = in.bias ? in.bias[in.c] : 0.0f;
        for (size_t i = 0; i < past; ++i) sum += in.weight[i] * window[i * stride];
        sum += in.weight[past] * x;
        gate(args.activation, {&sum, nullptr, 1}, 1, out + t * stride + in.c);
        for (size_t i = 0; i + 1 < past; ++i) window[i * stride] = window[(i + 1) * stride];
        if (past) window[(past - 1) * stride] = x;
    });
}

void delta_rule(const DeltaRuleArgs &args, const DeltaRuleInput &in, uint32_t h, const SequenceTokens &tokens,
                StateSlots state, float *out) {
    const uint32_t dk = args.dim_k, dv = args.dim_v, keys = args.n_k_heads * dk, k_head = h % args.n_k_heads;
    float *S = state.after, *q = in.scratch, *k = q + dk, *delta = k + dk;
    begin_state(state, size_t(dk) * dv);
    tokens.for_each([&](size_t t) {
        const float *row = in.qkv + t * (2 * keys + args.n_v_heads * dv);
        unit(row + k_head * dk, dk, args.epsilon, q);
        unit(row + keys + k_head * dk, dk, args.epsilon, k);
        const float *v = row + 2 * keys + h * dv;
        const size_t at = t * args.n_v_heads + h;
        const float decay = std::exp(in.rate[h] * softplus(in.decay[at] + in.bias[h]));
        const float strength = 1.0f / (1.0f + std::exp(-in.strength[at]));
        std::fill_n(delta, dv, 0.0f);  // S^T k first
        for (uint32_t i = 0; i < dk; ++i)
            for (uint32_t j = 0; j < dv; ++j) delta[j] += (S[size_t(i) * dv + j] *= decay) * k[i];
        for (uint32_t j = 0; j < dv; ++j) delta[j] = strength * (v[j] - delta[j]);
        float *o = out + at * dv;
        std::fill_n(o, dv, 0.0f);
        const float scale = 1.0f / std::sqrt(float(dk));
        for (uint32_t i = 0; i < dk; ++i)
            for (uint32_t j = 0; j < dv; ++j) o[j] += (S[size_t(i) * dv + j] += k[i] * delta[j]) * (q[i] * scale);
    });
}

void selective_scan(const SelectiveScanArgs &args, const SelectiveScanInput &in, uint32_t h,
                    const SequenceTokens &tokens, StateSlots state, float *out) {
    const uint32_t dim = args.head_dim, n = args.state_dim, inner = args.n_heads * dim;
    const uint32_t group = h / (args.n_heads / args.n_groups);
    float *H = state.after;
    begin_state(state, size_t(dim) * n);
    tokens.for_each([&](size_t t) {
        const float *row = in.xbc + t * (inner + 2 * args.n_groups * n);
        const float *x = row + h * dim, *B = row + inner + group * n, *C = B + args.n_groups * n;
        const size_t at = t * args.n_heads + h;
        const float step = softplus(in.dt[at] + in.bias[h]), decay = std::exp(in.rate[h] * step);
        for (uint32_t d = 0; d < dim; ++d) {
            float *s = H + size_t(d) * n;
            for (uint32_t i = 0; i < n; ++i) s[i] = s[i] * decay + step * x[d] * B[i];
            out[at * dim + d] = dot(s, C, n) + in.skip[h] * x[d];
        }
    });
}

}  // namespace el::reference
