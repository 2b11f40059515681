// Stages of ops on single rows.
#include "backend/cpu/executable.h"

#include <cmath>
#include <cstring>

namespace el::cpu {

void CpuExecutable::rows_stage(const Stage &stage, const Step &step, Worker worker) const noexcept {
    SplitRange rows = split(n_rows(stage.rows, step), worker.number, worker.of);
    for (size_t row = rows.begin; row < rows.end; row++) {
        if (&stage == &plan_.stages[0])
            for (size_t i = 0; i < plan_.rope_tables.size(); i++) {
                const Op &op = *plan_.rope_tables[i].op;
                rope_angles(op, memory_.rope_tables[i] + row * op.rope.dims, step.position[row]);
            }
        for (const Op *op : stage.ops) row_op(*op, step, row);
    }
}

void CpuExecutable::rope_angles(const Op &op, float *table, int32_t position) const noexcept {
    const uint32_t half = op.rope.dims / 2;
    const float *frequencies = program_.constants.data() + op.rope.frequency, *factors = store_.vector(op.weight[0]);
    for (uint32_t i = 0; i < half; i++) {
        float angle = float(position) * frequencies[i] / (factors ? factors[i] : 1.0f);
        table[i] = std::cos(angle) * op.rope.magnitude;
        table[half + i] = std::sin(angle) * op.rope.magnitude;
    }
}

void CpuExecutable::row_op(const Op &op, const Step &step, size_t row) const noexcept {
    if (op.kind == OpKind::kCacheWrite) return cache_write(op, step, row);
    const size_t n = width(op.out);
    float *out = data(op.out) + row * n;
    const float *a = op.in[0] != kNoValue ? data(op.in[0]) + row * width(op.in[0]) : nullptr;
    const float *b = op.in[1] != kNoValue ? data(op.in[1]) + row * width(op.in[1]) : nullptr;
    switch (op.kind) {
    case OpKind::kEmbed:
        store_.matrix(op.weight[0].tensor)
            .decode(op.weight[0].row_begin + size_t(step.token[row]), op.weight[0].col_begin, op.weight[0].cols, out);
        break;
    case OpKind::kNorm: {
        const size_t part = n / op.norm.groups;
        const float *weight = store_.vector(op.weight[0]), *bias = store_.vector(op.weight[1]);
        for (uint32_t g = 0; g < op.norm.groups; g++, a += part, out += part) {
            kernels_.rms_norm(a, weight, part, op.norm.epsilon, out);
            if (bias) kernels_.add(out, bias, part, out);
        }
        break;
    }
    case OpKind::kRope: {
        const float *table =
            memory_.rope_tables[plan_.rope_table_of[size_t(&op - program_.ops.data())]] + row * op.rope.dims;
        kernels_.rope({a, out, table, table + op.rope.dims / 2, op.rope.n_heads, op.rope.head_dim, op.rope.dims,
                       op.rope.pairs == RopePairs::kInterleaved});
        break;
    }
    case OpKind::kGate:
        kernels_.silu_gate(a, b, n, out);
        break;
    case OpKind::kAdd:
        kernels_.add(a, b, n, out);
        break;
    case OpKind::kOutputRows:
        std::memcpy(out, data(op.in[0]) + size_t(step.output_row[row]) * n, n * sizeof(float));
        break;
    default:
        break;  // not ops on rows
    }
}

void CpuExecutable::cache_write(const Op &op, const Step &step, size_t token) const noexcept {
    const CacheLayer layer = program_.cache_layers[op.cache_write.cache_layer];
    const CacheGroup &group = program_.cache_groups[layer.group];
    const Memory::Planes &planes = memory_.cache[layer.group];
    const size_t slot = size_t(step.slot[size_t(layer.group) * step.limits.max_tokens + token]);
    const size_t page = size_t(layer.index) * n_pages_[layer.group] + slot / kPageTokens;
    auto write = [&](CacheType type, uint8_t *plane, size_t row_bytes, const float *x, size_t n) {
        for (size_t h = 0; h < group.n_kv_heads; h++, x += n) {
            uint8_t *to = plane + ((page * group.n_kv_heads + h) * kPageTokens + slot % kPageTokens) * row_bytes;
            if (type == CacheType::kF32)
                std::memcpy(to, x, n * sizeof(float));
            else
                kernels_.to_f16(x, n, reinterpret_cast<uint16_t *>(to));
        }
    };
    write(k_type_, planes.k, planes.k_row_bytes, data(op.in[0]) + token * width(op.in[0]), group.head_dim_k);
    write(v_type_, planes.v, planes.v_row_bytes, data(op.in[1]) + token * width(op.in[1]), group.head_dim_v);
}

}  // namespace el::cpu
