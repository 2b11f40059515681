#include "program/build.h"

#include <fmt/format.h>

namespace el {

namespace {

std::string arguments(const Op &op) {
    switch (op.kind) {
    case OpKind::kNorm:
        return fmt::format(" rms groups={} epsilon={:g}", op.norm.groups, op.norm.epsilon);
    case OpKind::kRope:
        return fmt::format(" {} heads={} head_dim={} dims={} frequencies@{} magnitude={:g}",
                           op.rope.pairs == RopePairs::kInterleaved ? "interleaved" : "halves", op.rope.n_heads,
                           op.rope.head_dim, op.rope.dims, op.rope.frequency, op.rope.magnitude);
    case OpKind::kCacheWrite:
        return fmt::format(" cache={}", op.cache_write.cache_layer);
    case OpKind::kAttention:
        return fmt::format(" cache={} heads={} kv_heads={} head_dim={}/{} scale={:g}", op.attention.cache_layer,
                           op.attention.n_heads, op.attention.n_kv_heads, op.attention.head_dim_k,
                           op.attention.head_dim_v, op.attention.scale);
    case OpKind::kGate:
        return " silu";
    default:
        return "";
    }
}

}  // namespace

std::string dump_program(const Program &program, std::span<const TensorInfo> tensors) {
    std::string out;
    auto to = std::back_inserter(out);
    for (size_t g = 0; g < program.cache_groups.size(); ++g) {
        const CacheGroup &group = program.cache_groups[g];
        fmt::format_to(to, "cache group {}: full, {} layers, {} kv heads, head_dim {}/{}\n", g, group.n_layers,
                       group.n_kv_heads, group.head_dim_k, group.head_dim_v);
    }
    for (const Op &op : program.ops) {
        if (op.out != kNoValue)
            fmt::format_to(to, "%{} [{}, {}] = ", op.out,
                           program.values[op.out].rows == Rows::kTokens ? "tokens" : "outputs",
                           program.values[op.out].width);
        out += op_name(op.kind);
        out += arguments(op);
        for (ValueId in : op.in)
            if (in != kNoValue) fmt::format_to(to, " %{}", in);
        for (const WeightRef &w : op.weight)
            if (w.exists())
                fmt::format_to(to, " {} {}[{}, {}]", tensors[w.tensor].name, format_info(w.format).name, w.rows,
                               w.cols);
        out += '\n';
    }
    return out;
}

}  // namespace el
