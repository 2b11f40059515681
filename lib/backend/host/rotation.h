// A fixed orthogonal transform of a head's values: signs, then a Walsh-Hadamard transform over blocks whose sizes are
// powers of two, the largest first. What stood out in one place is spread over the block, so that few bits per value
// are enough (Ashkboos et al. 2024, "QuaRot"). Where keys and queries are both turned, scores stay what they are.
#pragma once
#include <cstddef>

namespace el::host {

void rotate(float *x, size_t n) noexcept;
void rotate_back(float *x, size_t n) noexcept;

}  // namespace el::host
