#include "program/build.h"
#include "program/rope.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace el {
namespace {

class Builder {
  public:
    Builder(const ModelSpec &spec, std::span<const TensorInfo> tensors) : spec_(spec), tensors_(tensors) {}

    Program build() {
        program_.vocab = spec_.vocab;
        ValueId x = scale(embed(spec_.at(Role::kTokenEmbedding), spec_.width), spec_.embedding_scale);
        per_layer_inputs(x);
        for (size_t i = 0; i < spec_.layers.size(); ++i) {
            layer_ = static_cast<int32_t>(i);
            x = layer(spec_.layers[i], x);
        }
        layer_ = -1;
        x = norm(output_rows(x), spec_.at(Role::kOutputNorm), spec_.at(Role::kOutputNormBias));
        x = linear(x, matrix(spec_, spec_.has(Role::kOutput) ? Role::kOutput : Role::kTokenEmbedding));
        x = soft_cap(scale(x, spec_.logit_scale), spec_.logit_soft_cap);
        program_.logits = x;
        return std::move(program_);
    }

  private:
    // ---- ops

    Op make(OpKind kind, ValueId in0, ValueId in1 = kNoValue, ValueId in2 = kNoValue) {
        Op op;
        op.kind = kind;
        op.layer = layer_;
        op.in[0] = in0;
        op.in[1] = in1;
        op.in[2] = in2;
        return op;
    }

    ValueId push(Op op, uint32_t width) {
        Rows rows = op.in[0] == kNoValue ? Rows::kTokens : program_.values[op.in[0]].rows;
        program_.values.push_back({width, rows});
        op.out = static_cast<ValueId>(program_.values.size() - 1);
        program_.ops.push_back(op);
        return op.out;
    }

    uint32_t width(ValueId value) const { return program_.values[value].width; }

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

    ValueId embed(int32_t tensor, uint32_t width) {
        Op op = make(OpKind::kEmbed, kNoValue);
        op.weight[0] = weight(tensor);
        return push(op, width);
    }

    // Without a tensor: x itself.
    ValueId norm(ValueId x, int32_t tensor, int32_t bias = -1, uint32_t groups = 1) {
        return tensor < 0 ? x : push(norm_op(x, tensor, bias, groups, spec_.norm), width(x));
    }
    Op norm_op(ValueId x, int32_t tensor, int32_t bias, uint32_t groups, NormKind kind) {
        Op op = make(OpKind::kNorm, x);
        op.weight[0] = weight(tensor);
        op.weight[1] = weight(bias);
        op.norm = {kind, groups, spec_.norm_epsilon};
        return op;
    }

    // The rows [begin, begin + n) of a tensor; n = 0: all of them.
    struct Matrix {
        int32_t tensor, scale = -1;
        int32_t bias = -1;
        uint32_t begin = 0, n = 0;
    };
    template <typename Spec>
    static Matrix rows(const Spec &spec, Role role, uint32_t begin, uint32_t n, Role bias = Role::kCount) {
        return {spec.at(role), spec.scale_of(role), bias == Role::kCount ? -1 : spec.at(bias), begin, n};
    }
    template <typename Spec> static Matrix matrix(const Spec &spec, Role role, Role bias = Role::kCount) {
        return rows(spec, role, 0, 0, bias);
    }

    ValueId linear(ValueId x, const Matrix &m) {
        Op op = make(OpKind::kLinear, x);
        op.weight[0] = weight(m.tensor);
        if (m.scale < 0) op.weight[1] = weight(m.bias);
        if (m.n) {
            op.weight[0].row_begin = m.begin;
            op.weight[0].rows = m.n;
        }
        ValueId out = push(op, op.weight[0].rows);
        return m.scale < 0 ? out : push_scale(out, {1.0f, 0, 0}, m.scale, m.bias);
    }

    ValueId add(ValueId a, ValueId b) { return push(make(OpKind::kAdd, a, b), width(a)); }

    ValueId gate(ActivationKind activation, ValueId a, ValueId b = kNoValue) {
        Op op = make(OpKind::kGate, a, b);
        op.gate = {activation};
        return push(op, width(b == kNoValue ? a : b));
    }

