#include "work.h"

#include <algorithm>
#include <cmath>

namespace tool {
namespace {

using namespace el;

constexpr double kFloatBytes = sizeof(float);

class Counter {
  public:
    Counter(const Program &program, const Op &op, const StepShape &shape)
        : program_(program), op_(op), shape_(shape), rows_(rows(op.out != kNoValue ? op.out : op.in[0])) {}

    Work count() const {
        Work work;
        work.weight_bytes = weights();
        work.cache_bytes = cache();
        work.flops = operations();
        return work;
    }
    static double rows(const Program &program, ValueId value, const StepShape &shape) {
        return program.values[size_t(value)].rows == Rows::kTokens ? shape.tokens : shape.outputs;
    }

  private:
    double rows(ValueId value) const { return rows(program_, value, shape_); }
    double width(ValueId value) const { return value == kNoValue ? 0 : program_.values[size_t(value)].width; }

    // The share of experts that so many tokens are expected to choose, if all are as likely.
    double chosen() const { return 1 - std::pow(1 - double(op_.expert.n_used) / double(op_.expert.n_experts), rows_); }
    double weights() const {
        double bytes = 0;
        for (const WeightRef &w : op_.weight) {
            if (!w.exists()) continue;
            double n = w.rows;
            if (op_.kind == OpKind::kEmbed) n = rows_;
            if (op_.kind == OpKind::kExpertLinear) n *= chosen();
            bytes += n * double(row_bytes(w.format, w.cols));
        }
        return bytes;
    }

    const CacheGroup &group(uint32_t cache_layer) const {
        return program_.cache_groups[program_.cache_layers[cache_layer].group];
    }
    double window(const CacheGroup &group) const { return group.window ? double(group.window) : HUGE_VAL; }
    double cache_row(const CacheGroup &group) const {
        return double(group.n_kv_heads) * double(cache_row_bytes(shape_.cache_k, group.head_dim_k) +
                                                 cache_row_bytes(shape_.cache_v, group.head_dim_v));
    }
    double state(uint32_t layer) const {  // read and written
        return 2 * kFloatBytes * double(program_.state_layers[layer].floats);
    }
    double cache() const {
        switch (op_.kind) {
        case OpKind::kCacheWrite:
            return rows_ * cache_row(group(op_.cache_write.cache_layer));
        case OpKind::kAttention: {
            const CacheGroup &g = group(op_.attention.cache_layer);
            return std::min(shape_.depth + rows_, window(g) + rows_ - 1) * cache_row(g);
        }
        case OpKind::kShortConv:
            return state(op_.short_conv.state);
        case OpKind::kDeltaRule:
            return state(op_.delta_rule.state);
        case OpKind::kSelectiveScan:
            return state(op_.selective_scan.state);
        default:
            return 0;
        }
    }

    // Rows that the tokens see, all together.
    double seen() const {
        const double most = window(group(op_.attention.cache_layer));
        double sum = 0;
        for (double t = 1; t <= rows_; ++t) sum += std::min(shape_.depth + t, most);
        return sum;
    }
    // Multiplications and additions; functions count as one.
    double operations() const {
        const double out = rows_ * width(op_.out);
        const WeightRef &w = op_.weight[0];
        switch (op_.kind) {
        case OpKind::kLinear:
            return 2.0 * rows_ * w.rows * w.cols;
        case OpKind::kExpertLinear:
            return 2.0 * rows_ * w.rows / op_.expert.n_experts * op_.expert.n_used * w.cols;
        case OpKind::kAttention: {
            const AttentionArgs &a = op_.attention;
            return 2 * seen() * a.n_heads * (double(a.head_dim_k) + a.head_dim_v);
        }
        case OpKind::kNorm:
            return 4 * out;
        case OpKind::kRope:
            return 3.0 * rows_ * op_.rope.n_heads * op_.rope.dims;
        case OpKind::kGate:
            return 3 * out;
        case OpKind::kCombine:
            return 2 * rows_ * width(op_.in[0]);
        case OpKind::kShortConv:
            return 2 * out * op_.short_conv.kernel;
        case OpKind::kDeltaRule: {
            const DeltaRuleArgs &a = op_.delta_rule;
            return 7.0 * rows_ * a.n_v_heads * a.dim_k * a.dim_v;
        }
        case OpKind::kSelectiveScan: {
            const SelectiveScanArgs &a = op_.selective_scan;
            return 5.0 * rows_ * a.n_heads * a.head_dim * a.state_dim;
        }
        case OpKind::kEmbed:
        case OpKind::kCacheWrite:
        case OpKind::kSlice:
        case OpKind::kOutputRows:
            return 0;
        default:
            return out;
        }
    }

    const Program &program_;
    const Op &op_;
    const StepShape &shape_;
    const double rows_;
};

}  // namespace

Work &Work::operator+=(const Work &other) {
    weight_bytes += other.weight_bytes;
    cache_bytes += other.cache_bytes;
    value_bytes += other.value_bytes;
    flops += other.flops;
    return *this;
}

Work work_of(const el::Program &program, const el::Op &op, const StepShape &shape) {
    return Counter(program, op, shape).count();
}

Work work_of(const el::Program &program, std::span<const uint32_t> ops, const StepShape &shape) {
    Work work;
    std::vector<bool> inside(program.ops.size()), made(program.values.size());
    for (uint32_t i : ops) {
        work += work_of(program, program.ops[i], shape);
        inside[i] = true;
        if (program.ops[i].out != kNoValue) made[size_t(program.ops[i].out)] = true;
    }
    std::vector<double> rows(program.values.size());  // that move
    auto moves = [&](ValueId v, double n) { rows[size_t(v)] = std::max(rows[size_t(v)], n); };
    for (size_t i = 0; i < program.ops.size(); ++i)
        for (ValueId in : program.ops[i].in) {
            if (in == kNoValue || inside[i] == made[size_t(in)]) continue;
            const bool chosen = inside[i] && program.ops[i].kind == OpKind::kOutputRows;
            moves(in, chosen ? shape.outputs : Counter::rows(program, in, shape));
        }
    if (made[size_t(program.logits)]) moves(program.logits, shape.outputs);
    for (size_t v = 0; v < rows.size(); ++v) work.value_bytes += kFloatBytes * program.values[v].width * rows[v];
    return work;
}

Bound bound_of(const Work &work, double seconds, const el::DeviceRates &rates) {
    const double reading = rates.read_bytes_per_s > 0 ? work.bytes() / rates.read_bytes_per_s : 0;
    const double multiplying = rates.matrix_flops_per_s > 0 ? work.flops / rates.matrix_flops_per_s : 0;
    if (std::max(reading, multiplying) < seconds / 2) return Bound::kLatency;
    return reading >= multiplying ? Bound::kBytes : Bound::kFlops;
}

const char *bound_name(Bound bound) {
    return bound == Bound::kBytes ? "bytes" : bound == Bound::kFlops ? "flops" : "latency";
}

}  // namespace tool
