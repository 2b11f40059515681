// Running steps: few tokens stage by stage in a captured graph, many op by op.
#include "executable.h"
#include "packed.h"
#include "profile.h"
#include "step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el::cuda {

bool Executable::of_tokens(const Op &op) const {
    const ValueId leading = op.out != kNoValue ? op.out : op.in[0];
    return program.values[size_t(leading)].rows == Rows::kTokens;
}

int Executable::rows(const Op &op, const Step &step) const { return of_tokens(op) ? step.n_tokens : step.n_outputs; }

// As much as a step of so many tokens can have.
void Executable::set_size(Step &step, int32_t n_tokens) {
    step.n_tokens = n_tokens;
    step.n_outputs = std::min(n_tokens, int32_t(step.limits.max_outputs));
    step.n_sequences = std::min(n_tokens, int32_t(step.limits.max_sequences));
}

// The step as it was captured for n_tokens; 0: as it is. Tokens beyond the real ones belong to no sequence, see nothing
// and write nothing; sequences beyond the real ones have no state.
void Executable::fill(Step &to, const Step &from, int32_t n_tokens) const {
    to = moved_step(from, host_step.data());
    if (n_tokens == 0) {
        std::memcpy(to.token, from.token, front_bytes(from));
        return;
    }
    set_size(to, n_tokens);
    for (const StepPart &part : parts_of(to))
        for (uint32_t row = 0; row < part.rows; ++row) {
            const size_t at = part.at + size_t(row) * part.stride;
            std::memcpy(to.token + at, from.token + at, part.words * sizeof(int32_t));
        }
    for (int32_t t = from.n_tokens; t < to.n_tokens; ++t) {
        to.token[t] = 0;
        to.position[t] = 0;
        to.ancestors[t] = 0;
        to.sequence_of[t] = -1;
        for (uint32_t g = 0; g < to.limits.n_groups; ++g) {
            const size_t i = size_t(g) * to.limits.max_tokens + size_t(t);
            to.slot[i] = -1;
            to.visible_begin[i] = to.visible_end[i] = 0;
        }
    }
    // Once more the first one's, whose experts are read anyway.
    for (int32_t i = from.n_outputs; i < to.n_outputs; ++i)
        to.output_row[i] = from.n_outputs > 0 ? to.output_row[0] : 0;
    for (int32_t i = from.n_sequences; i < to.n_sequences; ++i) to.state_before[i] = to.state_after[i] = -1;
}

// The device keeps the block tables from step to step, and host_step the same. What is new in those of the step, as far
// as they are in use, goes there as one rectangle: mostly nothing, or a page that a sequence has begun.
void Executable::send_tables(const Step &from) {
    const StepLimits &limits = from.limits;
    const Step host = moved_step(from, host_step.data()),
               device = moved_step(from, reinterpret_cast<uint8_t *>(at.step.token));
    const size_t rows = size_t(limits.n_groups) * limits.max_sequences, cols = limits.max_pages;
    size_t row_begin = rows, row_end = 0, col_begin = cols, col_end = 0;
    if (!tables_sent_) row_begin = col_begin = 0, row_end = rows, col_end = cols;
    for (size_t r = 0; r < rows; ++r) {
        if (r % limits.max_sequences >= size_t(from.n_sequences)) continue;
        const size_t n = std::min((size_t(from.length[r]) + kPageTokens - 1) / kPageTokens, cols);
        const int32_t *theirs = from.block_table + r * cols;
        int32_t *mine = host.block_table + r * cols;
        const size_t same = size_t(std::mismatch(theirs, theirs + n, mine).first - theirs);
        if (same == n) continue;
        std::copy(theirs + same, theirs + n, mine + same);
        row_begin = std::min(row_begin, r);
        row_end = std::max(row_end, r + 1);
        col_begin = std::min(col_begin, same);
        col_end = std::max(col_end, n);
    }
    if (row_begin >= row_end || col_begin >= col_end) return;
    const size_t pitch = cols * sizeof(int32_t), begin = row_begin * cols + col_begin;
    check(cudaMemcpy2DAsync(device.block_table + begin, pitch, host.block_table + begin, pitch,
                            (col_end - col_begin) * sizeof(int32_t), row_end - row_begin, cudaMemcpyHostToDevice,
                            stream),
          "copying a step");
    tables_sent_ = true;
}

// Attention splits long contexts in another way, where it has a choice and they come to be.
bool Executable::captures_long_contexts() const {
    if (!chip.early || context <= uint32_t(kLongContext)) return false;
    for (size_t i = 0; i < at.k.size(); ++i) {
        const uint32_t window = program.cache_groups[program.cache_layers[i].group].window;
        if (decode_formats(at.k[i].format, at.v[i].format) && (window == 0 || window >= uint32_t(kLongContext)))
            return true;
    }
    return false;
}

bool Executable::has_long_context(const Step &host, uint32_t group) const {
    const size_t begin = size_t(group) * host.limits.max_tokens, end = begin + size_t(host.n_tokens);
    for (size_t i = begin; i < end; ++i)
        if (host.visible_end[i] - host.visible_begin[i] >= kLongContext) return true;
    return false;
}

