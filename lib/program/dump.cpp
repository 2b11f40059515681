#include "program/build.h"

#include "base/format.h"

namespace el {

namespace {

std::string arguments(const Op &op) {
    switch (op.kind) {
    case OpKind::kNorm:
        return el::format(" {} groups={} epsilon={:g}", op.norm.kind == NormKind::kRms ? "rms" : "layer",
                          op.norm.groups, op.norm.epsilon);
    case OpKind::kRope: {
        const RopeArgs &r = op.rope;
        std::string text = el::format(" {} heads={} head_dim={} dims={} frequencies@{} magnitude={:g}",
                                      r.pairs == RopePairs::kInterleaved ? "interleaved" : "halves", r.n_heads,
                                      r.head_dim, r.dims, r.frequency, r.magnitude);
        return r.original_context ? text + el::format(" long>{}", r.original_context) : text;
    }
    case OpKind::kCacheWrite:
        return el::format(" cache={}", op.cache_write.cache_layer);
    case OpKind::kAttention: {
        const AttentionArgs &a = op.attention;
        std::string text = el::format(" cache={} heads={} kv_heads={} head_dim={}/{} scale={:g}", a.cache_layer,
                                      a.n_heads, a.n_kv_heads, a.head_dim_k, a.head_dim_v, a.scale);
        return a.soft_cap > 0 ? text + el::format(" soft_cap={:g}", a.soft_cap) : text;
    }
    case OpKind::kGate:
        return el::format(" {}", activation_name(op.gate.activation));
    case OpKind::kScale:
        return op.scale.interval ? el::format(" factor={:g} slope={:g} interval={}", op.scale.factor, op.scale.slope,
                                              op.scale.interval)
                                 : el::format(" factor={:g}", op.scale.factor);
    case OpKind::kSoftCap:
        return el::format(" cap={:g}", op.soft_cap.cap);
    case OpKind::kSlice:
        return el::format(" groups={} begin={} n={}", op.slice.groups, op.slice.begin, op.slice.n);
    case OpKind::kRoute:
        return el::format(" experts={} used={}{}", op.route.n_experts, op.route.n_used,
                          op.route.normalize ? " normalized" : "");
    case OpKind::kExpertLinear:
        return el::format(" experts={} used={}{}", op.expert.n_experts, op.expert.n_used,
                          op.expert.own_input ? " own-input" : "");
    case OpKind::kShortConv:
        return el::format(" {} kernel={} state={}", activation_name(op.short_conv.activation), op.short_conv.kernel,
                          op.short_conv.state);
    case OpKind::kDeltaRule: {
        const DeltaRuleArgs &d = op.delta_rule;
        return el::format(" heads={}/{} head_dim={}/{} state={}", d.n_k_heads, d.n_v_heads, d.dim_k, d.dim_v, d.state);
    }
    case OpKind::kSelectiveScan: {
        const SelectiveScanArgs &s = op.selective_scan;
        return el::format(" heads={} head_dim={} groups={} state_dim={} state={}", s.n_heads, s.head_dim, s.n_groups,
                          s.state_dim, s.state);
    }
    default:
        return "";
    }
}

}  // namespace

std::string dump_program(const Program &program, std::span<const TensorInfo> tensors) {
    std::string out;
    for (size_t g = 0; g < program.cache_groups.size(); ++g) {
        const CacheGroup &group = program.cache_groups[g];
        append_format(out, "cache group {}: {}, {} layers, {} kv heads, head_dim {}/{}\n", g,
                      group.window ? el::format("window {}", group.window) : "full", group.n_layers, group.n_kv_heads,
                      group.head_dim_k, group.head_dim_v);
    }
    for (size_t i = 0; i < program.state_layers.size(); ++i)
        append_format(out, "state {}: {} floats\n", i, program.state_layers[i].floats);
    for (const Op &op : program.ops) {
        if (op.out != kNoValue)
            append_format(out, "%{} [{}, {}] = ", op.out,
                          program.values[op.out].rows == Rows::kTokens ? "tokens" : "outputs",
                          program.values[op.out].width);
        out += op_name(op.kind);
        out += arguments(op);
        for (ValueId in : op.in)
            if (in != kNoValue) append_format(out, " %{}", in);
        for (const WeightRef &w : op.weight)
            if (w.exists())
                append_format(out, " {} {}[{}{}, {}]", tensors[w.tensor].name, format_info(w.format).name,
                              w.row_begin ? el::format("{}+", w.row_begin) : "", w.rows, w.cols);
        out += '\n';
    }
    return out;
}

}  // namespace el
