#include "program/op.h"

namespace el {

const char *op_name(OpKind kind) {
    switch (kind) {
    case OpKind::kEmbed:
        return "embed";
    case OpKind::kNorm:
        return "norm";
    case OpKind::kLinear:
        return "linear";
    case OpKind::kRope:
        return "rope";
    case OpKind::kCacheWrite:
        return "cache-write";
    case OpKind::kAttention:
        return "attention";
    case OpKind::kGate:
        return "gate";
    case OpKind::kAdd:
        return "add";
    case OpKind::kScale:
        return "scale";
    case OpKind::kSoftCap:
        return "soft-cap";
    case OpKind::kSlice:
        return "slice";
    case OpKind::kOutputRows:
        return "output-rows";
    case OpKind::kRoute:
        return "route";
    case OpKind::kExpertLinear:
        return "expert-linear";
    case OpKind::kExpertScale:
        return "expert-scale";
    case OpKind::kCombine:
        return "combine";
    case OpKind::kShortConv:
        return "short-conv";
    case OpKind::kDeltaRule:
        return "delta-rule";
    case OpKind::kSelectiveScan:
        return "selective-scan";
    }
    return "?";
}

const char *activation_name(ActivationKind activation) {
    switch (activation) {
    case ActivationKind::kNone:
        return "product";
    case ActivationKind::kSilu:
        return "silu";
    case ActivationKind::kGelu:
        return "gelu";
    case ActivationKind::kReluSquared:
        return "relu-squared";
    case ActivationKind::kSigmoid:
        return "sigmoid";
    case ActivationKind::kClampedSwiglu:
        return "clamped-swiglu";
    }
    return "?";
}

}  // namespace el
