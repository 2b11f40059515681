#include "model/spec.h"
#include "base/status.h"
#include "model/archs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace el {
namespace {

// Reads `<architecture>.<name>` keys and says which one is wrong.
class Keys {
  public:
    Keys(const Metadata &metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix) + ".") {}

    std::string full(std::string_view name) const { return prefix_ + std::string(name); }

    [[noreturn]] void bad(std::string_view name, std::string_view why) const {
        fail(Status::kMetadataInvalid, "{}: metadata key {}: {}", metadata_.source(), full(name), why);
    }

    uint32_t count(std::string_view name, std::optional<uint32_t> absent = {}) const {
        auto value = metadata_.get_uint(full(name));
        if (!value && !absent) bad(name, "is missing");
        uint64_t n = value ? *value : *absent;
        if (n == 0 || n > uint64_t(std::numeric_limits<int32_t>::max()))
            bad(name, fmt::format("{} is out of range", n));
        return static_cast<uint32_t>(n);
    }

    // A number for every layer: the key holds one for all or an array with one each.
    std::vector<uint32_t> per_layer(std::string_view name, size_t n_layers, std::optional<uint32_t> absent = {}) const {
        const Metadata::Entry *entry = metadata_.find(full(name));
        if (!entry || entry->type != MetaType::kArray) return std::vector<uint32_t>(n_layers, count(name, absent));
        std::vector<int64_t> values = *metadata_.get_ints(full(name));
        if (values.size() != n_layers) bad(name, fmt::format("has {} values for {} layers", values.size(), n_layers));
        std::vector<uint32_t> out;
        out.reserve(n_layers);
        for (int64_t v : values) {
            if (v <= 0 || v > std::numeric_limits<int32_t>::max()) bad(name, fmt::format("{} is out of range", v));
            out.push_back(static_cast<uint32_t>(v));
        }
        return out;
    }

    float real(std::string_view name, std::optional<float> absent = {}) const {
        auto value = metadata_.get_float(full(name));
        if (!value && !absent) bad(name, "is missing");
        float v = value ? static_cast<float>(*value) : *absent;
        if (!std::isfinite(v)) bad(name, "is not a finite number");
        return v;
    }

    std::optional<std::string_view> text(std::string_view name) const { return metadata_.get_string(full(name)); }
    bool has(std::string_view name) const { return metadata_.find(full(name)) != nullptr; }

  private:
    const Metadata &metadata_;
    std::string prefix_;
};

const ArchRow &find_row(const GgufFile &file) {
    auto name = file.metadata().get_string("general.architecture");
    if (!name)
        fail(Status::kMetadataInvalid, "{}: metadata key general.architecture is missing", file.metadata().source());
    std::string known;
    for (const ArchRow &row : architectures()) {
        if (*name == row.name) return row;
        known += known.empty() ? row.name : std::string(", ") + row.name;
    }
    fail(Status::kUnknownArchitecture, "{}: architecture '{:.64}' is not known; known: {}", file.metadata().source(),
         *name, known);
}

RopeSpec read_rope(const Keys &keys, const ArchRow &row, uint32_t head_dim) {
    RopeSpec rope;
    rope.pairs = row.rope_pairs;
    rope.dims = keys.count("rope.dimension_count", head_dim);
    if (rope.dims > head_dim || rope.dims % 2)
        keys.bad("rope.dimension_count",
                 fmt::format("{} must be even and at most the head size {}", rope.dims, head_dim));
    rope.base = keys.real("rope.freq_base", 10000.0f);
    if (rope.base <= 0) keys.bad("rope.freq_base", fmt::format("{} is not positive", rope.base));

    // Files from before the key `type` was written mean linear.
    std::string_view type =
        keys.text("rope.scaling.type").value_or(keys.has("rope.scaling.factor") ? "linear" : "none");
    if (type == "none" || type.empty()) {
        rope.factor = keys.real("rope.scale_linear", 1.0f);  // how old files say `linear`
        if (rope.factor != 1.0f) rope.scaling = RopeSpec::Scaling::kLinear;
    } else if (type == "linear") {
        rope.scaling = RopeSpec::Scaling::kLinear;
        rope.factor = keys.real("rope.scaling.factor");
    } else if (type == "yarn") {
        rope.scaling = RopeSpec::Scaling::kYarn;
        rope.factor = keys.real("rope.scaling.factor");
        rope.original_context = static_cast<float>(keys.count("rope.scaling.original_context_length"));
        rope.beta_fast = keys.real("rope.scaling.yarn_beta_fast", 32.0f);
        rope.beta_slow = keys.real("rope.scaling.yarn_beta_slow", 1.0f);
        rope.attention_factor = keys.real("rope.scaling.attn_factor", 1.0f);
    } else {
        keys.bad("rope.scaling.type", fmt::format("'{:.32}' is not known; known: none, linear, yarn", type));
    }
    if (!(rope.factor > 0)) keys.bad("rope.scaling.factor", fmt::format("{} is not positive", rope.factor));
    return rope;
}

