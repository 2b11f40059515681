// Reading and writing packed matrices on the device, for every format that packed_shape() knows.
#pragma once
#include "packed.h"
#include "quant/formats.h"

#include <cuda_fp16.h>

namespace el::cuda {

// Value i of a group is scale[i / 16] * code + offset[i / 16].
struct Affine {
    float scale[2], offset[2];
};

__device__ inline float half_bits(uint32_t bits) { return __half2float(__ushort_as_half(uint16_t(bits))); }

// Byte `at` of a word: the last bits of a float of 2^23 and more are an integer. `high`: kByteBits.
constexpr uint32_t kByteBits = 0x4b000000;
constexpr float kByteBase = 8388608;
__device__ inline float byte_as_float(uint32_t word, int at, uint32_t high) {
    return __uint_as_float(__byte_perm(word, high, uint32_t(0x7440 + at))) - kByteBase;
}
__device__ inline float signed_byte_as_float(uint32_t word, int at, uint32_t high) {
    return __uint_as_float(__byte_perm(word ^ 0x80808080, high, uint32_t(0x7440 + at))) - (kByteBase + 128);
}

// The scales of a format: as integers of group_bytes and super_bytes from a block of the file, and back, from byte `at`
// of a word on (`high`: as byte_as_float() has it). kMiddle: the code that stands for 0, for all groups; kMins: groups
// have offsets of their own. kHalves: 2 if the halves of a group have their own scales, which are integers then.
template <typename F> struct Scales;

struct ScaleOfGroup {  // a float16 for the group
    static constexpr int kHalves = 1;
    static constexpr bool kMins = false;
    template <typename Block> static __device__ uint32_t group(const Block &b, int) { return b.d; }
    template <typename Block> static __device__ uint32_t super(const Block &) { return 0; }
    static __device__ float scale(uint32_t word, int at, uint32_t, uint32_t) { return half_bits(word >> 8 * at); }
};
template <int Middle> struct SymmetricScales : ScaleOfGroup { static constexpr int kMiddle = Middle; };
template <> struct Scales<Q4_0> : SymmetricScales<8> {};
template <> struct Scales<Q5_0> : SymmetricScales<16> {};
template <> struct Scales<Q8_0> : SymmetricScales<0> {};
template <> struct Scales<IQ4_NL> : SymmetricScales<0> {};

struct ScaleAndMinOfGroup {  // two float16
    static constexpr int kHalves = 1, kMiddle = 0;
    static constexpr bool kMins = true;
    template <typename Block> static __device__ uint32_t group(const Block &b, int) {
        return b.d | uint32_t(b.m) << 16;
    }
    template <typename Block> static __device__ uint32_t super(const Block &) { return 0; }
    static __device__ float scale(uint32_t word, int, uint32_t, uint32_t) { return half_bits(word); }
    static __device__ float offset(uint32_t word, int, uint32_t, uint32_t) { return half_bits(word >> 16); }
};
template <> struct Scales<Q4_1> : ScaleAndMinOfGroup {};
template <> struct Scales<Q5_1> : ScaleAndMinOfGroup {};

struct TwoScales6 {  // integers of 6 bits, two float16 for all groups
    static constexpr int kHalves = 1, kMiddle = 0;
    static constexpr bool kMins = true;
    template <typename Block> static __device__ uint32_t group(const Block &b, int group) {
        int scale, min;
        unpack_scale6(b.scales, group, scale, min);
        return uint32_t(scale | min << 8);
    }
    template <typename Block> static __device__ uint32_t super(const Block &b) { return b.d | uint32_t(b.dmin) << 16; }
    static __device__ float scale(uint32_t word, int at, uint32_t super, uint32_t high) {
        return half_bits(super) * byte_as_float(word, at, high);
    }
    static __device__ float offset(uint32_t word, int at, uint32_t super, uint32_t high) {
        return -half_bits(super >> 16) * byte_as_float(word, at + 1, high);
    }
};
template <> struct Scales<Q4_K> : TwoScales6 {};
template <> struct Scales<Q5_K> : TwoScales6 {};

template <int Middle> struct ScalesOfHalves {  // a signed byte for each, a float16 for all
    static constexpr int kHalves = 2, kMiddle = Middle;
    static constexpr bool kMins = false;
    template <typename Block> static __device__ uint32_t super(const Block &b) { return b.d; }
    static __device__ float super_scale(uint32_t super) { return half_bits(super); }
    static __device__ int of_half(uint32_t word, int at, int half) { return int8_t(word >> 8 * (at + half)); }
};
template <> struct Scales<Q6_K> : ScalesOfHalves<32> {
    static __device__ uint32_t group(const Q6_K::Block &b, int group) {
        return uint8_t(b.scales[2 * group]) | uint32_t(uint8_t(b.scales[2 * group + 1])) << 8;
    }
};
template <> struct Scales<Q3_K> : ScalesOfHalves<4> {
    static __device__ uint32_t group(const Q3_K::Block &b, int group) {
        uint32_t both = 0;
        for (int half = 0; half < 2; ++half) {
            const int i = 2 * group + half;
            const int low = b.scales[i % 8] >> 4 * (i / 8) & 15, high = b.scales[8 + i % 4] >> 2 * (i / 4) & 3;
            both |= uint32_t(uint8_t((low | high << 4) - 32)) << 8 * half;
        }
        return both;
    }
};

template <> struct Scales<Q2_K> {
    static constexpr int kHalves = 2, kMiddle = 0;
    static constexpr bool kMins = true;
    static __device__ uint32_t group(const Q2_K::Block &b, int group) {
        return b.scales[2 * group] | uint32_t(b.scales[2 * group + 1]) << 8;
    }
    static __device__ uint32_t super(const Q2_K::Block &b) { return b.d | uint32_t(b.dmin) << 16; }
    static __device__ float super_scale(uint32_t super) { return half_bits(super); }
    static __device__ float super_offset(uint32_t super) { return -half_bits(super >> 16); }
    static __device__ int of_half(uint32_t word, int at, int half) { return word >> 8 * (at + half) & 15; }
    static __device__ int min_of_half(uint32_t word, int at, int half) { return word >> (8 * (at + half) + 4) & 15; }
};

template <> struct Scales<IQ4_XS> {
    static constexpr int kHalves = 1, kMiddle = 0;
    static constexpr bool kMins = false;
    static __device__ uint32_t group(const IQ4_XS::Block &b, int group) { return uint8_t(IQ4_XS::scale(b, 2 * group)); }
    static __device__ uint32_t super(const IQ4_XS::Block &b) { return b.d; }
    static __device__ float scale(uint32_t word, int at, uint32_t super, uint32_t high) {
        return half_bits(super) * signed_byte_as_float(word, at, high);
    }
};

template <> struct Scales<MXFP4> {  // a power of 2
    static constexpr int kHalves = 1, kMiddle = 0;
    static constexpr bool kMins = false;
    static __device__ uint32_t group(const MXFP4::Block &b, int) { return b.e; }
    static __device__ uint32_t super(const MXFP4::Block &) { return 0; }
    static __device__ float scale(uint32_t word, int at, uint32_t, uint32_t) {
        return MXFP4::power(int(word >> 8 * at & 255)) * MXFP4::kTable.unit;
    }
};

using PackedFormats = FormatList<Q4_K, Q6_K, Q5_K, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, IQ4_XS, MXFP4, Q3_K, Q2_K>;

// Calls visit(type_identity<F>) for the format F that `format` names.
template <typename Visit> __host__ __device__ void with_packed_format(Format format, Visit visit) {
    PackedFormats::for_each([&](auto f) {
        if (decltype(f)::type::kFormat == format) visit(f);
    });
}

template <typename F> constexpr bool kHasTable = requires { F::kTable; };

// The integers that four codes stand for, one in each byte, as `codes` has them: themselves, or what F's table has.
template <typename F> __device__ int integers_of(uint32_t codes) {
    if constexpr (kHasTable<F>) {
        constexpr auto word = [](int i) {
            uint32_t w = 0;
            for (int j = 0; j < 4; ++j) w |= uint32_t(uint8_t(F::kTable.values[4 * i + j])) << 8 * j;
            return w;
        };
        constexpr uint32_t kWords[4] = {word(0), word(1), word(2), word(3)};
        // Byte permutation takes selectors of 4 bits, of which the lower 3 choose one of 8 bytes.
        const uint32_t squeezed = (codes | codes >> 4) & 0x00ff00ff, selector = (squeezed | squeezed >> 8) & 0x7777;
        const uint32_t low = __byte_perm(kWords[0], kWords[1], selector),
                       high = __byte_perm(kWords[2], kWords[3], selector);
        const uint32_t upper = (codes >> 3 & 0x01010101) * 255;  // bytes whose code is 8 or more
        codes = (low & ~upper) | (high & upper);
    }
    return int(codes);
}

// N words at once.
template <int N> __device__ void load_words(const uint8_t *from, uint32_t *to) {
    if constexpr (N == 4) {
        const uint4 v = *reinterpret_cast<const uint4 *>(from);
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else if constexpr (N == 2) {
        const uint2 v = *reinterpret_cast<const uint2 *>(from);
        to[0] = v.x, to[1] = v.y;
    } else {
        to[0] = *reinterpret_cast<const uint32_t *>(from);
    }
}

// One lane's groups of a slot, of all rows of the tile, in registers.
template <typename F> struct Unit {
    static constexpr PackedShape kShape = packed_shape(F::kFormat);
    static constexpr int kRows = kShape.rows, kBits = kShape.bits;
    static constexpr int kGroupBytes = kShape.group_bytes, kGroupWords = (kGroupBytes * kRows + 3) / 4;
    static constexpr int kSuperBytes = kShape.super_bytes, kSuperWords = kSuperBytes * kRows / 4;

    uint32_t nibbles[kRows][kBits == 8 ? 8 : 4];
    uint32_t pairs[kRows][2];
    uint32_t bits[kRows];
    uint32_t group[kGroupWords], super[kSuperWords ? kSuperWords : 1];
    uint32_t high = kByteBits;

    __device__ void load(const uint8_t *slot, uint32_t lanes, uint32_t lane) {
        constexpr PackedShape s = packed_shape(F::kFormat);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            if constexpr (kBits == 8)
                for (int h = 0; h < 2; ++h) load_words<4>(slot + ((2 * r + h) * lanes + lane) * 16, nibbles[r] + 4 * h);
            else if constexpr (kBits >= 4)
                load_words<4>(slot + (r * lanes + lane) * 16, nibbles[r]);
            if constexpr (s.pair_bytes(1) > 0)
                load_words<2>(slot + s.pairs_at(lanes) + (r * lanes + lane) * 8, pairs[r]);
        }
        if constexpr (s.bit_bytes(1) > 0) load_words<kRows>(slot + s.bits_at(lanes) + lane * 4 * kRows, bits);
        load_words<kGroupWords>(slot + s.groups_at(lanes) + lane * 4 * kGroupWords, group);
        if constexpr (kSuperWords > 0)
            load_words<kSuperWords>(slot + s.supers_at(lanes) + lane / 8 * 4 * kSuperWords, super);
    }

    // Four codes in each of 8 words, in order, as bytes.
    __device__ void codes(int r, int out[8]) const {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            uint32_t c = 0;
            if constexpr (kBits == 8) c = nibbles[r][j];
            if constexpr (kBits >= 4 && kBits < 8) c = nibbles[r][j % 4] >> 4 * (j / 4) & 0x0f0f0f0f;
            if constexpr (kBits == 2 || kBits == 3) c = pairs[r][j / 4] >> 2 * (j % 4) & 0x03030303;
            if constexpr (kBits == 6) c |= shifted(pairs[r][j / 4], 4 - 2 * (j % 4)) & 0x30303030;
            if constexpr (kBits == 3) c |= shifted(bits[r], 2 - j) & 0x04040404;
            if constexpr (kBits == 5) c |= shifted(bits[r], 4 - j) & 0x10101010;
            out[j] = integers_of<F>(c);
        }
    }

