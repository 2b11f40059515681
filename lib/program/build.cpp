#include "program/build.h"

#include <cmath>
#include <numbers>
#include <span>

namespace el {
namespace {

// Angle per position of each rotated pair: base^(-2i/dims), stretched for longer contexts.
// YaRN: Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models", section 3.2.
std::vector<float> rope_frequencies(const RopeSpec &rope) {
    const double dims = rope.dims;
    auto pair_of_rotations = [&](double rotations) {  // the pair that turns so often within the original context
        return dims * std::log(rope.original_context / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(double(rope.base)));
    };
    double low = 0, high = 0;
    if (rope.scaling == RopeSpec::Scaling::kYarn) {
        low = std::max(0.0, std::floor(pair_of_rotations(rope.beta_fast)));
        high = std::min(dims - 1, std::ceil(pair_of_rotations(rope.beta_slow)));
    }
    std::vector<float> frequencies(rope.dims / 2);
    for (uint32_t i = 0; i < rope.dims / 2; ++i) {
        double full = std::pow(double(rope.base), -2.0 * i / dims), stretched = full / rope.factor;
        double share = 0;  // of the stretched frequency
        if (rope.scaling == RopeSpec::Scaling::kLinear) share = 1;
        if (rope.scaling == RopeSpec::Scaling::kYarn)
            share = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
        frequencies[i] = static_cast<float>(stretched * share + full * (1 - share));
    }
    return frequencies;
}

float rope_magnitude(const RopeSpec &rope) {
    if (rope.scaling != RopeSpec::Scaling::kYarn || rope.factor <= 1) return 1.0f;
    return rope.attention_factor * (1.0f + 0.1f * std::log(rope.factor));
}

class Builder {
  public:
    Builder(const ModelSpec &spec, std::span<const TensorInfo> tensors) : spec_(spec), tensors_(tensors) {}

    Program build() {
        program_.vocab = spec_.vocab;
        Op embed = make(OpKind::kEmbed, -1);
        embed.weight[0] = weight(spec_.at(Role::kTokenEmbedding));
        ValueId x = push(embed, spec_.width);
        for (size_t i = 0; i < spec_.layers.size(); ++i) {
            layer_ = static_cast<int32_t>(i);
            x = attention(spec_.layers[i], x);
            x = ffn(spec_.layers[i], x);
        }
        layer_ = -1;
        ValueId last = unary(OpKind::kOutputRows, x, spec_.width);
        program_.values[last].rows = Rows::kOutputs;
        ValueId normed = norm(last, spec_.at(Role::kOutputNorm));
        int32_t head = spec_.at(Role::kOutput);
        program_.logits = linear(normed, head >= 0 ? head : spec_.at(Role::kTokenEmbedding));
        return std::move(program_);
    }

  private:
    Op make(OpKind kind, ValueId in0, ValueId in1 = kNoValue) {
        Op op;
        op.kind = kind;
        op.layer = layer_;
        op.in[0] = in0;
        op.in[1] = in1;
        return op;
    }

    ValueId push(Op op, uint32_t width) {
        Rows rows = op.in[0] == kNoValue ? Rows::kTokens : program_.values[op.in[0]].rows;
        program_.values.push_back({width, rows});
        op.out = static_cast<ValueId>(program_.values.size() - 1);
        program_.ops.push_back(op);
        return op.out;
    }

    WeightRef weight(int32_t tensor) const {
        WeightRef ref;
        if (tensor < 0) return ref;
        const TensorInfo &info = tensors_[tensor];
        ref.tensor = tensor;
        ref.format = info.format;
        ref.rows = static_cast<uint32_t>(info.rows());
        ref.cols = static_cast<uint32_t>(info.shape[0]);
        return ref;
    }

    ValueId unary(OpKind kind, ValueId x, uint32_t width) { return push(make(kind, x), width); }

    ValueId norm(ValueId x, int32_t tensor) {
        Op op = make(OpKind::kNorm, x);
        op.weight[0] = weight(tensor);
        op.norm = {spec_.norm, 1, spec_.norm_epsilon};
        return push(op, program_.values[x].width);
    }

