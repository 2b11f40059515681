// 256 values of 3.06 bits: a codebook of 256 entries of 4 sizes, signs, a scale of 4 bits for 32 values.
#pragma once
#include "quant/grids.h"
#include "quant/table_format.h"

namespace el {

struct IQ3_XXS : SuperTableFormat<IQ3_XXS> {
    struct Block {
        uint16_t d;  // float16
        uint8_t entries[64];
        uint8_t signs_scale[8][4];  // per 32 values 4 * 7 bits of signs, each for 8 values, then 4 bits of scale
    };
    static constexpr Format kFormat = Format::kIQ3_XXS;
    static constexpr const char *kName = "IQ3_XXS";
    static constexpr ValueTable kTable = kIq3XxsValues;

    EL_HD static uint32_t signs_scale(const Block &block, int group) {
        uint32_t word;
        memcpy(&word, block.signs_scale[group], sizeof word);
        return word;
    }

    EL_HD static int scale(const Block &block, int sixteenth) {
        return 2 * int(signs_scale(block, sixteenth / 2) >> 28) + 1;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        uint32_t signs = signs_scale(block, group);
        for (int i = 0; i < 8; i++) {
            uint32_t eight = even_signs(signs >> 7 * (i / 2) & 127);
            indexes4(grid_iq3_xxs(block.entries[8 * group + i]), eight >> 4 * (i % 2), q + 4 * i);
        }
    }
};
static_assert(sizeof(IQ3_XXS::Block) == 98);

}  // namespace el
