// Plain float32.
#pragma once
#include "quant/format.h"
#include "quant/half.h"

namespace el {

struct F32 {
    using Block = float;
    static constexpr uint32_t kValues = 1;
    static constexpr Format kFormat = Format::kF32;
    static constexpr const char *kName = "F32";

    EL_HD static float decode1(Block block) { return block; }
    EL_HD static void encode(const float in[1], Block &block) { block = in[0]; }
};

}  // namespace el