    ValueId scale(ValueId x, float factor) { return factor == 1.0f ? x : push_scale(x, {factor, 0, 0}, -1); }
    ValueId push_scale(ValueId x, const ScaleArgs &args, int32_t tensor, int32_t bias = -1) {
        Op op = make(OpKind::kScale, x);
        op.weight[0] = weight(tensor);
        op.weight[1] = weight(bias);
        op.scale = args;
        return push(op, width(x));
    }

    ValueId soft_cap(ValueId x, float cap) {
        if (cap == 0) return x;
        Op op = make(OpKind::kSoftCap, x);
        op.soft_cap = {cap};
        return push(op, width(x));
    }

    ValueId slice(ValueId x, const SliceArgs &args) {
        Op op = make(OpKind::kSlice, x);
        op.slice = args;
        return push(op, args.groups * args.n);
    }

    ValueId output_rows(ValueId x) {
        if (program_.values[x].rows == Rows::kOutputs) return x;
        ValueId out = push(make(OpKind::kOutputRows, x), width(x));
        program_.values[out].rows = Rows::kOutputs;
        return out;
    }

    uint32_t state_layer(size_t floats) {
        program_.state_layers.push_back({floats});
        return static_cast<uint32_t>(program_.state_layers.size() - 1);
    }

    // ---- attention

    ValueId rope(const LayerSpec &layer, ValueId x, uint32_t n_heads) {
        if (layer.rope.dims == 0) return x;
        Op op = make(OpKind::kRope, x);
        op.rope = {layer.rope.pairs,     n_heads, layer.head_dim_k, layer.rope.dims, constants_of(layer.rope),
                   layer.rope.magnitude, 0};
        if (layer.rope.factors) {
            op.weight[0] = weight(spec_.at(Role::kRopeFactors));
            op.weight[1] = weight(spec_.at(Role::kRopeFactorsLong));
            if (spec_.has(Role::kRopeFactorsLong)) op.rope.original_context = layer.rope.original_context;
        }
        return push(op, width(x));
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
        std::vector<CacheGroup> &groups = program_.cache_groups;
        auto same = [&](const CacheGroup &g) {
            return g.window == layer.window && g.n_kv_heads == layer.n_kv_heads && g.head_dim_k == layer.head_dim_k &&
                   g.head_dim_v == layer.head_dim_v;
        };
        auto found = std::find_if(groups.begin(), groups.end(), same);
        if (found == groups.end())
            found = groups.insert(found, {layer.window, 0, layer.n_kv_heads, layer.head_dim_k, layer.head_dim_v});
        program_.cache_layers.push_back({static_cast<uint32_t>(found - groups.begin()), found->n_layers++});
        return static_cast<uint32_t>(program_.cache_layers.size() - 1);
    }

    // Queries or keys, brought to the form in which they meet. Norms are of each head, or of the whole row.
    ValueId positioned(const LayerSpec &layer, ValueId x, Role norm_role, uint32_t n_heads) {
        const int32_t tensor = layer.at(norm_role);
        const bool whole = tensor >= 0 && tensors_[tensor].shape[0] != layer.head_dim_k;
        auto normed = [&](ValueId v) { return norm(v, tensor, -1, whole ? 1 : n_heads); };
        return spec_.norm_after_rope ? normed(rope(layer, x, n_heads)) : rope(layer, normed(x), n_heads);
    }

    void write_cache(const LayerSpec &layer, ValueId k, ValueId v) {
        k = positioned(layer, k, Role::kKeyNorm, layer.n_kv_heads);
        if (spec_.value_norm) v = push(norm_op(v, -1, -1, layer.n_kv_heads, NormKind::kRms), width(v));
        Op write = make(OpKind::kCacheWrite, k, v);
        write.cache_write = {cache_layer_of_[layer_] = cache_layer(layer)};
        program_.ops.push_back(write);
    }

    struct Qkv {
        ValueId q, k, v;
    };

    // Q, K and V from one tensor: rows of it, or of its result where one bias goes with it.
    Qkv fused_qkv(const LayerSpec &layer, ValueId x) {
        const Role fused = Role::kQueryKeyValue;
        const uint32_t q_width = layer.n_heads * layer.head_dim_k * (spec_.query_gate ? 2 : 1),
                       k_width = layer.n_kv_heads * layer.head_dim_k, v_width = layer.n_kv_heads * layer.head_dim_v;
        if (layer.has(Role::kQueryKeyValueBias)) {
            ValueId all = linear(x, matrix(layer, fused, Role::kQueryKeyValueBias));
            return {slice(all, {1, 0, q_width}), slice(all, {1, q_width, k_width}),
                    slice(all, {1, q_width + k_width, v_width})};
        }
        ValueId q = linear(x, rows(layer, fused, 0, q_width, Role::kQueryBias));
        if (layer.kv_layer >= 0) return {q, kNoValue, kNoValue};
        return {q, linear(x, rows(layer, fused, q_width, k_width, Role::kKeyBias)),
                linear(x, rows(layer, fused, q_width + k_width, v_width, Role::kValueBias))};
    }

