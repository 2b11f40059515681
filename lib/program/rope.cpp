#include "program/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace el {

// YaRN: Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models", section 3.2.
std::vector<float> rope_frequencies(const RopeSpec &rope) {
    const double dims = rope.dims;
    auto pair_of_rotations = [&](double rotations) {  // the pair that turns so often within the original context
        return dims * std::log(rope.original_context / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(double(rope.base)));
    };
    double low = 0, high = 0;
    if (rope.scaling == RopeSpec::Scaling::kYarn) {
        low = pair_of_rotations(rope.beta_fast);
        high = pair_of_rotations(rope.beta_slow);
        if (!rope.exact_ramp) {
            low = std::floor(low);
            high = std::ceil(high);
        }
        low = std::max(0.0, low);
        high = std::min(dims - 1, high);
    }
    std::vector<float> frequencies(rope.dims / 2);
    for (uint32_t i = 0; i < rope.dims / 2; ++i) {
        double full = std::pow(double(rope.base), -2.0 * i / dims), stretched = full / rope.factor;
        double share = 0;  // of the stretched frequency
        if (rope.scaling == RopeSpec::Scaling::kLinear) share = 1;
        if (rope.scaling == RopeSpec::Scaling::kYarn)
            share = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
        frequencies[i] = static_cast<float>(stretched * share + full * (1 - share));
    }
    return frequencies;
}

}  // namespace el
