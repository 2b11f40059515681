// 256 values of 1.56 bits: a codebook of 2048 entries of 8 values of -1, 0, 1; a scale of 3 bits and the direction in
// which values are moved for 32 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ1_S : SuperTableFormat<IQ1_S> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qs[32];  // lower 8 bits of the entries
        uint16_t qh[8];  // upper 3 bits for 4 entries, 3 bits of scale, direction
    };
    static constexpr Format kFormat = Format::kIQ1_S;
    static constexpr const char *kName = "IQ1_S";
    static constexpr ValueTable kTable = kIq1Values;

    EL_HD static int scale(const Block &block, int sixteenth) { return 2 * (block.qh[sixteenth / 2] >> 12 & 7) + 1; }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        uint16_t high = block.qh[group];
        for (int i = 0; i < 4; i++) {
            int entry = block.qs[4 * group + i] | (high >> 3 * i & 7) << 8;
            indexes8(grid_iq1(entry), high >> 15 ? 255 : 0, q + 8 * i);
        }
    }
};
static_assert(sizeof(IQ1_S::Block) == 50);

}  // namespace el
