#include "harness.h"

#include "random_blocks.h"

#include "backend/cpu/store.h"
#include "quant/formats.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>

namespace el::conformance {

void Report::check(const std::string &name, bool ok, const std::string &why) {
    (ok ? passed_ : failed_)++;
    if (!ok)
        std::printf("FAILED %s: %s\n", name.c_str(), why.c_str());
    else if (options_.verbose)
        std::printf("passed %s\n", name.c_str());
}

double relative_error(const std::vector<float> &expected, const std::vector<float> &got) {
    double error = 0, size = 0;
    for (size_t i = 0; i < expected.size() && i < got.size(); i++) {
        error += std::pow(double(expected[i]) - double(got[i]), 2);
        size += std::pow(double(expected[i]), 2);
    }
    return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

void Report::compare(const std::string &name, const std::vector<float> &expected, const std::vector<float> &got,
                     double tolerance) {
    const double relative = relative_error(expected, got);
    const bool ok = expected.size() == got.size() && relative <= tolerance;  // NaN is not
    check(name, ok, el::format("relative error {:.3g}, allowed {:.3g} ({} values)", relative, tolerance, got.size()));
}

void Report::skip(const std::string &name, const char *why) {
    skipped_++;
    std::printf("skipped %s: %s\n", name.c_str(), why);
}

int Report::finish_or_skip() const {
    const int result = finish();
    return passed_ + failed_ == 0 && skipped_ ? 77 : result;
}

int Report::finish() const {
    std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
    return failed_ || passed_ == 0 ? 1 : 0;
}

std::vector<Isa> isas(const Options &options, Report &report) {
    std::vector<Isa> result;
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
        if (!options.isa.empty() && options.isa != isa_name(isa)) continue;
        if (isa_available(isa))
            result.push_back(isa);
        else if (options.part == 0)
            report.skip(isa_name(isa), "this machine lacks the instructions");
    }
    return result;
}

std::vector<Format> formats(bool with_floats) {
    std::vector<Format> result;
    for_each_format([&]<class F>(std::type_identity<F>) {
        if (with_floats || F::kValues > 1) result.push_back(F::kFormat);
    });
    return result;
}

std::vector<std::byte> encode(Format format, const std::vector<float> &values) {
    return encode_or_random(format, values);
}

std::vector<float> decode(Format format, const std::vector<std::byte> &blocks) {
    const FormatInfo &info = format_info(format);
    std::vector<float> values(blocks.size() / info.bytes * info.values);
    info.decode(blocks.data(), values.size(), values.data());
    return values;
}

const cpu::Kernels &kernels_of(Isa isa) { return cpu::kernels_for(isa); }

// ---- models

WeightRef Model::add_tensor(Format format, uint32_t rows, uint32_t cols, uint8_t uses, float scale, float offset) {
    std::vector<float> values = random.values(size_t(rows) * cols, scale);
    for (float &x : values) x += offset;
    data.push_back(encode(format, values));
    tensors.push_back({"t", format, rows, cols, uses});
    WeightRef ref;
    ref.tensor = int32_t(tensors.size()) - 1;
    ref.format = format;
    ref.rows = rows;
    ref.cols = cols;
    return ref;
}

WeightRef Model::matrix(Format format, uint32_t rows, uint32_t cols) {
    return add_tensor(format, rows, cols, kUseMatrix, 1.0f / std::sqrt(float(cols)));
}

WeightRef Model::vector(uint32_t n, float offset) { return add_tensor(Format::kF32, 1, n, kUseVector, 0.2f, offset); }

ValueId Model::push(Op op, uint32_t width) {
    Rows rows = op.in[0] == kNoValue ? Rows::kTokens : program.values[size_t(op.in[0])].rows;
    if (op.kind == OpKind::kOutputRows) rows = Rows::kOutputs;
    program.values.push_back({width, rows});
    op.out = ValueId(program.values.size() - 1);
    program.ops.push_back(op);
    return op.out;
}

ValueId Model::embed(uint32_t vocab, uint32_t width, Format format) {
    Op op;
    op.kind = OpKind::kEmbed;
    op.weight[0] = add_tensor(format, vocab, width, kUseLookup | kUseMatrix, 1.0f);
    return push(op, width);
}

ValueId Model::norm(ValueId x, uint32_t groups) {
    const uint32_t width = program.values[size_t(x)].width;
    Op op;
    op.kind = OpKind::kNorm;
    op.in[0] = x;
    op.weight[0] = vector(width / groups, 1.0f);
    op.norm = {NormKind::kRms, groups, 1e-5f};
    return push(op, width);
}

ValueId Model::linear(ValueId x, WeightRef weight, bool bias) {
    Op op;
    op.kind = OpKind::kLinear;
    op.in[0] = x;
    op.weight[0] = weight;
    if (bias) op.weight[1] = vector(weight.rows, 0);
    return push(op, weight.rows);
}

ValueId Model::binary(OpKind kind, ValueId a, ValueId b) {
    Op op;
    op.kind = kind;
    op.in[0] = a;
    op.in[1] = b;
    if (kind == OpKind::kGate) op.gate = {ActivationKind::kSilu};
    return push(op, program.values[size_t(a)].width);
}

ValueId Model::rope(ValueId x, uint32_t n_heads, uint32_t head_dim, uint32_t dims, RopePairs pairs, bool factors) {
    Op op;
    op.kind = OpKind::kRope;
    op.in[0] = x;
    if (factors) op.weight[0] = add_tensor(Format::kF32, 1, dims / 2, kUseVector, 0.1f, 2.0f);
    op.rope = {pairs, n_heads, head_dim, dims, uint32_t(program.constants.size()), 1.1f, 0};
    for (uint32_t i = 0; i < dims / 2; i++)
        program.constants.push_back(std::pow(100.0f, -2.0f * float(i) / float(dims)));
    return push(op, n_heads * head_dim);
}

ValueId Model::attend(ValueId q, ValueId k, ValueId v, const AttentionArgs &args) {
    AttentionArgs mine = args;
    mine.cache_layer = uint32_t(program.cache_layers.size());
    std::vector<CacheGroup> &groups = program.cache_groups;
    auto found = std::find_if(groups.begin(), groups.end(), [&](const CacheGroup &g) {
        return g.n_kv_heads == args.n_kv_heads && g.head_dim_k == args.head_dim_k && g.head_dim_v == args.head_dim_v;
    });
    const size_t group = size_t(found - groups.begin());
    if (found == groups.end()) groups.push_back({0, 0, args.n_kv_heads, args.head_dim_k, args.head_dim_v});
    program.cache_layers.push_back({uint16_t(group), uint16_t(groups[group].n_layers++)});
    Op write;
    write.kind = OpKind::kCacheWrite;
    write.in[0] = k;
    write.in[1] = v;
    write.cache_write = {mine.cache_layer};
    program.ops.push_back(write);
    Op op;
    op.kind = OpKind::kAttention;
    op.in[0] = q;
    op.attention = mine;
    return push(op, args.n_heads * args.head_dim_v);
}

void Model::finish(ValueId x) {
    if (program.values[size_t(x)].rows == Rows::kTokens) {
        Op op;
        op.kind = OpKind::kOutputRows;
        op.in[0] = x;
        x = push(op, program.values[size_t(x)].width);
    }
    program.logits = x;
    program.vocab = program.values[size_t(x)].width;
}

// ---- running

namespace {

constexpr int kSequences = 3;

// Gives every sequence pages in a scattered order, and counts its rows.
class Pages {
  public:
    Pages(const Setup &setup, size_t n_groups) : per_sequence_((setup.max_rows + kPageTokens - 1) / kPageTokens) {
        for (size_t g = 0; g < n_groups; g++) {
            std::vector<int32_t> &order = order_.emplace_back(kSequences * per_sequence_);
            std::iota(order.begin(), order.end(), 0);
            std::shuffle(order.begin(), order.end(), std::mt19937(uint32_t(g) + 7));
        }
    }
    uint32_t per_sequence() const { return per_sequence_; }
    int32_t page(size_t group, int sequence, int32_t logical) const {
        return order_[group][size_t(sequence) * per_sequence_ + size_t(logical)];
    }
    int32_t length[kSequences] = {};
    int32_t state_slot[kSequences] = {-1, -1, -1};

