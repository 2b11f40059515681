// Stages of ops with a state: shared among workers by sequences and heads, or blocks of channels.
#include "backend/cpu/executable.h"

#include <algorithm>

namespace el::cpu {
namespace {

constexpr uint32_t kBlock = kDeltaColumns;  // channels, or columns of a head's state, of one task

uint32_t blocks(size_t n) { return uint32_t((n + kBlock - 1) / kBlock); }

}  // namespace

void CpuExecutable::recurrent_stage(const Op &op, const Step &step, Worker worker) const noexcept {
    const size_t parts = op.kind == OpKind::kShortConv   ? blocks(width(op.out))
                         : op.kind == OpKind::kDeltaRule ? size_t(op.delta_rule.n_v_heads) * blocks(op.delta_rule.dim_v)
                                                         : op.selective_scan.n_heads;
    const SplitRange mine = split(size_t(step.n_sequences) * parts, worker.number, worker.of);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const int32_t sequence = int32_t(i / parts);
        const SequenceTokens tokens{step.sequence_of, sequence, step.first_token[sequence], step.n_tokens};
        if (op.kind == OpKind::kShortConv)
            short_conv(op, step, tokens, uint32_t(i % parts));
        else if (op.kind == OpKind::kDeltaRule)
            delta_rule(op, step, tokens, uint32_t(i % parts), memory_.workers[size_t(worker.number)].state);
        else
            selective_scan(op, step, tokens, uint32_t(i % parts));
    }
}

// The state of a sequence, from its part at `offset` on.
CpuExecutable::StateSlots CpuExecutable::state_slots(const Step &step, int32_t sequence, uint32_t layer,
                                                     size_t offset) const noexcept {
    const int32_t before = step.state_before[sequence], after = step.state_after[sequence];
    return {before < 0 ? nullptr : memory_.host.state(layer, before) + offset,
            memory_.host.state(layer, after) + offset};
}

void CpuExecutable::short_conv(const Op &op, const Step &step, const SequenceTokens &tokens,
                               uint32_t block) const noexcept {
    const StateSlots state = state_slots(step, tokens.sequence, op.short_conv.state, 0);
    ShortConvCall call;
    call.tokens = tokens;
    call.x = data(op.in[0]);
    call.weight = store_.vector(op.weight[0]);
    call.bias = store_.vector(op.weight[1]);
    call.stride = width(op.out);
    call.begin = block * kBlock;
    call.end = std::min(uint32_t(call.stride), call.begin + kBlock);
    call.kernel = op.short_conv.kernel;
    call.activation = Activation(op.short_conv.activation);
    call.before = state.before;
    call.after = state.after;
    call.out = data(op.out);
    kernels_.short_conv(call);
}

void CpuExecutable::delta_rule(const Op &op, const Step &step, const SequenceTokens &tokens, uint32_t part,
                               float *scratch) const noexcept {
    const DeltaRuleArgs &a = op.delta_rule;
    const uint32_t head = part / blocks(a.dim_v), keys = a.n_k_heads * a.dim_k;
    const StateSlots state = state_slots(step, tokens.sequence, a.state, size_t(head) * a.dim_k * a.dim_v);
    DeltaRuleCall call;
    call.tokens = tokens;
    call.q = data(op.in[0]) + size_t(head % a.n_k_heads) * a.dim_k;
    call.k = call.q + keys;
    call.v = data(op.in[0]) + 2 * size_t(keys) + size_t(head) * a.dim_v;
    call.qkv_stride = width(op.in[0]);
    call.decay = data(op.in[1]) + head;
    call.strength = data(op.in[2]) + head;
    call.n_v_heads = a.n_v_heads;
    call.rate = store_.vector(op.weight[0])[head];
    call.bias = store_.vector(op.weight[1])[head];
    call.dim_k = a.dim_k;
    call.dim_v = a.dim_v;
    call.begin = part % blocks(a.dim_v) * kBlock;
    call.end = std::min(a.dim_v, call.begin + kBlock);
    call.epsilon = a.epsilon;
    call.before = state.before;
    call.after = state.after;
    call.out = data(op.out) + size_t(head) * a.dim_v;
    call.scratch = scratch;
    kernels_.delta_rule(call);
}

void CpuExecutable::selective_scan(const Op &op, const Step &step, const SequenceTokens &tokens,
                                   uint32_t head) const noexcept {
    const SelectiveScanArgs &a = op.selective_scan;
    const size_t inner = size_t(a.n_heads) * a.head_dim, group = head / (a.n_heads / a.n_groups);
    const StateSlots state = state_slots(step, tokens.sequence, a.state, size_t(head) * a.head_dim * a.state_dim);
    SelectiveScanCall call;
    call.tokens = tokens;
    call.x = data(op.in[0]) + size_t(head) * a.head_dim;
    call.b = data(op.in[0]) + inner + group * a.state_dim;
    call.c = call.b + size_t(a.n_groups) * a.state_dim;
    call.xbc_stride = width(op.in[0]);
    call.dt = data(op.in[1]) + head;
    call.n_heads = a.n_heads;
    call.rate = store_.vector(op.weight[0])[head];
    call.skip = store_.vector(op.weight[1])[head];
    call.bias = store_.vector(op.weight[2])[head];
    call.head_dim = a.head_dim;
    call.state_dim = a.state_dim;
    call.before = state.before;
    call.after = state.after;
    call.out = data(op.out) + size_t(head) * a.head_dim;
    kernels_.selective_scan(call);
}

}  // namespace el::cpu
