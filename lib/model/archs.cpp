#include "model/archs.h"

namespace el {
namespace {

// ---- groups of tensors

constexpr TensorRow kTrunk[] = {
    {Role::kTokenEmbedding, "token_embd.weight", Dim::kVocab, Dim::kWidth},
    {Role::kOutputNorm, "output_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kOutput, "output.weight", Dim::kVocab, Dim::kWidth, When::kOptional},  // absent: tied
};
constexpr TensorRow kTrunkWithNormBias[] = {
    {Role::kTokenEmbedding, "token_embd.weight", Dim::kVocab, Dim::kWidth},
    {Role::kOutputNorm, "output_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kOutputNormBias, "output_norm.bias", Dim::kOne, Dim::kWidth},
    {Role::kOutput, "output.weight", Dim::kVocab, Dim::kWidth, When::kOptional},
};
constexpr TensorRow kLfm2Trunk[] = {
    {Role::kTokenEmbedding, "token_embd.weight", Dim::kVocab, Dim::kWidth},
    {Role::kOutputNorm, "token_embd_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kOutput, "output.weight", Dim::kVocab, Dim::kWidth, When::kOptional},
};
constexpr TensorRow kRopeFactorsOnly[] = {
    {Role::kRopeFactors, "rope_freqs.weight", Dim::kOne, Dim::kRopePairs, When::kOptional},
};
constexpr TensorRow kLongRope[] = {
    {Role::kRopeFactors, "rope_factors_short.weight", Dim::kOne, Dim::kRopePairs, When::kOptional},
    {Role::kRopeFactorsLong, "rope_factors_long.weight", Dim::kOne, Dim::kRopePairs, When::kOptional},
};

constexpr TensorRow kPreNorms[] = {
    {Role::kAttentionNorm, "blk.{}.attn_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kFfnNorm, "blk.{}.ffn_norm.weight", Dim::kOne, Dim::kWidth},
};
constexpr TensorRow kPreNormsOddlyNamed[] = {
    {Role::kAttentionNorm, "blk.{}.attn_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kFfnNorm, "blk.{}.post_attention_norm.weight", Dim::kOne, Dim::kWidth},
};
constexpr TensorRow kPreNormsWithBias[] = {
    {Role::kAttentionNorm, "blk.{}.attn_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kAttentionNormBias, "blk.{}.attn_norm.bias", Dim::kOne, Dim::kWidth},
    {Role::kFfnNorm, "blk.{}.ffn_norm.weight", Dim::kOne, Dim::kWidth, When::kSequential},
    {Role::kFfnNormBias, "blk.{}.ffn_norm.bias", Dim::kOne, Dim::kWidth, When::kSequential},
};
constexpr TensorRow kPostNorms[] = {
    {Role::kPostAttentionNorm, "blk.{}.post_attention_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kPostFfnNorm, "blk.{}.post_ffw_norm.weight", Dim::kOne, Dim::kWidth},
};

constexpr TensorRow kAttention[] = {
    {Role::kQueryKeyValue, "blk.{}.attn_qkv.weight", Dim::kQkvWidth, Dim::kWidth, When::kFused},
    {Role::kQuery, "blk.{}.attn_q.weight", Dim::kQueryWidth, Dim::kWidth, When::kApart},
    {Role::kKey, "blk.{}.attn_k.weight", Dim::kKeyWidth, Dim::kWidth, When::kApart},
    {Role::kValue, "blk.{}.attn_v.weight", Dim::kValueWidth, Dim::kWidth, When::kApart},
    {Role::kAttentionOutput, "blk.{}.attn_output.weight", Dim::kWidth, Dim::kAttentionWidth, When::kAttention},
};
constexpr TensorRow kBiases[] = {
    {Role::kQueryKeyValueBias, "blk.{}.attn_qkv.bias", Dim::kOne, Dim::kQkvWidth, When::kFusedBias},
    {Role::kQueryBias, "blk.{}.attn_q.bias", Dim::kOne, Dim::kQueryWidth, When::kApartBias},
    {Role::kKeyBias, "blk.{}.attn_k.bias", Dim::kOne, Dim::kKeyWidth, When::kApartBias},
    {Role::kValueBias, "blk.{}.attn_v.bias", Dim::kOne, Dim::kValueWidth, When::kApartBias},
    {Role::kAttentionOutputBias, "blk.{}.attn_output.bias", Dim::kOne, Dim::kWidth, When::kOptional},
    {Role::kFfnGateBias, "blk.{}.ffn_gate.bias", Dim::kOne, Dim::kFfnWidth, When::kOptional},
    {Role::kFfnUpBias, "blk.{}.ffn_up.bias", Dim::kOne, Dim::kFfnWidth, When::kOptional},
    {Role::kFfnDownBias, "blk.{}.ffn_down.bias", Dim::kOne, Dim::kWidth, When::kOptional},
};
constexpr TensorRow kHeadNorms[] = {
    {Role::kQueryNorm, "blk.{}.attn_q_norm.weight", Dim::kOne, Dim::kHeadDim, When::kAttention},
    {Role::kKeyNorm, "blk.{}.attn_k_norm.weight", Dim::kOne, Dim::kHeadDim, When::kOwnKeys},
};
constexpr TensorRow kNormsOfEachHead[] = {
    {Role::kQueryNorm, "blk.{}.attn_q_norm.weight", Dim::kHeads, Dim::kHeadDim, When::kOptional},
    {Role::kKeyNorm, "blk.{}.attn_k_norm.weight", Dim::kKvHeads, Dim::kHeadDim, When::kOptional},
};
constexpr TensorRow kWideNorms[] = {
    {Role::kQueryNorm, "blk.{}.attn_q_norm.weight", Dim::kOne, Dim::kQueryWidth, When::kAttention},
    {Role::kKeyNorm, "blk.{}.attn_k_norm.weight", Dim::kOne, Dim::kKeyWidth, When::kAttention},
};

constexpr TensorRow kGatedFfn[] = {
    {Role::kFfnGate, "blk.{}.ffn_gate.weight", Dim::kFfnWidth, Dim::kWidth, When::kDense},
    {Role::kFfnUp, "blk.{}.ffn_up.weight", Dim::kFfnWidth, Dim::kWidth, When::kDense},
    {Role::kFfnDown, "blk.{}.ffn_down.weight", Dim::kWidth, Dim::kFfnWidth, When::kDense},
};
constexpr TensorRow kPlainFfn[] = {
    {Role::kFfnUp, "blk.{}.ffn_up.weight", Dim::kFfnWidth, Dim::kWidth},
    {Role::kFfnDown, "blk.{}.ffn_down.weight", Dim::kWidth, Dim::kFfnWidth},
};
constexpr TensorRow kExperts[] = {
    {Role::kRouter, "blk.{}.ffn_gate_inp.weight", Dim::kExperts, Dim::kWidth, When::kExperts},
    {Role::kExpertGateUp, "blk.{}.ffn_gate_up_exps.weight", Dim::kExpertsTimesExpertWidthTwice, Dim::kWidth,
     When::kFusedExperts},
    {Role::kExpertGate, "blk.{}.ffn_gate_exps.weight", Dim::kExpertsTimesExpertWidth, Dim::kWidth, When::kApartExperts},
    {Role::kExpertUp, "blk.{}.ffn_up_exps.weight", Dim::kExpertsTimesExpertWidth, Dim::kWidth, When::kApartExperts},
    {Role::kExpertDown, "blk.{}.ffn_down_exps.weight", Dim::kExpertsTimesWidth, Dim::kExpertWidth, When::kExperts},
};
constexpr TensorRow kSharedExpert[] = {
    {Role::kSharedGate, "blk.{}.ffn_gate_shexp.weight", Dim::kSharedWidth, Dim::kWidth, When::kShared},
    {Role::kSharedUp, "blk.{}.ffn_up_shexp.weight", Dim::kSharedWidth, Dim::kWidth, When::kShared},
    {Role::kSharedDown, "blk.{}.ffn_down_shexp.weight", Dim::kWidth, Dim::kSharedWidth, When::kShared},
    {Role::kSharedRouter, "blk.{}.ffn_gate_inp_shexp.weight", Dim::kOne, Dim::kWidth, When::kSharedOptional},
};

// ---- tensors of one architecture

constexpr TensorRow kFusedFfn[] = {
    {Role::kFfnGateUp, "blk.{}.ffn_up.weight", Dim::kFfnWidthTwice, Dim::kWidth},
    {Role::kFfnDown, "blk.{}.ffn_down.weight", Dim::kWidth, Dim::kFfnWidth},
};
constexpr TensorRow kGptOssLayer[] = {
    {Role::kSinks, "blk.{}.attn_sinks.weight", Dim::kOne, Dim::kHeads},
    {Role::kRouter, "blk.{}.ffn_gate_inp.weight", Dim::kExperts, Dim::kWidth},
    {Role::kExpertGate, "blk.{}.ffn_gate_exps.weight", Dim::kExpertsTimesExpertWidth, Dim::kWidth},
    {Role::kExpertUp, "blk.{}.ffn_up_exps.weight", Dim::kExpertsTimesExpertWidth, Dim::kWidth},
    {Role::kExpertDown, "blk.{}.ffn_down_exps.weight", Dim::kExpertsTimesWidth, Dim::kExpertWidth},
    {Role::kRouterBias, "blk.{}.ffn_gate_inp.bias", Dim::kOne, Dim::kExperts},
    {Role::kExpertGateBias, "blk.{}.ffn_gate_exps.bias", Dim::kExperts, Dim::kExpertWidth},
    {Role::kExpertUpBias, "blk.{}.ffn_up_exps.bias", Dim::kExperts, Dim::kExpertWidth},
    {Role::kExpertDownBias, "blk.{}.ffn_down_exps.bias", Dim::kExperts, Dim::kWidth},
};
constexpr TensorRow kGemma4Model[] = {
    {Role::kPerLayerEmbedding, "per_layer_token_embd.weight", Dim::kVocab, Dim::kLayersTimesPerLayerWidth,
     When::kPerLayerInput},
    {Role::kPerLayerProjection, "per_layer_model_proj.weight", Dim::kLayersTimesPerLayerWidth, Dim::kWidth,
     When::kPerLayerInput},
    {Role::kPerLayerNorm, "per_layer_proj_norm.weight", Dim::kOne, Dim::kPerLayerWidth, When::kPerLayerInput},
};
constexpr TensorRow kGemma4Layer[] = {
    {Role::kQueryKeyValue, "blk.{}.attn_qkv.weight", Dim::kQkvWidth, Dim::kWidth, When::kFused},
    {Role::kQuery, "blk.{}.attn_q.weight", Dim::kQueryWidth, Dim::kWidth, When::kApart},
    {Role::kKey, "blk.{}.attn_k.weight", Dim::kKeyWidth, Dim::kWidth, When::kOwnKeysApart},
    {Role::kValue, "blk.{}.attn_v.weight", Dim::kValueWidth, Dim::kWidth, When::kOwnKeysApartOptional},  // absent: as K
    {Role::kAttentionOutput, "blk.{}.attn_output.weight", Dim::kWidth, Dim::kAttentionWidth},
    {Role::kLayerInputGate, "blk.{}.inp_gate.weight", Dim::kPerLayerWidth, Dim::kWidth, When::kPerLayerInput},
    {Role::kLayerInputProjection, "blk.{}.proj.weight", Dim::kWidth, Dim::kPerLayerWidth, When::kPerLayerInput},
    {Role::kLayerInputNorm, "blk.{}.post_norm.weight", Dim::kOne, Dim::kWidth, When::kPerLayerInput},
    {Role::kLayerScale, "blk.{}.layer_output_scale.weight", Dim::kOne, Dim::kOne, When::kOptional},
};
constexpr TensorRow kLfm2Layer[] = {
    {Role::kMixerIn, "blk.{}.shortconv.in_proj.weight", Dim::kWidthThrice, Dim::kWidth, When::kShortConv},
    {Role::kMixerConv, "blk.{}.shortconv.conv.weight", Dim::kWidth, Dim::kKernel, When::kShortConv},
    {Role::kMixerOut, "blk.{}.shortconv.out_proj.weight", Dim::kWidth, Dim::kWidth, When::kShortConv},
};
constexpr TensorRow kQwen35Layer[] = {
    {Role::kQueryKeyValue, "blk.{}.attn_qkv.weight", Dim::kGatedQkvWidth, Dim::kWidth, When::kFused},
    {Role::kQuery, "blk.{}.attn_q.weight", Dim::kGatedQueryWidth, Dim::kWidth, When::kApart},
    {Role::kKey, "blk.{}.attn_k.weight", Dim::kKeyWidth, Dim::kWidth, When::kApart},
    {Role::kValue, "blk.{}.attn_v.weight", Dim::kValueWidth, Dim::kWidth, When::kApart},
    {Role::kAttentionOutput, "blk.{}.attn_output.weight", Dim::kWidth, Dim::kAttentionWidth, When::kAttention},
    {Role::kMixerIn, "blk.{}.attn_qkv.weight", Dim::kStateQkvWidth, Dim::kWidth, When::kDeltaRule},
    {Role::kMixerGate, "blk.{}.attn_gate.weight", Dim::kStateWidth, Dim::kWidth, When::kDeltaRule},
    {Role::kMixerConv, "blk.{}.ssm_conv1d.weight", Dim::kStateQkvWidth, Dim::kKernel, When::kDeltaRule},
    {Role::kMixerDecay, "blk.{}.ssm_alpha.weight", Dim::kStateHeads, Dim::kWidth, When::kDeltaRule},
    {Role::kMixerStrength, "blk.{}.ssm_beta.weight", Dim::kStateHeads, Dim::kWidth, When::kDeltaRule},
    {Role::kMixerRate, "blk.{}.ssm_a", Dim::kOne, Dim::kStateHeads, When::kDeltaRule},
    {Role::kMixerStepBias, "blk.{}.ssm_dt.bias", Dim::kOne, Dim::kStateHeads, When::kDeltaRule},
    {Role::kMixerNorm, "blk.{}.ssm_norm.weight", Dim::kOne, Dim::kStateDimV, When::kDeltaRule},
    {Role::kMixerOut, "blk.{}.ssm_out.weight", Dim::kWidth, Dim::kStateWidth, When::kDeltaRule},
};
constexpr TensorRow kMamba2Layer[] = {
    {Role::kMixerIn, "blk.{}.ssm_in.weight", Dim::kScanInWidth, Dim::kWidth, When::kSelectiveScan},
    {Role::kMixerConv, "blk.{}.ssm_conv1d.weight", Dim::kStateQkvWidth, Dim::kKernel, When::kSelectiveScan},
    {Role::kMixerConvBias, "blk.{}.ssm_conv1d.bias", Dim::kOne, Dim::kStateQkvWidth, When::kSelectiveScan},
    {Role::kMixerRate, "blk.{}.ssm_a", Dim::kStateHeads, Dim::kOne, When::kSelectiveScan},
    {Role::kMixerSkip, "blk.{}.ssm_d", Dim::kStateHeads, Dim::kOne, When::kSelectiveScan},
    {Role::kMixerStepBias, "blk.{}.ssm_dt.bias", Dim::kOne, Dim::kStateHeads, When::kSelectiveScan},
    {Role::kMixerNorm, "blk.{}.ssm_norm.weight", Dim::kStateKeys, Dim::kStateGroupWidth, When::kSelectiveScan},
    {Role::kMixerOut, "blk.{}.ssm_out.weight", Dim::kWidth, Dim::kStateWidth, When::kSelectiveScan},
};

// ---- the table

constexpr ArchRow kArchitectures[] = {
    {.name = "llama",
     .tensors = {kTrunk, kRopeFactorsOnly, kPreNorms, kAttention, kBiases, kGatedFfn, kExperts},
     .flags = kNormalizeExperts,
     .rope_pairs = RopePairs::kInterleaved},
    {.name = "mistral3",
     .tensors = {kTrunk, kRopeFactorsOnly, kPreNorms, kAttention, kGatedFfn},
     .rope_pairs = RopePairs::kInterleaved},
    {.name = "smollm3",
     .tensors = {kTrunk, kPreNorms, kAttention, kBiases, kGatedFfn},
     .rope_pairs = RopePairs::kInterleaved,
     .no_rope_period = 4},
    {.name = "granite",
     .tensors = {kTrunk, kRopeFactorsOnly, kPreNorms, kAttention, kBiases, kGatedFfn},
     .flags = kScaleKeys | kRopeSwitch,
     .rope_pairs = RopePairs::kInterleaved},
    {.name = "granitemoe",
     .tensors = {kTrunk, kRopeFactorsOnly, kPreNorms, kAttention, kExperts, kSharedExpert},
     .flags = kScaleKeys | kRopeSwitch | kNormalizeExperts,
     .rope_pairs = RopePairs::kInterleaved},
    {.name = "granitehybrid",
     .tensors = {kTrunk, kRopeFactorsOnly, kPreNorms, kAttention, kMamba2Layer, kGatedFfn, kExperts, kSharedExpert},
     .flags = kScaleKeys | kRopeSwitch | kNormalizeExperts,
     .rope_pairs = RopePairs::kInterleaved,
     .recurrent = MixerKind::kSelectiveScan},
    {.name = "qwen2", .tensors = {kTrunk, kPreNorms, kAttention, kBiases, kGatedFfn}},
    {.name = "qwen2moe", .tensors = {kTrunk, kPreNorms, kAttention, kBiases, kExperts, kSharedExpert}},
    {.name = "qwen3", .tensors = {kTrunk, kPreNorms, kAttention, kHeadNorms, kGatedFfn}},
    {.name = "qwen3moe",
     .tensors = {kTrunk, kPreNorms, kAttention, kHeadNorms, kGatedFfn, kExperts},
     .flags = kNormalizeExperts},
    {.name = "qwen35",
     .tensors = {kTrunk, kPreNormsOddlyNamed, kQwen35Layer, kHeadNorms, kGatedFfn},
     .flags = kQueryGate,
     .recurrent = MixerKind::kDeltaRule},
    {.name = "gemma2",
     .tensors = {kTrunk, kPreNorms, kPostNorms, kAttention, kGatedFfn},
     .flags = kEmbeddingTimesRootWidth,
     .activation = ActivationKind::kGelu,
     .window_period = 2,
     .window = 4096,
     .attention_soft_cap = 50,
     .logit_soft_cap = 30,
     .wide_scale_layers = 46},
    {.name = "gemma3",
     .tensors = {kTrunk, kPreNorms, kPostNorms, kAttention, kHeadNorms, kGatedFfn},
     .flags = kEmbeddingTimesRootWidth | kWindowRopeUnscaled,
     .activation = ActivationKind::kGelu,
     .window_period = 6,
     .window_rope_base = 10000,
     .wide_scale_layers = 62},
    {.name = "gemma4",
     .tensors = {kTrunk, kRopeFactorsOnly, kGemma4Model, kPreNorms, kPostNorms, kGemma4Layer, kHeadNorms, kGatedFfn},
     .flags = kEmbeddingTimesRootWidth | kWindowRopeUnscaled | kAttentionUnscaled | kValueNorm | kWindowRequired,
     .activation = ActivationKind::kGelu,
     .window_period = 6,
     .window_rope_base = 10000},
    {.name = "phi3", .tensors = {kTrunk, kLongRope, kPreNorms, kAttention, kFusedFfn}, .window_period = 0},
    {.name = "stablelm",
     .tensors = {kTrunkWithNormBias, kPreNormsWithBias, kAttention, kBiases, kNormsOfEachHead, kGatedFfn},
     .norm = NormKind::kLayer},
    {.name = "nemotron",
     .tensors = {kTrunkWithNormBias, kPreNormsWithBias, kAttention, kBiases, kPlainFfn},
     .norm = NormKind::kLayer,
     .activation = ActivationKind::kReluSquared},
    {.name = "olmo2",
     .tensors = {kTrunk, kPostNorms, kAttention, kWideNorms, kGatedFfn},
     .flags = kWindowRopeUnscaled,
     .window_period = 4},
    {.name = "olmoe", .tensors = {kTrunk, kPreNorms, kAttention, kWideNorms, kExperts}},
    {.name = "exaone4",
     .tensors = {kTrunk, kRopeFactorsOnly, kPostNorms, kAttention, kHeadNorms, kGatedFfn},
     .flags = kWindowRopeOnly,
     .window_period = 4},
    {.name = "hunyuan-dense",
     .tensors = {kTrunk, kPreNorms, kAttention, kHeadNorms, kGatedFfn},
     .flags = kNormAfterRope},
    {.name = "gpt-oss",
     .tensors = {kTrunk, kPreNormsOddlyNamed, kAttention, kBiases, kGptOssLayer},
     .flags = kNormalizeExperts | kWindowRequired | kRopeExactRamp,
     .activation = ActivationKind::kClampedSwiglu,
     .window_period = 2},
    {.name = "lfm2",
     .tensors = {kLfm2Trunk, kPreNorms, kAttention, kLfm2Layer, kHeadNorms, kGatedFfn},
     .recurrent = MixerKind::kShortConv,
     .window_period = 0},
};

}  // namespace

std::span<const ArchRow> architectures() { return kArchitectures; }

}  // namespace el
