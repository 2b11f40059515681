// The values that the indexes of some formats stand for: integer * unit. Plain data only, as the kernels of every
// instruction set read it too.
#pragma once
#include <stdint.h>

namespace el {

struct ValueTable {
    int8_t values[16];
    float unit;  // a power of 2
};

// E2M1 floats: 0, 0.5, 1, 1.5, 2, 3, 4, 6, and the same with the sign set.
constexpr ValueTable kE2m1Values = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}, 0.5f};

// Levels that lie as weights do: dense around 0.
constexpr ValueTable kIq4Values = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, 1.0f};

// Index: number of the size in a codebook entry, and a bit for the sign above it.
constexpr ValueTable kIq3SValues = {{1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15}, 1.0f};
constexpr ValueTable kIq3XxsValues = {{4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62}, 0.25f};
constexpr ValueTable kIq2Values = {{8, 25, 43, 0, -8, -25, -43}, 0.125f};

// -1, 0, 1, moved up by 1/8, or down where the bit above is set.
constexpr ValueTable kIq1Values = {{-7, 1, 9, 0, -9, -1, 7}, 0.125f};

}  // namespace el
