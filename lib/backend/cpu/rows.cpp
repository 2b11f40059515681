// Stages of ops on single rows.
#include "backend/cpu/executable.h"
#include "backend/host/rotation.h"

#include <cmath>
#include <cstring>

namespace el::cpu {

void CpuExecutable::rows_stage(const Stage &stage, const Step &step, Worker worker) const noexcept {
    SplitRange rows = split(n_rows(stage.rows, step), worker.number, worker.of);
    for (size_t row = rows.begin; row < rows.end; row++) {
        if (&stage == &plan_.stages[0])
            for (size_t i = 0; i < plan_.rope_tables.size(); i++) {
                const Op &op = *plan_.rope_tables[i].op;
                rope_angles(op, step, row, memory_.rope_tables[i] + row * op.rope.dims);
            }
        for (const Op *op : stage.ops) row_op(*op, step, row, memory_.workers[size_t(worker.number)].row);
    }
}

const float *CpuExecutable::rope_factors(const Op &op, uint32_t context) const noexcept {
    const bool is_long = op.rope.original_context && context > op.rope.original_context;
    return store_.vector(op.weight[is_long ? 1 : 0]);
}

void CpuExecutable::rope_angles(const Op &op, const Step &step, size_t row, float *table) const noexcept {
    const uint32_t half = op.rope.dims / 2;
    const float *frequencies = program_.constants.data() + op.rope.frequency,
                *factors = rope_factors(op, step.limits.context);
    for (uint32_t i = 0; i < half; i++) {  // in double: sequences may go on for millions of tokens
        const double angle = step.position[row] * double(frequencies[i]) / (factors ? factors[i] : 1.0f);
        table[i] = float(std::cos(angle)) * op.rope.magnitude;
        table[half + i] = float(std::sin(angle)) * op.rope.magnitude;
    }
}

void CpuExecutable::norm(const Op &op, const float *x, size_t n, float *out) const noexcept {
    const size_t part = n / op.norm.groups;
    const WeightRef &w = op.weight[0].exists() ? op.weight[0] : op.weight[1];
    const size_t next = size_t(w.rows) * w.cols == n ? part : 0;  // weights of the next part
    NormCall call{x,
                  store_.vector(op.weight[0]),
                  store_.vector(op.weight[1]),
                  part,
                  op.norm.epsilon,
                  op.norm.kind == NormKind::kLayer,
                  out};
    for (uint32_t g = 0; g < op.norm.groups; g++, call.x += part, call.out += part) {
        kernels_.norm(call);
        if (call.weight) call.weight += next;
        if (call.bias) call.bias += next;
    }
}

// The factor of a kScale, without what depends on the position.
float CpuExecutable::scale_of(const Op &op) const noexcept {
    const float *weight = store_.vector(op.weight[0]);
    return weight ? op.scale.factor * *weight : op.scale.factor;
}

namespace {

float growth(const ScaleArgs &args, int32_t position) {
    return 1.0f + args.slope * std::log(1.0f + float(uint32_t(position) / args.interval));
}

// logits [n_experts]; out [2, n_used]: the largest, the first of equals first, and their shares
void route(const RouteArgs &args, const float *logits, float *out) {
    float highest = -INFINITY, sum = 0, chosen = 0;
    for (uint32_t e = 0; e < args.n_experts; e++) highest = std::max(highest, logits[e]);
    uint32_t n = 0;
    for (uint32_t e = 0; e < args.n_experts; e++) {
        sum += std::exp(logits[e] - highest);
        uint32_t at = n;
        auto above = [&](float other) { return logits[e] > other || (other != other && logits[e] == logits[e]); };
        while (at > 0 && above(logits[uint32_t(out[at - 1])])) at--;  // NaN loses
        if (at == args.n_used) continue;
        n = std::min(n + 1, args.n_used);
        for (uint32_t i = n - 1; i > at; i--) out[i] = out[i - 1];
        out[at] = float(e);
    }
    for (uint32_t i = 0; i < args.n_used; i++)
        chosen += out[args.n_used + i] = std::exp(logits[uint32_t(out[i])] - highest) / sum;
    for (uint32_t i = 0; i < args.n_used; i++)
        out[args.n_used + i] *= args.normalize ? args.scale / chosen : args.scale;
}

}  // namespace

void CpuExecutable::row_op(const Op &op, const Step &step, size_t row, float *scratch) const noexcept {
    if (op.kind == OpKind::kCacheWrite) return cache_write(op, step, row, scratch);
    const size_t n = width(op.out);
    float *out = data(op.out) + row * n;
    const float *a = op.in[0] != kNoValue ? data(op.in[0]) + row * width(op.in[0]) : nullptr;
    const float *b = op.in[1] != kNoValue ? data(op.in[1]) + row * width(op.in[1]) : nullptr;
    switch (op.kind) {
    case OpKind::kEmbed:
        store_.matrix(op.weight[0].tensor)
            .decode(op.weight[0].row_begin + size_t(step.token[row]), op.weight[0].col_begin, op.weight[0].cols, out);
        break;
    case OpKind::kNorm:
        norm(op, a, n, out);
        break;
    case OpKind::kRope: {
        const float *table =
            memory_.rope_tables[plan_.rope_table_of[size_t(&op - program_.ops.data())]] + row * op.rope.dims;
        kernels_.rope({a, out, table, table + op.rope.dims / 2, op.rope.n_heads, op.rope.head_dim, op.rope.dims,
                       op.rope.pairs == RopePairs::kInterleaved});
        break;
    }
    case OpKind::kGate:
        gate(op, a, b, n, out);
        break;
    case OpKind::kAdd:
        kernels_.add(a, b, n, out);
        break;
    case OpKind::kScale:
        kernels_.scale(a, scale_of(op) * (op.scale.interval ? growth(op.scale, step.position[row]) : 1.0f), n, out);
        if (op.weight[1].exists()) kernels_.add(out, store_.vector(op.weight[1]), n, out);
        break;
    case OpKind::kExpertScale: {
        const float *scales = store_.vector(op.weight[0]), *bias = store_.vector(op.weight[1]);
        const size_t used = width(op.in[1]) / 2, part = n / used;
        for (size_t i = 0; i < used; i++, a += part, out += part) {
            const size_t expert = size_t(b[i]);
            kernels_.scale(a, scales[expert], part, out);
            if (bias) kernels_.add(out, bias + expert * part, part, out);
        }
        break;
    }
    case OpKind::kSoftCap:
        kernels_.soft_cap(a, op.soft_cap.cap, n, out);
        break;
    case OpKind::kSlice: {
        const size_t part = width(op.in[0]) / op.slice.groups;
        for (uint32_t g = 0; g < op.slice.groups; g++)
            std::memcpy(out + size_t(g) * op.slice.n, a + g * part + op.slice.begin, op.slice.n * sizeof(float));
        break;
    }
    case OpKind::kOutputRows:
        std::memcpy(out, data(op.in[0]) + size_t(step.output_row[row]) * n, n * sizeof(float));
        break;
    case OpKind::kRoute:
        route(op.route, a, out);
        break;
    case OpKind::kCombine: {
        const size_t used = width(op.in[1]) / 2;
        kernels_.scale(a, b[used], n, out);
        for (size_t i = 1; i < used; i++) kernels_.add_scaled(a + i * n, b[used + i], n, out);
        break;
    }
    default:
        break;  // not ops on rows
    }
}

void CpuExecutable::gate(const Op &op, const float *a, const float *b, size_t n, float *out) const noexcept {
    const Activation activation = Activation(op.gate.activation);
    if (width(op.in[0]) == n) return kernels_.gate({activation, a, b, n, out});
    for (size_t i = 0; i < n; i++) out[i] = *a;
    kernels_.gate({activation, out, b, n, out});
}

void CpuExecutable::cache_write(const Op &op, const Step &step, size_t token, float *scratch) const noexcept {
    const uint32_t layer = op.cache_write.cache_layer;
    const int32_t slot = step.slot[size_t(program_.cache_layers[layer].group) * step.limits.max_tokens + token];
    auto write = [&](CacheType type, const CachePlane &plane, const float *x) {
        for (uint32_t h = 0; h < plane.n_kv_heads; h++, x += plane.head_dim) {
            const float *from = x;
            if (plane.rotated) {
                std::memcpy(scratch, x, plane.head_dim * sizeof(float));
                host::rotate(scratch, plane.head_dim);
                from = scratch;
            }
            kernels_.to_cache(type, from, plane.head_dim, reinterpret_cast<uint8_t *>(plane.row(slot, h)));
        }
    };
    write(k_type_, memory_.host.k(layer), data(op.in[0]) + token * width(op.in[0]));
    write(v_type_, memory_.host.v(layer), data(op.in[1]) + token * width(op.in[1]));
}

}  // namespace el::cpu
