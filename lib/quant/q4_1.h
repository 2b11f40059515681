// 32 values of 4 bits, a scale and a minimum: d * q + m.
#pragma once
#include "quant/block.h"

namespace el {

struct Q4_1 : BlockFormat<Q4_1> {
    struct Block {
        uint16_t d, m;   // float16
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kQ4_1;
    static constexpr const char *kName = "Q4_1";

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2], float offset[2]) {
        unpack_nibbles(block.qs, q);
        set_both(scale, f16_to_f32(block.d));
        set_both(offset, f16_to_f32(block.m));
    }

    EL_HD static void encode(const float in[32], Block &block) {
        uint8_t q[32];
        quantize_range(in, 15, q, block.d, block.m);
        pack_nibbles(q, block.qs);
    }
};
static_assert(sizeof(Q4_1::Block) == 20);

}  // namespace el
