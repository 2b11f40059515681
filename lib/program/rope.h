// The angles that rope turns by.
#pragma once
#include "model/spec.h"

#include <vector>

namespace el {

// Angle per position of each rotated pair, [dims / 2]: base^(-2i/dims), stretched for longer contexts.
std::vector<float> rope_frequencies(const RopeSpec &rope);

}  // namespace el
