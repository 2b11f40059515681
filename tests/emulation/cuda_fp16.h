#pragma once
#include "quant/half.h"

inline uint16_t __ushort_as_half(uint16_t bits) { return bits; }
inline float __half2float(uint16_t half) { return el::f16_to_f32(half); }
