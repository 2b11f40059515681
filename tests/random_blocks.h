// Blocks of a format that hold values about as large as asked for: encoded where there is an encoder, otherwise random
// bytes with a fitting scale.
#pragma once
#include "quant/formats.h"
#include "random_values.h"

namespace el {

template <class F> void set_super_scale(typename F::Block &block, uint16_t f16) {
    if constexpr (requires { block.d = f16; })
        block.d = f16;
    else
        for (int i = 0; i < 4; i++) block.scales[i] = uint16_t((block.scales[i] & 0xfff) | (f16 >> 4 * i & 15) << 12);
}

template <class F> void random_blocks(size_t n, float deviation, std::mt19937 &random, std::byte *out) {
    const size_t size = n / F::kValues * sizeof(typename F::Block);
    std::generate_n(out, size, [&] { return std::byte(random()); });
    for (size_t at = 0; at < size; at += sizeof(typename F::Block)) {
        typename F::Block block;
        std::memcpy(&block, out + at, sizeof block);
        set_super_scale<F>(block, f32_to_f16(1));
        float values[F::kValues], squares = 0;
        decode_row<F>(&block, F::kValues, values);
        for (float x : values) squares += x * x;
        set_super_scale<F>(block, f32_to_f16(deviation / std::sqrt(squares / F::kValues)));
        std::memcpy(out + at, &block, sizeof block);
    }
}

// As encode_blocks. Where there is no encoder only the size of the whole of `values` counts.
inline std::vector<std::byte> encode_or_random(Format format, const std::vector<float> &values) {
    const FormatInfo &info = format_info(format);
    std::mt19937 random(values.empty() ? 0 : float_bits(values[0]));
    if (info.encode) return encode_blocks(info, values, random);
    std::vector<std::byte> blocks(row_bytes(format, values.size()));
    const size_t n = std::min(values.size(), kEncodedValues);
    float squares = 0;
    for (float x : values) squares += x * x;
    for_each_format([&]<class F>(std::type_identity<F>) {
        if constexpr (!HasEncoder<F>)
            if (F::kFormat == format)
                random_blocks<F>(n, std::sqrt(squares / float(values.size())), random, blocks.data());
    });
    repeat_blocks(blocks.data(), n / info.values, values.size() / info.values, info.bytes, random);
    return blocks;
}

}  // namespace el
