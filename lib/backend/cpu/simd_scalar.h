// Vectors as plain arrays, for machines without a fast path. Every simd_*.h defines the same names, with internal
// linkage.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace el::cpu {
namespace {

constexpr int kLanes = 4;
constexpr int kGroupTokens = 4;
constexpr int kByteOffset = 128;  // what byte quants, as loaded here, are too large by
struct F {
    float v[kLanes];
};
struct I {
    int32_t v[kLanes];
};
struct B {
    uint8_t v[4 * kLanes];
};

template <typename Function> F each(Function function) {
    F r;
    for (int i = 0; i < kLanes; i++) r.v[i] = function(i);
    return r;
}
template <typename Function> I each_int(Function function) {
    I r;
    for (int i = 0; i < kLanes; i++) r.v[i] = function(i);
    return r;
}
template <typename Function> B each_byte(Function function) {
    B r;
    for (int i = 0; i < 4 * kLanes; i++) r.v[i] = static_cast<uint8_t>(function(i));
    return r;
}

inline F set(float x) {
    return each([=](int) { return x; });
}
inline F zero() { return set(0.0f); }
inline F load_part(const float *p, size_t n) {
    F r = zero();
    memcpy(r.v, p, n * sizeof(float));
    return r;
}
inline void store_part(float *p, size_t n, F x) { memcpy(p, x.v, n * sizeof(float)); }
inline F load(const float *p) { return load_part(p, kLanes); }
inline void store(float *p, F x) { store_part(p, kLanes, x); }
inline F add(F a, F b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline F sub(F a, F b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline F mul(F a, F b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline F div(F a, F b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
}
inline F fma(F a, F b, F c) {
    return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline F max(F a, F b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F min(F a, F b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F abs(F a) {
    return each([&](int i) { return fabsf(a.v[i]); });
}
inline float sum(F a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
inline float largest(F a) {
    float x = a.v[0];
    for (int i = 1; i < kLanes; i++) x = a.v[i] > x ? a.v[i] : x;
    return x;
}
// |a| below 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. What others and NaN become is any number, so that
// the integers wrap around, here and where they are added.
inline I round(F a) {
    return each_int([&](int i) {
        float shifted = a.v[i] + 0x1.8p23f;
        uint32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        return static_cast<int32_t>(bits - 0x4b400000);
    });
}
inline F to_float(I a) {
    return each([&](int i) { return static_cast<float>(a.v[i]); });
}
// n in -126 .. 127
inline F times_power_of_2(F a, I n) {
    return each([&](int i) {
        uint32_t bits = (static_cast<uint32_t>(n.v[i]) + 127) << 23;
        float power;
        memcpy(&power, &bits, sizeof power);
        return a.v[i] * power;
    });
}
inline I add(I a, I b) {
    return each_int(
        [&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i])); });
}
inline int32_t sum(I a) {
    uint32_t x = 0;
    for (int32_t v : a.v) x += static_cast<uint32_t>(v);
    return static_cast<int32_t>(x);
}

inline float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
// A half shifted into a float's place is too small by 2^112, subnormals included; the largest exponent stands for
// infinity and NaN.
inline float half_to_float(uint16_t h) {
    uint32_t magnitude = static_cast<uint32_t>(h & 0x7fff) << 13, sign = static_cast<uint32_t>(h & 0x8000) << 16;
    uint32_t finite = to_bits(from_bits(magnitude) * 0x1p112f);
    return from_bits(sign | (magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : finite));
}
inline uint16_t float_to_half(float x) {
    uint32_t bits = to_bits(x), magnitude = bits & 0x7fffffff, h;
    if (magnitude > 0x7f800000)
        h = 0x7e00;
    else if (magnitude >= 0x477ff000)
        h = 0x7c00;
    else if (magnitude >= 0x38800000)
        h = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    else
        h = to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f);
    return static_cast<uint16_t>((bits >> 16 & 0x8000) | h);
}
inline uint16_t load_u16(const void *p, int i) {
    uint16_t x;
    memcpy(&x, static_cast<const uint8_t *>(p) + 2 * i, 2);
    return x;
}

inline F load_f16(const void *p) {
    return each([&](int i) { return half_to_float(load_u16(p, i)); });
}
// One half in all lanes.
inline F set_f16(const void *p) { return set(half_to_float(load_u16(p, 0))); }
inline F load_bf16(const void *p) {
    return each([&](int i) { return from_bits(static_cast<uint32_t>(load_u16(p, i)) << 16); });
}
inline F load_u8(const uint8_t *p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
}
inline F load_i8(const uint8_t *p) {
    return each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}
// The low and high halves of bytes.
inline void load_u4(const uint8_t *p, F &low, F &high) {
    low = each([&](int i) { return static_cast<float>(p[i] & 15); });
    high = each([&](int i) { return static_cast<float>(p[i] >> 4); });
}
// 2^(e - 127); 0 for e = 0
inline F load_power(const uint8_t *p) {
    return each([&](int i) { return from_bits(static_cast<uint32_t>(p[i]) << 23); });
}
// E4M3 without a sign: the bits of a half that is 256 times smaller.
inline F load_e4m3(const uint8_t *p) {
    return each([&](int i) { return 256 * half_to_float(static_cast<uint16_t>(p[i] << 7)); });
}
inline void store_f16(uint16_t *p, F x) {
    for (int i = 0; i < kLanes; i++) p[i] = float_to_half(x.v[i]);
}
inline void store_i8(int8_t *p, I x) {
    for (int i = 0; i < kLanes; i++) p[i] = static_cast<int8_t>(x.v[i]);
}

inline B load_bytes(const uint8_t *p) {
    B r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
inline B load_byte_quants(const uint8_t *p) { return load_bytes(p); }
inline B load_table(const uint8_t *p) { return load_bytes(p); }
inline B lookup(B table, B index) {
    return each_byte([&](int i) { return table.v[index.v[i]]; });
}
// Byte r of p in all four bytes of lane r.
inline B load_row_bytes(const uint8_t *p) {
    return each_byte([&](int i) { return p[i / 4]; });
}
inline B mask(B a, int bits) {
    return each_byte([&](int i) { return a.v[i] & bits; });
}
inline B either(B a, B b) {
    return each_byte([&](int i) { return a.v[i] | b.v[i]; });
}
template <int N> B shift_right(B a) {
    return each_byte([&](int i) { return N < 0 ? a.v[i] << (N < 0 ? -N : 0) : a.v[i] >> (N < 0 ? 0 : N); });
}

// Sum over N vectors of quants below 2^Bits with 4 * N bytes of activations, one row per lane.
template <int Bits, int N> [[gnu::always_inline]] inline I dot(const B *w, const int8_t *a) {
    I s = {};
    for (int j = 0; j < N; j++)
        for (int i = 0; i < kLanes; i++)
            for (int c = 0; c < 4; c++) s.v[i] += w[j].v[4 * i + c] * a[4 * j + c];
    return s;
}

inline void transpose(F r[kLanes]) {
    for (int i = 0; i < kLanes; i++) {
        for (int j = 0; j < i; j++) {
            float x = r[i].v[j];
            r[i].v[j] = r[j].v[i];
            r[j].v[i] = x;
        }
    }
}

}  // namespace
}  // namespace el::cpu
