#include "stages.h"
#include "packed.h"

#include <map>

namespace el::cuda {
namespace {

class Finder {
  public:
    Finder(const Program &program, const StageRules &rules)
        : program_(program), rules_(rules), uses_(program.values.size(), 0), maker_(program.values.size(), -1) {
        for (size_t i = 0; i < program.ops.size(); ++i) {
            for (ValueId in : program.ops[i].in)
                if (in != kNoValue) ++uses_[size_t(in)];
            if (program.ops[i].out != kNoValue) maker_[size_t(program.ops[i].out)] = int32_t(i);
        }
        ++uses_[size_t(program.logits)];
    }

    std::vector<Stage> find() {
        std::vector<Stage> stages;
        for (uint32_t i = 0; i < program_.ops.size(); i = stages.back().end) {
            Stage stage;
            if (!products(i, stage) && !heads(i, stage) && !norm_add(i, stage)) {
                stage = {};
                stage.begin = i;
                stage.end = i + 1;
            }
            stages.push_back(stage);
        }
        return stages;
    }

  private:
    const Op *at(uint32_t i) const { return i < program_.ops.size() ? &program_.ops[i] : nullptr; }
    bool is(uint32_t i, OpKind kind) const { return i < program_.ops.size() && program_.ops[i].kind == kind; }
    uint32_t uses(ValueId value) const { return value == kNoValue ? 0 : uses_[size_t(value)]; }

    static bool plain_norm(const Op &op) {
        return op.kind == OpKind::kNorm && op.norm.kind == NormKind::kRms && op.norm.groups == 1 &&
               !op.weight[1].exists();
    }

    // Whether a block that has rows of one matrix can have the same rows of the other.
    static bool same_tiles(const Op &a, const Op &b) {
        return packed_shape(a.weight[0].format).rows == packed_shape(b.weight[0].format).rows;
    }

    bool products(uint32_t begin, Stage &s) const {
        uint32_t i = begin;
        if (plain_norm(program_.ops[i])) s.norm = int32_t(i++);
        s.first_linear = int32_t(i);
        if (is(i, OpKind::kLinear)) s.linear_kind = rules_.linear_kind(*at(i));
        if (s.linear_kind == 0) return false;
        while (is(i, OpKind::kLinear) && s.n_linears < rules_.max_linears &&
               rules_.linear_kind(*at(i)) == s.linear_kind && at(i)->in[0] == at(uint32_t(s.first_linear))->in[0]) {
            ++s.n_linears;
            ++i;
        }
        const Op &first = *at(uint32_t(s.first_linear));
        if (s.norm >= 0) {  // its result must be of no other use
            const ValueId normed = program_.ops[size_t(s.norm)].out;
            if (first.in[0] != normed || uses(normed) != uint32_t(s.n_linears)) return false;
        }
        if (s.n_linears == 2 && is(i, OpKind::kGate)) {
            const ValueId a = at(i)->in[0], b = at(i)->in[1], x = first.out, y = at(i - 1)->out;
            if (uses(x) == 1 && uses(y) == 1 && ((a == x && b == y) || (a == y && b == x)) &&
                program_.values[size_t(x)].width == program_.values[size_t(y)].width && same_tiles(first, *at(i - 1)))
                s.gate = int32_t(i++);
        } else if (s.n_linears == 1 && is(i, OpKind::kAdd)) {
            const bool left = at(i)->in[0] == first.out, right = at(i)->in[1] == first.out;
            if (left != right && uses(first.out) == 1) s.add = int32_t(i++);
        }
        s.kind = Stage::kProducts;
        s.begin = begin;
        s.end = i;
        return true;
    }

    bool norm_add(uint32_t begin, Stage &s) const {
        s = {};
        if (!is(begin, OpKind::kNorm) || !is(begin + 1, OpKind::kAdd)) return false;
        const ValueId normed = at(begin)->out;
        if (uses(normed) != 1 || (at(begin + 1)->in[0] != normed && at(begin + 1)->in[1] != normed)) return false;
        s.kind = Stage::kNormAdd;
        s.norm = int32_t(begin);
        s.add = int32_t(begin + 1);
        s.begin = begin;
        s.end = begin + 2;
        return true;
    }

