// What formats share whose quants are indexes into a table: value i of a group of 32 is scale[i / 16] * table[q[i]].
// Products are exact in float32 but for the last, as in block.h.
#pragma once
#include "quant/block.h"
#include "quant/value_tables.h"

namespace el {

// Base of a block format F, which has: Block, kValues, kFormat, kName, kTable and
//     unpack32(const Block &, int group, uint8_t q[32], float scale[2])     scale without the table's unit
template <typename F> struct TableFormat {
    template <typename Block> EL_HD static void decode32(const Block &block, int group, float out[32]) {
        constexpr ValueTable kTable = F::kTable;
        uint8_t q[32];
        float scale[2];
        F::unpack32(block, group, q, scale);
        for (int i = 0; i < 32; i++) out[i] = scale[i / 16] * kTable.unit * float(kTable.values[q[i]]);
    }
};

// For blocks of 256 values with a float16 and integers: F has
//     indexes(const Block &, int group, uint8_t q[32])
//     super_scale(const Block &)           a float16
//     scale(const Block &, int sixteenth)  an integer that fits into a signed byte
template <typename F> struct SuperTableFormat : TableFormat<F> {
    static constexpr uint32_t kValues = 256;
    template <typename Block> EL_HD static uint16_t super_scale(const Block &block) { return block.d; }
    template <typename Block> EL_HD static void unpack32(const Block &block, int group, uint8_t q[32], float scale[2]) {
        F::indexes(block, group, q);
        for (int part = 0; part < 2; part++)
            scale[part] = f16_to_f32(F::super_scale(block)) * float(F::scale(block, 2 * group + part));
    }
};

// ---- codebook entries to indexes

// 7 signs are stored for 8 values; the number of negative ones is even.
EL_HD inline uint32_t even_signs(uint32_t seven) {
    uint32_t parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    return seven | ((parity ^ parity >> 1) & 1) << 7;
}

EL_HD inline void indexes8(uint32_t entry, uint32_t signs, uint8_t q[8]) {
    for (int i = 0; i < 8; i++) q[i] = uint8_t((entry >> 2 * i & 3) | (signs >> i & 1) << 2);
}

EL_HD inline void indexes4(uint32_t entry, uint32_t signs, uint8_t q[4]) {
    for (int i = 0; i < 4; i++) q[i] = uint8_t((entry >> 3 * i & 7) | (signs >> i & 1) << 3);
}

}  // namespace el
