// What a forward pass does, as data: values, ops, the step that feeds them and the cache they read and write.
// Nothing here knows an architecture, a quantization or a device; fusion and buffers are a backend's business.
#pragma once
#include "quant/format.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace el {

constexpr uint32_t kPageTokens = 32;

// ---- values: float32 matrices, one row per token of the step or per output row

using ValueId = int32_t;
constexpr ValueId kNoValue = -1;

enum class Rows : uint8_t { kTokens, kOutputs };

struct ValueInfo {
    uint32_t width = 0;
    Rows rows = Rows::kTokens;
};

// ---- weights

// Tensors that complete a quantized matrix (AWQ, GPTQ, FP8, NVFP4, SqueezeLLM).
enum class SideRole : uint8_t { kNone, kTensorScale, kRowScales, kColumnOrder, kCodebook, kSparse };

// A rectangle of a tensor: fused QKV files, tensor parallelism and adapters need ranges.
struct WeightRef {
    int32_t tensor = -1;  // index in the model's tensor list; -1: none
    Format format = Format::kF32;
    uint32_t row_begin = 0, rows = 0;
    uint32_t col_begin = 0, cols = 0;
    struct Side {
        SideRole role = SideRole::kNone;
        int32_t tensor = -1;
    } side[2];

    bool exists() const { return tensor >= 0; }
};

// How the program uses a tensor; a tied embedding is both looked up and multiplied.
enum TensorUse : uint8_t { kUseVector = 1, kUseLookup = 2, kUseMatrix = 4 };

// ---- ops

enum class OpKind : uint8_t {
    kEmbed,   // out = row token[t] of weight0
    kNorm,    // out = norm(in0) (* weight0) (+ weight1), over each of `groups` equal parts of a row
    kLinear,  // out = in0 * weight0^T (+ weight1 as bias)
    kRope,    // out = in0 with each head rotated by its token's position; weight0, weight1: frequency factors [pairs]
    kCacheWrite,  // K row in0 and V row in1 of each token go to its slot
    kAttention,   // out = softmax(in0 K^T) V over what each token sees in the cache; weight0: sinks [n_heads]
    kGate,        // out = activation(in0) (* in1); in0 may be of width 1: the same for the whole row
    kAdd,         // out = in0 + in1
    kScale,       // out = in0 * factor (* weight0[0]) (* a factor that grows with the position) (+ weight1)
    kSoftCap,     // out = cap * tanh(in0 / cap)
    kSlice,       // out = columns [begin, begin + n) of each of `groups` equal parts of in0's row
    kOutputRows,  // out = the rows of in0 that the step wants outputs for

    // mixture of experts; a route is, for the n_used experts chosen, first their numbers, then their shares
    kRoute,         // out [2 n_used] = the largest of softmax(in0 [n_experts])
    kExpertLinear,  // out [n_used, rows] = in0 * (the experts in1 chose of weight0 [n_experts, rows, cols])^T (+
                    // weight1)
    kExpertScale,  // out [n_used, n] = in0, each part times the weight0 [n_experts] of the expert in1 chose (+ weight1)
    kCombine,      // out = sum over the n_used parts of in0, each times its share in in1

    // recurrent: tokens of a sequence in order, from its state before the step to its state after it
    kShortConv,      // out = activation(causal depthwise convolution of in0); weight0 [channels, kernel], weight1 bias
    kDeltaRule,      // in0 [q | k | v], in1 decay, in2 strength; weight0 [n_v_heads] rate, weight1 [n_v_heads] bias
    kSelectiveScan,  // in0 [x | B | C], in1 time step; weight0 rate, weight1 skip, weight2 bias of in1, each [n_heads]
};
const char *op_name(OpKind kind);

enum class NormKind : uint8_t { kRms, kLayer };
enum class ActivationKind : uint8_t {
    kNone,
    kSilu,
    kGelu,  // the tanh approximation
    kReluSquared,
    kSigmoid,
    kClampedSwiglu,  // of gpt-oss: min(a, 7) * sigmoid(1.702 min(a, 7)) * (clamp(b, -7, 7) + 1)
};
const char *activation_name(ActivationKind activation);
enum class RopePairs : uint8_t { kInterleaved, kHalves };  // (2i, 2i+1) or (i, i + dims/2)

struct NormArgs {
    NormKind kind;
    uint32_t groups;  // weights have as many values as a part, or as the whole row
    float epsilon;
};

