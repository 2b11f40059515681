// 256 values of 4 bits in groups of 32: d * scale * q - dmin * min, scale and min of 6 bits.
#pragma once
#include "quant/k_fit.h"
#include "quant/scales6.h"

namespace el {

struct Q4_K : BlockFormat<Q4_K> {
    struct Block {
        uint16_t d, dmin;    // float16
        uint8_t scales[12];  // see scales6.h
        uint8_t qs[128];     // 32 bytes for two groups: the first in the low halves, the second in the high
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kQ4_K;
    static constexpr const char *kName = "Q4_K";

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        const uint8_t *qs = block.qs + 32 * (group / 2);
        for (int i = 0; i < 32; i++) q[i] = qs[i] >> 4 * (group % 2) & 15;
        int s, m;
        unpack_scale6(block.scales, group, s, m);
        set_both(scale, f16_to_f32(block.d) * float(s));
        set_both(offset, -f16_to_f32(block.dmin) * float(m));
    }

    static void encode(const float in[256], Block &block) {
        AffineFit<32, 15, 63> fit(in);
        block = {fit.d, fit.dmin, {}, {}};
        pack_scales6(fit.scales, fit.mins, block.scales);
        for (int i = 0; i < 256; i++) block.qs[i / 64 * 32 + i % 32] |= uint8_t(fit.q[i] << 4 * (i / 32 % 2));
    }
};
static_assert(sizeof(Q4_K::Block) == 144);

}  // namespace el
