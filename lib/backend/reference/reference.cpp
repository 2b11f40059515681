// The reference backend: runs a program op by op with the functions of ops.h, on weights as they lie in the file.
#include "backend/backend.h"
#include "backend/buffers.h"
#include "backend/host/measure.h"
#include "backend/reference/ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el {
namespace {

using namespace reference;

class ReferenceStore final : public WeightStore {
  public:
    explicit ReferenceStore(std::span<const WeightTensor> tensors) : tensors_(tensors.begin(), tensors.end()) {
        ArenaSizer sizer;
        for (const WeightTensor &t : tensors_) sizer.take<std::byte>(t.rows * row_bytes(t.format, t.cols));
        arena_ = Arena(sizer.bytes(), Arena::Fill::kNone);
        for (const WeightTensor &t : tensors_) {
            Matrix m{nullptr, t.format, static_cast<uint32_t>(t.cols), row_bytes(t.format, t.cols)};
            m.data = arena_.take<std::byte>(t.rows * m.row_bytes);
            matrices_.push_back(m);
        }
    }
    std::byte *place(size_t tensor, uint64_t row) override {
        return const_cast<std::byte *>(matrices_[tensor].data) + row * matrices_[tensor].row_bytes;
    }
    void load(size_t tensor, uint64_t row, uint64_t n_rows, const std::byte *rows) override {
        std::memcpy(place(tensor, row), rows, n_rows * matrices_[tensor].row_bytes);
    }
    const Matrix &matrix(int32_t tensor) const { return matrices_[tensor]; }

  private:
    std::vector<WeightTensor> tensors_;
    Arena arena_;
    std::vector<Matrix> matrices_;
};

// Everything an executable keeps in its context's arena.
struct Memory {
    std::vector<float *> values;  // per buffer: [max_tokens or max_outputs, width]
    HostCache cache;
    std::vector<float *> scratch;  // per thread
    float *logits = nullptr;       // [max_outputs, vocab]
};

size_t scratch_floats(const Program &program, const ExecutableLimits &limits) {
    size_t row = 0;
    for (const Op &op : program.ops)
        for (const WeightRef &w : op.weight) row = std::max<size_t>(row, w.cols);
    for (const CacheGroup &g : program.cache_groups) row = std::max<size_t>({row, g.head_dim_k, g.head_dim_v});
    for (const Op &op : program.ops)
        if (op.kind == OpKind::kDeltaRule) row = std::max<size_t>(row, 2 * op.delta_rule.dim_k + op.delta_rule.dim_v);
    row = (row + 255) / 256 * 256;  // whole blocks of any format
    return row + size_t(limits.step.max_pages) * kPageTokens;
}

template <typename A> Memory lay_out(const Program &program, const BufferPlan &plan, const ExecutableLimits &limits,
                                     int n_threads, A &arena, std::vector<MemoryRegion> *regions = nullptr) {
    Memory m;
    auto region_begin = [&] {
        if constexpr (std::is_same_v<A, ArenaSizer>)
            return arena.bytes();
        else
            return arena.used();
    };
    size_t begin = region_begin();
    auto close = [&](const std::string &name, int32_t cache_group = -1) {
        if (regions) regions->push_back({"cpu", name, region_begin() - begin, cache_group});
        begin = region_begin();
    };
    m.cache = HostCache(program, limits, arena, close);
    for (const ValueInfo &b : plan.buffers)
        m.values.push_back(arena.template take<float>(
            size_t(b.rows == Rows::kTokens ? limits.step.max_tokens : limits.step.max_outputs) * b.width));
    close("activations");
    m.logits = arena.template take<float>(size_t(limits.step.max_outputs) * program.vocab);
    close("logits");
    for (int i = 0; i < n_threads; ++i)
        m.scratch.push_back(arena.template take<float>(scratch_floats(program, limits)));
    close("scratch");
    return m;
}

class ReferenceExecutable final : public Executable {
  public:
    ReferenceExecutable(const Program &program, const ExecutableLimits &limits, const ReferenceStore &store,
                        Arena &arena, ThreadPool &pool)
        : program_(program), plan_(program), store_(store), pool_(pool),
          memory_(lay_out(program, plan_, limits, pool.size(), arena)) {
        const uint32_t context = limits.step.context;
        memory_.cache.find_turns([&](const Op &op) { return rope_factors(op, context); });
    }

