// 256 values of 2.31 bits: a codebook of 512 entries of 8 sizes, signs, a scale of 4 bits for 16 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ2_XS : SuperTableFormat<IQ2_XS> {
    struct Block {
        uint16_t d;       // float16
        uint16_t qs[32];  // entry in 9 bits, signs in 7
        uint8_t scales[8];
    };
    static constexpr Format kFormat = Format::kIQ2_XS;
    static constexpr const char *kName = "IQ2_XS";
    static constexpr ValueTable kTable = kIq2Values;

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * (block.scales[sixteenth / 2] >> 4 * (sixteenth % 2) & 15) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        for (int i = 0; i < 4; i++) {
            uint16_t word = block.qs[4 * group + i];
            indexes8(grid_iq2_xs(word & 511), even_signs(word >> 9), q + 8 * i);
        }
    }
};
static_assert(sizeof(IQ2_XS::Block) == 74);

}  // namespace el
