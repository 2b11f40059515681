// Matrix products over tiles, written once over the vectors of a simd_*.h that is included before.
#pragma once
#include "backend/cpu/kernels.h"
#include "quant/value_tables.h"

namespace el::cpu {
namespace {

// What processors fetch ahead by themselves ends with each page of memory; a panel and the next one follow each other.
constexpr size_t kAhead = 3072;
template <size_t Bytes> void prefetch(const uint8_t *p) {
    for (size_t i = 0; i < Bytes; i += 64) __builtin_prefetch(p + i);
}

constexpr int kSlices = kPanelRows / kLanes;  // vectors that hold one value per row of a panel

// ---- quants: slice `s` of the 8 vectors of a tile

constexpr int plane_bytes(Planes p) {
    switch (p) {
    case Planes::kNibbles:
        return 256;
    case Planes::kNibbles1:
        return 320;
    case Planes::kNibbles2:
        return 384;
    case Planes::kPairs:
        return 128;
    case Planes::kPairsEight:
        return 144;
    case Planes::kTriples:
        return 192;
    case Planes::kBytes:
        return 512;
    }
    return 0;
}

constexpr int quant_bits(Planes p) {
    switch (p) {
    case Planes::kNibbles:
        return 4;
    case Planes::kNibbles1:
        return 5;
    case Planes::kNibbles2:
        return 6;
    case Planes::kPairs:
        return 2;
    case Planes::kPairsEight:
    case Planes::kTriples:
        return 3;
    case Planes::kBytes:
        return 8;
    }
    return 0;
}

constexpr size_t scale_bytes(Scales s) {
    switch (s) {
    case Scales::kConstant:
        return 32;
    case Scales::kMinimum:
        return 64;
    case Scales::kSuper16:
        return 288 / 8;
    case Scales::kSuper32:
    case Scales::kSuper16Min:
        return 320 / 8;
    case Scales::kSigned32:
        return 160 / 8;
    case Scales::kOne256:
        return 32 / 8;
    case Scales::kPower32:
        return 16;
    case Scales::kE4m3x16:
        return 32;
    }
    return 0;
}

// Bit Bits[j] of each byte of `bits`, moved to bit To, into w[j].
template <int To, int... Bits> void add_bit_plane(B bits, B *w) {
    int j = 0;
    ((w[j] = either(w[j], mask(shift_right<Bits - To>(bits), 1 << To)), j++), ...);
}

// Bits 2j, 2j + 1 of each byte, moved to bits To, To + 1, into w[j].
template <int To, int... J> void add_pair_plane(B bits, B *w) {
    ((w[J] = either(w[J], mask(shift_right<2 * J - To>(bits), 3 << To))), ...);
}

template <int... J> void load_pairs(B bits, B *w) { ((w[J] = mask(shift_right<2 * J>(bits), 3)), ...); }

template <Planes P> [[gnu::always_inline]] inline void load_quants(const uint8_t *tile, int s, B w[8]) {
    const uint8_t *q = tile + s * 4 * kLanes;
    if constexpr (P == Planes::kBytes) {
        for (int j = 0; j < 8; j++) w[j] = load_byte_quants(q + 64 * j);
    } else if constexpr (P == Planes::kTriples) {
        const B v[3] = {load_bytes(q), load_bytes(q + 64), load_bytes(q + 128)};
        for (int i = 0; i < 3; i++) {
            w[2 * i] = mask(v[i], 7);
            w[2 * i + 1] = mask(shift_right<3>(v[i]), 7);
        }
        w[6] = either(mask(shift_right<6>(v[0]), 3), mask(shift_right<4>(v[2]), 4));
        w[7] = either(mask(shift_right<6>(v[1]), 3), mask(shift_right<5>(v[2]), 4));
    } else if constexpr (P == Planes::kPairs || P == Planes::kPairsEight) {
        load_pairs<0, 1, 2, 3>(load_bytes(q), w);
        load_pairs<0, 1, 2, 3>(load_bytes(q + 64), w + 4);
    } else {
        for (int j = 0; j < 4; j++) {
            B both = load_bytes(q + 64 * j);
            w[j] = mask(both, 15);
            w[j + 4] = mask(shift_right<4>(both), 15);
        }
    }
    if constexpr (P == Planes::kNibbles1) add_bit_plane<4, 0, 1, 2, 3, 4, 5, 6, 7>(load_bytes(q + 256), w);
    if constexpr (P == Planes::kPairsEight)
        add_bit_plane<2, 0, 0, 1, 1, 2, 2, 3, 3>(load_row_bytes(tile + 128 + s * kLanes), w);
    if constexpr (P == Planes::kNibbles2) {
        add_pair_plane<4, 0, 1, 2, 3>(load_bytes(q + 256), w);
        add_pair_plane<4, 0, 1, 2, 3>(load_bytes(q + 320), w + 4);
    }
}

// ---- tables of values: what a quant stands for, moved up so that it is not negative, or as bytes are loaded

constexpr ValueTable kNoTable = {};

constexpr int lowest(const ValueTable &table) {
    int low = 0;
    for (int v : table.values) low = v < low ? v : low;
    return low;
}

constexpr int table_bits(const ValueTable &table) {
    int high = 0, bits = 0;
    for (int v : table.values) high = v > high ? v : high;
    while ((high - lowest(table)) >> bits) bits++;
    return bits;
}

struct Lookup {
    uint8_t bytes[16];
};
constexpr Lookup lookup_of(const ValueTable &table, int offset) {
    Lookup lookup = {};
    for (int i = 0; i < 16; i++) lookup.bytes[i] = static_cast<uint8_t>(table.values[i] + offset);
    return lookup;
}

// ---- scales of slice `s` of tile `k` (counted from the panel's start): for each of kHalves parts d and offset m. For
// two parts m[0] is the offset of the first less that of the second, and belongs to the sum over the first part.

template <Planes P, Scales S, int Constant, const ValueTable &Table = kNoTable> struct Format {
    static constexpr int kHalves = S == Scales::kSuper16 || S == Scales::kSuper16Min || S == Scales::kE4m3x16 ? 2 : 1;
    static constexpr bool kHasTable = Table.unit != 0;
    static constexpr int kBits = kHasTable ? table_bits(Table) : quant_bits(P);
    static constexpr int kOffset = kBits == 8 ? kByteOffset : kHasTable ? -lowest(Table) : Constant;
    static constexpr Lookup kLookup = lookup_of(Table, kOffset);
    static constexpr bool kHasOffset =
        S == Scales::kMinimum || S == Scales::kSuper32 || S == Scales::kSuper16Min || kOffset;
    static constexpr Planes kPlanes = P;
    static constexpr size_t kQuantBytes = plane_bytes(P);
    static constexpr size_t kTileBytes = kQuantBytes + scale_bytes(S);  // on average

    [[gnu::always_inline]] static void scales(const uint8_t *base, uint32_t k, int s, F d[2], F m[2]) {
        const size_t at = static_cast<size_t>(s) * kLanes;
        if constexpr (S == Scales::kConstant) {
            one_scale(load_f16(base + k * 32 + 2 * at), d, m);
        } else if constexpr (S == Scales::kOne256) {
            one_scale(load_f16(base + k / 8 * 32 + 2 * at), d, m);
        } else if constexpr (S == Scales::kSigned32) {
            const uint8_t *super = base + k / 8 * 160;
            one_scale(mul(load_f16(super + 2 * at), load_i8(super + 32 + k % 8 * 16 + at)), d, m);
        } else if constexpr (S == Scales::kPower32) {
            one_scale(load_power(base + k * 16 + at), d, m);
        } else if constexpr (S == Scales::kE4m3x16) {
            two_scales(load_e4m3(base + k * 32 + at), load_e4m3(base + k * 32 + 16 + at), d, m);
        } else if constexpr (S == Scales::kMinimum) {
            d[0] = load_f16(base + k * 64 + 2 * at);
            m[0] = load_f16(base + k * 64 + 32 + 2 * at);
        } else if constexpr (S == Scales::kSuper32) {
            const uint8_t *super = base + (k / 8) * 320, *mine = super + 64 + (k % 8) * 32 + at;
            d[0] = mul(load_f16(super + 2 * at), load_u8(mine));
            m[0] = mul(load_f16(super + 32 + 2 * at), load_u8(mine + 16));
        } else if constexpr (S == Scales::kSuper16) {
            const uint8_t *super = base + (k / 8) * 288, *mine = super + 32 + (k % 8) * 32 + at;
            F all = load_f16(super + 2 * at);
            two_scales(mul(all, load_i8(mine)), mul(all, load_i8(mine + 16)), d, m);
        } else {
            const uint8_t *super = base + (k / 8) * 320, *mine = super + 64 + (k % 8) * 32 + at;
            F scale[2], min[2], dmin = load_f16(super + 32 + 2 * at), all = load_f16(super + 2 * at);
            load_u4(mine, scale[0], min[0]);
            load_u4(mine + 16, scale[1], min[1]);
            d[0] = mul(all, scale[0]);
            d[1] = mul(all, scale[1]);
            m[0] = mul(dmin, sub(min[0], min[1]));
            m[1] = mul(dmin, min[1]);
        }
    }

  private:
    static F in_units(F scale) { return kHasTable && Table.unit != 1 ? mul(scale, set(Table.unit)) : scale; }
    static void one_scale(F scale, F d[2], F m[2]) {
        d[0] = in_units(scale);
        if (kHasOffset) m[0] = mul(d[0], set(-kOffset));
    }
    static void two_scales(F first, F second, F d[2], F m[2]) {
        d[0] = in_units(first);
        d[1] = in_units(second);
        m[0] = mul(sub(d[0], d[1]), set(-kOffset));
        m[1] = mul(d[1], set(-kOffset));
    }
};

// acc += scale * (sum of quants * activations) + offset * (sum of activations), for token t of T.
template <class Fmt, int T>
[[gnu::always_inline]] inline F multiply(const B w[8], const F d[2], const F m[2], const uint8_t *x, int t, F acc) {
    const float *low = reinterpret_cast<const float *>(x + 32 * T) + t, *high = low + T, *sum = high + T,
                *sum_low = sum + T;
    const int8_t *a = reinterpret_cast<const int8_t *>(x) + 32 * t;
    const F part[2] = {to_float(dot<Fmt::kBits, 4>(w, a)), to_float(dot<Fmt::kBits, 4>(w + 4, a + 16))};
    if constexpr (Fmt::kHalves == 1) {
        acc = fma(fma(part[1], set(*high), mul(part[0], set(*low))), d[0], acc);
        if constexpr (Fmt::kHasOffset) acc = fma(m[0], set(*sum), acc);
    } else {
        acc = fma(mul(part[0], d[0]), set(*low), acc);
        acc = fma(mul(part[1], d[1]), set(*high), acc);
        acc = fma(m[1], set(*sum), fma(m[0], set(*sum_low), acc));
    }
    return acc;
}

// One panel times one group of T tokens. With few tokens all slices of a tile are used at once, as memory is what
// limits; with many, one slice after the other, so that its quants and the sums stay in registers.
template <class Fmt, int T> void quantized_tile(const TileCall &call) {
    constexpr int kTogether = T <= 2 ? kSlices : 1;
    const uint32_t n = call.n_columns / kTileCols;
    const B table = load_table(Fmt::kLookup.bytes);
    for (int s0 = 0; s0 < kSlices; s0 += kTogether) {
        F acc[kTogether][T];
        for (int s = 0; s < kTogether; s++)
            for (int t = 0; t < T; t++) acc[s][t] = zero();
        const uint8_t *q = call.quants, *x = call.activations;
        for (uint32_t k = 0; k < n; k++, q += Fmt::kQuantBytes, x += kActivationBytes * T) {
            if (T == 1) prefetch<Fmt::kTileBytes>(call.scales + k * Fmt::kTileBytes + kAhead);
            for (int s = 0; s < kTogether; s++) {
                B w[8];
                F d[2], m[2];
                load_quants<Fmt::kPlanes>(q, s0 + s, w);
                if constexpr (Fmt::kHasTable)
                    for (B &v : w) v = lookup(table, v);
                Fmt::scales(call.scales, k, s0 + s, d, m);
                for (int t = 0; t < T; t++) acc[s][t] = multiply<Fmt, T>(w, d, m, x, t, acc[s][t]);
            }
        }
        for (int s = 0; s < kTogether; s++)
            for (int t = 0; t < T; t++) store(call.out + t * kPanelRows + (s0 + s) * kLanes, acc[s][t]);
    }
}

// ---- matrices of floats: elements [cols][16], activations float [cols][T]

struct LoadF32 {
    static constexpr size_t kBytes = 4;
    static F load(const uint8_t *p) { return el::cpu::load(reinterpret_cast<const float *>(p)); }
};
struct LoadF16 {
    static constexpr size_t kBytes = 2;
    static F load(const uint8_t *p) { return load_f16(p); }
};
struct LoadBF16 {
    static constexpr size_t kBytes = 2;
    static F load(const uint8_t *p) { return load_bf16(p); }
};

template <class L, int T> void float_tile(const TileCall &call) {
    // Enough independent sums to hide the latency of additions.
    constexpr int kUnroll = T == 1 ? 4 : T == 2 ? 2 : 1;
    constexpr int kTogether = T >= 8 ? 1 : kSlices <= 8 / T ? kSlices : 8 / T;
    for (int s0 = 0; s0 < kSlices; s0 += kTogether) {
        F acc[kUnroll][kTogether][T];
        for (int u = 0; u < kUnroll; u++)
            for (int s = 0; s < kTogether; s++)
                for (int t = 0; t < T; t++) acc[u][s][t] = zero();
        const uint8_t *w = call.quants + static_cast<size_t>(s0) * kLanes * L::kBytes;
        const float *x = reinterpret_cast<const float *>(call.activations);
        auto step = [&](int u) {
            for (int s = 0; s < kTogether; s++) {
                F row = L::load(w + static_cast<size_t>(s) * kLanes * L::kBytes);
                for (int t = 0; t < T; t++) acc[u][s][t] = fma(row, set(x[t]), acc[u][s][t]);
            }
            w += kPanelRows * L::kBytes;
            x += T;
        };
        uint32_t k = 0;
        for (; k + kUnroll <= call.n_columns; k += kUnroll) {
            if (T == 1) prefetch<kUnroll * kPanelRows * L::kBytes>(w + kAhead);
            for (int u = 0; u < kUnroll; u++) step(u);
        }
        for (; k < call.n_columns; k++) step(0);
        for (int s = 0; s < kTogether; s++) {
            for (int t = 0; t < T; t++) {
                for (int u = 1; u < kUnroll; u++) acc[0][s][t] = add(acc[0][s][t], acc[u][s][t]);
                store(call.out + t * kPanelRows + (s0 + s) * kLanes, acc[0][s][t]);
            }
        }
    }
}

// Row of n floats to token t of a group of T.
void quantize(const float *x, size_t n, int t, int T, uint8_t *out) {
    constexpr int kVectors = 16 / kLanes;  // of one half
    for (size_t k = 0; k < n; k += 32, out += kActivationBytes * static_cast<size_t>(T)) {
        float sums[2], *scales = reinterpret_cast<float *>(out + 32 * T) + t;
        for (int half = 0; half < 2; half++, x += 16) {
            F high = abs(load(x));
            for (int i = 1; i < kVectors; i++) high = max(high, abs(load(x + i * kLanes)));
            const float most = largest(high);
            const F inverse = set(most > 1e-30f ? 127.0f / most : 0.0f);
            I total = round(zero());
            for (int i = 0; i < kVectors; i++) {
                I q = round(mul(load(x + i * kLanes), inverse));
                store_i8(reinterpret_cast<int8_t *>(out) + 32 * t + 16 * half + i * kLanes, q);
                total = add(total, q);
            }
            scales[half * T] = most / 127.0f;
            sums[half] = scales[half * T] * static_cast<float>(sum(total));
        }
        scales[2 * T] = sums[0] + sums[1];
        scales[3 * T] = sums[0];
    }
}

}  // namespace
}  // namespace el::cpu
