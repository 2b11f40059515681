// From a step to its kernels: few tokens stage by stage, many mostly op by op.
#include "executable.h"
#include "packed.h"
#include "profile.h"
#include "step.h"

#include <utility>

namespace el::cuda {

static ValueId other_input(const Op &op, ValueId one) { return op.in[op.in[0] == one ? 1 : 0]; }

bool Executable::of_tokens(const Op &op) const {
    const ValueId leading = op.out != kNoValue ? op.out : op.in[0];
    return program.values[size_t(leading)].rows == Rows::kTokens;
}

int Executable::rows(const Op &op, const Step &step) const { return of_tokens(op) ? step.n_tokens : step.n_outputs; }

// The step comes from host_step, but for the block tables.
void Executable::launch_all(const Step &host) const {
    const Step device = moved_step(host, reinterpret_cast<uint8_t *>(at.step.token));
    if (host.n_tokens <= kDecodeTokens)
        bring_step(host, reinterpret_cast<uint8_t *>(device.token), stream);
    else
        check(cudaMemcpyAsync(device.token, host.token, front_bytes(host), cudaMemcpyHostToDevice, stream),
              "copying a step");
    if (marks_) marks_->start();
    gemm->begin_step();
    for (const Stage &stage : stages)
        if (!launch_as_one(stage, host, device))
            for (uint32_t i = stage.begin; i < stage.end; ++i) {
                const StageRange range(marks_, i, i + 1);
                launch(program.ops[i], device);
                range.done();
            }
    check(cudaGetLastError(), "starting a step");
}

bool Executable::launch_as_one(const Stage &stage, const Step &host, const Step &device) const {
    const int n = rows(program.ops[stage.end - 1], host);
    if (stage.kind == Stage::kSingle || (stage.kind == Stage::kProducts && n > kMatvecTokens) ||
        (stage.kind == Stage::kHeads && n > kDecodeTokens))
        return false;
    const StageRange range(marks_, stage.begin, stage.end);
    if (stage.kind == Stage::kProducts && !launch_products(stage, n)) return false;
    if (stage.kind == Stage::kHeads && !launch_heads(stage, host, device, n)) return false;
    if (stage.kind == Stage::kNormAdd && n > 0) {
        const Op &norm = program.ops[size_t(stage.norm)], &add = program.ops[size_t(stage.add)];
        launch_norm(norm, n, data(other_input(add, norm.out)), data(add.out));
    }
    return range.done();
}

void Executable::launch_norm(const Op &op, int n, const float *residual, float *out) const {
    const WeightRef &w = op.weight[0];
    norm({op.norm, data(op.in[0]), store.vector(w), store.vector(op.weight[1]), width(op.out), w.rows * w.cols, out, n,
          residual},
         chip.early, stream);
}

// As a matrix that begins at the first column that is wanted.
MatvecPart Executable::part_of(const Op &op) const {
    const WeightRef &w = op.weight[0];
    Matrix m = store.matrix(w.tensor);
    if (!m.packed) m.data += w.col_begin / format_info(m.format).values * format_info(m.format).bytes;
    return {m, w.row_begin, w.rows, store.vector(op.weight[1]), data(op.out)};
}

bool Executable::launch_products(const Stage &stage, int n) const {
    if (n == 0) return true;
    MatvecCall c;
    c.n = n;
    c.n_parts = stage.n_linears;
    bool packed = true;
    for (int i = 0; i < c.n_parts; ++i) {
        const Op &op = program.ops[size_t(stage.first_linear + i)];
        const WeightRef &w = op.weight[0];
        packed &= matvec_supported(store.matrix(w.tensor), w.row_begin, w.col_begin, w.cols);
        c.part[i] = part_of(op);
        c.cols = w.cols;
    }
    c.x = data(program.ops[size_t(stage.first_linear)].in[0]);
    if (stage.norm >= 0) {
        const Op &op = program.ops[size_t(stage.norm)];
        c.x = data(op.in[0]);
        c.norm = true;
        c.epsilon = op.norm.epsilon;
        c.norm_weight = store.vector(op.weight[0]);
    }
    if (stage.gate >= 0) {
        const Op &op = program.ops[size_t(stage.gate)];
        if (op.in[0] != program.ops[size_t(stage.first_linear)].out) std::swap(c.part[0], c.part[1]);
        c.gate = true;
        c.activation = op.gate.activation;
        c.part[0].out = data(op.out);
    }
    if (stage.add >= 0) {
        const Op &op = program.ops[size_t(stage.add)];
        c.residual = data(other_input(op, program.ops[size_t(stage.first_linear)].out));
        c.part[0].out = data(op.out);
    }
    c.quantized = at.quantized;
    c.odd = stage.odd;
    c.amid = stage.amid;
    c.formats = product_formats;
    if (!packed) return dense_matvec(c, chip, stream);
    matvec(c, chip, stream);
    return true;
}

HeadNorm Executable::head_norm(int32_t i) const {
    if (i < 0) return {};
    const Op &op = program.ops[size_t(i)];
    const WeightRef &w = op.weight[0];
    const uint32_t head_dim = width(op.out) / op.norm.groups;
    return {true, op.norm.epsilon, store.vector(w), w.exists() && w.rows * w.cols > head_dim ? head_dim : 0};
}

bool Executable::launch_heads(const Stage &stage, const Step &host, const Step &device, int n) const {
    const Op &op = program.ops[size_t(stage.attention)];
    const uint32_t layer = op.attention.cache_layer;
    if (!decode_attention_supported(op.attention, at.k[layer], at.v[layer])) return false;
    DecodeAttentionCall c;
    c.heads.attention = {op.attention,
                         at.k[layer],
                         at.v[layer],
                         data(stage.q),
                         store.vector(op.weight[0]),
                         data(op.out),
                         n,
                         device,
                         program.cache_layers[layer].group};
    c.heads.k = data(stage.k);
    c.heads.v = data(stage.v);
    c.heads.q_norm = head_norm(stage.q_norm);
    c.heads.k_norm = head_norm(stage.k_norm);
    c.heads.v_norm = head_norm(stage.v_norm);
    if (stage.q_rope >= 0) c.heads.q_rope = rope_of(program.ops[size_t(stage.q_rope)]);
    if (stage.k_rope >= 0) c.heads.k_rope = rope_of(program.ops[size_t(stage.k_rope)]);
    c.heads.q_out = data(op.in[0]);
    c.scratch = at.attention;
    c.n_multiprocessors = chip.n_multiprocessors;
    c.early = chip.early;
    c.long_context = has_long_context(host, program.cache_layers[layer].group);
    decode_attention(c, stream);
    return true;
}

// ---- single ops

void Executable::launch_matrix(const Op &op, int n) const {
    const WeightRef &w = op.weight[0];
    LinearCall call{store.matrix(w.tensor),     w.row_begin,  w.rows, w.col_begin, w.cols, data(op.in[0]),
                    store.vector(op.weight[1]), data(op.out), n};
    if (op.kind == OpKind::kLinear && gemm->linear(call, op.in[0])) return;
    if (op.kind == OpKind::kLinear) {
        MatvecCall product;
        product.part[0] = part_of(op);
        product.n_parts = 1;
        product.cols = w.cols;
        product.n = n;
        product.x = call.x;
        if (!dense_matvec(product, chip, stream)) linear(call, stream);
        return;
    }
    call.rows = w.rows / op.expert.n_experts;
    call.n = n * int(op.expert.n_used);
    const ExpertCall experts{call, data(op.in[1]), op.expert.n_used, op.expert.own_input};
    if (n <= kMatvecTokens && expert_matvec(experts, at.quantized, chip, stream)) return;
    if (!gemm->expert_linear(experts, op.expert.n_experts, op.in[0], op.in[1])) expert_linear(experts, stream);
}

void Executable::launch_recurrent(const Op &op, const Step &step) const {
    const uint32_t layer = op.kind == OpKind::kShortConv   ? op.short_conv.state
                           : op.kind == OpKind::kDeltaRule ? op.delta_rule.state
                                                           : op.selective_scan.state;
    StateCall call{step, at.state[layer], program.state_layers[layer].floats, {}, {}, data(op.out)};
    for (int i = 0; i < kOpInputs; ++i) call.in[i] = data(op.in[i]);
    for (int i = 0; i < kOpWeights; ++i) call.weight[i] = store.vector(op.weight[i]);
    if (op.kind == OpKind::kShortConv)
        short_conv(op.short_conv, call, width(op.out), chip.early, stream);
    else if (op.kind == OpKind::kDeltaRule)
        delta_rule(op.delta_rule, call, chip.early, stream);
    else
        selective_scan(op.selective_scan, call, chip.early, stream);
}

void Executable::launch(const Op &op, const Step &step) const {
    const int n = rows(op, step);
    if (n == 0) return;
    const float *a = data(op.in[0]), *b = data(op.in[1]);
    float *out = data(op.out);
    const uint32_t cols = width(op.out);
    const WeightRef &w = op.weight[0];
    switch (op.kind) {
    case OpKind::kEmbed:
        return embed(store.matrix(w.tensor), step.token, n, out, stream);
    case OpKind::kLinear:
    case OpKind::kExpertLinear:
        return launch_matrix(op, n);
    case OpKind::kNorm:
        return launch_norm(op, n, nullptr, out);
    case OpKind::kRope:
        return rope(rope_of(op), step.position, a, out, n, chip.early, stream);
    case OpKind::kCacheWrite: {
        const uint32_t layer = op.cache_write.cache_layer;
        const int32_t *slot = step.slot + size_t(program.cache_layers[layer].group) * step.limits.max_tokens;
        cache_write(at.k[layer], slot, a, n, stream);
        return cache_write(at.v[layer], slot, b, n, stream);
    }
    case OpKind::kAttention: {
        const uint32_t layer = op.attention.cache_layer;
        return attention({op.attention, at.k[layer], at.v[layer], a, store.vector(w), out, n, step,
                          program.cache_layers[layer].group},
                         {at.attention_parts, chip.n_multiprocessors, chip.early}, stream);
    }
    case OpKind::kGate:
        return gate({op.gate.activation, a, b, width(op.in[0]), cols, out, n}, chip.early, stream);
    case OpKind::kAdd:
        return add(a, b, size_t(n) * cols, out, chip.early, stream);
    case OpKind::kScale:
        return scale({op.scale, a, store.vector(w), store.vector(op.weight[1]), step.position, cols, out, n},
                     chip.early, stream);
    case OpKind::kSoftCap:
        return soft_cap(op.soft_cap.cap, a, size_t(n) * cols, out, chip.early, stream);
    case OpKind::kSlice:
        return slice(op.slice, a, width(op.in[0]), out, n, chip.early, stream);
    case OpKind::kOutputRows:
        return take_rows(a, step.output_row, cols, out, n, chip.early, stream);
    case OpKind::kRoute:
        return route(op.route, a, of_tokens(op) ? step.sequence_of : nullptr, out, n, chip.early, stream);
    case OpKind::kExpertScale:
        return expert_scale({a, b, store.vector(w), store.vector(op.weight[1]), width(op.in[1]) / 2, cols, out, n},
                            chip.early, stream);
    case OpKind::kCombine:
        return combine(a, b, width(op.in[1]) / 2, cols, out, n, chip.early, stream);
    case OpKind::kShortConv:
    case OpKind::kDeltaRule:
    case OpKind::kSelectiveScan:
        return launch_recurrent(op, step);
    }
}

}  // namespace el::cuda