    Qkv query_key_value(const LayerSpec &layer, ValueId x) {
        if (layer.has(Role::kQueryKeyValue)) return fused_qkv(layer, x);
        Qkv out = {linear(x, matrix(layer, Role::kQuery, Role::kQueryBias)), kNoValue, kNoValue};
        if (layer.has(Role::kKey)) out.k = linear(x, matrix(layer, Role::kKey, Role::kKeyBias));
        out.v = layer.has(Role::kValue) ? linear(x, matrix(layer, Role::kValue, Role::kValueBias)) : out.k;
        return out;
    }

    ValueId attention(const LayerSpec &layer, ValueId x) {
        auto [q, k, v] = query_key_value(layer, x);
        ValueId query_gate = kNoValue;
        if (spec_.query_gate) {
            query_gate = slice(q, {layer.n_heads, layer.head_dim_k, layer.head_dim_k});
            q = slice(q, {layer.n_heads, 0, layer.head_dim_k});
        }
        q = positioned(layer, q, Role::kQueryNorm, layer.n_heads);
        if (spec_.query_interval) q = push_scale(q, {1.0f, spec_.query_slope, spec_.query_interval}, -1);
        if (layer.kv_layer < 0) write_cache(layer, k, v);
        Op op = make(OpKind::kAttention, q);
        op.weight[0] = weight(layer.at(Role::kSinks));
        op.attention = {cache_layer_of_[layer.kv_layer < 0 ? layer_ : layer.kv_layer],
                        layer.n_heads,
                        layer.n_kv_heads,
                        layer.head_dim_k,
                        layer.head_dim_v,
                        layer.attention_scale,
                        layer.attention_soft_cap};
        ValueId mixed = push(op, layer.n_heads * layer.head_dim_v);
        if (query_gate != kNoValue) mixed = gate(ActivationKind::kSigmoid, query_gate, mixed);
        return linear(mixed, matrix(layer, Role::kAttentionOutput, Role::kAttentionOutputBias));
    }

    // ---- recurrent mixers

    ValueId convolve(const LayerSpec &layer, ValueId x, ActivationKind activation) {
        Op op = make(OpKind::kShortConv, x);
        op.weight[0] = weight(layer.at(Role::kMixerConv));
        op.weight[1] = weight(layer.at(Role::kMixerConvBias));
        op.short_conv = {state_layer(size_t(layer.kernel - 1) * width(x)), layer.kernel, activation};
        return push(op, width(x));
    }

    ValueId short_conv(const LayerSpec &layer, ValueId x) {
        const uint32_t n = spec_.width;
        ValueId before = linear(x, rows(layer, Role::kMixerIn, 0, n)),
                after = linear(x, rows(layer, Role::kMixerIn, n, n)),
                v = linear(x, rows(layer, Role::kMixerIn, 2 * n, n));
        ValueId mixed = convolve(layer, gate(ActivationKind::kNone, before, v), ActivationKind::kNone);
        return linear(gate(ActivationKind::kNone, after, mixed), matrix(layer, Role::kMixerOut));
    }

    ValueId delta_rule(const LayerSpec &layer, ValueId x) {
        ValueId qkv = convolve(layer, linear(x, matrix(layer, Role::kMixerIn)), ActivationKind::kSilu);
        ValueId z = linear(x, matrix(layer, Role::kMixerGate));
        ValueId decay = linear(x, matrix(layer, Role::kMixerDecay)),
                strength = linear(x, matrix(layer, Role::kMixerStrength));
        Op op = make(OpKind::kDeltaRule, qkv, decay, strength);
        op.weight[0] = weight(layer.at(Role::kMixerRate));
        op.weight[1] = weight(layer.at(Role::kMixerStepBias));
        const uint32_t heads = layer.n_state_heads, dk = layer.state_dim_k, dv = layer.state_dim_v;
        op.delta_rule = {state_layer(size_t(heads) * dk * dv), layer.n_state_keys, heads, dk, dv, spec_.norm_epsilon};
        ValueId mixed = norm(push(op, heads * dv), layer.at(Role::kMixerNorm), -1, heads);
        return linear(gate(ActivationKind::kSilu, z, mixed), matrix(layer, Role::kMixerOut));
    }

