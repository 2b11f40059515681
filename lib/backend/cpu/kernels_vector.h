// Functions over single rows, written once over the vectors of a simd_*.h that is included before.
#pragma once
#include "backend/cpu/kernels.h"

namespace el::cpu {
namespace {

// Calls body(i, n) for every run of at most kLanes values; n is kLanes but for the last.
template <typename Body> void for_lanes(size_t n, Body body) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) body(i, static_cast<size_t>(kLanes));
    if (i < n) body(i, n - i);
}
inline F load_n(const float *p, size_t n) { return n == kLanes ? load(p) : load_part(p, n); }
inline void store_n(float *p, size_t n, F x) {
    if (n == kLanes)
        store(p, x);
    else
        store_part(p, n, x);
}

// e^x as 2^n * e^r with |r| <= ln(2)/2; e^r by its Taylor polynomial of degree 7 (error below 1e-8 relative). ln(2) is
// split in two so that r is exact (Cody and Waite, 1980). Smallest input -87, where the result is about 1e-38.
inline F exp(F x) {
    x = min(set(88.0f), max(set(-87.0f), x));  // in this order NaN stays NaN
    I n = round(mul(x, set(1.44269504f)));
    F steps = to_float(n);
    F r = fma(steps, set(-0.693359375f), x);
    r = fma(steps, set(2.12194440e-4f), r);
    F p = set(1.0f / 5040);
    p = fma(p, r, set(1.0f / 720));
    p = fma(p, r, set(1.0f / 120));
    p = fma(p, r, set(1.0f / 24));
    p = fma(p, r, set(1.0f / 6));
    p = fma(p, r, set(0.5f));
    p = fma(p, r, set(1.0f));
    p = fma(p, r, set(1.0f));
    return times_power_of_2(p, n);
}

inline F sigmoid(F x) { return div(set(1.0f), add(set(1.0f), exp(sub(zero(), x)))); }
inline F silu(F x) { return div(x, add(set(1.0f), exp(sub(zero(), x)))); }

// tanh(y) = 1 - 2 / (e^2y + 1)
inline F cap_of(F x, F cap) {
    F y = div(x, cap);
    return mul(cap, sub(set(1.0f), div(set(2.0f), add(set(1.0f), exp(add(y, y))))));
}

// The tanh of GELU as a sigmoid: 0.5 (1 + tanh(u)) = sigmoid(2u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline F gelu(F x) {
    F inner = mul(x, fma(mul(x, x), set(2 * 0.79788456f * 0.044715f), set(2 * 0.79788456f)));
    return div(x, add(set(1.0f), exp(sub(zero(), inner))));
}

// activation(a) * b; in min and max NaN stays NaN where it comes second.
template <Activation A> inline F activate(F a, F b) {
    switch (A) {
    case Activation::kNone:
        break;
    case Activation::kSilu:
        a = silu(a);
        break;
    case Activation::kGelu:
        a = gelu(a);
        break;
    case Activation::kReluSquared:
        a = max(zero(), a);
        a = mul(a, a);
        break;
    case Activation::kSigmoid:
        a = sigmoid(a);
        break;
    case Activation::kClampedSwiglu:
        a = min(set(7.0f), a);
        a = div(a, add(set(1.0f), exp(mul(a, set(-1.702f)))));
        b = add(min(set(7.0f), max(set(-7.0f), b)), set(1.0f));
        break;
    }
    return mul(a, b);
}

// Calls body(a function of vectors a, b).
template <typename Body> void with_activation(Activation activation, Body body) {
    switch (activation) {
    case Activation::kNone:
        return body(activate<Activation::kNone>);
    case Activation::kSilu:
        return body(activate<Activation::kSilu>);
    case Activation::kGelu:
        return body(activate<Activation::kGelu>);
    case Activation::kReluSquared:
        return body(activate<Activation::kReluSquared>);
    case Activation::kSigmoid:
        return body(activate<Activation::kSigmoid>);
    case Activation::kClampedSwiglu:
        return body(activate<Activation::kClampedSwiglu>);
    }
}

