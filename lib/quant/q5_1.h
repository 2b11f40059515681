// 32 values of 5 bits, a scale and a minimum: d * q + m.
#pragma once
#include "quant/block.h"

namespace el {

struct Q5_1 : BlockFormat<Q5_1> {
    struct Block {
        uint16_t d, m;   // float16
        uint8_t qh[4];   // fifth bits, bit i of the 32 for value i
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kQ5_1;
    static constexpr const char *kName = "Q5_1";

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2], float offset[2]) {
        unpack_nibbles(block.qs, q);
        unpack_fifth_bits(block.qh, q);
        set_both(scale, f16_to_f32(block.d));
        set_both(offset, f16_to_f32(block.m));
    }

    EL_HD static void encode(const float in[32], Block &block) {
        uint8_t q[32];
        quantize_range(in, 31, q, block.d, block.m);
        pack_nibbles(q, block.qs);
        pack_fifth_bits(q, block.qh);
    }
};
static_assert(sizeof(Q5_1::Block) == 24);

}  // namespace el