std::vector<LayerSpec> read_layers(const Keys &keys, const ArchRow &row, uint32_t n_layers, uint32_t width) {
    auto heads = keys.per_layer("attention.head_count", n_layers);
    auto ffn = keys.per_layer("feed_forward_length", n_layers);
    std::vector<uint32_t> kv_heads =
        keys.has("attention.head_count_kv") ? keys.per_layer("attention.head_count_kv", n_layers) : heads;
    std::vector<LayerSpec> layers(n_layers);
    for (uint32_t i = 0; i < n_layers; ++i) {
        LayerSpec &layer = layers[i];
        layer.n_heads = heads[i];
        layer.n_kv_heads = kv_heads[i];
        if (layer.n_heads % layer.n_kv_heads)
            keys.bad("attention.head_count_kv",
                     fmt::format("{} does not divide the {} heads of layer {}", layer.n_kv_heads, layer.n_heads, i));
        if (!keys.has("attention.key_length") && width % layer.n_heads)
            keys.bad("attention.head_count", fmt::format("{} does not divide the width {}", layer.n_heads, width));
        layer.head_dim_k = keys.count("attention.key_length", std::max(1u, width / layer.n_heads));
        layer.head_dim_v = keys.count("attention.value_length", layer.head_dim_k);
        layer.attention_scale = 1.0f / std::sqrt(static_cast<float>(layer.head_dim_k));
        layer.rope = read_rope(keys, row, layer.head_dim_k);
        layer.ffn = row.ffn;
        layer.activation = row.activation;
        layer.ffn_width = ffn[i];
    }
    return layers;
}

uint64_t dim_value(Dim dim, const ModelSpec &spec, const LayerSpec &layer) {
    switch (dim) {
    case Dim::kOne:
        return 1;
    case Dim::kWidth:
        return spec.width;
    case Dim::kVocab:
        return spec.vocab;
    case Dim::kQueryWidth:
        return uint64_t(layer.n_heads) * layer.head_dim_k;
    case Dim::kKeyWidth:
        return uint64_t(layer.n_kv_heads) * layer.head_dim_k;
    case Dim::kValueWidth:
        return uint64_t(layer.n_kv_heads) * layer.head_dim_v;
    case Dim::kAttentionWidth:
        return uint64_t(layer.n_heads) * layer.head_dim_v;
    case Dim::kFfnWidth:
        return layer.ffn_width;
    case Dim::kRopePairs:
        return layer.rope.dims / 2;
    }
    return 0;
}

int32_t find_tensor(const GgufFile &file, const TensorRow &row, const std::string &name, const ModelSpec &spec,
                    const LayerSpec &layer) {
    const TensorInfo *tensor = file.find_tensor(name);
    if (!tensor) {
        if (row.presence == Presence::kOptional) return -1;
        fail(Status::kTensorInvalid, "{}: tensor {} is missing", file.metadata().source(), name);
    }
    uint64_t rows = dim_value(row.rows, spec, layer), cols = dim_value(row.cols, spec, layer);
    if (tensor->shape[0] != cols || tensor->rows() != rows)
        fail(Status::kTensorInvalid, "{}: tensor {} has the shape [{}, {}], expected [{}, {}]",
             file.metadata().source(), name, tensor->shape[0], tensor->rows(), cols, rows);
    if (rows > uint64_t(std::numeric_limits<int32_t>::max()) || cols > uint64_t(std::numeric_limits<int32_t>::max()))
        fail(Status::kTensorInvalid, "{}: tensor {} of {} rows and {} columns is too large", file.metadata().source(),
             name, rows, cols);
    return static_cast<int32_t>(tensor - file.tensors().data());
}