struct RopeArgs {
    RopePairs pairs;
    uint32_t n_heads, head_dim;
    uint32_t dims;       // the first `dims` of each head are rotated
    uint32_t frequency;  // where Program::constants holds dims/2 angles per position
    float magnitude;     // of cos and sin (YaRN's attention factor; otherwise 1)
    // Not 0: contexts longer than this divide frequencies by weight1 instead of weight0 (LongRoPE).
    uint32_t original_context;
};

struct CacheWriteArgs {
    uint32_t cache_layer;
};

struct AttentionArgs {
    uint32_t cache_layer;
    uint32_t n_heads, n_kv_heads;
    uint32_t head_dim_k, head_dim_v;
    float scale;
    float soft_cap;  // of scores; 0: none
};

struct GateArgs {
    ActivationKind activation;
};

struct ScaleArgs {
    float factor;
    // The factor grows by 1 + slope * ln(1 + floor(position / interval)); interval 0: it does not.
    float slope;
    uint32_t interval;
};

struct SoftCapArgs {
    float cap;
};

struct SliceArgs {
    uint32_t groups, begin, n;
};

struct RouteArgs {
    uint32_t n_experts, n_used;
    bool normalize;  // shares of the chosen add up to 1
    float scale;     // of all shares
};

struct ExpertArgs {
    uint32_t n_experts, n_used;
    bool own_input;  // in0 is [n_used, cols], a row for each expert; otherwise [cols] for all
};

struct ShortConvArgs {
    uint32_t state;  // [kernel - 1, channels]: the last inputs, oldest first
    uint32_t kernel;
    ActivationKind activation;
};

// Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks". With q and k brought to length 1, q divided by sqrt(dim_k),
// and S [dim_k, dim_v] for each head of v:
//     S *= exp(rate * softplus(in1 + bias));  S += k (sigmoid(in2) * (v - S^T k))^T;  out = S^T q
struct DeltaRuleArgs {
    uint32_t state;  // [n_v_heads, dim_k, dim_v]
    uint32_t n_k_heads, n_v_heads, dim_k, dim_v;
    float epsilon;  // of q's and k's squared length
};

// Dao, Gu 2024, "Transformers are SSMs" (Mamba-2). With t = softplus(in1 + bias) and H [head_dim, state_dim]:
//     H = exp(rate * t) H + t * x B^T;  out = H C + skip * x
struct SelectiveScanArgs {
    uint32_t state;                                   // [n_heads, head_dim, state_dim]
    uint32_t n_heads, head_dim, n_groups, state_dim;  // heads of a group share B and C
};

constexpr int kOpInputs = 3, kOpWeights = 3;

struct Op {
    OpKind kind;
    uint8_t device = 0;
    int32_t layer = -1;  // -1: before or after the layers
    ValueId in[kOpInputs] = {kNoValue, kNoValue, kNoValue};
    ValueId out = kNoValue;
    WeightRef weight[kOpWeights];
    union {
        NormArgs norm;
        RopeArgs rope;
        CacheWriteArgs cache_write;
        AttentionArgs attention;
        GateArgs gate;
        ScaleArgs scale;
        SoftCapArgs soft_cap;
        SliceArgs slice;
        RouteArgs route;
        ExpertArgs expert;
        ShortConvArgs short_conv;
        DeltaRuleArgs delta_rule;
        SelectiveScanArgs selective_scan;
    };
    Op() : kind(OpKind::kEmbed), norm{} {}
};

// ---- cache

// A layer's paged state. Several layers may share one (cache_layer of the ops says which).
struct CacheLayer {
    uint32_t group;
    uint32_t index;  // within the group
};

// Layers with the same row sizes and window: one block table for all of them.
struct CacheGroup {
    uint32_t window = 0;  // tokens seen, the token itself included; 0: all
    uint32_t n_layers = 0;
    uint32_t n_kv_heads = 0;
    uint32_t head_dim_k = 0, head_dim_v = 0;
};

// Recurrent state of one layer's op: float32, one slot per sequence before and one after a step.
struct StateLayer {
    size_t floats = 0;  // of a slot
};

struct Program {
    std::vector<ValueInfo> values;
    std::vector<Op> ops;
    std::vector<float> constants;
    std::vector<CacheLayer> cache_layers;
    std::vector<CacheGroup> cache_groups;
    std::vector<StateLayer> state_layers;
    uint32_t n_position_axes = 1;
    uint32_t vocab = 0;
    ValueId logits = kNoValue;  // [n_outputs, vocab]
};