  private:
    uint32_t per_sequence_;
    std::vector<std::vector<int32_t>> order_;
};

// States move from one slot to another, also of sequences without tokens. index: of each sequence in the step.
void fill_sequences(Step &step, const Tokens &tokens, Pages &pages, int index[kSequences]) {
    step.n_sequences = 0;
    for (int s = 0; s < kSequences; s++) {
        const auto first = std::find(tokens.sequence.begin(), tokens.sequence.end(), s);
        if (!tokens.every && first == tokens.sequence.end()) continue;
        const int at = index[s] = step.n_sequences++;
        step.first_token[at] = int32_t(first - tokens.sequence.begin());
        step.state_before[at] = pages.state_slot[s];
        pages.state_slot[s] = pages.state_slot[s] == s ? s + kSequences : s;
        step.state_after[at] = pages.state_slot[s];
        for (uint32_t g = 0; g < step.limits.n_groups; g++)
            for (uint32_t p = 0; p < pages.per_sequence(); p++)
                step.block_table[(g * step.limits.max_sequences + uint32_t(at)) * step.limits.max_pages + p] =
                    pages.page(g, s, int32_t(p));
    }
}

void fill_step(Step &step, const Tokens &tokens, Pages &pages, Random &random, const Model &model) {
    const uint32_t vocab = uint32_t(model.tensors[0].rows);
    step.n_tokens = int32_t(tokens.sequence.size());
    step.n_outputs = 0;
    int index[kSequences];
    fill_sequences(step, tokens, pages, index);
    int32_t drafts[kSequences][64], n_drafts[kSequences] = {};  // tokens of a tree
    for (int32_t t = 0; t < step.n_tokens; t++) {
        const int sequence = tokens.sequence[size_t(t)];
        const int32_t row = pages.length[sequence]++;
        step.token[t] = int32_t(random.below(vocab));
        step.embedding_row[t] = step.parent[t] = step.adapter_of[t] = -1;
        step.position[t] = row;
        step.sequence_of[t] = index[sequence];
        step.ancestors[t] = 0;
        if (tokens.tree) {
            const int32_t j = n_drafts[sequence]++;
            if (j > 0) step.parent[t] = drafts[sequence][(j - 1) / 2];
            drafts[sequence][j] = t;
            step.ancestors[t] = uint64_t(1) << j | (j > 0 ? step.ancestors[step.parent[t]] : 0);
        }
        for (uint32_t g = 0; g < step.limits.n_groups; g++) {
            const size_t at = g * step.limits.max_tokens + uint32_t(t);
            step.slot[at] =
                pages.page(g, sequence, row / int32_t(kPageTokens)) * int32_t(kPageTokens) + row % int32_t(kPageTokens);
            const CacheGroup &group = model.program.cache_groups[g];
            step.visible_begin[at] = group.window ? std::max(0, row + 1 - int32_t(group.window)) : 0;
            step.visible_end[at] = step.length[g * step.limits.max_sequences + uint32_t(index[sequence])] = row + 1;
        }
        if (!tokens.last_only || t == step.n_tokens - 1) step.output_row[step.n_outputs++] = t;
    }
}

void load_weights(const Model &model, size_t granularity, WeightStore &store) {
    for (size_t i = 0; i < model.tensors.size(); i++) {
        const WeightTensor &t = model.tensors[i];
        const size_t bytes = row_bytes(t.format, t.cols);
        for (uint64_t row = 0; row < t.rows; row += 2 * granularity) {
            const uint64_t n = std::min<uint64_t>(2 * granularity, t.rows - row);
            const std::byte *from = model.data[i].data() + row * bytes;
            if (std::byte *to = store.place(i, row))
                std::memcpy(to, from, n * bytes);
            else
                store.load(i, row, n, from);
        }
    }
}

}  // namespace

struct Session::Parts {
    const Model &model;
    Pages pages;
    ExecutableLimits limits;
    ThreadPool pool;
    std::unique_ptr<WeightStore> store;
    Arena arena, step_arena;
    std::unique_ptr<Executable> executable;
    Step step;
    Random random;  // other numbers than the weights are made from