    ValueId selective_scan(const LayerSpec &layer, ValueId x) {
        const uint32_t heads = layer.n_state_heads, inner = heads * layer.state_dim_v,
                       xbc = inner + 2 * layer.n_state_keys * layer.state_dim_k;
        ValueId z = linear(x, rows(layer, Role::kMixerIn, 0, inner));
        ValueId scanned = linear(x, rows(layer, Role::kMixerIn, inner, xbc)),
                step = linear(x, rows(layer, Role::kMixerIn, inner + xbc, heads));
        Op op = make(OpKind::kSelectiveScan, convolve(layer, scanned, ActivationKind::kSilu), step);
        op.weight[0] = weight(layer.at(Role::kMixerRate));
        op.weight[1] = weight(layer.at(Role::kMixerSkip));
        op.weight[2] = weight(layer.at(Role::kMixerStepBias));
        op.selective_scan = {state_layer(size_t(inner) * layer.state_dim_k), heads, layer.state_dim_v,
                             layer.n_state_keys, layer.state_dim_k};
        ValueId mixed = gate(ActivationKind::kSilu, z, push(op, inner));
        return linear(norm(mixed, layer.at(Role::kMixerNorm), -1, layer.n_state_keys), matrix(layer, Role::kMixerOut));
    }

    ValueId mixer(const LayerSpec &layer, ValueId x) {
        switch (layer.mixer) {
        case MixerKind::kShortConv:
            return short_conv(layer, x);
        case MixerKind::kDeltaRule:
            return delta_rule(layer, x);
        case MixerKind::kSelectiveScan:
            return selective_scan(layer, x);
        case MixerKind::kAttention:
            break;
        }
        return attention(layer, x);
    }

    // ---- FFN

    ValueId dense_ffn(const LayerSpec &layer, ValueId x) {
        ValueId hidden;
        const Matrix up = matrix(layer, Role::kFfnUp, Role::kFfnUpBias);
        if (layer.has(Role::kFfnGateUp)) {
            const uint32_t n = layer.ffn_width;
            ValueId a = linear(x, rows(layer, Role::kFfnGateUp, 0, n)),
                    b = linear(x, rows(layer, Role::kFfnGateUp, n, n));
            hidden = gate(layer.activation, a, b);
        } else if (layer.has(Role::kFfnGate)) {
            ValueId a = linear(x, matrix(layer, Role::kFfnGate, Role::kFfnGateBias)), b = linear(x, up);
            hidden = gate(layer.activation, a, b);
        } else {
            hidden = gate(layer.activation, linear(x, up));
        }
        return linear(hidden, matrix(layer, Role::kFfnDown, Role::kFfnDownBias));
    }

    ValueId expert_linear(const LayerSpec &layer, ValueId x, ValueId route, const Matrix &m, bool own_input) {
        Op op = make(OpKind::kExpertLinear, x, route);
        op.weight[0] = weight(m.tensor);
        if (m.scale < 0) op.weight[1] = weight(m.bias);
        op.expert = {layer.n_experts, layer.n_experts_used, own_input};
        ValueId out = push(op, op.weight[0].rows / layer.n_experts * layer.n_experts_used);
        if (m.scale < 0) return out;
        op = make(OpKind::kExpertScale, out, route);
        op.weight[0] = weight(m.scale);
        op.weight[1] = weight(m.bias);
        return push(op, width(out));
    }

