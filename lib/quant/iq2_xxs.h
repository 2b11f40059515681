// 256 values of 2.06 bits: a codebook of 256 entries of 8 sizes, signs, a scale of 4 bits for 32 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ2_XXS : SuperTableFormat<IQ2_XXS> {
    struct Block {
        uint16_t d;  // float16
        struct {
            uint8_t entries[4];
            uint8_t signs_scale[4];  // 7 bits of signs for each entry, then 4 bits of scale
        } groups[8];
    };
    static constexpr Format kFormat = Format::kIQ2_XXS;
    static constexpr const char *kName = "IQ2_XXS";
    static constexpr ValueTable kTable = kIq2Values;

    EL_HD static uint32_t signs_scale(const Block &block, int group) {
        uint32_t word;
        memcpy(&word, block.groups[group].signs_scale, sizeof word);
        return word;
    }

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * int(signs_scale(block, sixteenth / 2) >> 28) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        uint32_t signs = signs_scale(block, group);
        for (int i = 0; i < 4; i++)
            indexes8(grid_iq2_xxs(block.groups[group].entries[i]), even_signs(signs >> 7 * i & 127), q + 8 * i);
    }
};
static_assert(sizeof(IQ2_XXS::Block) == 66);

}  // namespace el