void gate(const GateCall &c) {
    with_activation(c.activation, [&](auto function) {
        for_lanes(c.n, [&](size_t i, size_t lanes) {
            store_n(c.out + i, lanes, function(load_n(c.a + i, lanes), c.b ? load_n(c.b + i, lanes) : set(1.0f)));
        });
    });
}

void norm(const NormCall &c) {
    float mean = 0;
    if (c.centred) {
        F total = zero();
        for_lanes(c.n, [&](size_t i, size_t lanes) { total = add(total, load_n(c.x + i, lanes)); });
        mean = sum(total) / static_cast<float>(c.n);
    }
    F squares[2] = {zero(), zero()};
    const F centre = set(mean);
    const size_t rest = c.n % kLanes, whole = c.n - rest;
    for (size_t i = 0; i < whole; i += kLanes) {
        F v = sub(load(c.x + i), centre);
        F &s = squares[i / kLanes % 2];
        s = fma(v, v, s);
    }
    float variance = sum(add(squares[0], squares[1]));
    for (size_t i = whole; i < c.n; i++) variance += (c.x[i] - mean) * (c.x[i] - mean);
    const F scale = set(1.0f / __builtin_sqrtf(variance / static_cast<float>(c.n) + c.epsilon));
    for_lanes(c.n, [&](size_t i, size_t lanes) {
        F v = mul(sub(load_n(c.x + i, lanes), centre), scale);
        if (c.weight) v = mul(v, load_n(c.weight + i, lanes));
        if (c.bias) v = add(v, load_n(c.bias + i, lanes));
        store_n(c.out + i, lanes, v);
    });
}

void scale_row(const float *x, float factor, size_t n, float *out) {
    for_lanes(n, [&](size_t i, size_t lanes) { store_n(out + i, lanes, mul(load_n(x + i, lanes), set(factor))); });
}

void add_scaled(const float *x, float factor, size_t n, float *out) {
    for_lanes(n, [&](size_t i, size_t lanes) {
        store_n(out + i, lanes, fma(load_n(x + i, lanes), set(factor), load_n(out + i, lanes)));
    });
}

void soft_cap(const float *x, float cap, size_t n, float *out) {
    for_lanes(n, [&](size_t i, size_t lanes) { store_n(out + i, lanes, cap_of(load_n(x + i, lanes), set(cap))); });
}

void add_rows(const float *a, const float *b, size_t n, float *out) {
    for_lanes(
        n, [&](size_t i, size_t lanes) { store_n(out + i, lanes, add(load_n(a + i, lanes), load_n(b + i, lanes))); });
}

void to_f16(const float *x, size_t n, uint16_t *out) {
    for_lanes(n, [&](size_t i, size_t lanes) {
        if (lanes == kLanes) {
            store_f16(out + i, load(x + i));
        } else {
            uint16_t part[kLanes];
            store_f16(part, load_part(x + i, lanes));
            memcpy(out + i, part, lanes * sizeof(uint16_t));
        }
    });
}

// Stores the scale of a block and returns the inverse of what that rounds to.
inline F store_scale(float scale, uint8_t *block) {
    constexpr float kLimit = 65504.0f;
    uint16_t halves[kLanes];
    store_f16(halves, set(scale > kLimit ? kLimit : scale < -kLimit ? -kLimit : scale));
    memcpy(block, halves, sizeof(uint16_t));
    const float stored = largest(set_f16(block));
    return set(stored == 0 ? 0 : 1 / stored);
}

// 32 values as quant/q8_0.h encodes them.
void to_q8_0(const float *x, uint8_t *block) {
    F size = zero();
    for (int i = 0; i < 32; i += kLanes) size = max(abs(load(x + i)), size);
    const F inverse = store_scale(largest(size) / 127, block);
    for (int i = 0; i < 32; i += kLanes)
        store_i8(reinterpret_cast<int8_t *>(block) + 2 + i,
                 round(min(set(127), max(set(-127), mul(load(x + i), inverse)))));
}