    ValueId experts(const LayerSpec &layer, ValueId x) {
        Op op = make(OpKind::kRoute, linear(x, matrix(layer, Role::kRouter, Role::kRouterBias)));
        op.route = {layer.n_experts, layer.n_experts_used, spec_.normalize_experts, 1.0f};
        ValueId route = push(op, 2 * layer.n_experts_used);
        const Matrix gates = matrix(layer, Role::kExpertGate, Role::kExpertGateBias),
                     ups = matrix(layer, Role::kExpertUp, Role::kExpertUpBias),
                     downs = matrix(layer, Role::kExpertDown, Role::kExpertDownBias);
        ValueId a, b;
        if (layer.has(Role::kExpertGateUp)) {
            const uint32_t n = layer.expert_width, used = layer.n_experts_used;
            ValueId both = expert_linear(layer, x, route, matrix(layer, Role::kExpertGateUp), false);
            a = slice(both, {used, 0, n});
            b = slice(both, {used, n, n});
        } else {
            a = expert_linear(layer, x, route, gates, false);
            b = expert_linear(layer, x, route, ups, false);
        }
        ValueId parts = expert_linear(layer, gate(layer.activation, a, b), route, downs, true);
        ValueId out = push(make(OpKind::kCombine, parts, route), spec_.width);
        if (!layer.has(Role::kSharedDown)) return out;
        a = linear(x, matrix(layer, Role::kSharedGate));
        b = linear(x, matrix(layer, Role::kSharedUp));
        ValueId shared = linear(gate(layer.activation, a, b), matrix(layer, Role::kSharedDown));
        if (layer.has(Role::kSharedRouter))
            shared = gate(ActivationKind::kSigmoid, linear(x, matrix(layer, Role::kSharedRouter)), shared);
        return add(out, shared);
    }

    // ---- layers

    // Gemma's per-layer embeddings: half a second table of the tokens, half a projection of the first.
    void per_layer_inputs(ValueId x) {
        if (spec_.per_layer_width == 0) return;
        const uint32_t n_layers = static_cast<uint32_t>(spec_.layers.size()), n = spec_.per_layer_width;
        ValueId table = scale(embed(spec_.at(Role::kPerLayerEmbedding), n_layers * n), std::sqrt(float(n)));
        ValueId projected = linear(x, matrix(spec_, Role::kPerLayerProjection));
        projected = scale(projected, 1.0f / std::sqrt(float(spec_.width)));
        projected = norm(projected, spec_.at(Role::kPerLayerNorm), -1, n_layers);
        per_layer_ = scale(add(projected, table), 1.0f / std::sqrt(2.0f));
    }

    ValueId with_layer_input(const LayerSpec &layer, ValueId x) {
        if (per_layer_ == kNoValue) return x;
        const uint32_t n = spec_.per_layer_width;
        ValueId mine = slice(per_layer_, {1, static_cast<uint32_t>(layer_) * n, n});
        if (program_.values[x].rows == Rows::kOutputs) mine = output_rows(mine);
        ValueId hidden = gate(layer.activation, linear(x, matrix(layer, Role::kLayerInputGate)), mine);
        ValueId out = linear(hidden, matrix(layer, Role::kLayerInputProjection));
        return add(x, norm(out, layer.at(Role::kLayerInputNorm)));
    }

    ValueId layer(const LayerSpec &layer, ValueId x) {
        ValueId normed = norm(x, layer.at(Role::kAttentionNorm), layer.at(Role::kAttentionNormBias));
        ValueId mixed = norm(mixer(layer, normed), layer.at(Role::kPostAttentionNorm));
        ValueId middle = add(x, scale(mixed, spec_.residual_scale));
        // Nothing after the last layer's attention looks at other tokens.
        const bool last = static_cast<size_t>(layer_) + 1 == spec_.layers.size();
        if (last && !spec_.parallel_residual) middle = output_rows(middle);
        ValueId ffn_in =
            spec_.parallel_residual ? normed : norm(middle, layer.at(Role::kFfnNorm), layer.at(Role::kFfnNormBias));
        ValueId out = layer.n_experts ? experts(layer, ffn_in) : dense_ffn(layer, ffn_in);
        out = norm(out, layer.at(Role::kPostFfnNorm));
        x = with_layer_input(layer, add(middle, scale(out, spec_.residual_scale)));
        return layer.has(Role::kLayerScale) ? push_scale(x, {1.0f, 0, 0}, layer.at(Role::kLayerScale)) : x;
    }

    const ModelSpec &spec_;
    std::span<const TensorInfo> tensors_;
    Program program_;
    int32_t layer_ = -1;
    ValueId per_layer_ = kNoValue;  // [tokens, layers x per-layer width]
    std::vector<uint32_t> cache_layer_of_ = std::vector<uint32_t>(spec_.layers.size());  // per layer with its own keys
};

}  // namespace

Program build_program(const ModelSpec &spec, std::span<const TensorInfo> tensors) {
    return Builder(spec, tensors).build();
}

}  // namespace el
