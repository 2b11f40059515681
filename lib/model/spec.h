// What a model is, resolved: every number and tensor that the program builder needs, for each layer apart.
#pragma once
#include "base/log.h"
#include "base/metadata.h"
#include "model/gguf.h"
#include "program/op.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace el {

// What a tensor is for. A layer's roles and the model's are in one list.
enum class Role : uint8_t {
    // the model's
    kTokenEmbedding,
    kOutputNorm,
    kOutputNormBias,
    kOutput,
    kRopeFactors,
    kRopeFactorsLong,  // LongRoPE: for contexts longer than the original one; kRopeFactors for the others
    kPerLayerEmbedding,
    kPerLayerProjection,
    kPerLayerNorm,
    // a layer's
    kAttentionNorm,
    kAttentionNormBias,
    kQueryKeyValue,  // fused: rows of Q, K and V one after the other
    kQueryKeyValueBias,
    kQuery,
    kQueryBias,
    kQueryNorm,
    kKey,
    kKeyBias,
    kKeyNorm,
    kValue,
    kValueBias,
    kSinks,
    kAttentionOutput,
    kAttentionOutputBias,
    kPostAttentionNorm,
    kFfnNorm,
    kFfnNormBias,
    kFfnGate,
    kFfnGateBias,
    kFfnUp,
    kFfnUpBias,
    kFfnGateUp,  // fused: rows of gate and up one after the other
    kFfnDown,
    kFfnDownBias,
    kPostFfnNorm,
    kRouter,
    kRouterBias,
    kExpertGateUp,  // fused: of each expert, rows of gate and up one after the other
    kExpertGate,
    kExpertGateBias,
    kExpertUp,
    kExpertUpBias,
    kExpertDown,
    kExpertDownBias,
    kSharedGate,
    kSharedUp,
    kSharedDown,
    kSharedRouter,
    kMixerIn,  // of recurrent layers
    kMixerGate,
    kMixerConv,
    kMixerConvBias,
    kMixerDecay,
    kMixerStrength,
    kMixerRate,
    kMixerStepBias,
    kMixerSkip,
    kMixerNorm,
    kMixerOut,
    kLayerInputGate,  // per-layer embeddings
    kLayerInputProjection,
    kLayerInputNorm,
    kLayerScale,
    kCount,
};
using RoleTensors = std::array<int32_t, static_cast<size_t>(Role::kCount)>;  // index in the file's tensors, -1: none

enum class MixerKind : uint8_t { kAttention, kShortConv, kDeltaRule, kSelectiveScan };

struct RopeSpec {
    RopePairs pairs = RopePairs::kHalves;
    uint32_t dims = 0;  // rotated values of a head; 0: none
    float base = 10000.0f;
    bool factors = true;  // the model's frequency factors, if it has any, apply
    enum class Scaling : uint8_t { kNone, kLinear, kYarn } scaling = Scaling::kNone;
    float factor = 1.0f;
    float magnitude = 1.0f;  // of cos and sin
    uint32_t original_context = 0;
    // YaRN
    float beta_fast = 32.0f, beta_slow = 1.0f;
    bool exact_ramp = false;  // its ends are not rounded to whole pairs
};

struct LayerSpec {
    MixerKind mixer = MixerKind::kAttention;

    // attention
    uint32_t n_heads = 0, n_kv_heads = 0;
    uint32_t head_dim_k = 0, head_dim_v = 0;
    float attention_scale = 0.0f, attention_soft_cap = 0.0f;
    uint32_t window = 0;    // tokens seen, the token itself included; 0: all
    int32_t kv_layer = -1;  // the layer whose K and V this one reads; -1: its own
    RopeSpec rope;

    // other mixers: heads of K (groups of B and C) and of V, their sizes, and the convolution's kernel
    uint32_t n_state_keys = 0, n_state_heads = 0, state_dim_k = 0, state_dim_v = 0, kernel = 0;

    // FFN
    ActivationKind activation = ActivationKind::kSilu;
    uint32_t ffn_width = 0;
    uint32_t n_experts = 0, n_experts_used = 0, expert_width = 0, shared_width = 0;  // 0 experts: dense

    RoleTensors tensor{}, scale{};

    int32_t at(Role role) const { return tensor[static_cast<size_t>(role)]; }
    // What the matrix is multiplied by as a whole, or one number for each expert; -1: nothing.
    int32_t scale_of(Role role) const { return scale[static_cast<size_t>(role)]; }
    bool has(Role role) const { return at(role) >= 0; }
};

struct ModelSpec {
    std::string architecture;
    uint32_t width = 0, vocab = 0, context_length = 0;
    uint32_t per_layer_width = 0;  // of per-layer embeddings; 0: none
    NormKind norm = NormKind::kRms;
    float norm_epsilon = 0.0f;
    float embedding_scale = 1.0f, residual_scale = 1.0f, logit_scale = 1.0f;
    float logit_soft_cap = 0.0f;     // 0: none
    float query_slope = 0.0f;        // queries grow with 1 + slope * ln(1 + floor(position / interval))
    uint32_t query_interval = 0;     // 0: they do not
    bool query_gate = false;         // the query projection makes a gate for each head beside it
    bool norm_after_rope = false;    // of queries and keys
    bool value_norm = false;         // values are normed, without weights
    bool parallel_residual = false;  // the FFN reads what attention reads
    bool normalize_experts = false;  // shares of the chosen experts add up to 1
    uint32_t draft_layers = 0;       // layers after the last that guess further tokens; they are not run
    RoleTensors tensor{}, scale{};
    std::vector<LayerSpec> layers;

    int32_t at(Role role) const { return tensor[static_cast<size_t>(role)]; }
    int32_t scale_of(Role role) const { return scale[static_cast<size_t>(role)]; }
    bool has(Role role) const { return at(role) >= 0; }
};

// Reads the file's metadata and tensor list with the architecture's row. Throws kUnknownArchitecture, kMetadataInvalid
// (naming the key), kTensorInvalid (naming the tensor, the shape found and the shape expected) or kUnsupported.
ModelSpec resolve_spec(const GgufFile &file);

std::vector<std::string_view> architecture_names();

}  // namespace el
