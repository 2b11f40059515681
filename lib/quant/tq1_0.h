// 256 values of -d, 0 or d, five to a byte: d * (q - 1).
#pragma once
#include "quant/ternary_fit.h"

namespace el {

struct TQ1_0 : BlockFormat<TQ1_0> {
    struct Block {
        uint8_t qs[52];  // 32 bytes of 5 * 32 values, 16 of 5 * 16, 4 of 4 * 4
        uint16_t d;      // float16
    };
    static constexpr uint32_t kValues = 256;
    static constexpr Format kFormat = Format::kTQ1_0;
    static constexpr const char *kName = "TQ1_0";

    // A byte is a fraction of 256 with 5 ternary digits, rounded up: times 3^digit its next digit is in front.
    struct Place {
        int byte, digit;
    };
    EL_HD static Place place(int i) {
        if (i < 160) return {i % 32, i / 32};
        if (i < 240) return {32 + i % 16, (i - 160) / 16};
        return {48 + i % 4, (i - 240) / 4};
    }

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2], float offset[2]) {
        for (int i = 0; i < 32; i++) {
            Place at = place(32 * group + i);
            uint8_t rest = block.qs[at.byte];
            for (int digit = 0; digit < at.digit; digit++) rest = uint8_t(3 * rest);
            q[i] = uint8_t(3 * rest >> 8);
        }
        set_both(scale, f16_to_f32(block.d));
        set_both(offset, -f16_to_f32(block.d));
    }

    static void encode(const float in[256], Block &block) {
        TernaryFit fit(in);
        int digits[52] = {};
        constexpr int kWeights[] = {81, 27, 9, 3, 1};
        for (int i = 0; i < 256; i++) digits[place(i).byte] += fit.q[i] * kWeights[place(i).digit];
        for (int i = 0; i < 52; i++) block.qs[i] = uint8_t((256 * digits[i] + 242) / 243);
        block.d = fit.d;
    }
};
static_assert(sizeof(TQ1_0::Block) == 54);

}  // namespace el