// 32 values as quant/q4_0.h encodes them: the one farthest from 0 becomes -8.
void to_q4_0(const float *x, uint8_t *block) {
    F above = zero(), below = zero();
    for (int i = 0; i < 32; i += kLanes) {
        above = max(load(x + i), above);
        below = max(sub(zero(), load(x + i)), below);
    }
    const float high = largest(above), low = largest(below);
    const F inverse = store_scale((high > low ? high : -low) / -8, block);
    int8_t q[32];
    for (int i = 0; i < 32; i += kLanes) store_i8(q + i, round(min(set(7), max(set(-8), mul(load(x + i), inverse)))));
    for (int i = 0; i < 16; i++) block[2 + i] = static_cast<uint8_t>((q[i] + 8) | (q[16 + i] + 8) << 4);
}

void to_cache(CacheType type, const float *x, size_t n, uint8_t *row) {
    if (type == CacheType::kF32) {
        memcpy(row, x, n * sizeof(float));
        return;
    }
    if (type == CacheType::kF16) return to_f16(x, n, reinterpret_cast<uint16_t *>(row));
    const bool bytes = type == CacheType::kQ8_0;
    for (size_t i = 0; i < n; i += 32, row += bytes ? 34 : 18) {
        float part[32] = {};
        if (n - i < 32) memcpy(part, x + i, (n - i) * sizeof(float));
        (bytes ? to_q8_0 : to_q4_0)(n - i < 32 ? part : x + i, row);
    }
}

void rope(const RopeCall &c) {
    const uint32_t half = c.dims / 2;
    for (uint32_t h = 0; h < c.n_heads; h++) {
        const float *x = c.x + static_cast<size_t>(h) * c.head_dim;
        float *out = c.out + static_cast<size_t>(h) * c.head_dim;
        if (c.interleaved) {
            for (uint32_t i = 0; i < half; i++) {
                const float a = x[2 * i], b = x[2 * i + 1];
                out[2 * i] = a * c.cos[i] - b * c.sin[i];
                out[2 * i + 1] = a * c.sin[i] + b * c.cos[i];
            }
        } else {
            for_lanes(half, [&](size_t i, size_t n) {
                F a = load_n(x + i, n), b = load_n(x + half + i, n), cos = load_n(c.cos + i, n),
                  sin = load_n(c.sin + i, n);
                store_n(out + i, n, sub(mul(a, cos), mul(b, sin)));
                store_n(out + half + i, n, fma(a, sin, mul(b, cos)));
            });
        }
        for (uint32_t i = c.dims; i < c.head_dim; i++) out[i] = x[i];
    }
}

template <typename Function> void store_tile_with(const StoreCall &c, Function function) {
    for (uint32_t t = 0; t < c.n_tokens; t++) {
        const float *tile = c.tile + static_cast<size_t>(t) * kPanelRows;
        const size_t row = static_cast<size_t>(t) * c.stride;
        for (uint32_t begin = c.row_begin; begin < c.row_end; begin += kLanes) {
            const size_t n = c.row_end - begin < kLanes ? c.row_end - begin : kLanes;
            F x = load_n(tile + begin, n);
            if (c.bias) x = add(x, load_n(c.bias + begin, n));
            if (c.gate)
                x = function(load_n(c.gate + static_cast<size_t>(t) * kPanelRows + begin, n), x);
            else
                x = function(x, set(1.0f));
            if (c.scale != 1.0f) x = mul(x, set(c.scale));
            if (c.cap > 0) x = cap_of(x, set(c.cap));
            if (c.residual) x = add(x, load_n(c.residual + row + begin, n));
            store_n(c.out + row + begin, n, x);
        }
    }
}

void store_tile(const StoreCall &c) {
    with_activation(c.activation, [&](auto function) { store_tile_with(c, function); });
}

}  // namespace
}  // namespace el::cpu
