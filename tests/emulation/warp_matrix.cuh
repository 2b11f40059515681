// In place of cuda/warp_matrix.cuh.
#pragma once
#include "quant/half.h"

#include <algorithm>
#include <cuda_runtime.h>

namespace el::cuda {

inline unsigned lane() { return threadIdx.x % 32; }

inline void load_matrices(uint32_t (&m)[4], const uint8_t *row) {
    emulation::check_alignment(row, 16);
    const uint8_t *const *rows = emulation::of_warp(row);
    for (unsigned i = 0; i < 4; ++i) std::memcpy(&m[i], rows[8 * i + lane() / 4] + 4 * (lane() % 4), 4);
}
inline void load_matrices_at(uint32_t (&m)[4], uint32_t row) { load_matrices(m, emulation::dynamic_shared() + row); }
inline void load_transposed(uint32_t (&m)[4], const uint8_t *row) {
    emulation::check_alignment(row, 16);
    const uint8_t *const *rows = emulation::of_warp(row);
    for (unsigned i = 0; i < 4; ++i) {
        uint16_t x[2];
        for (unsigned j = 0; j < 2; ++j) std::memcpy(&x[j], rows[8 * i + 2 * (lane() % 4) + j] + 2 * (lane() / 4), 2);
        m[i] = x[0] | uint32_t(x[1]) << 16;
    }
}
inline uint32_t transpose(uint32_t m) {
    const uint32_t *all = emulation::of_warp(m);
    auto at = [&](unsigned row, unsigned col) { return all[4 * row + col / 2] >> 16 * (col % 2) & 0xffff; };
    return at(2 * (lane() % 4), lane() / 4) | at(2 * (lane() % 4) + 1, lane() / 4) << 16;
}

inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Values {
        float a[4][2], b[2][2];
    } mine;
    auto decode = [](float(&to)[2], uint32_t halves) {
        to[0] = f16_to_f32(uint16_t(halves));
        to[1] = f16_to_f32(uint16_t(halves >> 16));
    };
    for (int i = 0; i < 4; ++i) decode(mine.a[i], a[i]);
    decode(mine.b[0], b0);
    decode(mine.b[1], b1);
    const Values *all = emulation::of_warp(mine);
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane() / 4, col = 2 * (lane() % 4) + i % 2;  // of the upper or lower half of the rows
        for (unsigned k = 0; k < 16; ++k)
            sum[i] += all[4 * row + k % 8 / 2].a[i / 2 + k / 8 * 2][k % 2] * all[4 * col + k % 8 / 2].b[k / 8][k % 2];
    }
}

inline void multiply_add(float (&sum)[4], const float (&start)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    std::copy(start, start + 4, sum);
    multiply_add(sum, a, b0, b1);
}

inline void multiply_bytes(uint32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Values {
        uint32_t a[4], b[2];
    };
    const Values *all = emulation::of_warp(Values{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane() / 4, col = 2 * (lane() % 4) + i % 2;  // of the upper or lower half of the rows
        for (unsigned c = 0; c < 4; ++c)
            for (unsigned half = 0; half < 2; ++half)
                sum[i] = uint32_t(
                    __dp4a(int(all[4 * row + c].a[i / 2 + 2 * half]), int(all[4 * col + c].b[half]), int(sum[i])));
    }
}
inline void multiply_bytes(uint32_t (&sum)[4], uint32_t a0, uint32_t a1, uint32_t b) {
    multiply_bytes(sum, {a0, a1, 0, 0}, b, 0);
}

}  // namespace el::cuda
