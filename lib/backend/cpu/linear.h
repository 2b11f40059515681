// What stages of linears and of experts share.
#pragma once
#include "backend/cpu/executable.h"

#include <algorithm>

namespace el::cpu {

// Rows are taken in groups of the kernels' size, the rest in smaller powers of two.
inline size_t next_group(size_t rows_left, int largest) {
    size_t n = size_t(largest);
    while (n > rows_left) n /= 2;
    return n;
}

// The tile function for groups of 1, 2, 4, 8.
inline int group_index(size_t n) { return n == 1 ? 0 : n == 2 ? 1 : n == 4 ? 2 : 3; }

// So many bytes of activations stay in a core's second cache while panels of weights pass by.
constexpr size_t kActivationChunk = 256 << 10;

// The rows of a chunk, a multiple of all groups.
inline size_t chunk_rows(size_t row_bytes) {
    return std::max<size_t>(kActivationChunk / std::max<size_t>(row_bytes, 1) / 8, 4) * 8;
}

// Of `n` pieces of `each` bytes, beginning at `before`: those whose first byte lies in a share.
inline SplitRange whole_pieces(SplitRange share, size_t before, size_t n, size_t each) {
    auto first = [&](size_t at) { return at <= before ? 0 : std::min(n, (at - before + each - 1) / each); };
    return {first(share.begin), first(share.end)};
}

// Adds a bias to the rows of a tile that are stored.
inline void add_to_tile(const StoreCall &call, size_t group, const float *bias, float *tile) {
    for (size_t t = 0; t < group; t++)
        for (size_t r = call.row_begin; r < call.row_end; r++) tile[t * kPanelRows + r] += bias[r];
}

}  // namespace el::cpu
