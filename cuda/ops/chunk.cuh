// Packed matrices times eight tokens on matrix units. A band is 16 rows, whole tiles; a chunk of it has 8 groups of
// columns. A warp multiplies a chunk in one go: matrix units take the codes of each group as they lie, with the tokens'
// integers in the order of quantized_input.cuh, and their sums become floats for scales and offsets.
#pragma once
#include "async_copy.cuh"
#include "ops/quantized_input.cuh"
#include "packed.cuh"
#include "warp_matrix.cuh"

namespace el::cuda {

constexpr uint32_t kBandRows = 16;

// Where parts of a chunk begin in shared memory: each as in a slot of 8 lanes, tile after tile, but rows of codes lie
// 16 bytes further apart, so that 8 rows' pieces of the same columns lie in different banks.
struct ChunkShape {
    uint32_t tiles, pairs, bits, groups, supers, bytes;
    constexpr explicit ChunkShape(PackedShape s)
        : tiles(s.rows ? kBandRows / s.rows : 0), pairs(s.bits >= 4 ? (s.bits == 8 ? 2 : 1) * kBandRows * kCodeRow : 0),
          bits(pairs + (s.pair_bytes(1) > 0 ? kBandRows * kPairRow : 0)),
          groups(bits + uint32_t(s.bit_bytes(kChunkGroups)) * tiles),
          supers(groups + s.group_bytes * kBandRows * kChunkGroups), bytes(supers + (s.super_bytes ? 16 * tiles : 0)) {}
    // Of 16 bytes of each group, and of 8
    static constexpr uint32_t kCodeRow = 16 * kChunkGroups + 16, kPairRow = 8 * kChunkGroups + 16;
};

// The same, but compilers do not see what it is made of: they would make it anew each time that it is used.
__device__ inline uint32_t kept(uint32_t x) {
    asm volatile("" : "+r"(x));
    return x;
}

// What a lane needs again and again, for chunk `chunk` of slots.
struct ChunkLane {
    const uint32_t first, line, piece, to, from, whole, token, row;
    __device__ explicit ChunkLane(uint32_t chunk)
        : first(chunk * kChunkGroups), line(kept(lane() / 8 * 16)), piece(kept((first + lane() % 8) * 16)),
          to(kept(lane() / 8 * ChunkShape::kCodeRow + lane() % 8 * 16)),
          from(kept(lane() % 16 * ChunkShape::kCodeRow + lane() / 16 * 16)), whole(kept(lane() * 16)),
          token(kept(lane() % 4 * 16)), row(kept(lane() / 4)) {}

  private:
    static __device__ uint32_t lane() { return threadIdx.x % 32; }
};

// Slots of the tiles of a band: the first, and how many exist.
struct ChunkSource {
    const uint8_t *slot;
    uint32_t tile_bytes, tiles;
};

// Asks for a chunk, by all lanes. What does not exist stays as it is: nobody keeps what it gives.
template <typename F>
__device__ void copy_chunk(const ChunkSource &from, uint32_t lanes, const ChunkLane &own, uint8_t *to) {
    constexpr PackedShape s = packed_shape(F::kFormat);
    constexpr ChunkShape c(s);
    const uint32_t lane = threadIdx.x % 32, eighth = lane / 8, group = own.first + lane % 8;
    const auto copy = [&](const uint8_t *at, uint32_t tile, uint32_t place, uint32_t of_group) {
        if (tile < from.tiles && (F::kValues == kChunkCols || of_group < lanes)) copy_async(to + place, at);
    };
    if constexpr (s.bits >= 4) {
        const uint8_t *at = from.slot + (own.line * lanes + own.piece);
        // Of whole bytes, a tile has a half of each of its two rows after the other.
        const uint32_t place =
            s.bits == 8 ? (eighth % 2 * kBandRows + eighth / 2) * c.kCodeRow + lane % 8 * 16 : own.to;
#pragma unroll
        for (uint32_t tile = 0; tile < c.tiles; ++tile, at += from.tile_bytes)
            copy(at, tile, place + tile * s.rows * c.kCodeRow, group);
    }
    if constexpr (s.pair_bytes(1) > 0)  // of two groups each; these formats have no fewer than 8
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            const uint32_t tile = 2 * i + lane / 16, row = lane / 4 % 4;
            copy(from.slot +
                     (tile * from.tile_bytes + lanes * (uint32_t(s.pairs_at(1)) + row * 8) + own.first * 8 + own.token),
                 tile, c.pairs + (lane / 4 + 8 * i) * c.kPairRow + own.token, 0);
        }
    if constexpr (s.bit_bytes(1) > 0)
        copy(from.slot + (eighth * from.tile_bytes + lanes * uint32_t(s.bits_at(1)) + own.piece), eighth,
             c.bits + own.whole, group);
    // Scales of groups, and with the lanes behind them those that 8 groups share.
    constexpr uint32_t kOfGroup = s.group_bytes * s.rows, kPieces = kOfGroup * kChunkGroups / 16;
    const bool shared = s.super_bytes && lane >= c.tiles * kPieces;
    const uint32_t tile = shared ? lane - c.tiles * kPieces : lane / kPieces,
                   begin = lanes * uint32_t(shared ? s.groups_at(1) + kOfGroup : s.groups_at(1)),
                   at = shared ? own.first / 8 * s.super_bytes * s.rows / 16 * 16
                               : own.first * kOfGroup + lane % kPieces * 16;
    copy(from.slot + (tile * from.tile_bytes + begin + at), tile, c.groups + own.whole,
         own.first + lane % kPieces * 16 / kOfGroup);
}

