// 256 values of 3.44 bits: a codebook of 512 entries of 4 sizes, all signs, a scale of 4 bits for 32 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ3_S : SuperTableFormat<IQ3_S> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qs[64];  // lower 8 bits of the entries
        uint8_t qh[8];   // upper bit, for 8 entries
        uint8_t signs[32];
        uint8_t scales[4];
    };
    static constexpr Format kFormat = Format::kIQ3_S;
    static constexpr const char *kName = "IQ3_S";
    static constexpr ValueTable kTable = kIq3SValues;

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * (block.scales[sixteenth / 4] >> 4 * (sixteenth / 2 % 2) & 15) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        for (int i = 0; i < 8; i++) {
            int entry = block.qs[8 * group + i] | (block.qh[group] >> i & 1) << 8;
            indexes4(grid_iq3_s(entry), block.signs[4 * group + i / 2] >> 4 * (i % 2), q + 4 * i);
        }
    }
};
static_assert(sizeof(IQ3_S::Block) == 110);

}  // namespace el
