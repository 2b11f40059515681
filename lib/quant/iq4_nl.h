// 32 values of 4 bits and a scale: d * level, of 16 uneven levels.
#pragma once
#include "quant/table_fit.h"

namespace el {

struct IQ4_NL : TableFormat<IQ4_NL> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kIQ4_NL;
    static constexpr const char *kName = "IQ4_NL";
    static constexpr ValueTable kTable = kIq4Values;

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2]) {
        unpack_nibbles(block.qs, q);
        set_both(scale, f16_to_f32(block.d));
    }

    static void encode(const float in[32], Block &block) {
        float x[32];
        uint8_t q[32];
        for (int i = 0; i < 32; i++) x[i] = clean(in[i]);
        block.d = f16_scale(fit_table_scale<32>(kTable, x));
        choose_indexes<32>(kTable, f16_to_f32(block.d), x, q);
        pack_nibbles(q, block.qs);
    }
};
static_assert(sizeof(IQ4_NL::Block) == 18);

}  // namespace el
