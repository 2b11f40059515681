// 256 values of 1.75 bits: the codebook of IQ1_S; a scale of 3 bits for 16 values, a direction for 8.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ1_M : SuperTableFormat<IQ1_M> {
    struct Block {
        uint8_t qs[32];      // lower 8 bits of the entries
        uint8_t qh[16];      // upper 3 bits of an entry and its direction, for two entries
        uint16_t scales[4];  // 4 * 3 bits, and 4 bits of a float16, the lowest first
    };
    static constexpr Format kFormat = Format::kIQ1_M;
    static constexpr const char *kName = "IQ1_M";
    static constexpr ValueTable kTable = kIq1Values;

    EL_HD static uint16_t super_scale(const Block &block) {
        unsigned bits = 0;
        for (int i = 0; i < 4; i++) bits |= unsigned(block.scales[i] >> 12) << 4 * i;
        return uint16_t(bits);
    }

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * (block.scales[sixteenth / 4] >> 3 * (sixteenth % 4) & 7) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        for (int i = 0; i < 4; i++) {
            int high = block.qh[2 * group + i / 2] >> 4 * (i % 2);
            indexes8(grid_iq1(block.qs[4 * group + i] | (high & 7) << 8), high & 8 ? 255 : 0, q + 8 * i);
        }
    }
};
static_assert(sizeof(IQ1_M::Block) == 56);

}  // namespace el
