// Ops with a state per sequence, written once over the vectors of a simd_*.h that is included before. A state is read
// from its slot before the step and written to its slot after it; later tokens find it there.
#pragma once
#include "backend/cpu/kernels_vector.h"

namespace el::cpu {
namespace {

inline float softplus(float x) { return x > 20 ? x : __builtin_log1pf(__builtin_expf(x)); }

// Calls visit(t) for the sequence's tokens; false if there are none.
template <typename Visit> bool for_tokens(const SequenceTokens &tokens, Visit visit) {
    bool any = false;
    for (int32_t t = tokens.first; t < tokens.n_tokens; t++) {
        if (tokens.sequence_of[t] != tokens.sequence) continue;
        visit(static_cast<size_t>(t));
        any = true;
    }
    return any;
}

// A vector of a row, or the first lanes of one.
struct Lanes {
    size_t n = kLanes;
    F get(const float *p) const { return load_n(p, n); }
    void put(float *p, F x) const { store_n(p, n, x); }
};

// ---- short convolution: `n` channels from `channel` on, with their last inputs in registers. K is the kernel's size;
// 0: any.

template <int K> void convolve(const ShortConvCall &c, uint32_t channel, Lanes lanes) {
    constexpr uint32_t kMost = K ? K : kMaxKernel;
    const uint32_t kernel = K ? K : c.kernel, past = kernel - 1;
    F weight[kMost], window[kMost];
    for (uint32_t i = 0; i < kernel; i++) {
        float column[kLanes] = {};
        for (size_t j = 0; j < lanes.n; j++) column[j] = c.weight[(channel + j) * kernel + i];
        weight[i] = load(column);
    }
    for (uint32_t i = 0; i < past; i++) window[i] = c.before ? lanes.get(c.before + i * c.stride + channel) : zero();
    const F bias = c.bias ? lanes.get(c.bias + channel) : zero();
    for_tokens(c.tokens, [&](size_t t) {
        const F x = lanes.get(c.x + t * c.stride + channel);
        F sum = bias;
        for (uint32_t i = 0; i < past; i++) sum = fma(weight[i], window[i], sum);
        sum = fma(weight[past], x, sum);
        lanes.put(c.out + t * c.stride + channel, c.activation == Activation::kSilu ? silu(sum) : sum);
        for (uint32_t i = 0; i + 1 < past; i++) window[i] = window[i + 1];
        if (past) window[past - 1] = x;
    });
    for (uint32_t i = 0; i < past; i++) lanes.put(c.after + i * c.stride + channel, window[i]);
}

void short_conv(const ShortConvCall &c) {
    for (uint32_t channel = c.begin; channel < c.end; channel += kLanes) {
        const Lanes lanes{c.end - channel < kLanes ? c.end - channel : kLanes};
        if (c.kernel == 3)
            convolve<3>(c, channel, lanes);
        else if (c.kernel == 4)
            convolve<4>(c, channel, lanes);
        else
            convolve<0>(c, channel, lanes);
    }
}

// ---- delta rule: V vectors of columns, whose part of the state stays in the first cache for all tokens

float squares(const float *x, uint32_t n) {
    F total = zero();
    for_lanes(n, [&](size_t i, size_t lanes) {
        F v = load_n(x + i, lanes);
        total = fma(v, v, total);
    });
    return sum(total);
}

template <int V> void delta_columns(const DeltaRuleCall &c, uint32_t column, Lanes lanes) {
    const float *from = c.before ? c.before + column : nullptr;
    float *state = c.after + column;
    if (!from) {
        for (uint32_t i = 0; i < c.dim_k; i++)
            for (int v = 0; v < V; v++) lanes.put(state + static_cast<size_t>(i) * c.dim_v + v * kLanes, zero());
        from = state;
    }
    for_tokens(c.tokens, [&](size_t t) {
        const float *q = c.q + t * c.qkv_stride, *k = c.k + t * c.qkv_stride, *value = c.v + t * c.qkv_stride + column;
        // q and k are as they came: what brings them to length 1 is multiplied where it costs least.
        const float k_scale = 1.0f / __builtin_sqrtf(squares(k, c.dim_k) + c.epsilon);
        const float q_scale =
            1.0f / (__builtin_sqrtf(squares(q, c.dim_k) + c.epsilon) * __builtin_sqrtf(static_cast<float>(c.dim_k)));
        const float decay = __builtin_expf(c.rate * softplus(c.decay[t * c.n_v_heads] + c.bias));
        const float strength = 1.0f / (1.0f + __builtin_expf(-c.strength[t * c.n_v_heads]));
        F delta[V], out[V];
        for (int v = 0; v < V; v++) delta[v] = out[v] = zero();
        for (uint32_t i = 0; i < c.dim_k; i++) {
            const float *row = from + static_cast<size_t>(i) * c.dim_v;
            for (int v = 0; v < V; v++) delta[v] = fma(lanes.get(row + v * kLanes), set(k[i]), delta[v]);
        }
        for (int v = 0; v < V; v++) {
            const F expected = mul(delta[v], set(decay * k_scale));
            delta[v] = mul(sub(lanes.get(value + v * kLanes), expected), set(strength * k_scale));
        }
        for (uint32_t i = 0; i < c.dim_k; i++) {
            const size_t row = static_cast<size_t>(i) * c.dim_v;
            for (int v = 0; v < V; v++) {
                F s = mul(lanes.get(from + row + v * kLanes), set(decay));
                s = fma(delta[v], set(k[i]), s);
                lanes.put(state + row + v * kLanes, s);
                out[v] = fma(s, set(q[i]), out[v]);
            }
        }
        float *to = c.out + t * c.n_v_heads * c.dim_v + column;
        for (int v = 0; v < V; v++) lanes.put(to + v * kLanes, mul(out[v], set(q_scale)));
        from = state;
    });
    if (from == state) return;
    for (uint32_t i = 0; i < c.dim_k; i++) {  // a sequence without tokens
        const size_t row = static_cast<size_t>(i) * c.dim_v;
        for (int v = 0; v < V; v++) lanes.put(state + row + v * kLanes, lanes.get(from + row + v * kLanes));
    }
}

void delta_rule(const DeltaRuleCall &c) {
    constexpr uint32_t kMost = kLanes >= 8 ? 64 / kLanes : 4;
    uint32_t column = c.begin;
    for (; column + kMost * kLanes <= c.end; column += kMost * kLanes) delta_columns<kMost>(c, column, {});
    for (; column + kLanes <= c.end; column += kLanes) delta_columns<1>(c, column, {});
    if (column < c.end) delta_columns<1>(c, column, {c.end - column});
}

// ---- selective scan: one row of the state after the other

void selective_scan(const SelectiveScanCall &c) {
    const size_t n = static_cast<size_t>(c.head_dim) * c.state_dim;
    const float *from = c.before;
    if (!from) {
        memset(c.after, 0, n * sizeof(float));
        from = c.after;
    }
    for_tokens(c.tokens, [&](size_t t) {
        const float *x = c.x + t * c.xbc_stride, *b = c.b + t * c.xbc_stride, *read = c.c + t * c.xbc_stride;
        const float step = softplus(c.dt[t * c.n_heads] + c.bias);
        const F decay = set(__builtin_expf(c.rate * step));
        float *out = c.out + t * c.n_heads * c.head_dim;
        for (uint32_t d = 0; d < c.head_dim; d++) {
            const float *before = from + static_cast<size_t>(d) * c.state_dim;
            float *after = c.after + static_cast<size_t>(d) * c.state_dim;
            const F input = set(step * x[d]);
            F total[2] = {zero(), zero()};
            for_lanes(c.state_dim, [&](size_t i, size_t lanes) {
                const F h = fma(input, load_n(b + i, lanes), mul(load_n(before + i, lanes), decay));
                store_n(after + i, lanes, h);
                F &part = total[i / kLanes % 2];
                part = fma(h, load_n(read + i, lanes), part);
            });
            out[d] = sum(add(total[0], total[1])) + c.skip * x[d];
        }
        from = c.after;
    });
    if (from != c.after) memcpy(c.after, from, n * sizeof(float));
}

}  // namespace
}  // namespace el::cpu
