#include "backend/host/rotation.h"

#include <bit>
#include <cmath>

namespace el::host {
namespace {

void flip(float *x, size_t n) {
    for (size_t i = 0; i < n; ++i) x[i] = rotation_flips(i) ? -x[i] : x[i];
}

void hadamard(float *x, size_t n) {  // its own inverse
    const float scale = 1.0f / std::sqrt(float(n));
    for (size_t i = 0; i < n; ++i) x[i] *= scale;
    size_t half = 1;
    if (n >= 4) {  // two steps in one, as short loops are slow
        for (size_t i = 0; i < n; i += 4) {
            const float a = x[i] + x[i + 1], b = x[i] - x[i + 1], c = x[i + 2] + x[i + 3], d = x[i + 2] - x[i + 3];
            x[i] = a + c;
            x[i + 1] = b + d;
            x[i + 2] = a - c;
            x[i + 3] = b - d;
        }
        half = 4;
    }
    for (; half < n; half *= 2)
        for (float *p = x; p < x + n; p += 2 * half)
            for (size_t i = 0; i < half; ++i) {
                const float a = p[i], b = p[i + half];
                p[i] = a + b;
                p[i + half] = a - b;
            }
}

void hadamard_blocks(float *x, size_t n) {
    for (size_t begin = 0, size; begin < n; begin += size) {
        size = std::bit_floor(n - begin);
        hadamard(x + begin, size);
    }
}

}  // namespace

void rotate(float *x, size_t n) noexcept {
    flip(x, n);
    hadamard_blocks(x, n);
}

void rotate_back(float *x, size_t n) noexcept {
    hadamard_blocks(x, n);
    flip(x, n);
}

}  // namespace el::host