    ValueId linear(ValueId x, int32_t tensor) {
        Op op = make(OpKind::kLinear, x);
        op.weight[0] = weight(tensor);
        return push(op, op.weight[0].rows);
    }

    ValueId add(ValueId a, ValueId b) { return push(make(OpKind::kAdd, a, b), program_.values[a].width); }

    ValueId rope(const LayerSpec &layer, ValueId x, uint32_t n_heads) {
        if (layer.rope.dims == 0) return x;
        Op op = make(OpKind::kRope, x);
        op.weight[0] = weight(spec_.at(Role::kRopeFactors));
        op.rope = {layer.rope.pairs,          n_heads, layer.head_dim_k, layer.rope.dims, constants_of(layer.rope),
                   rope_magnitude(layer.rope), 0};
        return push(op, program_.values[x].width);
    }

    // Layers with equal rope share one table of frequencies.
    uint32_t constants_of(const RopeSpec &rope) {
        std::vector<float> wanted = rope_frequencies(rope);
        std::vector<float> &all = program_.constants;
        auto found = std::search(all.begin(), all.end(), wanted.begin(), wanted.end());
        uint32_t begin = static_cast<uint32_t>(found - all.begin());
        if (found == all.end()) all.insert(all.end(), wanted.begin(), wanted.end());
        return begin;
    }

    uint32_t cache_layer(const LayerSpec &layer) {
        size_t g = 0;
        std::vector<CacheGroup> &groups = program_.cache_groups;
        for (; g < groups.size(); ++g)
            if (groups[g].n_kv_heads == layer.n_kv_heads && groups[g].head_dim_k == layer.head_dim_k &&
                groups[g].head_dim_v == layer.head_dim_v)
                break;
        if (g == groups.size())
            groups.push_back({CachePolicy::kFull, 0, 0, layer.n_kv_heads, layer.head_dim_k, layer.head_dim_v});
        program_.cache_layers.push_back({static_cast<uint32_t>(g), groups[g].n_layers++});
        return static_cast<uint32_t>(program_.cache_layers.size() - 1);
    }

    ValueId attention(const LayerSpec &layer, ValueId x) {
        ValueId normed = norm(x, layer.at(Role::kAttentionNorm));
        ValueId q = linear(normed, layer.at(Role::kQuery));
        ValueId k = linear(normed, layer.at(Role::kKey));
        ValueId v = linear(normed, layer.at(Role::kValue));
        q = rope(layer, q, layer.n_heads);
        k = rope(layer, k, layer.n_kv_heads);
        Op write = make(OpKind::kCacheWrite, k, v);
        write.cache_write = {cache_layer(layer)};
        program_.ops.push_back(write);
        Op attend = make(OpKind::kAttention, q);
        attend.attention = {
            write.cache_write.cache_layer, layer.n_heads, layer.n_kv_heads, layer.head_dim_k, layer.head_dim_v,
            layer.attention_scale, 0};
        ValueId mixed = push(attend, layer.n_heads * layer.head_dim_v);
        return add(x, linear(mixed, layer.at(Role::kAttentionOutput)));
    }

    ValueId ffn(const LayerSpec &layer, ValueId x) {
        ValueId normed = norm(x, layer.at(Role::kFfnNorm));
        ValueId gate = linear(normed, layer.at(Role::kFfnGate));
        ValueId up = linear(normed, layer.at(Role::kFfnUp));
        Op op = make(OpKind::kGate, gate, up);
        op.gate = {layer.activation};
        ValueId hidden = push(op, layer.ffn_width);
        return add(x, linear(hidden, layer.at(Role::kFfnDown)));
    }

    const ModelSpec &spec_;
    std::span<const TensorInfo> tensors_;
    Program program_;
    int32_t layer_ = -1;
};

}  // namespace

Program build_program(const ModelSpec &spec, std::span<const TensorInfo> tensors) {
    return Builder(spec, tensors).build();
}

}  // namespace el
