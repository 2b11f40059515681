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
    kTokenEmbedding,
    kOutputNorm,
    kOutput,
    kRopeFactors,
    kAttentionNorm,
    kQuery,
    kKey,
    kValue,
    kAttentionOutput,
    kFfnNorm,
    kFfnGate,
    kFfnUp,
    kFfnDown,
    kCount,
};
using RoleTensors = std::array<int32_t, static_cast<size_t>(Role::kCount)>;  // index in the file's tensors, -1: none

enum class MixerKind : uint8_t { kAttention };
enum class FfnKind : uint8_t { kGated };

struct RopeSpec {
    RopePairs pairs = RopePairs::kHalves;
    uint32_t dims = 0;  // rotated values of a head; 0: none
    float base = 10000.0f;
    enum class Scaling : uint8_t { kNone, kLinear, kYarn } scaling = Scaling::kNone;
    float factor = 1.0f;
    // YaRN
    float original_context = 0.0f, beta_fast = 32.0f, beta_slow = 1.0f, attention_factor = 1.0f;
};

struct LayerSpec {
    MixerKind mixer = MixerKind::kAttention;
    uint32_t n_heads = 0, n_kv_heads = 0;
    uint32_t head_dim_k = 0, head_dim_v = 0;
    float attention_scale = 0.0f;
    RopeSpec rope;
    FfnKind ffn = FfnKind::kGated;
    ActivationKind activation = ActivationKind::kSilu;
    uint32_t ffn_width = 0;
    RoleTensors tensor{};

    int32_t at(Role role) const { return tensor[static_cast<size_t>(role)]; }
};

struct ModelSpec {
    std::string architecture;
    uint32_t width = 0, vocab = 0, context_length = 0;
    NormKind norm = NormKind::kRms;
    float norm_epsilon = 0.0f;
    RoleTensors tensor{};
    std::vector<LayerSpec> layers;

    int32_t at(Role role) const { return tensor[static_cast<size_t>(role)]; }
};

// Reads the file's metadata and tensor list with the architecture's row. Throws kUnknownArchitecture, kMetadataInvalid
// (naming the key) or kTensorInvalid (naming the tensor, the shape found and the shape expected).
ModelSpec resolve_spec(const GgufFile &file);

std::vector<std::string_view> architecture_names();

}  // namespace el
