// 256 values of -d, 0 or d in 2 bits: d * (q - 1).
#pragma once
#include "quant/ternary_fit.h"

namespace el {

struct TQ2_0 : BlockFormat<TQ2_0> {
    struct Block {
        uint8_t qs[64];  // 32 bytes for four groups: the first in bits 0..1, the second in bits 2..3, ...
        uint16_t d;      // float16
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kTQ2_0;
    static constexpr const char *kName = "TQ2_0";

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        for (int i = 0; i < 32; i++) q[i] = block.qs[32 * (group / 4) + i] >> 2 * (group % 4) & 3;
        set_both(scale, f16_to_f32(block.d));
        set_both(offset, -f16_to_f32(block.d));
    }

    static void encode(const float in[256], Block &block) {
        TernaryFit fit(in);
        block = {{}, fit.d};
        for (int i = 0; i < 256; i++) block.qs[i / 128 * 32 + i % 32] |= uint8_t(fit.q[i] << 2 * (i / 32 % 4));
    }
};
static_assert(sizeof(TQ2_0::Block) == 66);

}  // namespace el
