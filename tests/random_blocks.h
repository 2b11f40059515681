// Blocks of a format that hold values about as large as asked for: encoded where there is an encoder, otherwise random
// bytes with a fitting scale.
#pragma once
#include "quant/formats.h"

#include <cmath>
#include <random>
#include <vector>

namespace el {

template <class F> void set_super_scale(typename F::Block &block, uint16_t f16) {
    if constexpr (requires { block.d = f16; })
        block.d = f16;
    else
        for (int i = 0; i < 4; i++) block.scales[i] = uint16_t((block.scales[i] & 0xfff) | (f16 >> 4 * i & 15) << 12);
}

template <class F> std::vector<std::byte> random_blocks(size_t n, float deviation, std::mt19937 &random) {
    std::vector<std::byte> bytes(n / F::kValues * sizeof(typename F::Block));
    for (std::byte &byte : bytes) byte = std::byte(random());
    for (size_t at = 0; at < bytes.size(); at += sizeof(typename F::Block)) {
        typename F::Block block;
        std::memcpy(&block, &bytes[at], sizeof block);
        set_super_scale<F>(block, f32_to_f16(1));
        float values[F::kValues], squares = 0;
        decode_row<F>(&block, F::kValues, values);
        for (float x : values) squares += x * x;
        set_super_scale<F>(block, f32_to_f16(deviation / std::sqrt(squares / F::kValues)));
        std::memcpy(&bytes[at], &block, sizeof block);
    }
    return bytes;
}

// As many blocks as `values` need; of their sizes only the whole counts where there is no encoder.
inline std::vector<std::byte> encode_or_random(Format format, const std::vector<float> &values) {
    std::vector<std::byte> blocks(row_bytes(format, values.size()));
    for_each_format([&]<class F>(std::type_identity<F>) {
        if (F::kFormat != format) return;
        if constexpr (HasEncoder<F>) {
            encode_row<F>(values.data(), values.size(), blocks.data());
        } else {
            std::mt19937 random(float_bits(values[0]));
            float squares = 0;
            for (float x : values) squares += x * x;
            blocks = random_blocks<F>(values.size(), std::sqrt(squares / float(values.size())), random);
        }
    });
    return blocks;
}

}  // namespace el