// ---- scales: each is decoded by one lane, for all

// Formats whose codes mean values around 0 by being that much larger; others have offsets, or nothing to add.
template <typename F> constexpr bool kCentred = Scales<F>::kMiddle != 0;
template <typename F> constexpr uint32_t kMiddle = uint32_t(Scales<F>::kMiddle);
template <typename F> constexpr bool kOffsets = Scales<F>::kMins;

// Of a group: scale and offset, or the scales of its halves (and their offsets).
template <typename F> constexpr uint32_t kScaleBytes = sizeof(float) * (Scales<F>::kHalves == 2 && kOffsets<F> ? 4 : 2);
// In a table of [16 rows][8 groups], without conflicts of banks.
template <typename F> constexpr uint32_t kScaleRowBytes = kChunkGroups *kScaleBytes<F> + 16;

__device__ inline void load_floats(const uint8_t *from, float *to) {
    const float4 v = *reinterpret_cast<const float4 *>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// `lanes`: of the slot; scales of groups that do not exist are zeros.
template <typename F>
__device__ void decode_scales(const uint8_t *chunk, const ChunkLane &own, uint32_t lanes, uint8_t *table) {
    constexpr ChunkShape c(packed_shape(F::kFormat));
    using U = Unit<F>;
#pragma unroll
    for (uint32_t of = 0; of < c.tiles / 4; ++of) {
        const uint32_t i = 32 * of + threadIdx.x % 32;
        U unit;
        load_words<U::kGroupWords>(chunk + c.groups + i * 4 * U::kGroupWords, unit.group);
        if constexpr (U::kSuperWords > 0)
            load_words<U::kSuperWords>(chunk + c.supers + i / kChunkGroups * 16 +
                                           own.first / kChunkGroups * 4 * U::kSuperWords % 16,
                                       unit.super);
#pragma unroll
        for (uint32_t r = 0; r < U::kRows; ++r) {
            Affine a = unit.affine(int(r));
            if (F::kValues < kChunkCols && own.first + i % kChunkGroups >= lanes) a = {};
            uint8_t *to =
                table + (i / kChunkGroups * U::kRows + r) * kScaleRowBytes<F> + i % kChunkGroups * kScaleBytes<F>;
            if constexpr (kScaleBytes<F> == 16)
                *reinterpret_cast<float4 *>(to) = {a.scale[0], a.scale[1], a.offset[0], a.offset[1]};
            else
                *reinterpret_cast<float2 *>(to) = {a.scale[0], kOffsets<F> ? a.offset[0] : a.scale[1]};
        }
    }
}

// ---- products

// The codes of two groups in the rows that a lane has, 8 rows apart.
template <typename F> struct PairOfGroups {
    static constexpr PackedShape s = packed_shape(F::kFormat);
    static constexpr ChunkShape c{s};
    uint32_t nibbles[2][4], bits[2][2], pairs[2][4];

    __device__ PairOfGroups(const uint8_t *chunk, const ChunkLane &own, uint32_t pair) {
        if constexpr (s.bits == 8) {
            for (uint32_t e = 0; e < 2; ++e)
                load_matrices(nibbles[e], chunk + threadIdx.x % 32 * c.kCodeRow + (2 * pair + e) * 16);
        } else if constexpr (s.bits >= 4) {
            load_matrices(nibbles[0], chunk + own.from + pair * 32);
        }
        for (uint32_t r = 0; r < 2; ++r) {
            const uint32_t row = own.row + 8 * r;
            if constexpr (s.pair_bytes(1) > 0)
                load_words<4>(chunk + row * c.kPairRow + (c.pairs + pair * 16), pairs[r]);
            if constexpr (s.bit_bytes(1) > 0)
                for (uint32_t e = 0; e < 2; ++e)
                    load_words<1>(chunk + c.bits + ((row / 4 * kChunkGroups + 2 * pair + e) * 4 + row % 4) * 4,
                                  &bits[e][r]);
        }
    }
    // Of one of them, as bytes: rows of the first halves, then of the second.
    __device__ void codes(uint32_t e, uint32_t out[4]) const {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) out[i] = s.bits == 8 ? nibbles[e][i] : word(e, i % 2, i / 2);
    }

  private:
    // x to the left, around.
    static __device__ uint32_t turned(uint32_t x, uint32_t left) { return __funnelshift_r(x, x, 0u - left); }
    static constexpr uint32_t mask(uint32_t n, uint32_t at) { return ((1u << n) - 1) * 0x01010101 << at; }

    // Word c or c + 4 of the group, by half.
    __device__ uint32_t word(uint32_t e, uint32_t r, uint32_t half) const {
        const uint32_t c = threadIdx.x % 4;
        uint32_t codes = 0;
        if constexpr (s.bits >= 4) codes = nibbles[0][2 * e + r] >> 4 * half & mask(4, 0);
        if constexpr (s.pair_bytes(1) > 0) {
            constexpr uint32_t at = s.bits == 6 ? 4 : 0;
            codes |= turned(pairs[r][2 * e + half], at - 2 * c) & mask(2, at);
        }
        if constexpr (s.bit_bytes(1) > 0) {
            constexpr uint32_t at = s.bits - 1;
            codes |= turned(bits[e][r], at - 4 * half - c) & mask(1, at);
        }
        return uint32_t(integers_of<F>(codes));
    }
};

