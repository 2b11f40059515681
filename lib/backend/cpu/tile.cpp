#include "backend/cpu/tile.h"

#include "quant/formats.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace el::cpu {
namespace {

template <class F> struct TileOf;
template <TileKind K, Planes P, Scales S> struct Tile {
    static constexpr TileKind kKind = K;
    static constexpr Planes kPlanes = P;
    static constexpr Scales kScales = S;
};
template <> struct TileOf<F32> : Tile<TileKind::kF32, Planes::kBytes, Scales::kConstant> {};
template <> struct TileOf<F16> : Tile<TileKind::kF16, Planes::kBytes, Scales::kConstant> {};
template <> struct TileOf<BF16> : Tile<TileKind::kBF16, Planes::kBytes, Scales::kConstant> {};
template <> struct TileOf<Q4_0> : Tile<TileKind::kQ4_0, Planes::kNibbles, Scales::kConstant> {};
template <> struct TileOf<Q4_1> : Tile<TileKind::kQ4_1, Planes::kNibbles, Scales::kMinimum> {};
template <> struct TileOf<Q5_0> : Tile<TileKind::kQ5_0, Planes::kNibbles1, Scales::kConstant> {};
template <> struct TileOf<Q5_1> : Tile<TileKind::kQ5_1, Planes::kNibbles1, Scales::kMinimum> {};
template <> struct TileOf<Q8_0> : Tile<TileKind::kQ8_0, Planes::kBytes, Scales::kConstant> {};
template <> struct TileOf<Q2_K> : Tile<TileKind::kQ2_K, Planes::kPairs, Scales::kSuper16Min> {};
template <> struct TileOf<Q3_K> : Tile<TileKind::kQ3_K, Planes::kTriples, Scales::kSuper16> {};
template <> struct TileOf<Q4_K> : Tile<TileKind::kQ4_K, Planes::kNibbles, Scales::kSuper32> {};
template <> struct TileOf<Q5_K> : Tile<TileKind::kQ5_K, Planes::kNibbles1, Scales::kSuper32> {};
template <> struct TileOf<Q6_K> : Tile<TileKind::kQ6_K, Planes::kNibbles2, Scales::kSuper16> {};
template <> struct TileOf<IQ1_S> : Tile<TileKind::kIQ1, Planes::kPairsEight, Scales::kSuper16> {};
template <> struct TileOf<IQ1_M> : Tile<TileKind::kIQ1, Planes::kPairsEight, Scales::kSuper16> {};
template <> struct TileOf<IQ2_XXS> : Tile<TileKind::kIQ2_XXS, Planes::kTriples, Scales::kSigned32> {};
template <> struct TileOf<IQ2_XS> : Tile<TileKind::kIQ2, Planes::kTriples, Scales::kSuper16> {};
template <> struct TileOf<IQ2_S> : Tile<TileKind::kIQ2, Planes::kTriples, Scales::kSuper16> {};
template <> struct TileOf<IQ3_XXS> : Tile<TileKind::kIQ3_XXS, Planes::kNibbles, Scales::kSigned32> {};
template <> struct TileOf<IQ3_S> : Tile<TileKind::kIQ3_S, Planes::kNibbles, Scales::kSigned32> {};
template <> struct TileOf<IQ4_NL> : Tile<TileKind::kIQ4_NL, Planes::kNibbles, Scales::kConstant> {};
template <> struct TileOf<IQ4_XS> : Tile<TileKind::kIQ4_XS, Planes::kNibbles, Scales::kSigned32> {};
template <> struct TileOf<TQ1_0> : Tile<TileKind::kTernary, Planes::kPairs, Scales::kOne256> {};
template <> struct TileOf<TQ2_0> : Tile<TileKind::kTernary, Planes::kPairs, Scales::kOne256> {};
template <> struct TileOf<MXFP4> : Tile<TileKind::kMXFP4, Planes::kNibbles, Scales::kPower32> {};
template <> struct TileOf<NVFP4> : Tile<TileKind::kNVFP4, Planes::kNibbles, Scales::kE4m3x16> {};

// Quants are indexes into a table of values.
template <class F>
concept HasTable = requires {
    F::kTable;
};

constexpr uint32_t plane_bytes(Planes planes) {
    constexpr uint32_t kBytes[] = {256, 320, 384, 128, 144, 192, 512};
    return kBytes[static_cast<int>(planes)];
}

constexpr uint32_t block_scale_bytes(Scales scales) {
    constexpr uint32_t kBytes[] = {32, 64, 320, 288, 320, 160, 32, 16, 64};
    return kBytes[static_cast<int>(scales)];
}

// ---- scales of row r: block b of the file to the 16-row block at `to`

void put16(std::byte *to, uint16_t x) { std::memcpy(to, &x, 2); }

template <class F> void pack_scales(const typename F::Block &b, uint32_t r, std::byte *to) {
    constexpr Scales kScales = TileOf<F>::kScales;
    if constexpr (kScales == Scales::kPower32)
        to[r] = std::byte(b.e);
    else if constexpr (kScales == Scales::kE4m3x16)
        for (int i = 0; i < 4; i++) to[16 * i + r] = std::byte(F::scale_bits(b, i));
    else if constexpr (requires { F::super_scale(b); })
        put16(to + 2 * r, F::super_scale(b));
    else
        put16(to + 2 * r, b.d);
    if constexpr (kScales == Scales::kSigned32)
        for (int i = 0; i < 8; i++) to[32 + 16 * i + r] = std::byte(F::scale(b, 2 * i));
    if constexpr (kScales == Scales::kSuper16 && HasTable<F>)
        for (int i = 0; i < 16; i++) to[32 + 16 * i + r] = std::byte(F::scale(b, i));
    if constexpr (kScales == Scales::kMinimum) put16(to + 32 + 2 * r, b.m);
    if constexpr (kScales == Scales::kSuper32 || kScales == Scales::kSuper16Min) {
        put16(to + 32 + 2 * r, b.dmin ^ 0x8000);
    }
    if constexpr (kScales == Scales::kSuper32) {
        for (int group = 0; group < 8; group++) {
            int scale, min;
            unpack_scale6(b.scales, group, scale, min);
            to[64 + 32 * group + r] = std::byte(scale);
            to[80 + 32 * group + r] = std::byte(min);
        }
    }
    if constexpr (std::is_same_v<F, Q6_K>)
        for (int i = 0; i < 16; i++) to[32 + 16 * i + r] = std::byte(b.scales[i]);
    if constexpr (std::is_same_v<F, Q3_K>)
        for (int i = 0; i < 16; i++) {
            int low = b.scales[i % 8] >> 4 * (i / 8) & 15, high = b.scales[8 + i % 4] >> 2 * (i / 4) & 3;
            to[32 + 16 * i + r] = std::byte((low | high << 4) - 32);
        }
    if constexpr (std::is_same_v<F, Q2_K>)
        for (int i = 0; i < 16; i++) to[64 + 16 * i + r] = std::byte(b.scales[i]);
}

// ---- quants of row r of a tile, as 8 words of 4 columns each, OR-ed into the planes at `to`

struct Words {
    uint32_t w[8];
};

void put(std::byte *to, uint32_t vector, uint32_t r, uint32_t word) { std::memcpy(to + 64 * vector + 4 * r, &word, 4); }

template <Planes P> void pack_quants(const uint8_t q[32], uint32_t r, std::byte *to) {
    uint32_t w[8];
    std::memcpy(w, q, sizeof w);
    constexpr uint32_t kOnes = 0x01010101;
    auto bits = [&](int shift) {
        uint32_t all = 0;
        for (int j = 0; j < 8; j++) all |= (w[j] >> shift & kOnes) << j;
        return all;
    };
    auto pairs = [&](int first, int shift) {
        uint32_t all = 0;
        for (int j = 0; j < 4; j++) all |= (w[first + j] >> shift & 3 * kOnes) << 2 * j;
        return all;
    };
    if constexpr (P == Planes::kBytes) {
        for (uint32_t j = 0; j < 8; j++) put(to, j, r, w[j]);
    } else if constexpr (P == Planes::kTriples) {
        const uint32_t rest[] = {w[6] & 3 * kOnes, w[7] & 3 * kOnes, (w[6] >> 2 & kOnes) | (w[7] >> 1 & 2 * kOnes)};
        for (uint32_t i = 0; i < 3; i++) put(to, i, r, w[2 * i] | w[2 * i + 1] << 3 | rest[i] << 6);
    } else if constexpr (P == Planes::kPairs || P == Planes::kPairsEight) {
        put(to, 0, r, pairs(0, 0));
        put(to, 1, r, pairs(4, 0));
        if constexpr (P == Planes::kPairsEight) {
            int shared = 0;
            for (int i = 0; i < 4; i++) shared |= (q[8 * i] >> 2 & 1) << i;
            to[128 + r] = std::byte(shared);
        }
    } else {
        for (uint32_t j = 0; j < 4; j++) put(to, j, r, (w[j] & 15 * kOnes) | (w[j + 4] & 15 * kOnes) << 4);
        if constexpr (P == Planes::kNibbles1) put(to, 4, r, bits(4));
        if constexpr (P == Planes::kNibbles2) {
            put(to, 4, r, pairs(0, 4));
            put(to, 5, r, pairs(4, 4));
        }
    }
}

template <Planes P> void unpack_quants(const uint8_t *from, uint32_t r, uint8_t q[32]) {
    uint32_t v[8], w[8];
    for (uint32_t j = 0; j < plane_bytes(P) / 64; j++) std::memcpy(&v[j], from + 64 * j + 4 * r, 4);
    constexpr uint32_t kOnes = 0x01010101;
    for (int j = 0; j < 8; j++) {
        if constexpr (P == Planes::kBytes)
            w[j] = v[j];
        else if constexpr (P == Planes::kTriples)
            w[j] = j < 6 ? v[j / 2] >> 3 * (j % 2) & 7 * kOnes : (v[j - 6] >> 6 & 3 * kOnes) | (v[2] >> j & kOnes) << 2;
        else if constexpr (P == Planes::kPairs || P == Planes::kPairsEight)
            w[j] = v[j / 4] >> 2 * (j % 4) & 3 * kOnes;
        else
            w[j] = v[j % 4] >> 4 * (j / 4) & 15 * kOnes;
        if constexpr (P == Planes::kNibbles1) w[j] |= (v[4] >> j & kOnes) << 4;
        if constexpr (P == Planes::kPairsEight) w[j] |= (from[128 + r] >> j / 2 & 1) * 4 * kOnes;
        if constexpr (P == Planes::kNibbles2) w[j] |= (v[4 + j / 4] >> 2 * (j % 4) & 3 * kOnes) << 4;
    }
    std::memcpy(q, w, sizeof w);
}

// Scale and offset of both halves of group `group` of a block, for row r.
template <class F> void unpack_scales(const uint8_t *from, int group, uint32_t r, float scale[2], float offset[2]) {
    constexpr Scales kScales = TileOf<F>::kScales;
    auto half_float = [&](size_t at) {
        uint16_t h;
        std::memcpy(&h, from + at + 2 * r, 2);
        return f16_to_f32(h);
    };
    constexpr int kBits[] = {4, 5, 6, 2, 3, 3, 8};
    constexpr float kCentre = float(1 << (kBits[static_cast<int>(TileOf<F>::kPlanes)] - 1));
    for (int half = 0; half < 2; half++) {
        if constexpr (kScales == Scales::kConstant) {
            scale[half] = half_float(0);
            offset[half] = -kCentre * scale[half];
        } else if constexpr (kScales == Scales::kMinimum) {
            scale[half] = half_float(0);
            offset[half] = half_float(32);
        } else if constexpr (kScales == Scales::kSuper32) {
            scale[half] = half_float(0) * from[64 + 32 * group + r];
            offset[half] = half_float(32) * from[80 + 32 * group + r];
        } else if constexpr (kScales == Scales::kSuper16) {
            scale[half] = half_float(0) * static_cast<int8_t>(from[32 + 32 * group + 16 * half + r]);
            offset[half] = -kCentre * scale[half];
        } else if constexpr (kScales == Scales::kSigned32) {
            scale[half] = half_float(0) * static_cast<int8_t>(from[32 + 16 * group + r]);
        } else if constexpr (kScales == Scales::kOne256) {
            scale[half] = half_float(0);
            offset[half] = -scale[half];
        } else if constexpr (kScales == Scales::kPower32) {
            scale[half] = F::power(from[r]);
        } else if constexpr (kScales == Scales::kE4m3x16) {
            scale[half] = F::e4m3(from[32 * group + 16 * half + r]);
        } else {
            uint8_t both = from[64 + 32 * group + 16 * half + r];
            scale[half] = half_float(0) * float(both & 15);
            offset[half] = half_float(32) * float(both >> 4);
        }
    }
}

// ---- whole panels

template <class F>
void pack_panel(const std::byte *blocks, size_t row_bytes, uint32_t n_rows, const Matrix &m, std::byte *to) {
    using Block = typename F::Block;
    const size_t n = m.cols / F::kValues;
    if (n_rows < kPanelRows) std::memset(to, 0, m.panel_bytes);
    for (uint32_t r = 0; r < n_rows; r++, blocks += row_bytes) {
        if constexpr (F::kValues == 1) {
            for (size_t i = 0; i < n; i++)
                std::memcpy(to + (i * kPanelRows + r) * sizeof(Block), blocks + i * sizeof(Block), sizeof(Block));
        } else {
            constexpr Planes kPlanes = TileOf<F>::kPlanes;
            std::byte *quants = to + m.scale_bytes;
            for (size_t i = 0; i < n; i++) {
                Block block;
                std::memcpy(&block, blocks + i * sizeof block, sizeof block);
                pack_scales<F>(block, r, to + i * m.layout->scale_bytes);
                for (uint32_t group = 0; group < F::kValues / 32; group++, quants += plane_bytes(kPlanes)) {
                    uint8_t q[32];
                    float scale[2], offset[2];
                    if constexpr (HasTable<F>)
                        F::unpack32(block, int(group), q, scale);
                    else
                        F::unpack32(block, int(group), q, scale, offset);
                    pack_quants<kPlanes>(q, r, quants);
                }
            }
        }
    }
}

template <class F>
void decode_row_part(const Matrix &m, size_t panel, uint32_t r, uint32_t begin, uint32_t n, float *out) {
    if constexpr (F::kValues == 1) {
        for (uint32_t i = 0; i < n; i++) {
            typename F::Block block;
            std::memcpy(&block, m.at(panel) + (size_t(begin + i) * kPanelRows + r) * sizeof block, sizeof block);
            out[i] = F::decode1(block);
        }
    } else {
        constexpr uint32_t kTileBytes = plane_bytes(TileOf<F>::kPlanes);
        for (uint32_t i = 0; i < n; i += 32) {
            const uint32_t column = begin + i;
            uint8_t q[32];
            float scale[2], offset[2];
            unpack_quants<TileOf<F>::kPlanes>(m.at(panel) + m.scale_bytes + size_t(column / 32) * kTileBytes, r, q);
            unpack_scales<F>(m.at(panel) + size_t(column / F::kValues) * m.layout->scale_bytes,
                             int(column % F::kValues / 32), r, scale, offset);
            for (int k = 0; k < 32; k++) {
                if constexpr (HasTable<F>)
                    out[i + k] = scale[k / 16] * F::kTable.unit * float(F::kTable.values[q[k]]);
                else
                    out[i + k] = scale[k / 16] * float(q[k]) + offset[k / 16];
            }
        }
    }
}

struct Functions {
    TileLayout layout;
    void (*pack_panel)(const std::byte *blocks, size_t row_bytes, uint32_t n_rows, const Matrix &m, std::byte *to);
    void (*decode)(const Matrix &m, size_t panel, uint32_t r, uint32_t begin, uint32_t n, float *out);
};

template <class F> constexpr Functions functions_of() {
    using Of = TileOf<F>;
    TileLayout layout{Of::kKind,  Of::kPlanes, Of::kScales,
                      F::kValues, 0,           kPanelRows * uint32_t(sizeof(typename F::Block))};
    if (F::kValues > 1) {
        layout.scale_bytes = block_scale_bytes(Of::kScales);
        layout.quant_bytes = F::kValues / 32 * plane_bytes(Of::kPlanes);
    }
    return {layout, pack_panel<F>, decode_row_part<F>};
}

const Functions &functions(Format format) {
    static constexpr auto kTable = [] {
        std::array<Functions, 41> table{};  // by number of the format
        for_each_format([&]<class F>(std::type_identity<F>) { table.at(size_t(F::kFormat)) = functions_of<F>(); });
        return table;
    }();
    return kTable[size_t(format)];
}

}  // namespace

const TileLayout &tile_layout(Format format) { return functions(format).layout; }

Matrix::Matrix(Format format, uint64_t rows, uint64_t cols)
    : format(format), layout(&tile_layout(format)), rows(rows), cols(cols) {
    const size_t blocks = cols / layout->block_columns;
    scale_bytes = (blocks * layout->scale_bytes + 63) / 64 * 64;
    panel_bytes = (scale_bytes + blocks * layout->quant_bytes + 63) / 64 * 64;
}

void Matrix::pack(uint64_t row_begin, uint64_t n_rows, const std::byte *blocks) const {
    const size_t file_row = row_bytes(format, cols);
    for (uint64_t done = 0; done < n_rows; done += kPanelRows) {
        const uint32_t n = uint32_t(std::min<uint64_t>(kPanelRows, n_rows - done));
        functions(format).pack_panel(blocks + done * file_row, file_row, n, *this,
                                     data + (row_begin + done) / kPanelRows * panel_bytes);
    }
}

void Matrix::decode(uint64_t row, uint32_t col_begin, uint32_t n, float *out) const {
    functions(format).decode(*this, row / kPanelRows, uint32_t(row % kPanelRows), col_begin, n, out);
}

}  // namespace el::cpu
