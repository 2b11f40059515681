// 32 signed bytes and a scale: d * q.
#pragma once
#include "quant/block.h"

namespace el {

struct Q8_0 : BlockFormat<Q8_0> {
    struct Block {
        uint16_t d;  // float16
        int8_t qs[32];
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kQ8_0;
    static constexpr const char *kName = "Q8_0";

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2], float offset[2]) {
        float d = f16_to_f32(block.d);
        for (int i = 0; i < 32; i++) q[i] = uint8_t(block.qs[i] + 128);
        set_both(scale, d);
        set_both(offset, -128.0f * d);
    }

    // -128 is never written, so that kernels may negate.
    EL_HD static void encode(const float in[32], Block &block) {
        float largest = 0.0f;
        for (int i = 0; i < 32; i++) {
            float x = clean(in[i]), size = x < 0 ? -x : x;
            largest = size > largest ? size : largest;
        }
        block.d = f16_scale(largest / 127.0f);
        float inverse = inverse_or_0(f16_to_f32(block.d));
        for (int i = 0; i < 32; i++) block.qs[i] = int8_t(nearest(clean(in[i]) * inverse, -127.0f, 127.0f));
    }
};
static_assert(sizeof(Q8_0::Block) == 34);

}  // namespace el
