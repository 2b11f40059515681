// 256 values of 6 bits in groups of 16: d * scale * (q - 32), scale a signed byte.
#pragma once
#include "quant/k_fit.h"

namespace el {

struct Q6_K : BlockFormat<Q6_K> {
    struct Block {
        uint8_t ql[128];  // lower 4 bits, 64 bytes for 128 values: 0..63 in the low halves, 64..127 in the high
        uint8_t qh[64];  // upper 2 bits, 32 bytes for 128 values: bits 0..1 for the first 32 of them, 2..3 for the next
                         // 32, ...
        int8_t scales[16];
        uint16_t d;  // float16
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kQ6_K;
    static constexpr const char *kName = "Q6_K";

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        int half = group / 4, quarter = group % 4;
        const uint8_t *ql = block.ql + 64 * half + 32 * (quarter % 2), *qh = block.qh + 32 * half;
        for (int i = 0; i < 32; i++) {
            q[i] = uint8_t((ql[i] >> 4 * (quarter / 2) & 15) | (qh[i] >> 2 * quarter & 3) << 4);
        }
        for (int part = 0; part < 2; part++) {
            scale[part] = f16_to_f32(block.d) * float(block.scales[2 * group + part]);
            offset[part] = -32.0f * scale[part];
        }
    }

    static void encode(const float in[256], Block &block) {
        SignedFit<32, 128> fit(in);
        block = {{}, {}, {}, fit.d};
        memcpy(block.scales, fit.scales, sizeof block.scales);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, within = i % 128;
            block.ql[64 * half + within % 64] |= uint8_t((fit.q[i] & 15) << 4 * (within / 64));
            block.qh[32 * half + i % 32] |= uint8_t(fit.q[i] >> 4 << 2 * (within / 32));
        }
    }
};
static_assert(sizeof(Q6_K::Block) == 210);

}  // namespace el