    // What Scales has for row r.
    __device__ float scale(int r) const { return S::scale(word(r), at(r), super_of(r), high); }
    __device__ float offset(int r) const { return S::offset(word(r), at(r), super_of(r), high); }
    __device__ float super_scale(int r) const { return S::super_scale(super_of(r)); }
    __device__ float super_offset(int r) const { return S::super_offset(super_of(r)); }
    __device__ int of_half(int r, int half) const { return S::of_half(word(r), at(r), half); }
    __device__ int min_of_half(int r, int half) const { return S::min_of_half(word(r), at(r), half); }

    __device__ Affine affine(int r) const {
        Affine a;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if constexpr (S::kHalves == 2) {
                a.scale[h] = super_scale(r) * float(of_half(r, h));
                if constexpr (S::kMins) a.offset[h] = super_offset(r) * float(min_of_half(r, h));
            } else {
                a.scale[h] = scale(r);
                if constexpr (S::kMins) a.offset[h] = offset(r);
            }
            if constexpr (!S::kMins) a.offset[h] = -S::kMiddle * a.scale[h];
        }
        return a;
    }

  private:
    using S = Scales<F>;
    __device__ uint32_t word(int r) const { return group[r * kGroupBytes / 4]; }
    __device__ static int at(int r) { return r * kGroupBytes % 4; }
    __device__ uint32_t super_of(int r) const {
        return kSuperBytes ? super[r * kSuperBytes / 4] >> r * kSuperBytes % 4 * 8 : 0;
    }
    static __device__ uint32_t shifted(uint32_t x, int left) { return left >= 0 ? x << left : x >> -left; }
};

