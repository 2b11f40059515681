// What the encoders of formats with a table of values share.
#pragma once
#include "quant/table_format.h"
#include <algorithm>
#include <cmath>

namespace el {

// The index whose value times `scale` is nearest to x; the lowest of equals.
inline uint8_t nearest_index(const ValueTable &table, float scale, float x) {
    int best = 0;
    float best_distance = std::fabs(x - scale * float(table.values[0]));
    for (int i = 1; i < 16; i++) {
        float distance = std::fabs(x - scale * float(table.values[i]));
        if (distance < best_distance) {
            best_distance = distance;
            best = i;
        }
    }
    return uint8_t(best);
}

// Fills q; returns the squared error.
template <int n> float choose_indexes(const ValueTable &table, float scale, const float *x, uint8_t *q) {
    float error = 0;
    for (int i = 0; i < n; i++) {
        q[i] = nearest_index(table, scale, x[i]);
        float difference = x[i] - scale * float(table.values[q[i]]);
        error += difference * difference;
    }
    return error;
}

// The scale for n clean values: the value farthest from 0 is put at either end of a table in ascending order, or a bit
// within or beyond it; the indexes this gives have a least-squares scale, and the one that explains most is returned.
template <int n> float fit_table_scale(const ValueTable &table, const float *x) {
    float farthest = 0, scale = 0, best_gain = 0;
    for (int i = 0; i < n; i++) {
        if (std::fabs(x[i]) > std::fabs(farthest)) farthest = x[i];
    }
    for (int step = -7; step <= 7; step++) {
        for (int end : {0, 15}) {
            float vv = 0, vx = 0, trial = farthest / (float(table.values[end]) + float(step));
            for (int i = 0; i < n; i++) {
                float value = float(table.values[nearest_index(table, trial, x[i])]);
                vv += value * value;
                vx += value * x[i];
            }
            float gain = vx * vx / vv;  // a table without 0 has vv > 0
            if (gain > best_gain) {
                best_gain = gain;
                scale = vx / vv;
            }
        }
    }
    return scale;
}

}  // namespace el
