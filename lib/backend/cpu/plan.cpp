#include "backend/cpu/plan.h"

#include "backend/cpu/tile.h"

#include <algorithm>

namespace el::cpu {
namespace {

class Planner {
  public:
    Planner(const Program &program, const ExecutableLimits &limits, int n_threads)
        : program_(program), limits_(limits), n_threads_(n_threads), producer_(program.values.size(), nullptr),
          uses_(program.values.size(), 0), sole_reader_(program.values.size(), nullptr),
          linears_(program.values.size()), n_other_readers_(program.values.size(), 0),
          ready_(program.values.size(), false), done_(program.ops.size(), false) {
        for (const Op &op : program.ops) {
            if (op.out != kNoValue) producer_[index(op.out)] = &op;
            for (ValueId in : op.in) {
                if (in == kNoValue) continue;
                sole_reader_[index(in)] = uses_[index(in)]++ ? nullptr : &op;
                if ((op.kind == OpKind::kLinear || op.kind == OpKind::kExpertLinear) && in == op.in[0])
                    linears_[index(in)].push_back(&op);
                if (op.kind != OpKind::kLinear) n_other_readers_[index(in)]++;
            }
        }
        if (program.logits != kNoValue) {
            uses_[index(program.logits)]++;
            sole_reader_[index(program.logits)] = nullptr;
        }
    }

    Plan make() {
        for (const Op &op : program_.ops) check(op);
        new_stage(Stage::Kind::kRows, Rows::kTokens);
        for (const Op &op : program_.ops) {
            if (done_[number(op)]) continue;
            done_[number(op)] = true;
            if (op.kind == OpKind::kLinear || op.kind == OpKind::kExpertLinear) {
                linear(op);
            } else if (op.kind == OpKind::kAttention) {
                alone(op, Stage::Kind::kAttention);
            } else if (op.kind == OpKind::kShortConv || op.kind == OpKind::kDeltaRule ||
                       op.kind == OpKind::kSelectiveScan) {
                alone(op, Stage::Kind::kRecurrent);
            } else if (!norm_of_linears(op)) {
                row_op(op);
            }
        }
        rope_tables();
        place_values();
        size_scratch();
        return std::move(plan_);
    }

  private:
    static size_t index(ValueId value) { return static_cast<size_t>(value); }
    size_t number(const Op &op) const { return static_cast<size_t>(&op - program_.ops.data()); }
    uint32_t width(ValueId value) const { return program_.values[index(value)].width; }
    Rows rows_of(const Op &op) const { return program_.values[index(op.out != kNoValue ? op.out : op.in[0])].rows; }
    static bool quantized(const Op &op) { return tile_layout(op.weight[0].format).quantized(); }

    Stage &new_stage(Stage::Kind kind, Rows rows) {
        Stage &stage = plan_.stages.emplace_back();
        stage.kind = kind;
        stage.rows = rows;
        return stage;
    }

    void check(const Op &op) const {
        auto need = [&](bool ok, const std::string &what) {
            if (!ok) fail(Status::kUnsupported, "the CPU backend does not support {} (op {})", what, op_name(op.kind));
        };
        for (const WeightRef &w : op.weight)
            for (const WeightRef::Side &side : w.side) need(side.role == SideRole::kNone, "weights with side tensors");
        switch (op.kind) {
        case OpKind::kLinear:
        case OpKind::kExpertLinear:
        case OpKind::kEmbed: {
            const WeightRef &w = op.weight[0];
            const uint32_t block = tile_layout(w.format).block_columns;
            need(w.col_begin % block == 0 && w.cols % block == 0, "columns cut within a block");
            break;
        }
        case OpKind::kAttention: {
            const AttentionArgs &a = op.attention;
            need(a.n_kv_heads && a.n_heads % a.n_kv_heads == 0, "query heads that are no multiple of the kv heads");
            need(a.n_heads / a.n_kv_heads <= kMaxGroupRows, "so many query heads for one kv head");
            for (Format f : {limits_.cache_k, limits_.cache_v})
                need(cache_type(f).has_value(), el::format("a cache in {}", format_info(f).name));
            break;
        }
        case OpKind::kShortConv:
            need(op.short_conv.kernel >= 1 && op.short_conv.kernel <= kMaxKernel, "so long a convolution");
            need(op.short_conv.activation == ActivationKind::kNone || op.short_conv.activation == ActivationKind::kSilu,
                 "this activation of a convolution");
            break;
        default:
            break;
        }
    }

