// Ops by which the conformance tests make their programs.
#pragma once
#include "harness.h"

namespace el::conformance {

inline Op unary(OpKind kind, ValueId x) {
    Op op;
    op.kind = kind;
    op.in[0] = x;
    return op;
}

inline uint32_t width(const Model &m, ValueId x) { return m.program.values[size_t(x)].width; }

struct NormParts {
    uint32_t groups = 1;
    bool weight = true, bias = false, whole_row = false;
};

inline ValueId norm(Model &m, ValueId x, NormKind kind, NormParts parts) {
    Op op = unary(OpKind::kNorm, x);
    const uint32_t n = width(m, x) / (parts.whole_row ? 1 : parts.groups);
    if (parts.weight) op.weight[0] = m.vector(n, 1.0f);
    if (parts.bias) op.weight[1] = m.vector(n, 0.1f);
    op.norm = {kind, parts.groups, 1e-5f};
    return m.push(op, width(m, x));
}

inline ValueId gate(Model &m, ActivationKind activation, ValueId a, ValueId b = kNoValue) {
    Op op = unary(OpKind::kGate, a);
    op.in[1] = b;
    op.gate = {activation};
    return m.push(op, width(m, b == kNoValue ? a : b));
}

inline ValueId scale(Model &m, ValueId x, float factor, uint32_t interval = 0, bool weight = false) {
    Op op = unary(OpKind::kScale, x);
    op.scale = {factor, 0.3f, interval};
    if (weight) op.weight[0] = m.vector(1, 0.7f);
    return m.push(op, width(m, x));
}

inline ValueId soft_cap(Model &m, ValueId x, float cap) {
    Op op = unary(OpKind::kSoftCap, x);
    op.soft_cap = {cap};
    return m.push(op, width(m, x));
}

inline ValueId slice(Model &m, ValueId x, uint32_t groups, uint32_t begin, uint32_t n) {
    Op op = unary(OpKind::kSlice, x);
    op.slice = {groups, begin, n};
    return m.push(op, groups * n);
}

inline ValueId dense(Model &m, ValueId x, uint32_t rows, bool bias = false) {
    return m.linear(x, m.matrix(Format::kF32, rows, width(m, x)), bias);
}

inline ValueId add(Model &m, ValueId a, ValueId b) { return m.binary(OpKind::kAdd, a, b); }

}  // namespace el::conformance
