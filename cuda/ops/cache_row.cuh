// Rows of the cache in any of its formats.
#pragma once
#include "ops/quantized_row.cuh"
#include "quant/formats.h"

#include <cstring>

namespace el::cuda {

using CacheFormats = FormatList<F32, F16, Q8_0, Q4_0>;

template <typename F> constexpr uint32_t kRun = F::kValues == 1 ? 1 : 32;

// Values [at, at + kRun) of a row of n, by one thread.
template <typename F> __device__ void read_run(const uint8_t *row, uint32_t at, uint32_t n, float *out) {
    typename F::Block block;
    if constexpr (F::kValues == 1) {
        memcpy(&block, row + at * sizeof block, sizeof block);
        *out = F::decode1(block);
    } else {
        const QuantizedRow<F::kFormat> layout{int(n)};
        for (int i = 0; i < int(sizeof block) / 2; ++i)
            memcpy(reinterpret_cast<uint8_t *>(&block) + 2 * i, row + layout.half_at(int(at) / kBlockValues, i), 2);
        F::decode32(block, 0, out);
    }
}

// The scale of 32 values, one per lane, that the format maps to 0 .. 2 * kHalf - 1 with d * (q - kHalf).
template <int kHalf> __device__ float signed_scale(float x, uint16_t &d) {
    const uint32_t size = __float_as_uint(fabsf(x)), largest = __reduce_max_sync(~0u, size);
    const int first = __ffs(int(__ballot_sync(~0u, size == largest))) - 1;
    const float farthest = __shfl_sync(~0u, x, first);
    d = f16_scale((largest ? farthest : 0.0f) / float(-kHalf));
    return inverse_or_0(f16_to_f32(d));
}

// A block of 32 values, one per lane, as the format's encode() makes it. put(at, value) puts a part of it into the row.
template <Format kFormat, typename Put>
__device__ void encode_block(QuantizedRow<kFormat> layout, int block, float x, Put put) {
    const int lane = int(threadIdx.x % 32);
    x = clean(x);
    uint16_t d;
    if constexpr (kFormat == Format::kQ8_0) {
        d = f16_scale(__uint_as_float(__reduce_max_sync(~0u, __float_as_uint(fabsf(x)))) / 127.0f);
        const float q = nearest(x * inverse_or_0(f16_to_f32(d)), -127.0f, 127.0f);
        put(layout.word_at(block, lane / 4) + lane % 4, int8_t(q));
    } else {
        const float inverse = signed_scale<8>(x, d);
        const uint32_t q = uint32_t(nearest(x * inverse, -8.0f, 7.0f) + 8.0f);
        const uint32_t high = __shfl_down_sync(~0u, q, 16);
        if (lane < 16) put(layout.word_at(block, lane / 4) + lane % 4, uint8_t(q | high << 4));
    }
    if (lane == 0) put(layout.scale_at(block), d);
}

// A row of n values in shared memory, by all warps of a block.
template <typename F> __device__ void write_row(uint8_t *row, uint32_t n, const float *values) {
    if constexpr (F::kValues == 1) {
        for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
            typename F::Block block;
            F::encode(values + i, block);
            memcpy(row + i * sizeof block, &block, sizeof block);
        }
    } else {
        auto put = [&](int at, auto value) { *reinterpret_cast<decltype(value) *>(row + at) = value; };
        for (uint32_t b = threadIdx.x / 32; b < n / kBlockValues; b += blockDim.x / 32)
            encode_block(QuantizedRow<F::kFormat>(int(n)), int(b), values[b * kBlockValues + threadIdx.x % 32], put);
    }
}

template <typename Visit> void with_cache_format(Format format, Visit visit) {
    CacheFormats::for_each([&](auto f) {
        if (decltype(f)::type::kFormat == format) visit(f);
    });
}

}  // namespace el::cuda
