// 32 values of 5 bits and a scale: d * (q - 16).
#pragma once
#include "quant/block.h"

namespace el {

struct Q5_0 : BlockFormat<Q5_0> {
    struct Block {
        uint16_t d;      // float16
        uint8_t qh[4];   // fifth bits, bit i of the 32 for value i
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kQ5_0;
    static constexpr const char *kName = "Q5_0";

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2], float offset[2]) {
        float d = f16_to_f32(block.d);
        unpack_nibbles(block.qs, q);
        unpack_fifth_bits(block.qh, q);
        set_both(scale, d);
        set_both(offset, -16.0f * d);
    }

    EL_HD static void encode(const float in[32], Block &block) {
        uint8_t q[32];
        block.d = quantize_signed(in, 16, q);
        pack_nibbles(q, block.qs);
        pack_fifth_bits(q, block.qh);
    }
};
static_assert(sizeof(Q5_0::Block) == 22);

}  // namespace el
