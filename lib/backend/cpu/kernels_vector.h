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

inline F silu(F x) { return div(x, add(set(1.0f), exp(sub(zero(), x)))); }

void rms_norm(const float *x, const float *weight, size_t n, float epsilon, float *out) {
    F squares[2] = {zero(), zero()};
    for_lanes(n, [&](size_t i, size_t lanes) {
        F v = load_n(x + i, lanes);
        F &s = squares[i / kLanes % 2];
        s = fma(v, v, s);
    });
    const float mean = sum(add(squares[0], squares[1])) / static_cast<float>(n) + epsilon;
    const F scale = set(1.0f / __builtin_sqrtf(mean));
    for_lanes(n, [&](size_t i, size_t lanes) {
        store_n(out + i, lanes, mul(mul(load_n(x + i, lanes), scale), load_n(weight + i, lanes)));
    });
}

void silu_gate(const float *gate, const float *up, size_t n, float *out) {
    for_lanes(n, [&](size_t i, size_t lanes) {
        store_n(out + i, lanes, mul(silu(load_n(gate + i, lanes)), load_n(up + i, lanes)));
    });
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

void store_tile(const StoreCall &c) {
    for (uint32_t t = 0; t < c.n_tokens; t++) {
        const float *tile = c.tile + static_cast<size_t>(t) * kPanelRows;
        const size_t row = static_cast<size_t>(t) * c.stride;
        for (uint32_t begin = c.row_begin; begin < c.row_end; begin += kLanes) {
            const size_t n = c.row_end - begin < kLanes ? c.row_end - begin : kLanes;
            F x = load_n(tile + begin, n);
            if (c.bias) x = add(x, load_n(c.bias + begin, n));
            if (c.gate) x = mul(silu(load_n(c.gate + static_cast<size_t>(t) * kPanelRows + begin, n)), x);
            if (c.residual) x = add(x, load_n(c.residual + row + begin, n));
            store_n(c.out + row + begin, n, x);
        }
    }
}

}  // namespace
}  // namespace el::cpu
