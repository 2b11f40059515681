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
    case OpKind::kOutputRows:
        return "output-rows";
    }
    return "?";
}

}  // namespace el