    void time_stages(std::vector<StageTime> *times) override {
        if (times) times->assign(program_.ops.size(), {});
        for (uint32_t i = 0; times && i < times->size(); ++i) (*times)[i].ops = {i};
        clock_ = StageClock(times);
    }
    Status run(const Step &step) noexcept override {
        clock_.start();
        pool_.run([&](int worker, int n_workers) {
            for (const Op &op : program_.ops) {
                run_op(op, step, worker, n_workers);
                pool_.barrier();
                if (worker == 0) clock_.stop(size_t(&op - program_.ops.data()));
            }
        });
        return Status::kOk;
    }
    const float *logits(uint32_t row) const noexcept override { return memory_.logits + size_t(row) * program_.vocab; }
    CacheMemory &cache() noexcept override { return memory_.cache; }

  private:
    float *data(ValueId value) const {
        if (value == program_.logits) return memory_.logits;
        return memory_.values[plan_.buffer_of[value]];
    }
    size_t n_rows(ValueId value, const Step &step) const {
        return program_.values[value].rows == Rows::kTokens ? step.n_tokens : step.n_outputs;
    }
    const float *vector(const WeightRef &w) const {  // the loader makes sure that vectors are float32
        return w.exists() ? reinterpret_cast<const float *>(store_.matrix(w.tensor).data) : nullptr;
    }

    void run_op(const Op &op, const Step &step, int worker, int n_workers) const noexcept {
        switch (op.kind) {
        case OpKind::kLinear:
            return linear(op, step, worker, n_workers);
        case OpKind::kExpertLinear:
            return expert_linear(op, step, worker, n_workers);
        case OpKind::kShortConv:
        case OpKind::kDeltaRule:
        case OpKind::kSelectiveScan:
            return recurrent(op, step, worker, n_workers);
        default:
            break;
        }
        SplitRange rows = split(n_rows(op.out != kNoValue ? op.out : op.in[0], step), worker, n_workers);
        for (size_t t = rows.begin; t < rows.end; ++t) row_op(op, step, t, memory_.scratch[worker]);
    }

    uint32_t width(ValueId value) const { return program_.values[value].width; }
    const float *row(ValueId value, size_t t) const {
        return value == kNoValue ? nullptr : data(value) + t * width(value);
    }
    const float *decode(const WeightRef &w, size_t r, float *to) const {
        const Matrix &m = store_.matrix(w.tensor);
        m.decode_row(w.row_begin + r, to);
        return to + w.col_begin;
    }

    void row_op(const Op &op, const Step &step, size_t t, float *scratch) const noexcept {
        const float *a = row(op.in[0], t), *b = row(op.in[1], t);
        float *out = op.out != kNoValue ? data(op.out) + t * width(op.out) : nullptr;
        const uint32_t n = op.out != kNoValue ? width(op.out) : 0;
        const WeightRef &w = op.weight[0];
        switch (op.kind) {
        case OpKind::kEmbed:
            std::copy_n(decode(w, step.token[t], scratch), n, out);
            break;
        case OpKind::kNorm:
            norm(op.norm, a, {vector(w), vector(op.weight[1]), w.rows * w.cols}, n, out);
            break;
        case OpKind::kRope:
            rope(op.rope, program_.constants.data() + op.rope.frequency, rope_factors(op, step.limits.context),
                 step.position[t], a, out);
            break;
        case OpKind::kCacheWrite:
            cache_write(op, step, t, a, b, scratch);
            break;
        case OpKind::kAttention:
            attention(op, step, t, a, out, scratch);
            break;
        case OpKind::kGate:
            gate(op.gate.activation, {a, b, width(op.in[0])}, n, out);
            break;
        case OpKind::kAdd:
            for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
            break;
        case OpKind::kScale: {
            const float factor = scale_factor(op.scale, step.position[t]) * (w.exists() ? *vector(w) : 1.0f);
            const float *bias = vector(op.weight[1]);
            for (size_t i = 0; i < n; ++i) out[i] = a[i] * factor + (bias ? bias[i] : 0.0f);
            break;
        }
        case OpKind::kExpertScale:
            expert_scale({b, vector(w), vector(op.weight[1]), width(op.in[1]) / 2}, a, n, out);
            break;
        case OpKind::kSoftCap:
            for (size_t i = 0; i < n; ++i) out[i] = op.soft_cap.cap * std::tanh(a[i] / op.soft_cap.cap);
            break;
        case OpKind::kSlice:
            slice(op.slice, a, width(op.in[0]), out);
            break;
        case OpKind::kOutputRows:
            std::copy_n(data(op.in[0]) + size_t(step.output_row[t]) * n, n, out);
            break;
        case OpKind::kRoute:
            route(op.route, a, out);
            break;
        case OpKind::kCombine:
            combine(a, b, width(op.in[1]) / 2, n, out);
            break;
        default:
            break;
        }
    }

