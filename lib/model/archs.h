// The table of architectures: one row of data each, the only place where their names appear.
#pragma once
#include "model/spec.h"

#include <span>

namespace el {

// A tensor's dimensions in terms of the spec.
enum class Dim : uint8_t {
    kOne,
    kWidth,
    kVocab,
    kHeads,
    kKvHeads,
    kHeadDim,
    kQueryWidth,
    kGatedQueryWidth,
    kKeyWidth,
    kValueWidth,
    kQkvWidth,
    kGatedQkvWidth,
    kAttentionWidth,
    kFfnWidth,
    kFfnWidthTwice,
    kRopePairs,
    kExperts,
    kExpertWidth,
    kExpertsTimesExpertWidth,
    kExpertsTimesExpertWidthTwice,
    kExpertsTimesWidth,
    kSharedWidth,
    kKernel,
    kWidthThrice,
    kStateHeads,
    kStateDimV,
    kStateWidth,     // heads of V x their size
    kStateQkvWidth,  // q, k and v; or x, B and C
    kScanInWidth,    // gate, x, B, C and time step
    kStateKeys,
    kStateGroupWidth,  // kStateWidth / kStateKeys
    kPerLayerWidth,
    kLayersTimesPerLayerWidth,
};

// Which layers have a tensor; in others it is not looked for.
enum class When : uint8_t {
    kAlways,
    kOptional,    // where the file has it
    kSequential,  // unless the FFN stands beside attention
    kAttention,
    kOwnKeys,       // attention that does not read another layer's K and V
    kFused,         // attention, where the file has Q, K and V in one; stands before those that tell them apart
    kApart,         // attention without such a tensor
    kOwnKeysApart,  // the same, of layers that do not read another's K and V
    kOwnKeysApartOptional,
    kFusedBias,  // where Q, K and V are one and so are their biases
    kApartBias,  // where the file has it and no bias of all three
    kDense,
    kExperts,
    kFusedExperts,  // where the file has gate and up in one
    kApartExperts,  // otherwise
    kShared,
    kSharedOptional,
    kShortConv,
    kDeltaRule,
    kSelectiveScan,
    kPerLayerInput,
};

struct TensorRow {
    Role role;
    const char *name;  // {} stands for the layer; without it the tensor is the model's
    Dim rows, cols;
    When when = When::kAlways;
};
using TensorRows = std::span<const TensorRow>;

enum ArchFlags : uint32_t {
    kEmbeddingTimesRootWidth = 1,  // embeddings are scaled by sqrt(width)
    kScaleKeys = 2,                // embedding_scale, residual_scale, logit_scale (a divisor)
    kNormAfterRope = 4,
    kQueryGate = 8,
    kValueNorm = 16,
    kAttentionUnscaled = 32,
    kNormalizeExperts = 64,
    kWindowRopeUnscaled = 128,  // windowed layers rotate without scaling and factors
    kWindowRopeOnly = 256,      // with a window, only windowed layers rotate
    kWindowRequired = 512,
    kRopeExactRamp = 1024,
    kRopeSwitch = 2048,  // rope.scaling.finetuned = false: no rope
};

// Absent members mean the usual: RMS norms, SwiGLU, rotated halves, attention everywhere and to everything.
struct ArchRow {
    const char *name;  // `general.architecture`, and the prefix of its metadata keys
    std::array<TensorRows, 8> tensors;
    uint32_t flags = 0;
    NormKind norm = NormKind::kRms;
    ActivationKind activation = ActivationKind::kSilu;
    RopePairs rope_pairs = RopePairs::kHalves;
    MixerKind recurrent = MixerKind::kAttention;  // of layers that have no attention

    // Windows: without the key ...sliding_window_pattern, the last of every `window_period` layers sees everything;
    // 0: no layer does. kNoWindow: the architecture has none.
    static constexpr uint32_t kNoWindow = ~0u;
    uint32_t window_period = kNoWindow;
    uint32_t window = 0;                               // without the key ...sliding_window; 0: none
    float window_rope_base = 0;                        // without the key; 0: as the other layers
    float attention_soft_cap = 0, logit_soft_cap = 0;  // without the keys; 0: none
    uint32_t no_rope_period = 0;                       // the last of so many layers does not rotate; 0: all do
    uint32_t wide_scale_layers = 0;  // models of so many layers scale scores by 1 / sqrt(width / heads)
};

std::span<const ArchRow> architectures();

}  // namespace el
