// Tiles of float16 rows in shared memory for mma.sync, and rows of a quantized cache decoded into them.
#pragma once
#include "async_copy.cuh"
#include "fast_math.cuh"
#include "ops/quantized_row.cuh"
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

// Eight small integers as float16, each less `middle` and times `scale`, rounded once.
__device__ inline uint4 scaled(uint32_t low, uint32_t high, int middle, __half scale) {
    const __half2 factor = __half2half2(scale), zero = __half2half2(__ushort_as_half(uint16_t(0x6400 + middle)));
    uint32_t out[4];
    for (int i = 0; i < 4; ++i) {
        // In the low bits of 1024 as float16.
        const uint32_t pair = __byte_perm(i < 2 ? low : high, 0x64646464, i % 2 ? 0x4342 : 0x4140);
        const __half2 product = __hmul2(__hsub2(*reinterpret_cast<const __half2 *>(&pair), zero), factor);
        out[i] = *reinterpret_cast<const uint32_t *>(&product);
    }
    return {out[0], out[1], out[2], out[3]};
}

// What is in four words of a row of kDim values as the cache has it, those from 4 i on; the first row lies at a
// multiple of 8 in shared memory. Calls put(chunk, values) for the chunks of 8 values of which it is all.
template <Format kFormat, int kDim, typename Put> __device__ void decode_words(const uint8_t *row, int i, Put put) {
    using Row = QuantizedRow<kFormat>;
    constexpr Row kLayout(kDim);
    constexpr int kAlignment = kLayout.n_blocks * Row::kBlockBytes;
    const uint8_t *at = row + kLayout.scale_at(kLayout.n_blocks) + 16 * i;
    const uint2 x = two_words_of_row<kAlignment>(at), y = two_words_of_row<kAlignment>(at + 8);
    auto put_eight = [&](int block, int eighth, uint32_t first, uint32_t second) {
        const __half scale = *reinterpret_cast<const __half *>(row + kLayout.scale_at(block));
        if constexpr (Row::kBytes) {
            put(4 * block + eighth, scaled(first ^ 0x80808080, second ^ 0x80808080, 128, scale));
        } else {
            put(4 * block + eighth, scaled(first & 0x0f0f0f0f, second & 0x0f0f0f0f, 8, scale));
            put(4 * block + eighth + 2, scaled(first >> 4 & 0x0f0f0f0f, second >> 4 & 0x0f0f0f0f, 8, scale));
        }
    };
    const int pair = i / 2, second = i % 2;  // of 8 words
    if constexpr (Row::kBytes) {
        put_eight(pair, second, x.x, y.x);
        put_eight(pair, 2 + second, x.y, y.y);
    } else if (kLayout.is_pair(pair)) {
        put_eight(2 * pair, second, x.x, y.x);
        put_eight(2 * pair + 1, second, x.y, y.y);
    } else {
        put_eight(2 * pair, 0, x.x, x.y);
        put_eight(2 * pair, 1, y.x, y.y);
    }
}

}  // namespace el::cuda