    const float *rope_factors(const Op &op, uint32_t context) const {
        const bool is_long = op.rope.original_context && context > op.rope.original_context;
        return vector(op.weight[is_long ? 1 : 0]);
    }

    // Workers share the weight's rows, so each row is decoded once for all tokens.
    void linear(const Op &op, const Step &step, int worker, int n_workers) const noexcept {
        const WeightRef &w = op.weight[0];
        const float *bias = vector(op.weight[1]), *x = data(op.in[0]);
        float *out = data(op.out);
        const size_t tokens = n_rows(op.out, step);
        if (tokens == 0) return;
        SplitRange range = split(w.rows, worker, n_workers);
        for (size_t r = range.begin; r < range.end; ++r) {
            const float *weights = decode(w, r, memory_.scratch[worker]);
            for (size_t t = 0; t < tokens; ++t)
                out[t * w.rows + r] = dot(x + t * w.cols, weights, w.cols) + (bias ? bias[r] : 0.0f);
        }
    }

    // As linear; an expert's row is decoded when the first token that it was chosen for needs it.
    void expert_linear(const Op &op, const Step &step, int worker, int n_workers) const noexcept {
        const WeightRef &w = op.weight[0];
        const ExpertArgs &args = op.expert;
        const size_t n_out = w.rows / args.n_experts, used = args.n_used, tokens = n_rows(op.out, step);
        const float *bias = vector(op.weight[1]), *x = data(op.in[0]), *chosen = data(op.in[1]);
        float *out = data(op.out);
        SplitRange range = split(n_out, worker, n_workers);
        for (size_t r = range.begin; r < range.end; ++r)
            for (size_t e = 0; e < args.n_experts; ++e) {
                const float *weights = nullptr;
                for (size_t i = 0; i < tokens * used; ++i) {
                    if (chosen[i / used * 2 * used + i % used] != float(e)) continue;
                    if (!weights) weights = decode(w, e * n_out + r, memory_.scratch[worker]);
                    const float *in = x + (args.own_input ? i : i / used) * w.cols;
                    out[i * n_out + r] = dot(in, weights, w.cols) + (bias ? bias[e * n_out + r] : 0.0f);
                }
            }
    }

    // Workers share the heads or channels of all sequences.
    void recurrent(const Op &op, const Step &step, int worker, int n_workers) const noexcept {
        const uint32_t n = op.kind == OpKind::kShortConv   ? width(op.out)
                           : op.kind == OpKind::kDeltaRule ? op.delta_rule.n_v_heads
                                                           : op.selective_scan.n_heads;
        SplitRange range = split(size_t(step.n_sequences) * n, worker, n_workers);
        for (size_t i = range.begin; i < range.end; ++i) {
            const int32_t s = int32_t(i / n);
            recurrent_part(op, {step, s}, uint32_t(i % n), memory_.scratch[worker]);
        }
    }

    void recurrent_part(const Op &op, const SequenceTokens &tokens, uint32_t part, float *scratch) const noexcept {
        const float *a = row(op.in[0], 0), *b = row(op.in[1], 0), *c = row(op.in[2], 0);
        const float *weight[kOpWeights] = {vector(op.weight[0]), vector(op.weight[1]), vector(op.weight[2])};
        const int32_t before = tokens.step.state_before[tokens.sequence],
                      after = tokens.step.state_after[tokens.sequence];
        auto slots = [&](uint32_t layer, size_t offset) {
            return StateSlots{before < 0 ? nullptr : memory_.cache.state(layer, before) + offset,
                              memory_.cache.state(layer, after) + offset};
        };
        float *out = data(op.out);
        if (op.kind == OpKind::kShortConv) {
            const float *kernel = weight[0] + size_t(part) * op.short_conv.kernel;
            short_conv(op.short_conv, {a, kernel, weight[1], width(op.out), part}, tokens,
                       slots(op.short_conv.state, 0), out);
        } else if (op.kind == OpKind::kDeltaRule) {
            const DeltaRuleArgs &args = op.delta_rule;
            delta_rule(args, {a, b, c, weight[0], weight[1], scratch}, part, tokens,
                       slots(args.state, size_t(part) * args.dim_k * args.dim_v), out);
        } else {
            const SelectiveScanArgs &args = op.selective_scan;
            selective_scan(args, {a, b, weight[0], weight[1], weight[2]}, part, tokens,
                           slots(args.state, size_t(part) * args.head_dim * args.state_dim), out);
        }
    }

