// The search behind the encoders of the K formats: two-level scales (a short integer per group, one or two float16 per
// block of 256) that make the squared error small. For each group, grids of several widths are tried: each gives
// integers, and these integers the least-squares scale and offset. Then the block's float16 scales are set from the
// groups, every group picks its integers again among the neighbours of its rounded scale, and the float16 scales are
// fitted once more.
#pragma once
#include "quant/block.h"
#include <algorithm>
#include <cmath>

namespace el {

constexpr float kAboveAnyError = 3e38f;  // values are clean()

// Sums over the values x of a group and the integers q they round to: enough for every least-squares fit.
struct GridSums {
    float q, qq, qx;
};

// Eight independent sums let a compiler use vectors without reordering float additions.
inline float sum8(const float lanes[8]) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// Integers lo .. hi stand for offset + q / inverse.
template <int n> GridSums grid_sums(const float *x, float offset, float inverse, float lo, float hi) {
    float q[8] = {}, qq[8] = {}, qx[8] = {};
    for (int i = 0; i < n; i += 8) {
        for (int lane = 0; lane < 8; lane++) {
            float level = nearest((x[i + lane] - offset) * inverse, lo, hi);
            q[lane] += level;
            qq[lane] += level * level;
            qx[lane] += level * x[i + lane];
        }
    }
    return {sum8(q), sum8(qq), sum8(qx)};
}

// Squared error of the group with integers lo .. hi standing for offset + q * scale.
template <int n> float grid_error(const float *x, float offset, float scale, float lo, float hi) {
    float error[8] = {}, inverse = inverse_or_0(scale);
    for (int i = 0; i < n; i += 8) {
        for (int lane = 0; lane < 8; lane++) {
            float shifted = x[i + lane] - offset;
            float difference = shifted - scale * nearest(shifted * inverse, lo, hi);
            error[lane] += difference * difference;
        }
    }
    return sum8(error);
}

// Blocks of d * scale * q - dmin * min: q in 0 .. kLevels, scale and min in 0 .. kMaxScale.
template <int kGroup, int kLevels, int kMaxScale> struct AffineFit {
    static constexpr int kGroups = 256 / kGroup;
    uint16_t d, dmin;  // float16
    uint8_t scales[kGroups], mins[kGroups], q[256];

    explicit AffineFit(const float in[256]) {
        float x[256], scale[kGroups], min[kGroups], max_scale = 0, max_min = 0;
        for (int i = 0; i < 256; i++) x[i] = clean(in[i]);
        for (int g = 0; g < kGroups; g++) {
            fit_group(x + g * kGroup, scale[g], min[g]);
            max_scale = scale[g] > max_scale ? scale[g] : max_scale;
            max_min = min[g] > max_min ? min[g] : max_min;
        }
        d = f16_scale(max_scale / kMaxScale);
        dmin = f16_scale(max_min / kMaxScale);
        float error = choose(x, scale, min);
        AffineFit refined = *this;
        refined.fit_block(x);
        if (refined.choose(x, scale, min) < error) *this = refined;
    }

  private:
    // The best scale and minimum found for one group, not yet rounded to short integers.
    static void fit_group(const float *x, float &scale, float &min) {
        float lo = 0, hi = x[0], sum = 0,
              best_gain = 0;  // a minimum is never positive, so the grid begins at 0 or below
        for (int i = 0; i < kGroup; i++) {
            lo = x[i] < lo ? x[i] : lo;
            hi = x[i] > hi ? x[i] : hi;
            sum += x[i];
        }
        scale = min = 0;
        // Grids narrower than the range by up to two steps, which cut its upper end, its lower end, or both.
        for (int shrink = 0; shrink <= 4; shrink++) {
            float step = (hi - lo) / (kLevels + 0.5f * float(shrink));
            for (int side = 0; side <= (shrink ? 2 : 0); side++) {
                float offset = lo + 0.25f * float(shrink * side) * step;
                GridSums sums = grid_sums<kGroup>(x, offset, inverse_or_0(step), 0, kLevels);
                float a, b, gain = least_squares(sums, sum, a, b);
                if (gain > best_gain) {
                    best_gain = gain;
                    scale = a;
                    min = -b;
                }
            }
        }
    }

    // The best x = scale * q + offset with offset <= 0; returns by how much the squared error is below the sum of
    // squares.
    static float least_squares(const GridSums &sums, float sum, float &scale, float &offset) {
        float determinant = kGroup * sums.qq - sums.q * sums.q;
        scale = determinant > 0 ? (kGroup * sums.qx - sums.q * sum) / determinant : 0;
        offset = (sum - scale * sums.q) / kGroup;
        if (offset > 0) {
            offset = 0;
            scale = sums.qq > 0 ? sums.qx / sums.qq : 0;
        }
        return scale < 0 ? -1 : scale * sums.qx + offset * sum;
    }

    // Picks the integers for the present d and dmin: per group the best of 3 x 3 scales and minimums, then q. Returns
    // the squared error.
    float choose(const float x[256], const float scale[], const float min[]) {
        float total = 0, step = f16_to_f32(d), min_step = f16_to_f32(dmin);
        for (int g = 0; g < kGroups; g++) {
            const float *values = x + g * kGroup;
            int s0 = int(nearest(scale[g] * inverse_or_0(step), 0, kMaxScale));
            int m0 = int(nearest(min[g] * inverse_or_0(min_step), 0, kMaxScale));
            float best = kAboveAnyError;
            for (int s = std::max(s0 - 1, 0); s <= std::min(s0 + 1, kMaxScale); s++) {
                for (int m = std::max(m0 - 1, 0); m <= std::min(m0 + 1, kMaxScale); m++) {
                    float error = grid_error<kGroup>(values, -min_step * float(m), step * float(s), 0, kLevels);
                    if (error >= best) continue;
                    best = error;
                    scales[g] = uint8_t(s);
                    mins[g] = uint8_t(m);
                }
            }
            total += best;
            float inverse = inverse_or_0(step * scales[g]), offset = min_step * mins[g];
            for (int i = 0; i < kGroup; i++) {
                q[g * kGroup + i] = uint8_t(nearest((values[i] + offset) * inverse, 0, kLevels));
            }
        }
        return total;
    }

    // Least-squares d and dmin for the integers chosen.
    void fit_block(const float x[256]) {
        double ss = 0, sm = 0, mm = 0, sx = 0, mx = 0;
        for (int i = 0; i < 256; i++) {
            double s = scales[i / kGroup] * q[i], m = -mins[i / kGroup];
            ss += s * s;
            sm += s * m;
            mm += m * m;
            sx += s * x[i];
            mx += m * x[i];
        }
        double determinant = ss * mm - sm * sm;
        if (!(determinant > 0)) return;
        double a = (mm * sx - sm * mx) / determinant, b = (ss * mx - sm * sx) / determinant;
        if (a > 0) d = f16_scale(float(a));
        if (b > 0) dmin = f16_scale(float(b));
    }
};

// Blocks of d * scale * (q - kHalf): q in 0 .. 2 * kHalf - 1, scale in -kMaxScale .. kMaxScale - 1; groups of 16.
template <int kHalf, int kMaxScale> struct SignedFit {
    static constexpr int kGroup = 16, kGroups = 16;
    uint16_t d;  // float16
    int8_t scales[kGroups];
    uint8_t q[256];

    explicit SignedFit(const float in[256]) {
        float x[256], scale[kGroups], widest = 0;
        for (int i = 0; i < 256; i++) x[i] = clean(in[i]);
        for (int g = 0; g < kGroups; g++) {
            scale[g] = fit_group(x + g * kGroup);
            if (std::fabs(scale[g]) > std::fabs(widest)) widest = scale[g];
        }
        d = f16_scale(widest / -kMaxScale);
        float error = choose(x, scale);
        SignedFit refined = *this;
        refined.fit_block(x);
        if (refined.choose(x, scale) < error) *this = refined;
    }

  private:
    // The best scale found for one group, not yet rounded to a short integer.
    static float fit_group(const float *x) {
        float farthest = 0, scale = 0, best_gain = 0;
        for (int i = 0; i < kGroup; i++) {
            if (std::fabs(x[i]) > std::fabs(farthest)) farthest = x[i];
        }
        // The value farthest from 0 maps to -kHalf (the longer side), up to a step beyond it, or some steps within it.
        for (int half_steps = -2 - kHalf / 4; half_steps <= 2; half_steps++) {
            float inverse = inverse_or_0(farthest / -(kHalf + 0.5f * float(half_steps)));
            GridSums sums = grid_sums<kGroup>(x, 0, inverse, -kHalf, kHalf - 1);
            float gain = sums.qq > 0 ? sums.qx * sums.qx / sums.qq : 0;
            if (gain > best_gain) {
                best_gain = gain;
                scale = sums.qx / sums.qq;
            }
        }
        return scale;
    }

    // Picks the integers for the present d: per group the best of 3 scales, then q. Returns the squared error.
    float choose(const float x[256], const float scale[]) {
        float total = 0, step = f16_to_f32(d);
        for (int g = 0; g < kGroups; g++) {
            const float *values = x + g * kGroup;
            int s0 = int(nearest(scale[g] * inverse_or_0(step), -kMaxScale, kMaxScale - 1));
            float best = kAboveAnyError;
            for (int s = std::max(s0 - 1, -kMaxScale); s <= std::min(s0 + 1, kMaxScale - 1); s++) {
                float error = grid_error<kGroup>(values, 0, step * float(s), -kHalf, kHalf - 1);
                if (error >= best) continue;
                best = error;
                scales[g] = int8_t(s);
            }
            total += best;
            float inverse = inverse_or_0(step * scales[g]);
            for (int i = 0; i < kGroup; i++) {
                q[g * kGroup + i] = uint8_t(nearest(values[i] * inverse, -kHalf, kHalf - 1) + kHalf);
            }
        }
        return total;
    }

    // Least-squares d for the integers chosen.
    void fit_block(const float x[256]) {
        double ss = 0, sx = 0;
        for (int i = 0; i < 256; i++) {
            double s = scales[i / kGroup] * (q[i] - kHalf);
            ss += s * s;
            sx += s * x[i];
        }
        if (ss > 0) d = f16_scale(float(sx / ss));
    }
};

}  // namespace el
