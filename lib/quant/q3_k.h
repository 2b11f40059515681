// 256 values of 3 bits in groups of 16: d * (scale - 32) * (q - 4), scale of 6 bits.
#pragma once
#include "quant/k_fit.h"

namespace el {

struct Q3_K : BlockFormat<Q3_K> {
    struct Block {
        uint8_t hmask[32];   // third bits: bit g of byte i for value 32 * g + i
        uint8_t qs[64];      // 32 bytes for 128 values: bits 0..1 for the first 32 of them, 2..3 for the next 32, ...
        uint8_t scales[12];  // 8 bytes with the lower 4 bits of scales 0..7 and 8..15, 4 bytes with the upper 2 of
                             // every fourth
        uint16_t d;          // float16
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kQ3_K;
    static constexpr const char *kName = "Q3_K";

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        const uint8_t *qs = block.qs + 32 * (group / 4);
        for (int i = 0; i < 32; i++) {
            q[i] = uint8_t((qs[i] >> 2 * (group % 4) & 3) | (block.hmask[i] >> group & 1) << 2);
        }
        for (int half = 0; half < 2; half++) {
            int index = 2 * group + half;
            int low = block.scales[index % 8] >> 4 * (index / 8) & 15,
                high = block.scales[8 + index % 4] >> 2 * (index / 4) & 3;
            scale[half] = f16_to_f32(block.d) * float((low | high << 4) - 32);
            offset[half] = -4.0f * scale[half];
        }
    }

    static void encode(const float in[256], Block &block) {
        SignedFit<4, 32> fit(in);
        block = {{}, {}, {}, fit.d};
        for (int i = 0; i < 16; i++) {
            int scale = fit.scales[i] + 32;
            block.scales[i % 8] |= uint8_t((scale & 15) << 4 * (i / 8));
            block.scales[8 + i % 4] |= uint8_t(scale >> 4 << 2 * (i / 4));
        }
        for (int i = 0; i < 256; i++) {
            block.qs[i / 128 * 32 + i % 32] |= uint8_t((fit.q[i] & 3) << 2 * (i / 32 % 4));
            block.hmask[i % 32] |= uint8_t(fit.q[i] >> 2 << i / 32);
        }
    }
};
static_assert(sizeof(Q3_K::Block) == 110);

}  // namespace el
