// Every block format, once: what iterates over formats (tables, kernels, tests) iterates over this list.
#pragma once
#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"
#include <type_traits>

namespace el {

template <typename... F> struct FormatList {
    // Calls visit(std::type_identity<F>()) for each format F.
    template <typename Visitor> static constexpr void for_each(Visitor &&visit) {
        (visit(std::type_identity<F>()), ...);
    }
};
using AllFormats = FormatList<F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S, IQ1_M,
                              IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4>;

template <typename F>
concept HasEncoder = requires(const float *in, typename F::Block &block) {
    F::encode(in, block);
};

template <typename Visitor> constexpr void for_each_format(Visitor &&visit) {
    AllFormats::for_each(static_cast<Visitor &&>(visit));
}

// `n` is a multiple of F::kValues; `blocks` need not be aligned.
template <typename F> EL_HD void decode_row(const void *blocks, size_t n, float *out) {
    const char *from = static_cast<const char *>(blocks);
    typename F::Block block;
    for (size_t i = 0; i < n; i += F::kValues, from += sizeof block) {
        memcpy(&block, from, sizeof block);
        if constexpr (F::kValues == 1) {
            out[i] = F::decode1(block);
        } else {
            for (uint32_t group = 0; group < F::kValues / 32; group++)
                F::decode32(block, int(group), out + i + 32 * group);
        }
    }
}

template <typename F> void encode_row(const float *in, size_t n, void *blocks) {
    char *to = static_cast<char *>(blocks);
    typename F::Block block;
    for (size_t i = 0; i < n; i += F::kValues, to += sizeof block) {
        F::encode(in + i, block);
        memcpy(to, &block, sizeof block);
    }
}

}  // namespace el
