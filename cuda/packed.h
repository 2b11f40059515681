// How matrices in common formats lie on the device, so that kernels read them in long runs and compute with integers.
//
// A tile is `rows` rows of the matrix; its columns are cut into slots of up to 32 groups of 32 weights, one group for
// each lane of a warp. The slots of a tile follow each other, and the tiles. In a slot, with L lanes:
//     codes, as planes: bits 0-3 as [row][L] 16 bytes, 2 bits as [row][L] 8 bytes, 1 bit as [L][row] 4 bytes,
//                       or whole bytes as [row][2][L] 16 bytes
//     what a group has of its own, [L][row]; what 8 groups share, [L / 8][row]
// Nothing is rounded; a tile of more than a few groups takes at most 4 % more than the file's blocks.
#pragma once
#include "quant/format.h"

namespace el::cuda {

constexpr uint32_t kGroup = 32, kSlotLanes = 32, kSlotCols = kGroup * kSlotLanes;

struct PackedShape {
    uint8_t bits;         // of a code: 2, 3, 4, 5, 6 or 8; 0: the format is not packed
    uint8_t rows;         // of a tile
    uint8_t group_bytes;  // scales of one row's group
    uint8_t super_bytes;  // scales of one row's 8 groups

    static constexpr size_t align(size_t n) { return (n + 15) / 16 * 16; }
    constexpr size_t nibble_bytes(size_t lanes) const {
        return bits == 8 ? 32 * rows * lanes : bits >= 4 ? 16 * rows * lanes : 0;
    }
    constexpr size_t pair_bytes(size_t lanes) const {
        return bits == 2 || bits == 3 || bits == 6 ? 8 * rows * lanes : 0;
    }
    constexpr size_t bit_bytes(size_t lanes) const { return bits == 3 || bits == 5 ? 4 * rows * lanes : 0; }
    // Where parts of a slot begin
    constexpr size_t pairs_at(size_t lanes) const { return nibble_bytes(lanes); }
    constexpr size_t bits_at(size_t lanes) const { return pairs_at(lanes) + pair_bytes(lanes); }
    constexpr size_t groups_at(size_t lanes) const { return bits_at(lanes) + bit_bytes(lanes); }
    constexpr size_t supers_at(size_t lanes) const {
        return groups_at(lanes) + align(size_t(group_bytes) * rows * lanes);
    }
    constexpr size_t slot_bytes(size_t lanes) const {
        return supers_at(lanes) + align(size_t(super_bytes) * rows * ((lanes + 7) / 8));
    }

    static constexpr uint32_t slots(size_t cols) { return uint32_t((cols + kSlotCols - 1) / kSlotCols); }
    static constexpr uint32_t last_lanes(size_t cols) {
        return uint32_t((cols - size_t(slots(cols) - 1) * kSlotCols) / kGroup);
    }
    constexpr size_t tile_bytes(size_t cols) const {
        return (slots(cols) - 1) * slot_bytes(kSlotLanes) + slot_bytes(last_lanes(cols));
    }
    constexpr size_t tiles(size_t n_rows) const { return (n_rows + rows - 1) / rows; }
};

constexpr PackedShape packed_shape(Format format) {
    switch (format) {
    case Format::kQ4_0:
    case Format::kIQ4_NL:
        return {4, 4, 2, 0};
    case Format::kQ4_1:
        return {4, 4, 4, 0};
    case Format::kQ5_0:
        return {5, 4, 2, 0};
    case Format::kQ5_1:
        return {5, 4, 4, 0};
    case Format::kQ8_0:
        return {8, 2, 2, 0};
    case Format::kQ2_K:
        return {2, 4, 2, 4};
    case Format::kQ3_K:
        return {3, 4, 2, 2};
    case Format::kQ4_K:
        return {4, 4, 2, 4};
    case Format::kQ5_K:
        return {5, 4, 2, 4};
    case Format::kQ6_K:
        return {6, 4, 2, 2};
    case Format::kIQ4_XS:
        return {4, 4, 1, 2};
    case Format::kMXFP4:
        return {4, 4, 1, 0};
    default:
        return {};
    }
}

}  // namespace el::cuda
