// 64 E2M1 floats with an E4M3 scale for each 16. Files have one more scale for the tensor beside it.
#pragma once
#include "quant/table_fit.h"

namespace el {

struct NVFP4 : TableFormat<NVFP4> {
    struct Block {
        uint8_t d[4];    // E4M3 without a sign; 127 is no number and stands for 0
        uint8_t qs[32];  // 8 bytes for 16 values: 0..7 in the low halves, 8..15 in the high
    };
    static constexpr uint32_t kValues = 64;
    static constexpr Format kFormat = Format::kNVFP4;
    static constexpr const char *kName = "NVFP4";
    static constexpr ValueTable kTable = kE2m1Values;

    // Bits of a positive E4M3 number are those of a float16 that is 256 times smaller.
    EL_HD static float e4m3(int bits) { return 256.0f * f16_to_f32(uint16_t(bits << 7)); }
    EL_HD static int scale_bits(const Block &block, int sixteenth) {
        return block.d[sixteenth] == 127 ? 0 : block.d[sixteenth] & 127;
    }

    EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2]) {
        for (int part = 0; part < 2; part++) {
            scale[part] = e4m3(scale_bits(block, 2 * group + part));
            for (int i = 0; i < 16; i++) q[16 * part + i] = block.qs[16 * group + 8 * part + i % 8] >> 4 * (i / 8) & 15;
        }
    }

    // Tries the scales that put the largest value between 4 and a bit above 6, the largest two of E2M1.
    static void encode(const float in[64], Block &block) {
        for (int sixteenth = 0; sixteenth < 4; sixteenth++) {
            float x[16], most = 0, least = INFINITY;
            for (int i = 0; i < 16; i++) {
                x[i] = clean(in[16 * sixteenth + i]);
                most = std::max(most, std::fabs(x[i]));
            }
            const float sixth = std::min(most / 6.0f, 448.0f);
            const int middle = (f32_to_f16(sixth / 256.0f) + 64) >> 7;
            for (int bits = std::max(middle - 2, 0); bits <= std::min(middle + 6, 126); bits++) {
                uint8_t q[16];
                float error = choose_indexes<16>(kTable, e4m3(bits) * kTable.unit, x, q);
                if (error >= least) continue;
                least = error;
                block.d[sixteenth] = uint8_t(bits);
                for (int i = 0; i < 8; i++) block.qs[8 * sixteenth + i] = uint8_t(q[i] | q[i + 8] << 4);
            }
        }
    }
};
static_assert(sizeof(NVFP4::Block) == 36);

}  // namespace el
