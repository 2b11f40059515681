// The meaning of every op: one simple float32 function each, for a range of rows. Each output is made by one thread in
// a fixed order, so results are bit-equal for any batch and any number of threads.
#pragma once
#include "backend/host/cache.h"
#include "program/op.h"

namespace el::reference {

// A matrix as it lies in the file.
struct Matrix {
    const std::byte *data = nullptr;
    Format format = Format::kF32;
    uint32_t cols = 0;
    size_t row_bytes = 0;

    void decode_row(size_t row, float *out) const { format_info(format).decode(data + row * row_bytes, cols, out); }
};

float dot(const float *a, const float *b, size_t n);

// x, out [width]; weight, bias [weight_width]: of a part or of the whole row, or NULL
struct NormWeights {
    const float *weight, *bias;
    uint32_t width;
};
void norm(const NormArgs &args, const float *x, const NormWeights &weights, uint32_t width, float *out);
// x, out [n_heads, head_dim]; frequencies [dims/2]; factors [dims/2] or NULL
void rope(const RopeArgs &args, const float *frequencies, const float *factors, int32_t position, const float *x,
          float *out);
// One head of one token: q [head_dim_k], out [head_dim_v]. `pages` maps logical pages to physical ones; scratch holds
// `end - begin` scores and one row.
struct AttentionInput {
    const CachePlane *k, *v;
    const int32_t *pages;
    int32_t begin, end;
    uint64_t ancestors;  // as Step says
    uint32_t kv_head;
    float scale, soft_cap;
    const float *sink;  // of this head: one more score, whose value is zero; NULL: none
    float *scores, *row;
};
void attend(const AttentionInput &in, const float *q, float *out);
// a [1] or [width], b [width] or NULL
struct GateInput {
    const float *a, *b;
    uint32_t a_width;
};
void gate(ActivationKind activation, const GateInput &in, uint32_t width, float *out);
float scale_factor(const ScaleArgs &args, int32_t position);
// x [groups, in_width / groups], out [groups, n]
void slice(const SliceArgs &args, const float *x, uint32_t in_width, float *out);
// logits [n_experts], out [2, n_used]
void route(const RouteArgs &args, const float *logits, float *out);
// x, out [n_used, width / n_used]; bias [n_experts, the same] or NULL
struct ExpertScale {
    const float *route, *scales, *bias;
    uint32_t n_used;
};
void expert_scale(const ExpertScale &in, const float *x, uint32_t width, float *out);
// parts [n_used, width], route [2, n_used], out [width]
void combine(const float *parts, const float *route, uint32_t n_used, uint32_t width, float *out);
// x [head_dim] becomes a row of the cache; `padded` has room for the row's values rounded up to a block.
void write_row(const CachePlane &plane, int32_t slot, uint32_t kv_head, const float *x, float *padded);

// ---- recurrent ops: one sequence's tokens of a step, in order

// The tokens of a step that belong to one of its sequences.
struct SequenceTokens {
    const Step &step;
    int32_t sequence;

    template <typename Visit> void for_each(Visit visit) const {
        for (int32_t t = step.first_token[sequence]; t < step.n_tokens; ++t)
            if (step.sequence_of[t] == sequence) visit(static_cast<size_t>(t));
    }
};

struct StateSlots {
    const float *before;  // NULL: zeros
    float *after;
};

// Channel c; x, out [tokens, channels]; weight [kernel]; state [kernel - 1, channels]
struct ShortConvInput {
    const float *x, *weight, *bias;
    uint32_t channels, c;
};
void short_conv(const ShortConvArgs &args, const ShortConvInput &in, const SequenceTokens &tokens, StateSlots state,
                float *out);
// Head h of v; qkv [tokens, 2 n_k_heads dim_k + n_v_heads dim_v], decay, strength [tokens, n_v_heads],
// state [dim_k, dim_v] of the head, scratch [2 dim_k + dim_v], out [tokens, n_v_heads, dim_v]
struct DeltaRuleInput {
    const float *qkv, *decay, *strength;
    const float *rate, *bias;  // [n_v_heads]
    float *scratch;
};
void delta_rule(const DeltaRuleArgs &args, const DeltaRuleInput &in, uint32_t h, const SequenceTokens &tokens,
                StateSlots state, float *out);
// Head h; xbc [tokens, n_heads head_dim + 2 n_groups state_dim], dt [tokens, n_heads],
// state [head_dim, state_dim] of the head, out [tokens, n_heads, head_dim]
struct SelectiveScanInput {
    const float *xbc, *dt;
    const float *rate, *skip, *bias;  // [n_heads]
};
void selective_scan(const SelectiveScanArgs &args, const SelectiveScanInput &in, uint32_t h,
                    const SequenceTokens &tokens, StateSlots state, float *out);

}  // namespace el::reference
