// A fixed orthogonal transform of a head's values: signs, then a Walsh-Hadamard transform over blocks whose sizes are
// powers of two, the largest first. What stood out in one place is spread over the block, so that few bits per value
// are enough (Ashkboos et al. 2024, "QuaRot"). Where keys and queries are both turned, scores stay what they are.
#pragma once
#include "quant/half.h"

#include <cstddef>
#include <cstdint>

namespace el::host {

// Whether the transform turns the sign of value i. Saved caches depend on it.
EL_HD inline bool rotation_flips(size_t i) {
    uint32_t h = uint32_t(i) * 0x9e3779b1u;
    h = (h ^ h >> 15) * 0x85ebca6bu;
    return (h ^ h >> 13) >> 31;
}

void rotate(float *x, size_t n) noexcept;
void rotate_back(float *x, size_t n) noexcept;

}  // namespace el::host
