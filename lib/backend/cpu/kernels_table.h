// The table of one instruction set's kernels; included last.
#pragma once
#include "backend/cpu/kernels_attention.h"
#include "backend/cpu/kernels_linear.h"
#include "backend/cpu/kernels_recurrent.h"
#include "backend/cpu/kernels_vector.h"

namespace el::cpu {
namespace {

template <class Fmt> constexpr void set_quantized(TileFunction (&row)[4]) {
    row[0] = quantized_tile<Fmt, 1>;
    row[1] = quantized_tile<Fmt, 2>;
    row[2] = quantized_tile<Fmt, 4>;
    row[3] = kGroupTokens >= 8 ? quantized_tile < Fmt, kGroupTokens >= 8 ? 8 : 1 > : nullptr;
}

template <class L> constexpr void set_float(TileFunction (&row)[4]) {
    row[0] = float_tile<L, 1>;
    row[1] = float_tile<L, 2>;
    row[2] = float_tile<L, 4>;
    row[3] = kGroupTokens >= 8 ? float_tile < L, kGroupTokens >= 8 ? 8 : 1 > : nullptr;
}

constexpr Kernels make_table(const char *name) {
    Kernels k = {};
    k.name = name;
    k.group_tokens = kGroupTokens;
    auto row = [&](TileKind kind) -> TileFunction(&)[4] { return k.tile[static_cast<int>(kind)]; };
    set_quantized<Format<Planes::kNibbles, Scales::kConstant, 8>>(row(TileKind::kQ4_0));
    set_quantized<Format<Planes::kNibbles, Scales::kMinimum, 0>>(row(TileKind::kQ4_1));
    set_quantized<Format<Planes::kNibbles1, Scales::kConstant, 16>>(row(TileKind::kQ5_0));
    set_quantized<Format<Planes::kNibbles1, Scales::kMinimum, 0>>(row(TileKind::kQ5_1));
    set_quantized<Format<Planes::kBytes, Scales::kConstant, 128>>(row(TileKind::kQ8_0));
    set_quantized<Format<Planes::kPairs, Scales::kSuper16Min, 0>>(row(TileKind::kQ2_K));
    set_quantized<Format<Planes::kTriples, Scales::kSuper16, 4>>(row(TileKind::kQ3_K));
    set_quantized<Format<Planes::kNibbles, Scales::kSuper32, 0>>(row(TileKind::kQ4_K));
    set_quantized<Format<Planes::kNibbles1, Scales::kSuper32, 0>>(row(TileKind::kQ5_K));
    set_quantized<Format<Planes::kNibbles2, Scales::kSuper16, 32>>(row(TileKind::kQ6_K));
    set_quantized<Format<Planes::kPairsEight, Scales::kSuper16, 0, kIq1Values>>(row(TileKind::kIQ1));
    set_quantized<Format<Planes::kTriples, Scales::kSigned32, 0, kIq2Values>>(row(TileKind::kIQ2_XXS));
    set_quantized<Format<Planes::kTriples, Scales::kSuper16, 0, kIq2Values>>(row(TileKind::kIQ2));
    set_quantized<Format<Planes::kNibbles, Scales::kSigned32, 0, kIq3XxsValues>>(row(TileKind::kIQ3_XXS));
    set_quantized<Format<Planes::kNibbles, Scales::kSigned32, 0, kIq3SValues>>(row(TileKind::kIQ3_S));
    set_quantized<Format<Planes::kNibbles, Scales::kConstant, 0, kIq4Values>>(row(TileKind::kIQ4_NL));
    set_quantized<Format<Planes::kNibbles, Scales::kSigned32, 0, kIq4Values>>(row(TileKind::kIQ4_XS));
    set_quantized<Format<Planes::kPairs, Scales::kOne256, 1>>(row(TileKind::kTernary));
    set_quantized<Format<Planes::kNibbles, Scales::kPower32, 0, kE2m1Values>>(row(TileKind::kMXFP4));
    set_quantized<Format<Planes::kNibbles, Scales::kE4m3x16, 0, kE2m1Values>>(row(TileKind::kNVFP4));
    set_float<LoadF32>(row(TileKind::kF32));
    set_float<LoadF16>(row(TileKind::kF16));
    set_float<LoadBF16>(row(TileKind::kBF16));
    k.store_tile = store_tile;
    k.quantize = quantize;
    k.norm = norm;
    k.gate = gate;
    k.add = add_rows;
    k.scale = scale_row;
    k.add_scaled = add_scaled;
    k.soft_cap = soft_cap;
    k.rope = rope;
    k.to_f16 = to_f16;
    k.to_cache = to_cache;
    k.attention = attention;
    k.short_conv = short_conv;
    k.delta_rule = delta_rule;
    k.selective_scan = selective_scan;
    return k;
}

}  // namespace
}  // namespace el::cpu