bool Executable::has_long_context(const Step &host) const {
    for (uint32_t g = 0; g < host.limits.n_groups; ++g)
        if (has_long_context(host, g)) return true;
    return false;
}

void Executable::pretend_to_see(int32_t rows) {
    const Step step = host_layout();
    for (uint32_t g = 0; g < step.limits.n_groups; ++g) {
        const uint32_t window = program.cache_groups[g].window;
        const size_t begin = size_t(g) * step.limits.max_tokens;
        std::fill_n(step.visible_begin + begin, step.limits.max_tokens, 0);
        std::fill_n(step.visible_end + begin, step.limits.max_tokens,
                    window ? int32_t(std::min(window, uint32_t(rows))) : rows);
    }
}

// Of recurrent models each sequence has blocks of its own, also one that has no token in the step.
const Executable::Captured *Executable::captured_for(const Step &step) const {
    const int32_t least = std::max(step.n_tokens, program.state_layers.empty() ? 0 : step.n_sequences);
    const bool long_context = captures_long_contexts() && has_long_context(step);
    const auto found = std::find_if(captured_.begin(), captured_.end(), [&](const Captured &c) {
        return c.tokens >= least && c.long_context == long_context;
    });
    return found == captured_.end() ? nullptr : &*found;
}

void Executable::wait_for(StepEvents events) const {
    if (events.wait) check_handle(cudaStreamWaitEvent(stream, cudaEvent_t(events.wait), 0), "wait_event");
}

void Executable::settle_step(StepEvents events) const {
    if (events.done) check_handle(cudaEventRecord(cudaEvent_t(events.done), stream), "done_event");
    check(cudaStreamSynchronize(stream), "running a step");
}

void Executable::run(const Step &step, StepEvents events) {
    try {
        wait_for(events);
        n_rows_ = 0;
        selected_ = {};
        const int32_t n_asked = std::exchange(n_asked_, 0);
        const Captured *captured = captured_for(step);
        Step host;
        fill(host, step, captured ? captured->tokens : 0);
        send_tables(step);
        if (captured)
            check(cudaGraphLaunch(captured->graph, stream), "starting a step");
        else
            launch_all(host);
        has_rows(step.n_outputs);
        if (n_asked && n_rows_) select(0, n_rows_, n_asked);
        settle_step(events);
    } catch (...) {
        n_rows_ = 0;
        tables_sent_ = false;
        cudaStreamSynchronize(stream);  // what was started still reads host_step
        throw;
    }
}

void Executable::has_rows(int32_t n) {
    n_rows_ = n;
    std::fill_n(fetched_.begin(), n, 0);
}

void Executable::fetch_logits(uint32_t row) {
    if (row >= uint32_t(n_rows_) || fetched_[row]) return;
    const size_t begin = size_t(row) * program.vocab;
    copy(reinterpret_cast<float *>(host_logits.data()) + begin, at.logits + begin, program.vocab * sizeof(float),
         cudaMemcpyDeviceToHost);
    settle();
    fetched_[row] = 1;
}

const float *Executable::logits(uint32_t row) {
    float *logits = reinterpret_cast<float *>(host_logits.data()) + size_t(row) * program.vocab;
    // So that nothing looks like a result.
    if (row >= uint32_t(n_rows_) || !fetched_[row]) std::fill_n(logits, program.vocab, NAN);
    return logits;
}

// Of as many rows from row_begin on as are selected from at once.
void Executable::select(int32_t row_begin, int32_t n_rows, int32_t n) {
    n_rows = std::min(n_rows, int32_t(at.n_selectable));
    selected_ = {};
    select_best({at.logits + size_t(row_begin) * program.vocab, program.vocab, n_rows, n, at.selection,
                 reinterpret_cast<RowBest *>(host_best.data())},
                chip.early, stream);
    selected_ = {row_begin, row_begin + n_rows, n};
}

bool Executable::best(uint32_t row, size_t n, BestTokens &out) {
    const auto r = int32_t(row), wanted = int32_t(n);
    if (r < 0 || r >= n_rows_ || n == 0 || n > kMaxBest) return false;
    n_asked_ = std::max(n_asked_, wanted);
    if (r < selected_.row_begin || r >= selected_.row_end || selected_.n < wanted) {
        const int32_t begin = r - r % int32_t(at.n_selectable);
        select(begin, n_rows_ - begin, wanted);
        settle();
    }
    const RowBest &found = reinterpret_cast<const RowBest *>(host_best.data())[r - selected_.row_begin];
    if (found.n < 0 || found.n > selected_.n) return false;
    const bool all = found.n < selected_.n || found.n == int32_t(program.vocab);  // there are no more than those
    out = {found.ids, found.logits, size_t(std::min(found.n, wanted)), all && found.n <= wanted, found.sum};
    return true;
}

// What `launches` sends to the stream, which does none of it.
Recorded Executable::record(const std::function<void()> &launches) const {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capturing a step");
    cudaGraph_t graph = nullptr;
    try {
        launches();
    } catch (...) {
        cudaStreamEndCapture(stream, &graph);
        if (graph) cudaGraphDestroy(graph);
        cudaGetLastError();  // what ending it says is no news
        throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "capturing a step");
    return Recorded(graph);
}

