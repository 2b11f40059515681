// IEEE half precision.
#pragma once
#include "quant/format.h"
#include "quant/half.h"

namespace el {

struct F16 {
    using Block = uint16_t;
    static constexpr uint32_t kValues = 1;
    static constexpr Format kFormat = Format::kF16;
    static constexpr const char *kName = "F16";

    EL_HD static float decode1(Block block) { return f16_to_f32(block); }
    EL_HD static void encode(const float in[1], Block &block) { block = f32_to_f16(in[0]); }
};

}  // namespace el
