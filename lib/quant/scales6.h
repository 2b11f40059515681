// Eight scales and eight minimums of 6 bits in 12 bytes, as Q4_K and Q5_K store them: bytes 0..3 hold scales 0..3,
// bytes 4..7 minimums 0..3; bytes 8..11 hold the lower 4 bits of scales 4..7 (low half) and of minimums 4..7 (high
// half), whose upper 2 bits are the upper bits of bytes 0..3 and 4..7.
#pragma once
#include "quant/half.h"

namespace el {

EL_HD inline void unpack_scale6(const uint8_t packed[12], int group, int &scale, int &min) {
    if (group < 4) {
        scale = packed[group] & 63;
        min = packed[group + 4] & 63;
    } else {
        scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
        min = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
}

EL_HD inline void pack_scales6(const uint8_t scales[8], const uint8_t mins[8], uint8_t packed[12]) {
    for (int i = 0; i < 4; i++) {
        packed[i] = uint8_t(scales[i] | scales[i + 4] >> 4 << 6);
        packed[i + 4] = uint8_t(mins[i] | mins[i + 4] >> 4 << 6);
        packed[i + 8] = uint8_t((scales[i + 4] & 15) | (mins[i + 4] & 15) << 4);
    }
}

}  // namespace el
