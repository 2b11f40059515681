// Vectors for aarch64 with dot product instructions. Every simd_*.h defines the same names, with internal linkage.
#pragma once
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

namespace el::cpu {
namespace {

constexpr int kLanes = 4;
constexpr int kGroupTokens = 8;
constexpr int kByteOffset = 0;  // what byte quants, as loaded here, are too large by
using F = float32x4_t;          // kLanes float
using I = int32x4_t;            // kLanes int32
using B = uint8x16_t;           // 4 * kLanes bytes

inline F zero() { return vdupq_n_f32(0); }
inline F set(float x) { return vdupq_n_f32(x); }
inline F load(const float *p) { return vld1q_f32(p); }
inline void store(float *p, F x) { vst1q_f32(p, x); }
inline F load_part(const float *p, size_t n) {
    float x[4] = {};
    memcpy(x, p, n * sizeof(float));
    return vld1q_f32(x);
}
inline void store_part(float *p, size_t n, F v) {
    float x[4];
    vst1q_f32(x, v);
    memcpy(p, x, n * sizeof(float));
}
inline F add(F a, F b) { return vaddq_f32(a, b); }
inline F sub(F a, F b) { return vsubq_f32(a, b); }
inline F mul(F a, F b) { return vmulq_f32(a, b); }
inline F div(F a, F b) { return vdivq_f32(a, b); }
inline F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
inline F max(F a, F b) { return vmaxq_f32(a, b); }
inline F min(F a, F b) { return vminq_f32(a, b); }
inline F abs(F a) { return vabsq_f32(a); }
inline float sum(F a) { return vaddvq_f32(a); }
inline float largest(F a) { return vmaxvq_f32(a); }
inline I round(F a) { return vcvtnq_s32_f32(a); }
inline F to_float(I a) { return vcvtq_f32_s32(a); }
// n in -126 .. 127
inline F times_power_of_2(F a, I n) {
    return mul(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)));
}
inline I add(I a, I b) { return vaddq_s32(a, b); }
inline int32_t sum(I a) { return vaddvq_s32(a); }

inline F load_f16(const void *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t *>(p))));
}
// One half in all lanes.
inline F set_f16(const void *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
}
inline F load_bf16(const void *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(static_cast<const uint16_t *>(p)), 16));
}
inline uint32x4_t load_4_bytes(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, 4);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
inline F load_u8(const uint8_t *p) { return vcvtq_f32_u32(load_4_bytes(p)); }
inline F load_i8(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
}
// The low and high halves of bytes.
inline void load_u4(const uint8_t *p, F &low, F &high) {
    uint32x4_t x = load_4_bytes(p);
    low = vcvtq_f32_u32(vandq_u32(x, vdupq_n_u32(15)));
    high = vcvtq_f32_u32(vshrq_n_u32(x, 4));
}
// 2^(e - 127); 0 for e = 0
inline F load_power(const uint8_t *p) { return vreinterpretq_f32_u32(vshlq_n_u32(load_4_bytes(p), 23)); }
// E4M3 without a sign: the bits of a half that is 256 times smaller.
inline F load_e4m3(const uint8_t *p) {
    uint16x4_t x = vmovn_u32(vshlq_n_u32(load_4_bytes(p), 7));
    return mul(vcvt_f32_f16(vreinterpret_f16_u16(x)), set(256));
}
inline void store_f16(uint16_t *p, F x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
inline void store_i8(int8_t *p, I x) {
    int16x4_t words = vqmovn_s32(x);
    int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
    uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    memcpy(p, &four, 4);
}

inline B load_bytes(const uint8_t *p) { return vld1q_u8(p); }
inline B load_byte_quants(const uint8_t *p) { return veorq_u8(vld1q_u8(p), vdupq_n_u8(128)); }
inline B load_table(const uint8_t *p) { return vld1q_u8(p); }
inline B lookup(B table, B index) { return vqtbl1q_u8(table, index); }
// Byte r of p in all four bytes of lane r.
inline B load_row_bytes(const uint8_t *p) { return vreinterpretq_u8_u32(vmulq_n_u32(load_4_bytes(p), 0x01010101)); }
inline B mask(B a, int bits) { return vandq_u8(a, vdupq_n_u8(static_cast<uint8_t>(bits))); }
inline B either(B a, B b) { return vorrq_u8(a, b); }
template <int N> B shift_right(B a) {
    if constexpr (N > 0) return vshrq_n_u8(a, N);
    if constexpr (N < 0) return vshlq_n_u8(a, -N);
    return a;
}

// Sum over N vectors of quants below 2^Bits (8: signed bytes) with 4 * N bytes of activations, one row per lane.
template <int Bits, int N> [[gnu::always_inline]] inline I dot(const B *w, const int8_t *a) {
    static_assert(Bits < 8 || kByteOffset == 0);
    I s = vdupq_n_s32(0);
    for (int j = 0; j < N; j += 4) {
        int8x16_t x = vld1q_s8(a + 4 * j);
        s = vdotq_laneq_s32(s, vreinterpretq_s8_u8(w[j]), x, 0);
        s = vdotq_laneq_s32(s, vreinterpretq_s8_u8(w[j + 1]), x, 1);
        s = vdotq_laneq_s32(s, vreinterpretq_s8_u8(w[j + 2]), x, 2);
        s = vdotq_laneq_s32(s, vreinterpretq_s8_u8(w[j + 3]), x, 3);
    }
    return s;
}

inline void transpose(F r[4]) {
    float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

}  // namespace
}  // namespace el::cpu
