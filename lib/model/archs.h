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
    kQueryWidth,
    kKeyWidth,
    kValueWidth,
    kAttentionWidth,
    kFfnWidth,
    kRopePairs
};

enum class Presence : uint8_t { kRequired, kOptional };

struct TensorRow {
    Role role;
    const char *name;  // {} stands for the layer; without it the tensor is the model's
    Dim rows, cols;
    Presence presence = Presence::kRequired;
};

struct ArchRow {
    const char *name;  // `general.architecture`, and the prefix of its metadata keys
    NormKind norm;
    const char *norm_epsilon_key;
    ActivationKind activation;
    FfnKind ffn;
    RopePairs rope_pairs;
    std::span<const TensorRow> tensors;
};

std::span<const ArchRow> architectures();

}  // namespace el
