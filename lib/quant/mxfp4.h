// 32 E2M1 floats and a power of 2 (OCP Microscaling Formats, MXFP4).
#pragma once
#include "quant/table_fit.h"

namespace el {

struct MXFP4 : TableFormat<MXFP4> {
    struct Block {
        uint8_t e;       // E8M0: 2^(e - 127); 255 is no number
        uint8_t qs[16];  // values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr uint32_t kValues = 32;
    static constexpr Format kFormat = Format::kMXFP4;
    static constexpr const char *kName = "MXFP4";
    static constexpr ValueTable kTable = kE2m1Values;

    EL_HD static float power(int e) { return bits_float(e == 0 ? 0x00400000u : uint32_t(e) << 23); }

    EL_HD static void unpack32(const Block &block, int, uint8_t q[32], float scale[2]) {
        unpack_nibbles(block.qs, q);
        set_both(scale, power(block.e));
    }

    // The largest value gets the largest exponent of E2M1; a neighbouring scale is taken where its error is smaller.
    static void encode(const float in[32], Block &block) {
        float x[32], most = 0, least = INFINITY;
        for (int i = 0; i < 32; i++) {
            x[i] = clean(in[i]);
            most = std::max(most, std::fabs(x[i]));
        }
        const int middle = most > 0 ? std::max(std::ilogb(most) - 2 + 127, 0) : 0;
        for (int e : {middle, middle + 1, std::max(middle - 1, 0)}) {
            uint8_t q[32];
            float error = choose_indexes<32>(kTable, power(e) * kTable.unit, x, q);
            if (error >= least) continue;
            least = error;
            block.e = uint8_t(e);
            pack_nibbles(q, block.qs);
        }
    }
};
static_assert(sizeof(MXFP4::Block) == 17);

}  // namespace el
