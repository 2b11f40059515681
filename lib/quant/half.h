// What the format headers share with device code: the host/device mark and exact conversions between float32 and the
// 16-bit floats, in plain integer code; of float16 on devices by their own instructions, which give the same bits (but
// for those of a NaN).
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define EL_HD __host__ __device__
#else
#define EL_HD
#endif

namespace el {

EL_HD inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

EL_HD inline float bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

EL_HD inline float f16_to_f32(uint16_t h) {
#ifdef __CUDA_ARCH__
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
#else
    uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = h & 0x7fff;
    uint32_t normal = (magnitude << 13) + (112u << 23);  // the exponent's bias grows from 15 to 127
    uint32_t special = 0x7f800000 | magnitude << 13;
    uint32_t subnormal = float_bits(float(int32_t(magnitude)) * 0x1p-24f);
    uint32_t bits = magnitude >= 0x7c00 ? special : magnitude >= 0x400 ? normal : subnormal;
    return bits_float(sign | bits);
#endif
}

// Rounds to nearest, ties to even; too large becomes infinity, NaN stays NaN.
EL_HD inline uint16_t f32_to_f16(float x) {
#ifdef __CUDA_ARCH__
    // Its bits as an integer: of a 16-bit register of this instruction, ptxas 13.0 converts the value where a byte is
    // wanted (F2I.U8.F16).
    uint32_t bits;
    asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; mov.b32 %0, {h, 0}; }" : "=r"(bits) : "f"(x));
    return uint16_t(bits);
#else
    uint32_t bits = float_bits(x), magnitude = bits & 0x7fffffff, h;
    if (magnitude > 0x7f800000) {
        h = 0x7e00 | (magnitude >> 13 & 0x3ff);
    } else if (magnitude >= 0x477ff000) {  // 65520 and more
        h = 0x7c00;
    } else if (magnitude >= 0x38800000) {
        h = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    } else {  // below 2^-14: one step of 0.5f is one step of a subnormal, so the addition rounds
        h = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
    }
    return uint16_t(bits >> 16 & 0x8000) | uint16_t(h);
#endif
}

EL_HD inline float bf16_to_f32(uint16_t h) { return bits_float(uint32_t(h) << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
EL_HD inline uint16_t f32_to_bf16(float x) {
    uint32_t bits = float_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace el
