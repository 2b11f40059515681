// 256 values of 2.56 bits: a codebook of 1024 entries of 8 sizes, all signs, a scale of 4 bits for 16 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ2_S : SuperTableFormat<IQ2_S> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qs[32];  // lower 8 bits of the entries
        uint8_t signs[32];
        uint8_t qh[8];  // upper 2 bits, for 4 entries
        uint8_t scales[8];
    };
    static constexpr Format kFormat = Format::kIQ2_S;
    static constexpr const char *kName = "IQ2_S";
    static constexpr ValueTable kTable = kIq2Values;

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * (block.scales[sixteenth / 2] >> 4 * (sixteenth % 2) & 15) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        for (int i = 0; i < 4; i++) {
            int entry = block.qs[4 * group + i] | (block.qh[group] >> 2 * i & 3) << 8;
            indexes8(grid_iq2_s(entry), block.signs[4 * group + i], q + 8 * i);
        }
    }
};
static_assert(sizeof(IQ2_S::Block) == 82);

}  // namespace el