// Where group `group` of a row lies: its slot, the lanes of that slot, its lane.
struct GroupPlace {
    size_t slot;  // byte
    uint32_t lanes, lane;
    __host__ __device__ GroupPlace(PackedShape shape, size_t cols, size_t row, uint32_t group) {
        const uint32_t slots = PackedShape::slots(cols), at = group / kSlotLanes;
        lanes = at + 1 < slots ? kSlotLanes : PackedShape::last_lanes(cols);
        lane = group % kSlotLanes;
        slot = row / shape.rows * shape.tile_bytes(cols) + at * shape.slot_bytes(kSlotLanes);
    }
};

// 32 values of a row.
template <typename F>
__device__ void decode_packed(const uint8_t *data, size_t cols, size_t row, uint32_t group, float out[32]) {
    const GroupPlace at(packed_shape(F::kFormat), cols, row, group);
    Unit<F> unit;
    unit.load(data + at.slot, at.lanes, at.lane);
#pragma unroll
    for (int r = 0; r < Unit<F>::kRows; ++r) {
        if (r != int(row % Unit<F>::kRows)) continue;
        int codes[8];
        unit.codes(r, codes);
        const Affine a = unit.affine(r);
#pragma unroll
        for (int i = 0; i < 32; ++i)
            out[i] = a.scale[i / 16] * float(int8_t(codes[i / 4] >> 8 * (i % 4))) + a.offset[i / 16];
    }
}

