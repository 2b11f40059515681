#pragma once
#include "quant/half.h"

struct __half {
    uint16_t bits;
};
struct __half2 {
    __half x, y;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline float __half2float(__half half) { return el::f16_to_f32(half.bits); }
inline __half __float2half_rn(float x) { return {el::f32_to_f16(x)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __hmul2(__half2 a, __half2 b) {
    return __floats2half2_rn(__half2float(a.x) * __half2float(b.x), __half2float(a.y) * __half2float(b.y));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    auto one = [](__half x, __half y, __half z) {
        return __float2half_rn(float(double(__half2float(x)) * __half2float(y) + __half2float(z)));
    };
    return {one(a.x, b.x, c.x), one(a.y, b.y, c.y)};
}
inline __half2 __hsub2(__half2 a, __half2 b) {
    return __floats2half2_rn(__half2float(a.x) - __half2float(b.x), __half2float(a.y) - __half2float(b.y));
}
inline __half2 __float2half2_rn(float x) { return __half2half2(__float2half_rn(x)); }
inline __half2 __habs2(__half2 a) { return {{uint16_t(a.x.bits & 0x7fff)}, {uint16_t(a.y.bits & 0x7fff)}}; }
inline __half2 __hmax2(__half2 a, __half2 b) {
    return {__half2float(a.x) < __half2float(b.x) ? b.x : a.x, __half2float(a.y) < __half2float(b.y) ? b.y : a.y};
}
inline bool __hble2(__half2 a, __half2 b) {
    return __half2float(a.x) <= __half2float(b.x) && __half2float(a.y) <= __half2float(b.y);
}
