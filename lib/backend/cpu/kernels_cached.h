// Rows of the cache as floats, and products of a few queries with them that need no page of floats in between: what
// single tokens spend their time with.
#pragma once
#include "backend/cpu/kernels_vector.h"

namespace el::cpu {
namespace {

constexpr uint32_t kPage = 32;       // rows of a page
constexpr int kBlock = 32 / kLanes;  // vectors of 32 values
constexpr uint32_t kFewRows = 4;
constexpr uint32_t kRegisterRows = kLanes >= 16 ? 4 : 2;  // sums for so many stay in registers

constexpr size_t cached_block_bytes(CacheType type) {
    return type == CacheType::kF32 ? 128 : type == CacheType::kF16 ? 64 : type == CacheType::kQ8_0 ? 34 : 18;
}

// Loads 32 values.
template <CacheType T> [[gnu::always_inline]] inline void load_block(const uint8_t *p, F out[kBlock]) {
    if constexpr (T == CacheType::kF32) {
        for (int v = 0; v < kBlock; v++) out[v] = load(reinterpret_cast<const float *>(p) + v * kLanes);
    } else if constexpr (T == CacheType::kF16) {
        for (int v = 0; v < kBlock; v++) out[v] = load_f16(p + 2 * v * kLanes);
    } else if constexpr (T == CacheType::kQ8_0) {  // an f16 scale, then signed bytes
        const F scale = set_f16(p);
        for (int v = 0; v < kBlock; v++) out[v] = mul(load_i8(p + 2 + v * kLanes), scale);
    } else {  // an f16 scale, then halves of bytes, the first 16 values in the low ones; 8 stands for 0
        const F scale = set_f16(p), offset = mul(scale, set(-8.0f));
        for (int v = 0; v < kBlock / 2; v++) {
            F low, high;
            load_u4(p + 2 + v * kLanes, low, high);
            out[v] = fma(low, scale, offset);
            out[v + kBlock / 2] = fma(high, scale, offset);
        }
    }
}

constexpr bool has_blocks(CacheType type) { return type == CacheType::kQ8_0 || type == CacheType::kQ4_0; }

template <CacheType T> void load_row(const uint8_t *row, uint32_t n, uint32_t padded, float *out) {
    uint32_t i = 0;
    for (; i < n && (has_blocks(T) || i + 32 <= n); i += 32) {  // what fills up a quantized block is zero already
        F x[kBlock];
        load_block<T>(row, x);
        row += cached_block_bytes(T);
        for (int v = 0; v < kBlock; v++) store(out + i + static_cast<uint32_t>(v * kLanes), x[v]);
    }
    if (i < n) {
        uint8_t part[128] = {};
        memcpy(part, row, (n - i) * (T == CacheType::kF32 ? 4 : 2));
        F x[kBlock];
        load_block<T>(part, x);
        for (int v = 0; v < kBlock; v++) store(out + i + static_cast<uint32_t>(v * kLanes), x[v]);
        i += 32;
    }
    for (; i < padded; i += kLanes) store(out + i, zero());
}

// Some consecutive rows of a page.
struct CachedRows {
    const uint8_t *data;  // the first row
    size_t row_bytes;
    uint32_t n;
    uint32_t dims;  // a multiple of 32
};

// scores[r][i] = q[r] * row i; q [R, dims], scores [R, kPage]
template <CacheType T, int R> void few_scores(const CachedRows &rows, const float *q, float *scores) {
    for (uint32_t i = 0; i < rows.n; i++) {
        const uint8_t *p = rows.data + i * rows.row_bytes;
        F acc[R][2];
        for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = zero();
        for (uint32_t d = 0; d < rows.dims; d += 32) {
            F x[kBlock];
            load_block<T>(p, x);
            p += cached_block_bytes(T);
            for (int v = 0; v < kBlock; v++)
                for (int r = 0; r < R; r++) {
                    const float *at = q + static_cast<size_t>(r) * rows.dims + d + static_cast<size_t>(v * kLanes);
                    acc[r][v % 2] = fma(load(at), x[v], acc[r][v % 2]);
                }
        }
        for (int r = 0; r < R; r++) scores[static_cast<size_t>(r) * kPage + i] = sum(add(acc[r][0], acc[r][1]));
    }
}

// o[r] = o[r] * keep[r] + sum of shares[r][i] * row i; o [R, dims], shares [R, kPage]
template <CacheType T, int R> void few_sums(const CachedRows &rows, const float *shares, const float *keep, float *o) {
    for (uint32_t d = 0; d < rows.dims; d += 32) {
        F acc[R][kBlock];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < kBlock; v++)
                acc[r][v] = mul(load(o + static_cast<size_t>(r) * rows.dims + d + static_cast<size_t>(v * kLanes)),
                                set(keep[r]));
        const uint8_t *p = rows.data + d / 32 * cached_block_bytes(T);
        for (uint32_t i = 0; i < rows.n; i++, p += rows.row_bytes) {
            F x[kBlock];
            load_block<T>(p, x);
            for (int r = 0; r < R; r++) {
                const F share = set(shares[static_cast<size_t>(r) * kPage + i]);
                for (int v = 0; v < kBlock; v++) acc[r][v] = fma(share, x[v], acc[r][v]);
            }
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < kBlock; v++)
                store(o + static_cast<size_t>(r) * rows.dims + d + static_cast<size_t>(v * kLanes), acc[r][v]);
    }
}

// Call body with a type's or number's tag.
template <auto V> struct Tag { static constexpr auto value = V; };
template <typename Body> void with_type(CacheType type, Body body) {
    switch (type) {
    case CacheType::kF32:
        return body(Tag<CacheType::kF32>());
    case CacheType::kF16:
        return body(Tag<CacheType::kF16>());
    case CacheType::kQ8_0:
        return body(Tag<CacheType::kQ8_0>());
    case CacheType::kQ4_0:
        return body(Tag<CacheType::kQ4_0>());
    }
}
template <typename Body> void with_few(uint32_t n, Body body) {
    if (n == 1) return body(Tag<1>());
    if (n == 2) return body(Tag<2>());
    if constexpr (kRegisterRows > 2) {
        if (n == 3) return body(Tag<3>());
        body(Tag<4>());
    }
}

}  // namespace
}  // namespace el::cpu
