// The encoder of the ternary formats.
#pragma once
#include "quant/block.h"
#include <algorithm>
#include <cmath>
#include <functional>

namespace el {

// d * (q - 1), q in 0 .. 2. With the k largest magnitudes at d, the best d is their mean, and the squared error is the
// sum of squares less k * d^2: trying every k finds the best of all.
struct TernaryFit {
    uint16_t d = 0;  // float16
    uint8_t q[256];

    explicit TernaryFit(const float in[256]) {
        float sizes[256];
        for (int i = 0; i < 256; i++) sizes[i] = std::fabs(clean(in[i]));
        std::sort(sizes, sizes + 256, std::greater<>());
        double sum = 0, best_gain = 0, best = 0;
        for (int k = 1; k <= 256; k++) {
            sum += sizes[k - 1];
            if (sum * sum / k <= best_gain) continue;
            best_gain = sum * sum / k;
            best = sum / k;
        }
        d = f16_scale(float(best));
        const float middle = 0.5f * f16_to_f32(d);
        for (int i = 0; i < 256; i++) {
            const float x = clean(in[i]);
            q[i] = uint8_t(x > middle ? 2 : x < -middle ? 0 : 1);
        }
    }
};

}  // namespace el