// Rows of quantized caches are padded to 32 values.
inline size_t cache_row_bytes(Format format, uint32_t head_dim) {
    uint32_t values = format_info(format).values;
    return row_bytes(format, (head_dim + values - 1) / values * values);
}

// ---- step

struct StepLimits {
    uint32_t max_tokens = 0;     // tokens of one step
    uint32_t max_sequences = 0;  // sequences of a context
    uint32_t max_outputs = 0;    // output rows of one step
    uint32_t n_axes = 1;
    uint32_t n_groups = 1;
    uint32_t max_pages = 0;      // pages of one sequence in one group
    uint32_t context = 0;        // tokens of one sequence
    uint32_t n_state_slots = 0;  // of each state layer
};

// All that changes between calls: arrays of fixed size in one block of memory, which a device has alike. Block
// tables can be most of it, and change little: they come last. Position (what rope sees) and slot (where a row lies)
// are different things.
struct Step {
    StepLimits limits;
    int32_t n_tokens = 0, n_sequences = 0, n_outputs = 0;

    // per token
    int32_t *token = nullptr;          // [max_tokens]
    int32_t *embedding_row = nullptr;  // [max_tokens] -1: use the token
    int32_t *position = nullptr;       // [n_axes, max_tokens]
    int32_t *parent = nullptr;         // [max_tokens] step index of the token before it in a draft tree; -1: none
    // [max_tokens] of a token in a draft tree: bit j says that it sees the j-th token of its sequence in this step, its
    // own bit is the highest; 0: it sees all before it. Its row is visible_end - 1.
    uint64_t *ancestors = nullptr;
    int32_t *sequence_of = nullptr;  // [max_tokens] index into the per-sequence arrays
    int32_t *adapter_of = nullptr;   // [max_tokens] -1: none
    int32_t *output_row = nullptr;   // [max_outputs] step index of the token whose output is wanted
    int32_t *output_kind = nullptr;  // [max_outputs] 0: logits

    // per sequence of the step
    int32_t *first_token = nullptr;   // [max_sequences]
    int32_t *state_before = nullptr;  // [max_sequences] slot of the recurrent state; -1: zeros
    int32_t *state_after = nullptr;   // [max_sequences] slot that takes the state after the step; never the same

    // per cache group
    int32_t *length = nullptr;         // [n_groups, max_sequences] rows in use, this step's included
    int32_t *slot = nullptr;           // [n_groups, max_tokens] physical page * kPageTokens + row: where to write
    int32_t *visible_begin = nullptr;  // [n_groups, max_tokens] logical rows that the token sees: [begin, end)
    int32_t *visible_end = nullptr;    // [n_groups, max_tokens]
    int32_t *block_table = nullptr;    // [n_groups, max_sequences, max_pages] physical page of each logical page

    // Whether a token sees a row that is at most its own, in a group.
    static bool sees(uint64_t ancestors, int32_t row, int32_t visible_end) {
        if (ancestors == 0) return true;
        const int32_t own = 63 - __builtin_clzll(ancestors), at = row - (visible_end - 1 - own);
        return at < 0 || (ancestors >> at & 1);
    }
    const int32_t *pages_of(uint32_t group, uint32_t sequence) const {
        return block_table + (size_t(group) * limits.max_sequences + sequence) * limits.max_pages;
    }
};

// Takes every array from `memory` (an Arena, or an ArenaSizer that only counts).
template <typename Memory> Step lay_out_step(const StepLimits &limits, Memory &memory) {
    Step s;
    s.limits = limits;
    const size_t tokens = limits.max_tokens, sequences = limits.max_sequences, groups = limits.n_groups;
    auto take = [&](size_t n) { return memory.template take<int32_t>(n); };
    s.token = take(tokens);
    s.embedding_row = take(tokens);
    s.position = take(limits.n_axes * tokens);
    s.parent = take(tokens);
    s.ancestors = memory.template take<uint64_t>(tokens);
    s.sequence_of = take(tokens);
    s.adapter_of = take(tokens);
    s.output_row = take(limits.max_outputs);
    s.output_kind = take(limits.max_outputs);
    s.first_token = take(sequences);
    s.state_before = take(sequences);
    s.state_after = take(sequences);
    s.length = take(groups * sequences);
    s.slot = take(groups * tokens);
    s.visible_begin = take(groups * tokens);
    s.visible_end = take(groups * tokens);
    s.block_table = take(groups * sequences * limits.max_pages);
    return s;
}

}  // namespace el