    void cache_write(const Op &op, const Step &step, size_t t, const float *k, const float *v,
                     float *scratch) const noexcept {
        const uint32_t layer = op.cache_write.cache_layer;
        const int32_t slot = step.slot[size_t(program_.cache_layers[layer].group) * step.limits.max_tokens + t];
        for (auto [plane, x] : {std::pair(memory_.cache.k(layer), k), std::pair(memory_.cache.v(layer), v)})
            for (uint32_t h = 0; h < plane.n_kv_heads; ++h)
                write_row(plane, slot, h, x + size_t(h) * plane.head_dim, scratch);
    }

    void attention(const Op &op, const Step &step, size_t t, const float *q, float *out,
                   float *scratch) const noexcept {
        const AttentionArgs &args = op.attention;
        const float *sinks = vector(op.weight[0]);
        const uint32_t group = program_.cache_layers[args.cache_layer].group;
        const CachePlane &k = memory_.cache.k(args.cache_layer), &v = memory_.cache.v(args.cache_layer);
        const size_t at = size_t(group) * step.limits.max_tokens + t;
        AttentionInput in{&k,
                          &v,
                          step.pages_of(group, step.sequence_of[t]),
                          step.visible_begin[at],
                          step.visible_end[at],
                          step.ancestors[t],
                          0,
                          args.scale,
                          args.soft_cap,
                          nullptr,
                          scratch,
                          scratch + size_t(step.limits.max_pages) * kPageTokens};
        for (uint32_t h = 0; h < args.n_heads; ++h) {
            in.kv_head = h / (args.n_heads / args.n_kv_heads);
            in.sink = sinks ? sinks + h : nullptr;
            attend(in, q + size_t(h) * args.head_dim_k, out + size_t(h) * args.head_dim_v);
        }
    }

    const Program &program_;
    BufferPlan plan_;
    const ReferenceStore &store_;
    ThreadPool &pool_;
    Memory memory_;
    StageClock clock_;
};

class ReferenceBackend final : public Backend {
  public:
    const char *name() const noexcept override { return "reference"; }
    WeightLayout layout(std::span<const WeightTensor> tensors, const BackendOptions &) const override {
        WeightLayout layout;
        for (const WeightTensor &t : tensors)
            layout.tensor_bytes.push_back(arena_advance(0, t.rows, row_bytes(t.format, t.cols)));
        return layout;
    }
    std::unique_ptr<WeightStore> create_store(std::span<const WeightTensor> tensors,
                                              const BackendOptions &) const override {
        return std::make_unique<ReferenceStore>(tensors);
    }
    std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits,
                                     int n_threads) const override {
        std::vector<MemoryRegion> regions;
        ArenaSizer sizer;
        lay_out(program, BufferPlan(program), limits, n_threads, sizer, &regions);
        return regions;
    }
    std::unique_ptr<Executable> compile(const Program &program, const ExecutableLimits &limits,
                                        const WeightStore &store, Arena &arena, ThreadPool &pool) const override {
        return std::make_unique<ReferenceExecutable>(program, limits, static_cast<const ReferenceStore &>(store), arena,
                                                     pool);
    }
    DeviceRates measure(const BackendOptions &, ThreadPool &pool) const override {
        constexpr size_t kValues = 1024;
        const std::vector<float> ones(kValues, 1);
        std::vector<float> sums(size_t(pool.size()));
        const double calls = measure_call_rate(
            pool, [&](int worker) { sums[size_t(worker)] += dot(ones.data(), ones.data(), kValues); });
        return {measure_read_rate(pool), 2 * kValues * calls};
    }
};

}  // namespace

std::unique_ptr<Backend> create_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace el