// Writes a group of a row, from a block of the file. What shares a word with other rows is written as bytes.
template <typename F>
__device__ void pack_group(const typename F::Block &block, uint8_t *data, size_t cols, size_t row, uint32_t group) {
    constexpr PackedShape s = packed_shape(F::kFormat);
    const GroupPlace at(s, cols, row, group);
    uint8_t *slot = data + at.slot, q[32];
    const size_t r = row % s.rows, L = at.lanes, l = at.lane;
    const int in_block = int(group % (F::kValues / 32));
    if constexpr (kHasTable<F>) {
        float scale[2];
        F::unpack32(block, in_block, q, scale);
    } else {
        float scale[2], offset[2];
        F::unpack32(block, in_block, q, scale, offset);
    }
    for (int i = 0; i < 32; ++i) {
        if constexpr (s.bits == 8) slot[((2 * r + i / 16) * L + l) * 16 + i % 16] = q[i] ^ 0x80;
        if constexpr (s.bits >= 4 && s.bits < 8)
            if (i < 16) slot[(r * L + l) * 16 + i] = uint8_t((q[i] & 15) | (q[i + 16] & 15) << 4);
    }
    if constexpr (s.pair_bytes(1) > 0)
        for (int b = 0; b < 8; ++b) {  // byte b % 4 of a word has one value of each of four words of codes
            uint32_t four = 0;
            for (int j = 0; j < 4; ++j)
                four |= (uint32_t(q[16 * (b / 4) + 4 * j + b % 4]) >> (s.bits == 6 ? 4 : 0) & 3) << 2 * j;
            slot[s.pairs_at(L) + (r * L + l) * 8 + b] = uint8_t(four);
        }
    if constexpr (s.bit_bytes(1) > 0)
        for (int b = 0; b < 4; ++b) {
            uint32_t eight = 0;
            for (int j = 0; j < 8; ++j) eight |= (uint32_t(q[4 * j + b]) >> (s.bits - 1) & 1) << j;
            slot[s.bits_at(L) + (l * s.rows + r) * 4 + b] = uint8_t(eight);
        }
    const uint32_t own = Scales<F>::group(block, in_block), shared = Scales<F>::super(block);
    for (int b = 0; b < s.group_bytes; ++b)
        slot[s.groups_at(L) + (l * s.rows + r) * s.group_bytes + b] = uint8_t(own >> 8 * b);
    if (l % 8 == 0)
        for (int b = 0; b < s.super_bytes; ++b)
            slot[s.supers_at(L) + (l / 8 * s.rows + r) * s.super_bytes + b] = uint8_t(shared >> 8 * b);
}

}  // namespace el::cuda
