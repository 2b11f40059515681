// 32 values of 4 bits and a scale: d * (q - 8).
#pragma once
#include "quant/block.h"

namespace el {

struct Q4_0 : BlockFormat<Q4_0> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kQ4_0;
    static constexpr const char *kName = "Q4_0";

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2], float offset[2]) {
        float d = f16_to_f32(block.d);
        unpack_nibbles(block.qs, q);
        set_both(scale, d);
        set_both(offset, -8.0f * d);
    }

    EL_HD static void encode(const float in[32], Block &block) {
        uint8_t q[32];
        block.d = quantize_signed(in, 8, q);
        pack_nibbles(q, block.qs);
    }
};
static_assert(sizeof(Q4_0::Block) == 18);

}  // namespace el
