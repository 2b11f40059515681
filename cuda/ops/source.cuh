// Values of a matrix in any format, one by one or 32 at a time, as it lies in the file or packed.
#pragma once
#include "ops.h"
#include "packed.cuh"

namespace el::cuda {

// Rows as they lie in the file, one block after the other.
template <typename F> struct Blocks {
    static constexpr uint32_t kRun = F::kValues == 1 ? 1 : 32;  // values that one lane decodes at once
    static __device__ void decode(const Matrix &m, size_t row, uint32_t col, float *out) {
        typename F::Block block;
        memcpy(&block, m.data + row * m.row_bytes + col / F::kValues * sizeof block, sizeof block);
        if constexpr (F::kValues == 1)
            *out = F::decode1(block);
        else
            F::decode32(block, int(col % F::kValues / 32), out);
    }
};
template <typename F> struct Packed {
    static constexpr uint32_t kRun = 32;
    static __device__ void decode(const Matrix &m, size_t row, uint32_t col, float *out) {
        decode_packed<F>(m.data, m.cols, row, col / 32, out);
    }
};

// Calls visit(type_identity<Blocks<F>>) for the format F of a matrix that is not packed.
template <typename Visit> void with_blocks(const Matrix &m, Visit visit) {
    for_each_format([&](auto f) {
        using F = typename decltype(f)::type;
        if (F::kFormat == m.format) visit(std::type_identity<Blocks<F>>());
    });
}

// Calls visit(type_identity<Source>) for what reads the matrix.
template <typename Visit> void with_source(const Matrix &m, Visit visit) {
    if (!m.packed) return with_blocks(m, visit);
    with_packed_format(m.format, [&](auto f) { visit(std::type_identity<Packed<typename decltype(f)::type>>()); });
}

}  // namespace el::cuda