// A tensor that no role needs would be left out of the computation: better no answer than a wrong one.
void check_all_used(const GgufFile &file, const ModelSpec &spec) {
    std::vector<bool> used(file.tensors().size(), false);
    auto mark = [&](const RoleTensors &tensors) {
        for (int32_t t : tensors)
            if (t >= 0) used[static_cast<size_t>(t)] = true;
    };
    mark(spec.tensor);
    for (const LayerSpec &layer : spec.layers) mark(layer.tensor);
    for (size_t i = 0; i < used.size(); ++i)
        if (!used[i])
            fail(Status::kUnsupported,
                 "{}: tensor {} has no meaning for architecture {} here; its result would be wrong",
                 file.metadata().source(), file.tensors()[i].name, spec.architecture);
}

void bind_tensors(const GgufFile &file, const ArchRow &arch, ModelSpec &spec) {
    spec.tensor.fill(-1);
    for (LayerSpec &layer : spec.layers) layer.tensor.fill(-1);
    for (const TensorRow &row : arch.tensors) {
        std::string_view name = row.name;
        size_t hole = name.find("{}");
        size_t role = static_cast<size_t>(row.role);
        if (hole == name.npos) {
            spec.tensor[role] = find_tensor(file, row, std::string(name), spec, spec.layers[0]);
            continue;
        }
        for (size_t i = 0; i < spec.layers.size(); ++i) {
            std::string full = fmt::format("{}{}{}", name.substr(0, hole), i, name.substr(hole + 2));
            spec.layers[i].tensor[role] = find_tensor(file, row, full, spec, spec.layers[i]);
        }
    }
}

}  // namespace

std::vector<std::string_view> architecture_names() {
    std::vector<std::string_view> names;
    for (const ArchRow &row : architectures()) names.push_back(row.name);
    return names;
}

ModelSpec resolve_spec(const GgufFile &file) {
    const ArchRow &arch = find_row(file);
    if (file.tensors().empty())
        fail(Status::kNoWeights, "{}: the file has no tensors, only metadata", file.metadata().source());
    Keys keys(file.metadata(), arch.name);
    ModelSpec spec;
    spec.architecture = arch.name;
    spec.norm = arch.norm;
    spec.norm_epsilon = keys.real(arch.norm_epsilon_key);
    if (!(spec.norm_epsilon >= 0)) keys.bad(arch.norm_epsilon_key, "is negative");
    spec.width = keys.count("embedding_length");
    spec.context_length = keys.count("context_length");
    uint32_t n_layers = keys.count("block_count");
    if (n_layers > file.tensors().size())  // before anything is made of that size
        keys.bad("block_count", fmt::format("{} layers, but the file has {} tensors", n_layers, file.tensors().size()));

    const TensorInfo *embedding = file.find_tensor("token_embd.weight");
    uint64_t vocab = embedding ? embedding->rows() : 0;
    if (vocab == 0 || vocab > uint64_t(std::numeric_limits<int32_t>::max()))
        fail(Status::kTensorInvalid, "{}: tensor token_embd.weight is missing or has {} rows", file.metadata().source(),
             vocab);
    spec.vocab = static_cast<uint32_t>(vocab);
    if (keys.has("vocab_size") && keys.count("vocab_size") != spec.vocab)
        keys.bad("vocab_size",
                 fmt::format("is {}, but token_embd.weight has {} rows", keys.count("vocab_size"), vocab));

    spec.layers = read_layers(keys, arch, n_layers, spec.width);
    bind_tensors(file, arch, spec);
    check_all_used(file, spec);
    return spec;
}

}  // namespace el