    // The op in [begin, end) of this kind that makes `value`, if that is of no other use; `value` becomes its input.
    int32_t step_back(OpKind kind, ValueId &value, uint32_t begin) const {
        if (value == kNoValue || uses(value) != 1) return -1;
        const int32_t i = maker_[size_t(value)];
        if (i < int32_t(begin) || program_.ops[size_t(i)].kind != kind) return -1;
        value = program_.ops[size_t(i)].in[0];
        return i;
    }
    bool head_norm(int32_t i, uint32_t n_heads) const {
        if (i < 0) return true;
        const Op &op = program_.ops[size_t(i)];
        return op.norm.kind == NormKind::kRms && op.norm.groups == n_heads && !op.weight[1].exists();
    }

    // Whether keys turn as queries do: one kernel makes the angles for both.
    bool same_angles(int32_t a, int32_t b) const {
        if (a < 0 || b < 0) return true;
        const Op &x = program_.ops[size_t(a)], &y = program_.ops[size_t(b)];
        for (int i = 0; i < kOpWeights; ++i)
            if (x.weight[i].tensor != y.weight[i].tensor || x.weight[i].col_begin != y.weight[i].col_begin)
                return false;
        return x.rope.dims == y.rope.dims && x.rope.frequency == y.rope.frequency &&
               x.rope.magnitude == y.rope.magnitude && x.rope.original_context == y.rope.original_context;
    }

    bool heads(uint32_t begin, Stage &s) const {
        s = {};
        uint32_t end = begin;
        while (is(end, OpKind::kNorm) || is(end, OpKind::kRope) || is(end, OpKind::kCacheWrite)) ++end;
        if (!is(end, OpKind::kAttention) || !rules_.attention(*at(end))) return false;
        const AttentionArgs &args = at(end)->attention;
        s.attention = int32_t(end);
        uint32_t n = 1;  // ops that belong to it
        auto take = [&](int32_t &place, OpKind kind, ValueId &value) {
            place = step_back(kind, value, begin);
            n += place >= 0;
        };
        s.q = at(end)->in[0];
        take(s.q_rope, OpKind::kRope, s.q);
        take(s.q_norm, OpKind::kNorm, s.q);
        if (end > begin && is(end - 1, OpKind::kCacheWrite)) {
            if (at(end - 1)->cache_write.cache_layer != args.cache_layer) return false;
            s.write = int32_t(end - 1);
            ++n;
            s.k = at(end - 1)->in[0];
            s.v = at(end - 1)->in[1];
            take(s.k_rope, OpKind::kRope, s.k);
            take(s.k_norm, OpKind::kNorm, s.k);
            take(s.v_norm, OpKind::kNorm, s.v);
        }
        if (n != end + 1 - begin || !head_norm(s.q_norm, args.n_heads) || !head_norm(s.k_norm, args.n_kv_heads) ||
            !head_norm(s.v_norm, args.n_kv_heads) || !same_angles(s.q_rope, s.k_rope))
            return false;
        s.kind = Stage::kHeads;
        s.begin = begin;
        s.end = end + 1;
        return true;
    }

    const Program &program_;
    const StageRules &rules_;
    std::vector<uint32_t> uses_;
    std::vector<int32_t> maker_;
};

}  // namespace

int linear_kind(const Op &op) {
    const Format format = op.weight[0].format;
    if (packed_shape(format).bits) return kPackedLinears;
    const bool floats = format == Format::kF32 || format == Format::kF16 || format == Format::kBF16;
    return floats ? kPackedLinears + 1 + int(format) : 0;
}

std::vector<Stage> find_stages(const Program &program, const StageRules &rules) {
    std::vector<Stage> stages = Finder(program, rules).find();
    std::map<int, bool> odd;
    for (Stage &s : stages)
        if (s.kind == Stage::kProducts) s.odd = odd[s.linear_kind] = !odd[s.linear_kind];
    for (size_t i = 1; i + 1 < stages.size(); ++i) {
        auto is_like = [&](const Stage &s) {
            return s.kind == Stage::kProducts && s.linear_kind == stages[i].linear_kind;
        };
        stages[i].amid = is_like(stages[i - 1]) && is_like(stages[i + 1]);
    }
    return stages;
}

std::vector<uint32_t> done_with(const std::vector<Stage> &stages, size_t n_ops) {
    std::vector<uint32_t> last(n_ops);
    for (const Stage &s : stages)
        for (uint32_t i = s.begin; i < s.end; ++i) last[i] = s.kind == Stage::kNormAdd ? i : s.end - 1;
    return last;
}

}  // namespace el::cuda
