#include "model/spec.h"
#include "model/archs.h"
#include "model/spec_keys.h"
#include "model/spec_tensors.h"

#include <algorithm>

namespace el {
namespace {

// Levenshtein's distance between two short words.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t before = row[0]++;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t replaced = before + (a[i - 1] != b[j - 1]);
            before = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

const ArchRow &find_row(const GgufFile &file) {
    auto name = file.metadata().get_string("general.architecture");
    if (!name)
        fail(Status::kMetadataInvalid, "{}: metadata key general.architecture is missing", file.metadata().source());
    std::string known;
    for (const ArchRow &row : architectures()) {
        if (*name == row.name) return row;
        known += known.empty() ? row.name : std::string(", ") + row.name;
    }
    const std::string_view shown = name->substr(0, 64);
    const ArchRow &nearest =
        *std::min_element(architectures().begin(), architectures().end(), [&](const ArchRow &a, const ArchRow &b) {
            return distance(shown, a.name) < distance(shown, b.name);
        });
    fail(Status::kUnknownArchitecture, "{}: architecture '{}' is not known; the nearest is {}; known: {}",
         file.metadata().source(), shown, nearest.name, known);
}

// ---- which layers see a window

std::vector<uint32_t> read_windows(const Keys &keys, const ArchRow &row, uint32_t n_layers) {
    const char *size_key = "attention.sliding_window", *pattern_key = "attention.sliding_window_pattern";
    std::vector<uint32_t> windows(n_layers, 0);
    if (row.window_period == ArchRow::kNoWindow) return windows;
    const uint32_t size = keys.count_or_zero(size_key, row.window);
    if (size == 0) {
        if (row.flags & kWindowRequired || keys.has(pattern_key))
            keys.bad(size_key, "is missing or 0, but the model has windowed layers");
        return windows;
    }
    std::vector<int64_t> windowed;
    uint32_t period = row.window_period;
    if (keys.is_array(pattern_key))
        windowed = keys.ints(pattern_key, n_layers);
    else
        period = keys.count_or_zero(pattern_key, period);
    for (uint32_t i = 0; i < n_layers; ++i)
        if (windowed.empty() ? period == 0 || i % period < period - 1 : windowed[i] != 0) windows[i] = size;
    return windows;
}

// ---- rope

void read_rope_scaling(const Keys &keys, const ArchRow &row, RopeSpec &rope) {
    // Files from before the key `type` was written mean linear.
    std::string_view type =
        keys.text("rope.scaling.type").value_or(keys.has("rope.scaling.factor") ? "linear" : "none");
    rope.magnitude = keys.real("rope.scaling.attn_factor", 1.0f);
    rope.original_context = keys.count_or_zero("rope.scaling.original_context_length");
    if (type == "none" || type == "longrope" || type.empty()) {
        if (keys.has("rope.scale_linear")) {  // how old files say `linear`
            rope.factor = keys.positive("rope.scale_linear");
            rope.scaling = RopeSpec::Scaling::kLinear;
        }
    } else if (type == "linear") {
        rope.scaling = RopeSpec::Scaling::kLinear;
        rope.factor = keys.positive("rope.scaling.factor");
    } else if (type == "yarn") {
        rope.scaling = RopeSpec::Scaling::kYarn;
        rope.factor = keys.positive("rope.scaling.factor");
        rope.original_context = keys.count("rope.scaling.original_context_length", keys.count("context_length"));
        rope.beta_fast = keys.positive("rope.scaling.yarn_beta_fast", 32.0f);
        rope.beta_slow = keys.positive("rope.scaling.yarn_beta_slow", 1.0f);
        rope.exact_ramp = row.flags & kRopeExactRamp;
        // Attention's temperature, section 3.4 of the paper; what the key holds lessens it.
        const float growth = 0.1f * std::log(std::max(1.0f, rope.factor));
        rope.magnitude *= (1 + growth) / (1 + keys.real("rope.scaling.yarn_log_multiplier", 0.0f) * growth);
    } else {
        keys.bad("rope.scaling.type", el::format("'{:.32}' is not known; known: none, linear, yarn, longrope", type));
    }
}

RopeSpec read_rope(const Keys &keys, const ArchRow &row, const LayerSpec &layer) {
    RopeSpec rope;
    rope.pairs = row.rope_pairs;
    const bool windowed_only = layer.window && row.flags & kWindowRopeUnscaled;
    const char *dims_key =
        layer.window && keys.has("rope.dimension_count_swa") ? "rope.dimension_count_swa" : "rope.dimension_count";
    rope.dims = keys.count(dims_key, layer.head_dim_k);
    if (rope.dims > layer.head_dim_k || rope.dims % 2)
        keys.bad(dims_key, el::format("{} must be even and at most the head size {}", rope.dims, layer.head_dim_k));
    // Frequencies are negative powers of the base, so they fall from pair to pair.
    auto base = [&](const char *key, float absent) {
        const float b = keys.real(key, absent);
        if (!(b > 1)) keys.bad(key, el::format("{} is not greater than 1", b));
        return b;
    };
    rope.base = base("rope.freq_base", 10000.0f);
    if (layer.window)
        rope.base = base("rope.freq_base_swa", row.window_rope_base > 0 ? row.window_rope_base : rope.base);
    rope.factors = !windowed_only;
    if (!windowed_only) read_rope_scaling(keys, row, rope);
    return rope;
}

bool layer_rotates(const Keys &keys, const ArchRow &row, uint32_t layer, bool windowed, bool some_window) {
    if (row.flags & kRopeSwitch && !keys.flag("rope.scaling.finetuned", true)) return false;
    if (row.no_rope_period && (layer + 1) % row.no_rope_period == 0) return false;
    return !(row.flags & kWindowRopeOnly) || !some_window || windowed;
}

// ---- layers

void read_attention(const Keys &keys, const ArchRow &row, uint32_t width, uint32_t n_layers, LayerSpec &layer) {
    if (layer.n_heads % layer.n_kv_heads)
        keys.bad("attention.head_count_kv",
                 el::format("{} does not divide the {} heads", layer.n_kv_heads, layer.n_heads));
    auto length = [&](const char *key, const char *window_key, uint32_t absent) {
        return layer.window && keys.has(window_key) ? keys.count(window_key) : keys.count(key, absent);
    };
    if (!keys.has("attention.key_length") && width % layer.n_heads)
        keys.bad("attention.head_count", el::format("{} does not divide the width {}", layer.n_heads, width));
    layer.head_dim_k = length("attention.key_length", "attention.key_length_swa", std::max(1u, width / layer.n_heads));
    layer.head_dim_v = length("attention.value_length", "attention.value_length_swa", layer.head_dim_k);
    const bool wide = row.wide_scale_layers == n_layers;
    layer.attention_scale = 1.0f / std::sqrt(static_cast<float>(wide ? width / layer.n_heads : layer.head_dim_k));
    if (row.flags & kAttentionUnscaled) layer.attention_scale = 1.0f;
    if (row.flags & kScaleKeys && keys.has("attention.scale")) layer.attention_scale = keys.real("attention.scale");
    layer.attention_soft_cap = keys.real("attn_logit_softcapping", row.attention_soft_cap);
    if (!(layer.attention_soft_cap >= 0)) keys.bad("attn_logit_softcapping", "is negative");
}

// Layers at the end may read the keys and values of the last layer before them that sees as much as they do.
void share_keys(const Keys &keys, std::vector<LayerSpec> &layers) {
    const char *key = "attention.shared_kv_layers";
    const size_t n = keys.count_or_zero(key), own = layers.size() - std::min(n, layers.size());
    int32_t last_full = -1, last_windowed = -1;
    for (size_t j = 0; j < own; ++j) (layers[j].window ? last_windowed : last_full) = static_cast<int32_t>(j);
    for (size_t i = own; i < layers.size(); ++i) {
        layers[i].kv_layer = layers[i].window ? last_windowed : last_full;
        if (layers[i].kv_layer < 0)
            keys.bad(key, el::format("{} leaves layer {} no layer like it to share with", n, i));
        const LayerSpec &from = layers[static_cast<size_t>(layers[i].kv_layer)];
        if (from.n_kv_heads != layers[i].n_kv_heads)
            keys.bad(key, el::format("layer {} has {} kv heads, layer {} that it shares with has {}", i,
                                     layers[i].n_kv_heads, layers[i].kv_layer, from.n_kv_heads));
    }
}

// Files may leave the widths of experts to the tensors; these are checked against each other later.
uint32_t tensor_cols(const GgufFile &file, uint32_t layer, std::string_view name, uint32_t absent) {
    const TensorInfo *tensor = file.find_tensor(el::format("blk.{}.{}", layer, name));
    const uint64_t cols = tensor ? tensor->shape[0] : 0;
    return cols == 0 || cols > uint64_t(std::numeric_limits<int32_t>::max()) ? absent : static_cast<uint32_t>(cols);
}

void read_experts(const GgufFile &file, const Keys &keys, uint32_t i, LayerSpec &layer) {
    layer.n_experts = keys.count_or_zero("expert_count");
    if (layer.n_experts == 0) return;
    layer.n_experts_used = keys.count("expert_used_count");
    if (layer.n_experts_used > layer.n_experts)
        keys.bad("expert_used_count",
                 el::format("{} is more than the {} experts", layer.n_experts_used, layer.n_experts));
    if (layer.n_experts > 4096) keys.bad("expert_count", el::format("{} is out of range", layer.n_experts));
    layer.expert_width =
        keys.count("expert_feed_forward_length", tensor_cols(file, i, "ffn_down_exps.weight", layer.ffn_width));
    layer.shared_width = keys.count_or_zero("expert_shared_feed_forward_length");
    if (layer.shared_width == 0) layer.shared_width = tensor_cols(file, i, "ffn_down_shexp.weight", 0);
}

void read_mixer(const Keys &keys, const ArchRow &row, uint32_t width, LayerSpec &layer) {
    layer.mixer = row.recurrent;
    if (layer.mixer == MixerKind::kShortConv) {
        layer.kernel = keys.count("shortconv.l_cache");
        return;
    }
    layer.kernel = keys.count("ssm.conv_kernel");
    layer.n_state_keys = keys.count("ssm.group_count");
    layer.n_state_heads = keys.count("ssm.time_step_rank");
    layer.state_dim_k = keys.count("ssm.state_size");
    const uint32_t inner = keys.count("ssm.inner_size");
    if (inner % layer.n_state_heads)
        keys.bad("ssm.inner_size", el::format("{} is no multiple of the {} heads", inner, layer.n_state_heads));
    if (layer.n_state_heads % layer.n_state_keys)
        keys.bad("ssm.group_count",
                 el::format("{} does not divide the {} heads", layer.n_state_keys, layer.n_state_heads));
    if (inner > 64 * uint64_t(width) || layer.state_dim_k > 65536 || layer.kernel > 65536)
        keys.bad("ssm.inner_size", "or ssm.state_size or ssm.conv_kernel is out of range");
    layer.state_dim_v = inner / layer.n_state_heads;
}

// Layers without attention: those of the key's array, those without kv heads, or all but each n-th.
std::vector<bool> recurrent_layers(const Keys &keys, const ArchRow &row, const std::vector<uint32_t> &kv_heads) {
    const size_t n = kv_heads.size();
    std::vector<bool> recurrent(n, false);
    if (row.recurrent == MixerKind::kAttention) return recurrent;
    std::vector<int64_t> listed;
    if (keys.is_array("attention.recurrent_layers")) listed = keys.ints("attention.recurrent_layers", n);
    const bool periodic = listed.empty() && row.recurrent == MixerKind::kDeltaRule;
    const uint32_t period = periodic ? keys.count("full_attention_interval", 4) : 0;
    for (size_t i = 0; i < n; ++i)
        recurrent[i] = !listed.empty() ? listed[i] != 0 : periodic ? (i + 1) % period != 0 : kv_heads[i] == 0;
    return recurrent;
}

std::vector<LayerSpec> read_layers(const GgufFile &file, const Keys &keys, const ArchRow &row, uint32_t n_layers,
                                   uint32_t width) {
    auto heads = keys.per_layer("attention.head_count", n_layers);
    const bool hybrid = row.recurrent != MixerKind::kAttention;
    auto ffn = keys.per_layer("feed_forward_length", n_layers,
                              keys.has("expert_feed_forward_length") ? std::optional(0u) : std::nullopt,
                              keys.has("expert_count") ? 0 : 1);
    std::vector<uint32_t> kv_heads =
        keys.has("attention.head_count_kv")
            ? keys.per_layer("attention.head_count_kv", n_layers, std::nullopt, hybrid ? 0 : 1)
            : heads;
    const std::vector<uint32_t> windows = read_windows(keys, row, n_layers);
    const bool some_window = std::any_of(windows.begin(), windows.end(), [](uint32_t w) { return w > 0; });
    const std::vector<bool> recurrent = recurrent_layers(keys, row, kv_heads);
    std::vector<LayerSpec> layers(n_layers);
    for (uint32_t i = 0; i < n_layers; ++i) {
        LayerSpec &layer = layers[i];
        layer.activation = row.activation;
        layer.ffn_width = ffn[i];
        read_experts(file, keys, i, layer);
        if (recurrent[i]) {
            read_mixer(keys, row, width, layer);
            continue;
        }
        layer.n_heads = heads[i];
        layer.n_kv_heads = kv_heads[i];
        if (layer.n_kv_heads == 0)
            keys.bad("attention.head_count_kv", el::format("is 0 for layer {}, which has attention", i));
        layer.window = windows[i];
        read_attention(keys, row, width, n_layers, layer);
        layer.rope = read_rope(keys, row, layer);
        if (!layer_rotates(keys, row, i, layer.window > 0, some_window)) layer.rope.dims = 0;
    }
    share_keys(keys, layers);
    return layers;
}

// ---- the model

void read_scales(const Keys &keys, const ArchRow &row, ModelSpec &spec) {
    if (row.flags & kEmbeddingTimesRootWidth) spec.embedding_scale = std::sqrt(static_cast<float>(spec.width));
    if (row.flags & kScaleKeys) {
        spec.embedding_scale = keys.positive("embedding_scale", 1.0f);
        spec.residual_scale = keys.positive("residual_scale", 1.0f);
        spec.logit_scale = 1.0f / keys.positive("logit_scale", 1.0f);
    }
    spec.logit_soft_cap = keys.real("final_logit_softcapping", row.logit_soft_cap);
    if (!(spec.logit_soft_cap >= 0)) keys.bad("final_logit_softcapping", "is negative");
    spec.query_slope = keys.real("attention.temperature_scale", 0.0f);
    if (spec.query_slope != 0) {
        const char *length = "attention.temperature_length";
        spec.query_interval = keys.count(keys.has(length) ? length : "rope.scaling.original_context_length");
    }
}

// How many layers the model has, without those that draft (multi-token prediction), which stand after them.
uint32_t read_layer_count(const GgufFile &file, Keys &keys, ModelSpec &spec) {
    const char *key = "block_count", *draft_key = "nextn_predict_layers";
    const uint32_t n_blocks = keys.count(key);
    if (n_blocks > file.tensors().size())  // before anything is made of that size
        keys.bad(key, el::format("{} layers, but the file has {} tensors", n_blocks, file.tensors().size()));
    spec.draft_layers = keys.count_or_zero(draft_key);
    if (spec.draft_layers >= n_blocks)
        keys.bad(draft_key, el::format("{} leaves nothing of the {} layers", spec.draft_layers, n_blocks));
    keys.allow_more_layers(spec.draft_layers);
    return n_blocks - spec.draft_layers;
}

uint32_t read_vocab(const GgufFile &file, const Keys &keys) {
    const TensorInfo *embedding = file.find_tensor("token_embd.weight");
    const uint64_t vocab = embedding ? embedding->rows() : 0;
    if (vocab == 0 || vocab > uint64_t(std::numeric_limits<int32_t>::max()))
        fail(Status::kTensorInvalid, "{}: tensor token_embd.weight is missing or has {} rows", keys.source(), vocab);
    if (keys.has("vocab_size") && keys.count("vocab_size") != vocab)
        keys.bad("vocab_size", el::format("is {}, but token_embd.weight has {} rows", keys.count("vocab_size"), vocab));
    return static_cast<uint32_t>(vocab);
}

}  // namespace

std::vector<std::string_view> architecture_names() {
    std::vector<std::string_view> names;
    for (const ArchRow &row : architectures()) names.push_back(row.name);
    return names;
}

ModelSpec resolve_spec(const GgufFile &file) {
    const ArchRow &row = find_row(file);
    if (file.tensors().empty())
        fail(Status::kNoWeights, "{}: the file has no tensors, only metadata", file.metadata().source());
    Keys keys(file.metadata(), row.name);
    ModelSpec spec;
    spec.architecture = row.name;
    spec.norm = row.norm;
    const char *epsilon_key =
        row.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    spec.norm_epsilon = keys.real(epsilon_key);
    if (!(spec.norm_epsilon >= 0)) keys.bad(epsilon_key, "is negative");
    spec.width = keys.count("embedding_length");
    spec.context_length = keys.count("context_length");
    spec.per_layer_width = keys.count_or_zero("embedding_length_per_layer_input");
    spec.query_gate = row.flags & kQueryGate;
    spec.norm_after_rope = row.flags & kNormAfterRope;
    spec.value_norm = row.flags & kValueNorm;
    spec.normalize_experts = row.flags & kNormalizeExperts;
    // Converters write true where a model's configuration is silent; an FFN that has its own norm is not parallel.
    spec.parallel_residual = keys.flag("use_parallel_residual", false) && !file.find_tensor("blk.0.ffn_norm.weight");
    read_scales(keys, row, spec);
    const uint32_t n_layers = read_layer_count(file, keys, spec);
    spec.vocab = read_vocab(file, keys);
    spec.layers = read_layers(file, keys, row, n_layers, spec.width);
    bind_tensors(file, keys, row, spec);
    return spec;
}

}  // namespace el
