// Rows of the cache in any of its formats: one thread for 32 values, or for one where a format has no blocks.
#pragma once
#include "ops.h"
#include "quant/formats.h"

namespace el::cuda {

using CacheFormats = FormatList<F32, F16, Q8_0, Q4_0>;

template <typename F> constexpr uint32_t kRun = F::kValues == 1 ? 1 : 32;

// Values [at, at + kRun) of a row.
template <typename F> __device__ void read_run(const uint8_t *row, uint32_t at, float *out) {
    typename F::Block block;
    memcpy(&block, row + at / F::kValues * sizeof block, sizeof block);
    if constexpr (F::kValues == 1)
        *out = F::decode1(block);
    else
        F::decode32(block, int(at % F::kValues / 32), out);
}
template <typename F> __device__ void write_run(uint8_t *row, uint32_t at, const float *in) {
    typename F::Block block;
    F::encode(in, block);
    memcpy(row + at / F::kValues * sizeof block, &block, sizeof block);
}

template <typename Visit> void with_cache_format(Format format, Visit visit) {
    CacheFormats::for_each([&](auto f) {
        if (decltype(f)::type::kFormat == format) visit(f);
    });
}

}  // namespace el::cuda
