// 256 values of 2 bits in groups of 16: d * scale * q - dmin * min, scale and min of 4 bits.
#pragma once
#include "quant/k_fit.h"

namespace el {

struct Q2_K : BlockFormat<Q2_K> {
    struct Block {
        uint8_t scales[16];  // scale in the low half, min in the high
        uint8_t qs[64];      // 32 bytes for 128 values: bits 0..1 for the first 32 of them, 2..3 for the next 32, ...
        uint16_t d, dmin;    // float16
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kQ2_K;
    static constexpr const char *kName = "Q2_K";

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        const uint8_t *qs = block.qs + 32 * (group / 4);
        for (int i = 0; i < 32; i++) q[i] = qs[i] >> 2 * (group % 4) & 3;
        for (int half = 0; half < 2; half++) {
            uint8_t both = block.scales[2 * group + half];
            scale[half] = f16_to_f32(block.d) * float(both & 15);
            offset[half] = -f16_to_f32(block.dmin) * float(both >> 4);
        }
    }

    static void encode(const float in[256], Block &block) {
        AffineFit<16, 3, 15> fit(in);
        block = {{}, {}, fit.d, fit.dmin};
        for (int i = 0; i < 16; i++) block.scales[i] = uint8_t(fit.scales[i] | fit.mins[i] << 4);
        for (int i = 0; i < 256; i++) block.qs[i / 128 * 32 + i % 32] |= uint8_t(fit.q[i] << 2 * (i / 32 % 4));
    }
};
static_assert(sizeof(Q2_K::Block) == 84);

}  // namespace el