    // A norm that only linears read is computed where they prepare their activations, and stored nowhere.
    bool norm_of_linears(const Op &op) const {
        return op.kind == OpKind::kNorm && op.norm.groups == 1 && op.out != program_.logits &&
               n_other_readers_[index(op.out)] == 0;
    }

    void row_op(const Op &op) {
        Stage *stage = &plan_.stages.back();
        // Rows taken out of other rows are the only ones that another worker may have written.
        if (stage->kind != Stage::Kind::kRows || stage->rows != rows_of(op) || op.kind == OpKind::kOutputRows)
            stage = &new_stage(Stage::Kind::kRows, rows_of(op));
        stage->ops.push_back(&op);
        if (op.out != kNoValue) ready_[index(op.out)] = true;
    }

    void alone(const Op &op, Stage::Kind kind) {
        new_stage(kind, Rows::kTokens).ops.push_back(&op);
        ready_[index(op.out)] = true;
    }

    // May these share a stage? Both read the same value.
    static bool alike(const Op &a, const Op &b) {
        if (a.kind != b.kind || quantized(a) != quantized(b)) return false;
        return a.kind == OpKind::kLinear || (a.in[1] == b.in[1] && a.expert.n_experts == b.expert.n_experts &&
                                             a.expert.own_input == b.expert.own_input);
    }

    // All linears of the same input make one stage.
    void linear(const Op &first) {
        const bool experts = first.kind == OpKind::kExpertLinear;
        std::vector<const Op *> all;
        for (const Op *op : linears_[index(first.in[0])])
            if ((op == &first || !done_[number(*op)]) && alike(*op, first)) all.push_back(op);
        Stage &stage = new_stage(experts ? Stage::Kind::kExperts : Stage::Kind::kLinear, rows_of(first));
        stage.in = first.in[0];
        stage.quantized = quantized(first);
        const Op *producer = producer_[index(stage.in)];
        if (producer && norm_of_linears(*producer)) {
            stage.norm = producer;
            stage.in = producer->in[0];
        }
        if (experts) {
            stage.new_route = route_ != first.in[1];
            route_ = first.in[1];
        }
        for (const Op *op : all) {
            if (op != &first && done_[number(*op)]) continue;  // it was the other half of a gate
            done_[number(*op)] = true;
            stage.parts.push_back(part(*op, all));
        }
        for (const LinearPart &p : stage.parts) ready_[index(p.out)] = true;
    }

    // Takes the op that alone reads the part's result into the part, if it is of this kind.
    const Op *take_reader(LinearPart &p, OpKind kind) {
        const Op *reader = sole_reader_[index(p.out)];
        if (!reader || reader->kind != kind || done_[number(*reader)]) return nullptr;
        done_[number(*reader)] = true;
        p.out = reader->out;
        return reader;
    }

    LinearPart part(const Op &op, const std::vector<const Op *> &all) {
        LinearPart p;
        p.op = &op;
        p.out = op.out;
        activation(p, all);
        const Op *reader = sole_reader_[index(p.out)];
        if (reader && op.kind == OpKind::kExpertLinear && reader->in[0] == p.out && reader->in[1] == op.in[1])
            p.combine = take_reader(p, OpKind::kCombine);
        reader = sole_reader_[index(p.out)];
        if (reader && reader->kind == OpKind::kScale && reader->scale.interval == 0 && !reader->weight[1].exists())
            p.scale = take_reader(p, OpKind::kScale);
        if (!p.combine) p.soft_cap = take_reader(p, OpKind::kSoftCap);
        reader = sole_reader_[index(p.out)];
        if (reader && reader->kind == OpKind::kAdd && reader->in[0] != reader->in[1]) {
            const ValueId other = reader->in[reader->in[0] == p.out ? 1 : 0];
            if (ready_[index(other)] && take_reader(p, OpKind::kAdd)) p.residual = other;
        }
        return p;
    }