Graph Executable::ready(const Recorded &recorded) {
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, recorded, 0), "preparing a captured step");
    return Graph(executable);
}

Step Executable::host_layout() const {
    StepMemory pieces{host_step.data()};
    return lay_out_step(at.step.limits, pieces);
}

Recorded Executable::record_step(int32_t n_tokens) const {
    Step step = host_layout();
    set_size(step, n_tokens);
    return record([&] { launch_all(step); });
}

void Executable::capture() {
    send_tables(host_layout());
    for (int32_t bucket : {1, 2, 4, kDecodeTokens}) {
        const auto n = int32_t(std::min(uint32_t(bucket), at.step.limits.max_tokens));
        if (!captured_.empty() && captured_.back().tokens == n) break;
        for (bool long_context : {false, true}) {
            if (long_context && !captures_long_contexts()) continue;
            pretend_to_see(long_context ? kLongContext : 0);
            captured_.push_back({n, long_context, ready(record_step(n))});
            check(cudaGraphUpload(captured_.back().graph, stream), "preparing a captured step");
        }
    }
    pretend_to_see(0);
    select(0, 1, 2);  // kernels are loaded when they first run, which allocates
    selected_ = {};
    check(cudaStreamSynchronize(stream), "preparing a captured step");
}

// The driver loads a kernel, and takes memory for it, when it is first launched or recorded.
void Executable::load_kernels() const {
    const int32_t most = int32_t(at.step.limits.max_tokens);
    for (int32_t n = 2 * kDecodeTokens; n < 2 * most; n *= 2) record_step(std::min(n, most));
    record([&] {
        for (uint32_t g = 0; g < program.cache_groups.size(); ++g)
            for_planes(g, [&](const Plane &p) {
                cuda::copy_rows(p, at.slots[0], at.slots[1], 1, stream);
                for (bool to_plane : {false, true}) pack_rows(p, at.slots[0], 1, at.packed, 1, to_plane, stream);
            });
        for (size_t i = 0; i < at.k.size(); ++i)
            if (turns.rope[i]) turn_rows(at.k[i], rope_of(*turns.rope[i]), at.slots[0], 1, 0, stream);
        check(cudaGetLastError(), "loading kernels");
    });
}

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
    if (stage.kind == Stage::kSingle || n > (stage.kind == Stage::kProducts ? kMatvecTokens : kDecodeTokens))
        return false;
    const StageRange range(marks_, stage.begin, stage.end);
    return (stage.kind == Stage::kProducts ? launch_products(stage, n) : launch_heads(stage, host, device, n)) &&
           range.done();
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
        if (packed_shape(c.part[0].m.format).rows != packed_shape(c.part[1].m.format).rows) return false;
        if (op.in[0] != program.ops[size_t(stage.first_linear)].out) std::swap(c.part[0], c.part[1]);
        c.gate = true;
        c.activation = op.gate.activation;
        c.part[0].out = data(op.out);
    }
    if (stage.add >= 0) {
        const Op &op = program.ops[size_t(stage.add)];
        const bool first = op.in[0] == program.ops[size_t(stage.first_linear)].out;
        c.residual = data(op.in[first ? 1 : 0]);
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
        short_conv(op.short_conv, call, width(op.out), stream);
    else if (op.kind == OpKind::kDeltaRule)
        delta_rule(op.delta_rule, call, stream);
    else
        selective_scan(op.selective_scan, call, stream);
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
        return norm({op.norm, a, store.vector(w), store.vector(op.weight[1]), cols, w.rows * w.cols, out, n}, stream);
    case OpKind::kRope:
        return rope(rope_of(op), step.position, a, out, n, stream);
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
        return gate({op.gate.activation, a, b, width(op.in[0]), cols, out, n}, stream);
    case OpKind::kAdd:
        return add(a, b, size_t(n) * cols, out, stream);
    case OpKind::kScale:
        return scale({op.scale, a, store.vector(w), store.vector(op.weight[1]), step.position, cols, out, n}, stream);
    case OpKind::kSoftCap:
        return soft_cap(op.soft_cap.cap, a, size_t(n) * cols, out, stream);
    case OpKind::kSlice:
        return slice(op.slice, a, width(op.in[0]), out, n, stream);
    case OpKind::kOutputRows:
        return take_rows(a, step.output_row, cols, out, n, stream);
    case OpKind::kRoute:
        return route(op.route, a, of_tokens(op) ? step.sequence_of : nullptr, out, n, stream);
    case OpKind::kExpertScale:
        return expert_scale({a, b, store.vector(w), store.vector(op.weight[1]), width(op.in[1]) / 2, cols, out, n},
                            stream);
    case OpKind::kCombine:
        return combine(a, b, width(op.in[1]) / 2, cols, out, n, stream);
    case OpKind::kShortConv:
    case OpKind::kDeltaRule:
    case OpKind::kSelectiveScan:
        return launch_recurrent(op, step);
    }
}

}  // namespace el::cuda
