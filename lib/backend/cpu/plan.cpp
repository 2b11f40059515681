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
                if (op.kind == OpKind::kLinear)
                    linears_[index(in)].push_back(&op);
                else
                    n_other_readers_[index(in)]++;
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
            if (op.kind == OpKind::kLinear) {
                linear(op);
            } else if (op.kind == OpKind::kAttention) {
                new_stage(Stage::Kind::kAttention, Rows::kTokens).ops.push_back(&op);
                ready_[index(op.out)] = true;
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
    Rows rows_of(const Op &op) const { return program_.values[index(op.out != kNoValue ? op.out : op.in[0])].rows; }
    static bool quantized(const Op &op) { return tile_layout(op.weight[0].format).quantized(); }

    Stage &new_stage(Stage::Kind kind, Rows rows) {
        Stage &stage = plan_.stages.emplace_back();
        stage.kind = kind;
        stage.rows = rows;
        return stage;
    }

    void check(const Op &op) const {
        auto need = [&](bool ok, const char *what) {
            if (!ok) fail(Status::kUnsupported, "the CPU backend does not support {} (op {})", what, op_name(op.kind));
        };
        for (const WeightRef &w : op.weight)
            for (const WeightRef::Side &side : w.side) need(side.role == SideRole::kNone, "weights with side tensors");
        switch (op.kind) {
        case OpKind::kLinear:
        case OpKind::kEmbed: {
            const WeightRef &w = op.weight[0];
            const uint32_t block = tile_layout(w.format).block_columns;
            need(w.col_begin % block == 0 && w.cols % block == 0, "columns cut within a block");
            break;
        }
        case OpKind::kAttention: {
            const AttentionArgs &a = op.attention;
            need(a.n_kv_heads && a.n_heads % a.n_kv_heads == 0, "query heads that are no multiple of the kv heads");
            need(a.soft_cap == 0 && !op.weight[0].exists(), "soft caps and sinks");
            need(a.n_heads / a.n_kv_heads <= kMaxGroupRows, "so many query heads for one kv head");
            for (Format f : {limits_.cache_k, limits_.cache_v})
                need(f == Format::kF32 || f == Format::kF16, "a cache that is neither F32 nor F16");
            break;
        }
        case OpKind::kGate:
            need(op.gate.activation == ActivationKind::kSilu && op.in[1] != kNoValue, "other gates than silu");
            break;
        case OpKind::kNorm:
            need(op.norm.kind == NormKind::kRms && op.weight[0].exists(), "other norms than RMS");
            break;
        case OpKind::kRope:
            need(op.rope.original_context == 0, "factors for long contexts");
            break;
        case OpKind::kScale:
        case OpKind::kSoftCap:
        case OpKind::kSlice:
        case OpKind::kRoute:
        case OpKind::kExpertLinear:
        case OpKind::kCombine:
        case OpKind::kShortConv:
        case OpKind::kDeltaRule:
        case OpKind::kSelectiveScan:
            need(false, "this op");
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

    // All linears of the same input make one stage.
    void linear(const Op &first) {
        std::vector<const Op *> all;
        for (const Op *op : linears_[index(first.in[0])])
            if ((op == &first || !done_[number(*op)]) && quantized(*op) == quantized(first)) all.push_back(op);
        Stage &stage = new_stage(Stage::Kind::kLinear, rows_of(first));
        stage.in = first.in[0];
        stage.quantized = quantized(first);
        const Op *producer = producer_[index(stage.in)];
        if (producer && norm_of_linears(*producer)) {
            stage.norm = producer;
            stage.in = producer->in[0];
        }
        for (const Op *op : all) {
            if (op != &first && done_[number(*op)]) continue;  // it was the other half of a gate
            done_[number(*op)] = true;
            stage.parts.push_back(part(*op, all));
        }
        for (const LinearPart &p : stage.parts) ready_[index(p.out)] = true;
    }

    LinearPart part(const Op &op, const std::vector<const Op *> &all) {
        LinearPart p{&op, nullptr, op.out, kNoValue};
        const Op *reader = sole_reader_[index(op.out)];
        if (!reader) return p;
        if (reader->kind == OpKind::kGate && reader->in[0] != reader->in[1]) {
            const bool is_gate = reader->in[0] == op.out;
            const ValueId other = reader->in[is_gate ? 1 : 0];
            auto found = std::find_if(all.begin(), all.end(), [&](const Op *o) { return o->out == other; });
            if (found == all.end() || done_[number(**found)] || sole_reader_[index(other)] != reader) return p;
            const WeightRef &a = op.weight[0], &b = (*found)->weight[0];
            if (a.rows != b.rows || a.row_begin % kPanelRows != b.row_begin % kPanelRows) return p;
            done_[number(**found)] = done_[number(*reader)] = true;
            return {is_gate ? *found : &op, is_gate ? &op : *found, reader->out, kNoValue};
        }
        if (reader->kind == OpKind::kAdd && reader->in[0] != reader->in[1]) {
            const ValueId other = reader->in[reader->in[0] == op.out ? 1 : 0];
            if (!ready_[index(other)] || done_[number(*reader)]) return p;
            done_[number(*reader)] = true;
            p.out = reader->out;
            p.residual = other;
        }
        return p;
    }

    void rope_tables() {
        plan_.rope_table_of.assign(program_.ops.size(), 0);
        auto same = [](const Op &a, const Op &b) {
            return a.rope.frequency == b.rope.frequency && a.rope.dims == b.rope.dims &&
                   a.rope.magnitude == b.rope.magnitude && a.weight[0].tensor == b.weight[0].tensor &&
                   a.weight[0].row_begin == b.weight[0].row_begin && a.weight[0].col_begin == b.weight[0].col_begin;
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
            for (ValueId v : {p.out, p.residual})
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
                size_t row = prepared_row_bytes(p.op->weight[0].cols, s.quantized);
                plan_.prepared_row_bytes = std::max(plan_.prepared_row_bytes, row);
                plan_.prepared_bytes = std::max(plan_.prepared_bytes, rows * row);
                plan_.row_floats = std::max<size_t>(plan_.row_floats, p.op->weight[0].cols);
            }
        }
        for (const Op &op : program_.ops) {
            if (op.kind != OpKind::kAttention) continue;
            const AttentionArgs &a = op.attention;
            uint32_t rows = std::max(kAttentionRows, a.n_heads / a.n_kv_heads);
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
    Plan plan_;
};

}  // namespace

size_t prepared_row_bytes(uint32_t cols, bool quantized) {
    return quantized ? cols / kTileCols * kActivationBytes : cols * sizeof(float);
}

Plan make_plan(const Program &program, const ExecutableLimits &limits, int n_threads) {
    return Planner(program, limits, n_threads).make();
}

}  // namespace el::cpu
