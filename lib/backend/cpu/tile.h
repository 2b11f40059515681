// How the CPU backend keeps matrices: one layout for all instruction sets.
//
// A *panel* is 16 rows (the last one is filled up with zeros), a *tile* 16 rows x 32 columns. Vector j of a tile has 64
// bytes: for each of the 16 rows its columns 4j .. 4j + 3, which is what dot product instructions want: one row per
// lane, a broadcast of four activations, and no sum across lanes. Quants are unsigned. A panel is the scales of all its
// tiles (padded to 64 bytes), then the planes of all its tiles; both as kernels.h describes them. Matrices of floats
// are [panel][column][16 rows].
#pragma once
#include "backend/cpu/kernels.h"
#include "quant/format.h"

#include <cstddef>

namespace el::cpu {

struct TileLayout {
    TileKind kind;
    Planes planes;
    Scales scales;
    uint32_t block_columns;  // 1, 32, 64 or 256: columns can be cut at multiples of it
    uint32_t scale_bytes;    // of a panel, per block; 0 where floats
    uint32_t quant_bytes;    // of a panel, per block

    bool quantized() const { return block_columns > 1; }
};
const TileLayout &tile_layout(Format format);

// A matrix in memory.
struct Matrix {
    std::byte *data = nullptr;  // NULL: the tensor is only used as a vector
    Format format = Format::kF32;
    const TileLayout *layout = nullptr;
    uint64_t rows = 0, cols = 0;
    size_t panel_bytes = 0, scale_bytes = 0;  // scale_bytes: where a panel's quants begin

    Matrix() = default;
    Matrix(Format format, uint64_t rows, uint64_t cols);
    size_t bytes() const { return panels() * panel_bytes; }
    size_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
    // From a column on that is a multiple of block_columns.
    const uint8_t *scales(size_t panel, uint32_t col_begin) const {
        return at(panel) + size_t(col_begin / layout->block_columns) * layout->scale_bytes;
    }
    const uint8_t *quants(size_t panel, uint32_t col_begin) const {
        return at(panel) + scale_bytes + size_t(col_begin / layout->block_columns) * layout->quant_bytes;
    }
    const uint8_t *at(size_t panel) const { return reinterpret_cast<const uint8_t *>(data) + panel * panel_bytes; }

    // Rows as in the file; row_begin is a multiple of 16, n_rows too except at the end.
    void pack(uint64_t row_begin, uint64_t n_rows, const std::byte *blocks) const;
    // Columns [col_begin, col_begin + n) of a row; multiples of 32 where quantized.
    void decode(uint64_t row, uint32_t col_begin, uint32_t n, float *out) const;
};

}  // namespace el::cpu
