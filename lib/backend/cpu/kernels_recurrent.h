// Ops with a state per sequence, written once over the vectors of a simd_*.h that is included before. A state is read
// from its slot before the step and written to its slot after it; later tokens find it there.
#pragma once
#include "backend/cpu/kernels_vector.h"

namespace el::cpu {
namespace {

inline float softplus(float x) { return x > 20 ? x : __builtin_log1pf(__builtin_expf(x)); }

// Calls visit(t) for the sequence's tokens.
template <typename Visit> void for_tokens(const SequenceTokens &tokens, Visit visit) {
    for (int32_t t = tokens.first; t < tokens.n_tokens; t++)
        if (tokens.sequence_of[t] == tokens.sequence) visit(static_cast<size_t>(t));
}

// A vector of a row, or the first lanes of one.
struct Lanes {
    size_t n = kLanes;
    F get(const float *p) const { return load_n(p, n); }
    void put(float *p, F x) const { store_n(p, n, x); }
};

// ---- short convolution: V vectors of channels, with their last inputs in registers. K is the kernel's size; 0: any.

template <int K, int V> void convolve(const ShortConvCall &c, uint32_t channel, Lanes lanes) {
    constexpr uint32_t kMost = K ? K : kMaxKernel;
    const uint32_t kernel = K ? K : c.kernel, past = kernel - 1;
    F weight[kMost][V], window[kMost][V], bias[V];
    for (int v = 0; v < V; v++) {
        const uint32_t at = channel + static_cast<uint32_t>(v) * kLanes;
        for (uint32_t i = 0; i < kernel; i++) {
            float column[kLanes] = {};
            for (size_t j = 0; j < lanes.n; j++) column[j] = c.weight[(at + j) * kernel + i];
            weight[i][v] = load(column);
        }
        for (uint32_t i = 0; i < past; i++) window[i][v] = c.before ? lanes.get(c.before + i * c.stride + at) : zero();
        bias[v] = c.bias ? lanes.get(c.bias + at) : zero();
    }
    for_tokens(c.tokens, [&](size_t t) {
        const float *from = c.x + t * c.stride + channel;
        float *to = c.out + t * c.stride + channel;
        for (int v = 0; v < V; v++) {
            const F x = lanes.get(from + v * kLanes);
            F sum = bias[v];
            for (uint32_t i = 0; i < past; i++) sum = fma(weight[i][v], window[i][v], sum);
            sum = fma(weight[past][v], x, sum);
            lanes.put(to + v * kLanes, c.activation == Activation::kSilu ? silu(sum) : sum);
            for (uint32_t i = 0; i + 1 < past; i++) window[i][v] = window[i + 1][v];
            if (past) window[past - 1][v] = x;
        }
    });
    for (uint32_t i = 0; i < past; i++)
        for (int v = 0; v < V; v++) lanes.put(c.after + i * c.stride + channel + v * kLanes, window[i][v]);
}

template <int K> void convolve_all(const ShortConvCall &c) {
    constexpr int kMost = K ? 4 : 1;
    uint32_t channel = c.begin;
    for (; channel + kMost * kLanes <= c.end; channel += kMost * kLanes) convolve<K, kMost>(c, channel, {});
    for (; channel + kLanes <= c.end; channel += kLanes) convolve<K, 1>(c, channel, {});
    if (channel < c.end) convolve<K, 1>(c, channel, {c.end - channel});
}

void short_conv(const ShortConvCall &c) {
    if (c.kernel == 3)
        convolve_all<3>(c);
    else if (c.kernel == 4)
        convolve_all<4>(c);
    else
        convolve_all<0>(c);
}

// ---- delta rule: V vectors of columns. Between tokens their part of the state lies in scratch memory without gaps,
// which the first cache holds.

float squares(const float *x, uint32_t n) {
    F total = zero();
    for_lanes(n, [&](size_t i, size_t lanes) {
        F v = load_n(x + i, lanes);
        total = fma(v, v, total);
    });
    return sum(total);
}

// A part of the state: rows of V vectors.
struct Columns {
    float *p;
    size_t stride;
};

template <int V>
void delta_token(const DeltaRuleCall &c, size_t t, uint32_t column, Lanes lanes, Columns from, Columns to) {
    const float *q = c.q + t * c.qkv_stride, *k = c.k + t * c.qkv_stride, *value = c.v + t * c.qkv_stride + column;
    // q and k are as they came: what brings them to length 1 is multiplied where it costs least.
    const float k_scale = 1.0f / __builtin_sqrtf(squares(k, c.dim_k) + c.epsilon);
    const float q_scale =
        1.0f / (__builtin_sqrtf(squares(q, c.dim_k) + c.epsilon) * __builtin_sqrtf(static_cast<float>(c.dim_k)));
    const float decay = __builtin_expf(c.rate * softplus(c.decay[t * c.n_v_heads] + c.bias));
    const float strength = 1.0f / (1.0f + __builtin_expf(-c.strength[t * c.n_v_heads]));
    F delta[V], more[V], out[V];
    for (int v = 0; v < V; v++) delta[v] = more[v] = out[v] = zero();
    for (uint32_t i = 0; i < c.dim_k; i += 2) {  // two sums, as one would wait for its additions
        const float *row = from.p + i * from.stride;
        for (int v = 0; v < V; v++) delta[v] = fma(lanes.get(row + v * kLanes), set(k[i]), delta[v]);
        if (i + 1 == c.dim_k) break;
        row += from.stride;
        for (int v = 0; v < V; v++) more[v] = fma(lanes.get(row + v * kLanes), set(k[i + 1]), more[v]);
    }
    for (int v = 0; v < V; v++) {
        const F expected = mul(add(delta[v], more[v]), set(decay * k_scale));
        delta[v] = mul(sub(lanes.get(value + v * kLanes), expected), set(strength * k_scale));
    }
    for (uint32_t i = 0; i < c.dim_k; i++) {
        const float *before = from.p + i * from.stride;
        float *after = to.p + i * to.stride;
        for (int v = 0; v < V; v++) {
            const F s = fma(delta[v], set(k[i]), mul(lanes.get(before + v * kLanes), set(decay)));
            lanes.put(after + v * kLanes, s);
            out[v] = fma(s, set(q[i]), out[v]);
        }
    }
    float *result = c.out + t * c.n_v_heads * c.dim_v + column;
    for (int v = 0; v < V; v++) lanes.put(result + v * kLanes, mul(out[v], set(q_scale)));
}

template <int V> void delta_columns(const DeltaRuleCall &c, uint32_t column, Lanes lanes) {
    const Columns scratch{c.scratch, V * kLanes}, after{c.after + column, c.dim_v};
    Columns from = scratch;
    if (c.before)
        from = {const_cast<float *>(c.before) + column, c.dim_v};
    else
        memset(c.scratch, 0, sizeof(float) * V * kLanes * c.dim_k);
    int32_t last = -1;
    for_tokens(c.tokens, [&](size_t t) { last = static_cast<int32_t>(t); });
    for_tokens(c.tokens, [&](size_t t) {
        delta_token<V>(c, t, column, lanes, from, static_cast<int32_t>(t) == last ? after : scratch);
        from = scratch;
    });
    if (last >= 0) return;
    for (uint32_t i = 0; i < c.dim_k; i++)
        for (int v = 0; v < V; v++)
            lanes.put(after.p + i * after.stride + v * kLanes, lanes.get(from.p + i * from.stride + v * kLanes));
}

void delta_rule(const DeltaRuleCall &c) {
    constexpr uint32_t kMost = kLanes >= 8 ? kDeltaColumns / kLanes : 4;
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
            auto part = [&](size_t i, Lanes lanes, F &sum) {
                const F h = fma(input, lanes.get(b + i), mul(lanes.get(before + i), decay));
                lanes.put(after + i, h);
                sum = fma(h, lanes.get(read + i), sum);
            };
            uint32_t i = 0;
            for (; i + 2 * kLanes <= c.state_dim; i += 2 * kLanes) {
                part(i, {}, total[0]);
                part(i + kLanes, {}, total[1]);
            }
            for (; i < c.state_dim; i += kLanes)
                part(i, {c.state_dim - i < kLanes ? c.state_dim - i : kLanes}, total[0]);
            out[d] = sum(add(total[0], total[1])) + c.skip * x[d];
        }
        from = c.after;
    });
    if (from != c.after) memcpy(c.after, from, n * sizeof(float));
}

}  // namespace
}  // namespace el::cpu