    // An activation of the result, or one that multiplies it with another linear's.
    void activation(LinearPart &p, const std::vector<const Op *> &all) {
        const Op *reader = sole_reader_[index(p.out)];
        if (!reader || reader->kind != OpKind::kGate || reader->in[0] == reader->in[1]) return;
        const bool is_gate = reader->in[0] == p.out;
        const ValueId other = reader->in[is_gate ? 1 : 0];
        if (other == kNoValue) {
            if (width(p.out) == width(reader->out)) p.activation = take_reader(p, OpKind::kGate);
            return;
        }
        auto found = std::find_if(all.begin(), all.end(), [&](const Op *o) { return o->out == other; });
        if (found == all.end() || done_[number(**found)] || sole_reader_[index(other)] != reader) return;
        const WeightRef &a = p.op->weight[0], &b = (*found)->weight[0];
        if (a.rows != b.rows || a.row_begin % kPanelRows != b.row_begin % kPanelRows) return;
        done_[number(**found)] = true;
        p.gate = is_gate ? p.op : *found;
        p.op = is_gate ? *found : p.op;
        p.activation = take_reader(p, OpKind::kGate);
    }

    void rope_tables() {
        plan_.rope_table_of.assign(program_.ops.size(), 0);
        auto same_part = [](const WeightRef &a, const WeightRef &b) {
            return a.tensor == b.tensor && a.row_begin == b.row_begin && a.col_begin == b.col_begin;
        };
        auto same = [&](const Op &a, const Op &b) {
            return a.rope.frequency == b.rope.frequency && a.rope.dims == b.rope.dims &&
                   a.rope.magnitude == b.rope.magnitude && a.rope.original_context == b.rope.original_context &&
                   same_part(a.weight[0], b.weight[0]) && same_part(a.weight[1], b.weight[1]);
        };
        std::vector<RopeTable> &tables = plan_.rope_tables;
        for (const Op &op : program_.ops) {
            if (op.kind != OpKind::kRope) continue;
            auto found =
                std::find_if(tables.begin(), tables.end(), [&](const RopeTable &t) { return same(*t.op, op); });
            plan_.rope_table_of[number(op)] = static_cast<uint32_t>(found - tables.begin());
            if (found == tables.end()) tables.push_back({&op});
        }
    }

    // ---- memory

    struct Life {
        size_t value, first, last, floats, offset;
    };

    // Calls visit(value) for every value that a stage reads or writes.
    template <typename Visit> static void for_values(const Stage &stage, Visit visit) {
        for (const Op *op : stage.ops)
            for (ValueId v : {op->in[0], op->in[1], op->in[2], op->out})
                if (v != kNoValue) visit(v);
        if (stage.in != kNoValue) visit(stage.in);
        for (const LinearPart &p : stage.parts)
            for (ValueId v : {p.out, p.residual, p.op->kind == OpKind::kExpertLinear ? p.op->in[1] : kNoValue})
                if (v != kNoValue) visit(v);
    }

    std::vector<Life> lives() const {
        std::vector<Life> result;
        std::vector<size_t> life_of(program_.values.size(), Plan::kNotStored);
        for (size_t s = 0; s < plan_.stages.size(); s++)
            for_values(plan_.stages[s], [&](ValueId v) {
                if (v == program_.logits) return;
                size_t &life = life_of[index(v)];
                if (life == Plan::kNotStored) {
                    life = result.size();
                    const ValueInfo &info = program_.values[index(v)];
                    size_t rows = info.rows == Rows::kTokens ? limits_.step.max_tokens : limits_.step.max_outputs;
                    size_t floats = (rows * info.width + 15) / 16 * 16;
                    result.push_back({index(v), s, s, floats, 0});
                }
                result[life].last = s;
            });
        return result;
    }

    // Each value goes to the lowest gap between the values that live at the same time.
    void place_values() {
        plan_.value_offset.assign(program_.values.size(), Plan::kNotStored);
        std::vector<Life> placed, all = lives();
        for (Life &life : all) {
            std::erase_if(placed, [&](const Life &p) { return p.last < life.first; });
            size_t at = 0, i = 0;
            for (; i < placed.size() && placed[i].offset < at + life.floats; i++)
                at = std::max(at, placed[i].offset + placed[i].floats);
            life.offset = at;
            placed.insert(std::find_if(placed.begin(), placed.end(), [&](const Life &p) { return p.offset > at; }),
                          life);
            plan_.value_offset[life.value] = at;
            plan_.activation_floats = std::max(plan_.activation_floats, at + life.floats);
        }
    }

