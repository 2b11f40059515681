// Random matrices as files have them and as the CUDA module packs them.
#pragma once
#include "emulation/cuda_runtime.h"

#include "ops.h"
#include "packed.cuh"
#include "quant/format.h"
#include "random_values.h"

#include <random>
#include <vector>

namespace weights_test {

using namespace el;
using namespace el::cuda;

// A matrix as it lies in a file, decoded, and packed.
struct Weights {
    uint32_t rows, cols;
    std::vector<float> values;
    std::vector<uint8_t> packed;
    Matrix matrix;

    Weights(std::mt19937 &random, Format format, uint32_t rows_, uint32_t cols_) : rows(rows_), cols(cols_) {
        const FormatInfo &info = format_info(format);
        const PackedShape shape = packed_shape(format);
        const std::vector<float> wanted = random_floats(random, size_t(rows) * cols);
        const std::vector<std::byte> blocks = encode_blocks(info, wanted, random);
        values.resize(wanted.size());
        info.decode(blocks.data(), values.size(), values.data());
        packed.resize(shape.tiles(rows) * shape.tile_bytes(cols) + 16);
        uint8_t *data = packed.data() + (16 - reinterpret_cast<uintptr_t>(packed.data()) % 16) % 16;
        matrix = {data, format, cols, row_bytes(format, cols), true};
        with_packed_format(format, [&](auto f) {
            using F = typename decltype(f)::type;
            const auto *block = reinterpret_cast<const typename F::Block *>(blocks.data());
            for (uint32_t r = 0; r < rows; ++r)
                for (uint32_t g = 0; g < cols / kGroup; ++g)
                    pack_group<F>(block[(size_t(r) * cols + g * kGroup) / F::kValues], data, cols, r, g);
        });
    }
    Weights(const Weights &) = delete;
};

}  // namespace weights_test
