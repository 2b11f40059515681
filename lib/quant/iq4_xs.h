// 256 values of 4 bits in groups of 32: d * (scale - 32) * level, of 16 uneven levels, scale of 6 bits.
#pragma once
#include "quant/table_fit.h"

namespace el {

struct IQ4_XS : SuperTableFormat<IQ4_XS> {
    struct Block {
        uint16_t d;           // float16
        uint16_t scales_h;    // upper 2 bits
        uint8_t scales_l[4];  // lower 4 bits
        uint8_t qs[128];      // 16 bytes for a group: values 0..15 in the low halves, 16..31 in the high
    };
    static constexpr Format kFormat = Format::kIQ4_XS;
    static constexpr const char *kName = "IQ4_XS";
    static constexpr ValueTable kTable = kIq4Values;

    EL_HD static int scale(const Block &block, int sixteenth) {
        int group = sixteenth / 2;
        return ((block.scales_l[group / 2] >> 4 * (group % 2) & 15) | (block.scales_h >> 2 * group & 3) << 4) - 32;
    }

    EL_HD static void indexes(const Block &block, int group, uint8_t q[32]) {
        unpack_nibbles(block.qs + 16 * group, q);
    }

    static void encode(const float in[256], Block &block) {
        float x[256], wanted[8], widest = 0;
        for (int i = 0; i < 256; i++) x[i] = clean(in[i]);
        for (int group = 0; group < 8; group++) {
            wanted[group] = fit_table_scale<32>(kTable, x + 32 * group);
            if (std::fabs(wanted[group]) > std::fabs(widest)) widest = wanted[group];
        }
        block = {f16_scale(widest / -32), 0, {}, {}};
        for (int group = 0; group < 8; group++) encode_group(x + 32 * group, wanted[group], group, block);
    }

  private:
    // Takes the best of the scales next to the one wanted.
    static void encode_group(const float x[32], float wanted, int group, Block &block) {
        float d = f16_to_f32(block.d), least = INFINITY;
        int middle = int(nearest(wanted * inverse_or_0(d), -32, 31)), best = middle;
        uint8_t q[32];
        for (int scale = std::max(middle - 1, -32); scale <= std::min(middle + 1, 31); scale++) {
            float error = choose_indexes<32>(kTable, d * float(scale), x, q);
            if (error >= least) continue;
            least = error;
            best = scale;
        }
        choose_indexes<32>(kTable, d * float(best), x, q);
        pack_nibbles(q, block.qs + 16 * group);
        block.scales_l[group / 2] |= uint8_t(((best + 32) & 15) << 4 * (group % 2));
        block.scales_h |= uint16_t((best + 32) >> 4 << 2 * group);
    }
};
static_assert(sizeof(IQ4_XS::Block) == 136);

}  // namespace el