    void size_scratch() {
        for (const Stage &s : plan_.stages) {
            size_t rows = s.rows == Rows::kTokens ? limits_.step.max_tokens : limits_.step.max_outputs;
            for (const LinearPart &p : s.parts) {
                size_t row = prepared_row_bytes(p.op->weight[0].cols, s.quantized), own_rows = 1;
                if (s.kind == Stage::Kind::kExperts) {
                    const ExpertArgs &a = p.op->expert;
                    own_rows = a.own_input ? a.n_used : 1;
                    plan_.gathered_bytes = std::max(plan_.gathered_bytes, rows * a.n_used * row);
                    plan_.chosen_experts = std::max(plan_.chosen_experts, rows * a.n_used);
                    plan_.n_experts = std::max<size_t>(plan_.n_experts, a.n_experts);
                }
                plan_.prepared_row_bytes = std::max(plan_.prepared_row_bytes, own_rows * row);
                if (own_rows == 1) plan_.prepared_bytes = std::max(plan_.prepared_bytes, rows * row);
                plan_.row_floats = std::max<size_t>(plan_.row_floats, p.op->weight[0].cols);
            }
        }
        for (const Op &op : program_.ops) {
            if (op.kind == OpKind::kDeltaRule)
                plan_.state_floats = std::max(plan_.state_floats, delta_rule_scratch_floats(op.delta_rule.dim_k));
            if (op.kind != OpKind::kAttention) continue;
            const AttentionArgs &a = op.attention;
            uint32_t rows = std::max(kAttentionRows, a.n_heads / a.n_kv_heads);
            plan_.row_floats = std::max<size_t>({plan_.row_floats, a.head_dim_k, a.head_dim_v});
            plan_.attention_floats =
                std::max(plan_.attention_floats, attention_scratch_floats(rows, a.head_dim_k, a.head_dim_v));
            if (n_threads_ < 2) continue;
            size_t parts = std::min<size_t>(static_cast<size_t>(n_threads_), kMaxParts);
            plan_.split_floats = std::max(plan_.split_floats, parts * kSplitTokens * a.n_heads * a.head_dim_v);
            plan_.split_statistics = std::max(plan_.split_statistics, parts * kSplitTokens * a.n_heads * 2);
        }
    }

    const Program &program_;
    const ExecutableLimits &limits_;
    const int n_threads_;
    std::vector<const Op *> producer_;
    std::vector<uint32_t> uses_;
    std::vector<const Op *> sole_reader_;           // of values that are read exactly once
    std::vector<std::vector<const Op *>> linears_;  // per value: those that read it
    std::vector<uint32_t> n_other_readers_;         // per value: ops that read it and are no linears
    std::vector<bool> ready_;                       // values that an earlier stage writes
    std::vector<bool> done_;                        // ops that are in a stage
    ValueId route_ = kNoValue;                      // of the last stage of experts
    Plan plan_;
};

}  // namespace

std::optional<CacheType> cache_type(Format format) {
    switch (format) {
    case Format::kF32:
        return CacheType::kF32;
    case Format::kF16:
        return CacheType::kF16;
    case Format::kQ8_0:
        return CacheType::kQ8_0;
    case Format::kQ4_0:
        return CacheType::kQ4_0;
    default:
        return std::nullopt;
    }
}

size_t prepared_row_bytes(uint32_t cols, bool quantized) {
    return quantized ? cols / kTileCols * kActivationBytes : cols * sizeof(float);
}

std::vector<uint32_t> ops_of(const Program &program, const Stage &stage) {
    std::vector<uint32_t> numbers;
    auto add = [&](const Op *op) {
        if (op) numbers.push_back(uint32_t(op - program.ops.data()));
    };
    for (const Op *op : stage.ops) add(op);
    add(stage.norm);
    for (const LinearPart &p : stage.parts) {
        for (const Op *op : {p.op, p.gate, p.activation, p.combine, p.scale, p.soft_cap}) add(op);
        for (const Op &op : program.ops)
            if (p.residual != kNoValue && op.kind == OpKind::kAdd && op.out == p.out) add(&op);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

Plan make_plan(const Program &program, const ExecutableLimits &limits, int n_threads) {
    return Planner(program, limits, n_threads).make();
}

}  // namespace el::cpu
