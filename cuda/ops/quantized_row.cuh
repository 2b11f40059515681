// How a row of a quantized cache, Q8_0 or Q4_0, lies in this backend's memory: first the scales of all its blocks, then
// their integers in words of 4 bytes, so that a lane gets several of each at once. Of each 8 words (a block of Q8_0,
// two of Q4_0) the first four and the others take turns: 0 4 1 5 2 6 3 7. Where a row has an odd number of blocks, its
// last words of Q4_0 are four as they are, and words of every other row are not aligned.
#pragma once
#include "ops.h"

#include <type_traits>

namespace el::cuda {

constexpr int kBlockValues = 32;  // of a scale

template <Format kFormat> struct QuantizedRow {
    static_assert(kFormat == Format::kQ8_0 || kFormat == Format::kQ4_0);
    static constexpr bool kBytes = kFormat == Format::kQ8_0;
    static constexpr int kCodeBytes = kBytes ? kBlockValues : kBlockValues / 2, kWords = kCodeBytes / 4,  // of a block
        kBlockBytes = 2 + kCodeBytes;
    int n_blocks;

    __device__ explicit constexpr QuantizedRow(int n_values) : n_blocks((n_values + kBlockValues - 1) / kBlockValues) {}

    __device__ constexpr int scale_at(int block) const { return 2 * block; }
    // Of words 8 i + j and 8 i + 4 + j, if there are so many: the latter lies behind the former.
    __device__ constexpr int words_at(int i, int j) const { return 2 * n_blocks + 32 * i + step(i) * j; }
    __device__ constexpr int step(int i) const { return is_pair(i) ? 8 : 4; }
    __device__ constexpr bool is_pair(int i) const { return kBytes || 2 * i + 1 < n_blocks; }
    __device__ constexpr int word_at(int block, int word) const {
        return kBytes ? words_at(block, word % 4) + word / 4 * 4 : words_at(block / 2, word) + block % 2 * 4;
    }
    // Of the block's bytes as the format has them, scale and integers, those from 2 i on.
    __device__ constexpr int half_at(int block, int i) const {
        return i == 0 ? scale_at(block) : word_at(block, (i - 1) / 2) + (i - 1) % 2 * 2;
    }
};

// At an even address; kAlignment: what is known of it.
template <int kAlignment> __device__ uint32_t word_of_row(const uint8_t *at) {
    if constexpr (kAlignment % 4 == 0) return *reinterpret_cast<const uint32_t *>(at);
    const auto *halves = reinterpret_cast<const uint16_t *>(at);
    return halves[0] | uint32_t(halves[1]) << 16;
}

template <int kAlignment> __device__ uint2 two_words_of_row(const uint8_t *at) {
    if constexpr (kAlignment % 8 == 0) return *reinterpret_cast<const uint2 *>(at);
    return {word_of_row<kAlignment>(at), word_of_row<kAlignment>(at + 4)};
}

// Calls visit(std::integral_constant<Format, format>()).
template <typename Visit> __device__ void with_quantized_format(Format format, Visit visit) {
    if (format == Format::kQ8_0)
        visit(std::integral_constant<Format, Format::kQ8_0>());
    else
        visit(std::integral_constant<Format, Format::kQ4_0>());
}

}  // namespace el::cuda
