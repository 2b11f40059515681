// What the block formats share. Most store unsigned integers and per 16 values an affine map (the others are in
// table_format.h), so that decoding is one function: value i of a group of 32 is scale[i / 16] * q[i] + offset[i / 16].
// Products of the short integers and 11-bit scales are exact in float32, so a value is rounded at most once, with or
// without fused multiply-add.
#pragma once
#include "quant/format.h"
#include "quant/half.h"

namespace el {

// Base of a block format F, which has: Block, kValues, kFormat, kName, encode and
//     unpack32(const Block &, int group, uint8_t q[32], float scale[2], float offset[2])
template <typename F> struct BlockFormat {
    template <typename Block> EL_HD static void decode32(const Block &block, int group, float out[32]) {
        uint8_t q[32];
        float scale[2], offset[2];
        F::unpack32(block, group, q, scale, offset);
        for (int half = 0; half < 2; half++) {
            for (int i = 16 * half; i < 16 * half + 16; i++) out[i] = scale[half] * float(q[i]) + offset[half];
        }
    }
};

EL_HD inline void set_both(float pair[2], float x) { pair[0] = pair[1] = x; }

// ---- encoding

// What encoders read in place of `x`: NaN is 0, and everything is small enough that sums of squares are finite, yet
// larger than a block with float16 scales can store.
EL_HD inline float clean(float x) {
    constexpr float kLimit = 1e9f;
    x = x == x ? x : 0.0f;
    x = x < kLimit ? x : kLimit;
    return x > -kLimit ? x : -kLimit;
}

// The integer nearest to x within [lo, hi], as a float; |lo| and |hi| are below 2^22. Adding 1.5 * 2^23 leaves no bits
// for a fraction.
EL_HD inline float nearest(float x, float lo, float hi) {
    x = x > lo ? x : lo;
    x = x < hi ? x : hi;
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

// The float16 that stores a scale: never infinite.
EL_HD inline uint16_t f16_scale(float x) {
    constexpr float kMax = 65504.0f;
    return f32_to_f16(x > kMax ? kMax : x < -kMax ? -kMax : x);
}

EL_HD inline float inverse_or_0(float x) { return x == 0.0f ? 0.0f : 1.0f / x; }

// For d * (q - half), q in 0 .. 2 * half - 1: the value farthest from 0 maps to -half, the longer side. Returns d as
// float16.
EL_HD inline uint16_t quantize_signed(const float in[32], int half, uint8_t q[32]) {
    float farthest = 0.0f;
    for (int i = 0; i < 32; i++) {
        float x = clean(in[i]), size = x < 0 ? -x : x;
        if (size > (farthest < 0 ? -farthest : farthest)) farthest = x;
    }
    uint16_t d = f16_scale(farthest / float(-half));
    float inverse = inverse_or_0(f16_to_f32(d));
    for (int i = 0; i < 32; i++)
        q[i] = uint8_t(nearest(clean(in[i]) * inverse, float(-half), float(half - 1)) + float(half));
    return d;
}

// For d * q + m, q in 0 .. levels.
EL_HD inline void quantize_range(const float in[32], int levels, uint8_t q[32], uint16_t &d, uint16_t &m) {
    float lo = clean(in[0]), hi = lo;
    for (int i = 1; i < 32; i++) {
        float x = clean(in[i]);
        lo = x < lo ? x : lo;
        hi = x > hi ? x : hi;
    }
    d = f16_scale((hi - lo) / float(levels));
    m = f16_scale(lo);
    float inverse = inverse_or_0(f16_to_f32(d)), offset = f16_to_f32(m);
    for (int i = 0; i < 32; i++) q[i] = uint8_t(nearest((clean(in[i]) - offset) * inverse, 0.0f, float(levels)));
}

// ---- bit layouts that several formats use: 32 values as 16 bytes of low and high halves, and as a mask of fifth bits

EL_HD inline void unpack_nibbles(const uint8_t bytes[16], uint8_t q[32]) {
    for (int i = 0; i < 16; i++) {
        q[i] = bytes[i] & 15;
        q[i + 16] = bytes[i] >> 4;
    }
}

EL_HD inline void pack_nibbles(const uint8_t q[32], uint8_t bytes[16]) {
    for (int i = 0; i < 16; i++) bytes[i] = uint8_t((q[i] & 15) | (q[i + 16] & 15) << 4);
}

EL_HD inline void unpack_fifth_bits(const uint8_t mask[4], uint8_t q[32]) {
    for (int i = 0; i < 32; i++) q[i] |= uint8_t((mask[i / 8] >> (i % 8) & 1) << 4);
}

EL_HD inline void pack_fifth_bits(const uint8_t q[32], uint8_t mask[4]) {
    for (int byte = 0; byte < 4; byte++) {
        unsigned bits = 0;
        for (int i = 0; i < 8; i++) bits |= unsigned(q[8 * byte + i] >> 4) << i;
        mask[byte] = uint8_t(bits);
    }
}

}  // namespace el