    Parts(const Model &model, const Setup &setup)
        : model(model), pages(setup, model.program.cache_groups.size()), pool({.threads = setup.threads}),
          random(model.seed + 98) {}
};

Session::Session(const Backend &backend, const Model &model, const Setup &setup, uint32_t max_tokens)
    : parts_(std::make_unique<Parts>(model, setup)) {
    const Program &program = model.program;
    ExecutableLimits &limits = parts_->limits;
    limits.step.max_tokens = limits.step.max_outputs = max_tokens;
    limits.step.max_sequences = kSequences;
    limits.step.n_groups = uint32_t(program.cache_groups.size());
    limits.step.max_pages = parts_->pages.per_sequence();
    limits.step.context = setup.max_rows;
    limits.step.n_state_slots = 2 * kSequences;
    limits.cache_k = setup.cache_k;
    limits.cache_v = setup.cache_v;
    limits.n_pages.assign(program.cache_groups.size(), kSequences * parts_->pages.per_sequence());

    parts_->store = backend.create_store(model.tensors, {setup.isa});
    load_weights(model, backend.layout(model.tensors, {setup.isa}).row_granularity, *parts_->store);
    uint64_t bytes = 0;
    for (const MemoryRegion &r : backend.memory(program, limits, parts_->pool.size()))
        if (r.device == "cpu") bytes += r.bytes;
    ArenaSizer sizer;
    lay_out_step(limits.step, sizer);
    parts_->arena = Arena(bytes);
    parts_->step_arena = Arena(sizer.bytes());
    parts_->executable = backend.compile(program, limits, *parts_->store, parts_->arena, parts_->pool);
    parts_->step = lay_out_step(limits.step, parts_->step_arena);
}

Session::~Session() = default;

void Session::prepare(const Tokens &tokens) {
    fill_step(parts_->step, tokens, parts_->pages, parts_->random, parts_->model);
}

std::vector<float> Session::run() { return step() ? logits() : std::vector<float>(); }

bool Session::step() { return parts_->executable->run(parts_->step) == Status::kOk; }

bool Session::best(uint32_t row, size_t n, BestTokens &out) const { return parts_->executable->best(row, n, out); }

std::vector<float> Session::logits() const {
    std::vector<float> all;
    for (int32_t i = 0; i < parts_->step.n_outputs; ++i) {
        const float *row = parts_->executable->logits(uint32_t(i));
        all.insert(all.end(), row, row + parts_->model.program.vocab);
    }
    return all;
}

std::vector<std::vector<float>> run(const Backend &backend, const Model &model, const Setup &setup,
                                    const std::vector<Tokens> &steps) {
    size_t most = 0;
    for (const Tokens &t : steps) most = std::max(most, t.sequence.size());
    Session session(backend, model, setup, uint32_t(most));
    std::vector<std::vector<float>> results;
    for (const Tokens &tokens : steps) {
        session.prepare(tokens);
        results.push_back(session.run());
    }
    return results;
}

}  // namespace el::conformance
