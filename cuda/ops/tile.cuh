// Tiles of float16 rows in shared memory for mma.sync, and rows of a quantized cache decoded into them.
#pragma once
#include "async_copy.cuh"
#include "fast_math.cuh"
#include "ops.h"
#include "warp_matrix.cuh"

#include <cuda_fp16.h>
#include <type_traits>

namespace el::cuda {

// ---- tiles: [rows][kDim] float16 in chunks of 8 values, so placed that 8 rows' chunks lie in different banks

template <int kDim> struct Tile {
    static_assert(kDim % 16 == 0);
    static constexpr int kChunks = kDim / 8;
    static constexpr bool kSwizzled = kChunks % 8 == 0;
    static constexpr int kRowBytes = 16 * (kSwizzled ? kChunks : kChunks | 1);

    __device__ static int offset(int row, int chunk) {
        return row * kRowBytes + 16 * (kSwizzled ? chunk ^ (row & 7) : chunk);
    }
};

__device__ inline uint32_t pack_halves(float low, float high) {
    const __half2 h = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&h);
}

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kNoScore = -1e30f;  // less than every score; finite, so that differences are numbers

// tanh by one exponential; the error is that of a float near 1.
__device__ inline float tanh_fast(float x) { return 1.0f - __fdividef(2.0f, 1.0f + exp2_fast(2.0f * kLog2E * x)); }

// What sums of values, weighted by powers of two, are to be multiplied by; a sink takes a share of its own.
__device__ inline float last_factor(float maximum, float total, const float *sink) {
    if (!sink) return total > 0 ? __fdividef(1.0f, total) : 0.0f;
    const float score = *sink * kLog2E, highest = fmaxf(maximum, score), keep = exp2_fast(maximum - highest);
    return __fdividef(keep, total * keep + exp2_fast(score - highest));
}

// ---- rows of quantized caches

__host__ __device__ inline bool tile_format(Format format) {
    return format == Format::kF16 || format == Format::kQ8_0 || format == Format::kQ4_0;
}

// Values [8 chunk, 8 chunk + 8) of a row of kDim values as the cache has it; rows lie at a multiple of 4 in shared
// memory that may be read 4 bytes beyond. Products of scale and integer are rounded once.
template <Format kFormat, int kDim> __device__ uint4 decode_chunk(const uint8_t *rows, int row, int chunk) {
    constexpr bool kBytes = kFormat == Format::kQ8_0;
    constexpr int kBlockBytes = kBytes ? 34 : 18, kRowBytes = (kDim + 31) / 32 * kBlockBytes;
    const int part = chunk % 4, at = row * kRowBytes + kBlockBytes * (chunk / 4),
              values = at + 2 + 8 * (kBytes ? part : part % 2);
    // Blocks lie at even addresses; every other one at a multiple of 4.
    const int odd = kRowBytes % 4 ? values & 2 : (chunk / 4 + 1) % 2 * 2;
    const uint32_t *words = reinterpret_cast<const uint32_t *>(rows + values - odd);
    const uint32_t w0 = words[0], w1 = words[1], w2 = words[2];
    const uint32_t q[2] = {__funnelshift_r(w0, w1, 8 * odd), __funnelshift_r(w1, w2, 8 * odd)};
    const __half2 scale = __half2half2(*reinterpret_cast<const __half *>(rows + at)),
                  zero = __half2half2(__ushort_as_half(kBytes ? 0x6480 : 0x6408));
    uint32_t out[4];
    for (int i = 0; i < 4; ++i) {
        const uint32_t x = kBytes ? q[i / 2] ^ 0x80808080 : q[i / 2] >> part / 2 * 4 & 0x0f0f0f0f;
        // Small integers in the low bits of 1024 as float16.
        const uint32_t pair = __byte_perm(x, 0x64646464, i % 2 ? 0x4342 : 0x4140);
        const __half2 product = __hmul2(__hsub2(*reinterpret_cast<const __half2 *>(&pair), zero), scale);
        out[i] = *reinterpret_cast<const uint32_t *>(&product);
    }
    return {out[0], out[1], out[2], out[3]};
}

// Calls visit(std::integral_constant<Format, format>()).
template <typename Visit> __device__ void with_quantized_format(Format format, Visit visit) {
    if (format == Format::kQ8_0)
        visit(std::integral_constant<Format, Format::kQ8_0>());
    else
        visit(std::integral_constant<Format, Format::kQ4_0>());
}

}  // namespace el::cuda