// What goes with a pair of groups: of the two tokens that a lane has, and of its two rows.
template <typename F> struct PairOfScales {
    static constexpr uint32_t kEach = kScaleBytes<F> / sizeof(float);
    float token[4], token_sum[4], row[2][2 * kEach];

    __device__ PairOfScales(const uint8_t *x, const uint8_t *table, const ChunkLane &own, uint32_t pair) {
        const uint8_t *at = x + own.token + kChunkScalesAt + pair * 64;
        load_floats(at, token);
        if constexpr (kOffsets<F>) load_floats(at + kChunkFloats, token_sum);
        for (uint32_t r = 0; r < 2; ++r)
            for (uint32_t i = 0; i < 2 * kEach; i += 4)
                load_floats(table + own.row * kScaleRowBytes<F> +
                                (8 * r * kScaleRowBytes<F> + pair * 2 * kScaleBytes<F> + i * sizeof(float)),
                            row[r] + i);
    }
};

// The sums of products of a group, apart for halves that have scales of their own, where codes mean values around 0
// with that taken away; and for offsets of halves the sums of the input's first half.
template <typename F> struct Products {
    static constexpr int kHalves = Scales<F>::kHalves;
    uint32_t of[2][4], first[4];

    __device__ Products(const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        constexpr uint32_t kOnes = 0x01010101, kBack = (256 - kMiddle<F>)*kOnes;
        for (uint32_t i = 0; i < 4; ++i) of[0][i] = of[1][i] = first[i] = kMagicBits;
        if constexpr (kHalves == 1) {
            if (kCentred<F>) multiply_bytes(of[0], {kBack, kBack, kBack, kBack}, b0, b1);
            multiply_bytes(of[0], a, b0, b1);
        } else {
            if (kCentred<F>) multiply_bytes(of[0], kBack, kBack, b0);
            if (kCentred<F>) multiply_bytes(of[1], kBack, kBack, b1);
            if (kOffsets<F>) multiply_bytes(first, kOnes, kOnes, b0);
            multiply_bytes(of[0], a[0], a[1], b0);
            multiply_bytes(of[1], a[2], a[3], b1);
        }
    }
};

// Adds to sums[0] and [1] what a chunk gives for row lane / 4 and tokens 2 * (lane % 4) and one more, to [2] and [3]
// the same of the row 8 further. `x`: a chunk of the input.
template <typename F> __device__ void multiply_chunk(const uint8_t *chunk, const uint8_t *x, const uint8_t *table,
                                                     const ChunkLane &own, float (&sums)[4]) {
    constexpr int kHalves = Scales<F>::kHalves;
#pragma unroll
    for (uint32_t pair = 0; pair < kChunkGroups / 2; ++pair) {
        const PairOfGroups<F> groups(chunk, own, pair);
        const PairOfScales<F> scales(x, table, own, pair);
        uint32_t b[4];
        load_words<4>(x + own.whole + pair * (kTogether * 64), b);
#pragma unroll
        for (uint32_t e = 0; e < 2; ++e) {
            uint32_t a[4];
            groups.codes(e, a);
            const Products<F> products(a, b[2 * e], b[2 * e + 1]);
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
                const float token = scales.token[2 * e + i % 2], start = kMagic * token,
                            *row = scales.row[i / 2] + e * scales.kEach;
                const auto value = [&](uint32_t product) { return fmaf(__uint_as_float(product), token, -start); };
                for (int h = 0; h < kHalves; ++h) sums[i] = fmaf(row[h], value(products.of[h][i]), sums[i]);
                if constexpr (kOffsets<F>) {
                    const float all = scales.token_sum[2 * e + i % 2],
                                first = kHalves == 2 ? value(products.first[i]) : all;
                    sums[i] = fmaf(row[kHalves], first, sums[i]);
                    if (kHalves == 2) sums[i] = fmaf(row[3], all - first, sums[i]);
                }
            }
        }
    }
}

}  // namespace el::cuda
