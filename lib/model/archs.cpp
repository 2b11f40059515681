#include "model/archs.h"

namespace el {
namespace {

constexpr TensorRow kLlamaTensors[] = {
    {Role::kTokenEmbedding, "token_embd.weight", Dim::kVocab, Dim::kWidth},
    {Role::kOutputNorm, "output_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kOutput, "output.weight", Dim::kVocab, Dim::kWidth, Presence::kOptional},  // absent: tied
    {Role::kRopeFactors, "rope_freqs.weight", Dim::kOne, Dim::kRopePairs, Presence::kOptional},
    {Role::kAttentionNorm, "blk.{}.attn_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kQuery, "blk.{}.attn_q.weight", Dim::kQueryWidth, Dim::kWidth},
    {Role::kKey, "blk.{}.attn_k.weight", Dim::kKeyWidth, Dim::kWidth},
    {Role::kValue, "blk.{}.attn_v.weight", Dim::kValueWidth, Dim::kWidth},
    {Role::kAttentionOutput, "blk.{}.attn_output.weight", Dim::kWidth, Dim::kAttentionWidth},
    {Role::kFfnNorm, "blk.{}.ffn_norm.weight", Dim::kOne, Dim::kWidth},
    {Role::kFfnGate, "blk.{}.ffn_gate.weight", Dim::kFfnWidth, Dim::kWidth},
    {Role::kFfnUp, "blk.{}.ffn_up.weight", Dim::kFfnWidth, Dim::kWidth},
    {Role::kFfnDown, "blk.{}.ffn_down.weight", Dim::kWidth, Dim::kFfnWidth},
};

// Columns: name, norm, its epsilon's key, activation, FFN, rope pairs, tensors.
constexpr ArchRow kArchitectures[] = {
    {"llama", NormKind::kRms, "attention.layer_norm_rms_epsilon", ActivationKind::kSilu, FfnKind::kGated,
     RopePairs::kInterleaved, kLlamaTensors},
};

}  // namespace

std::span<const ArchRow> architectures() { return kArchitectures; }

}  // namespace el
