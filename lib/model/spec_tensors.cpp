#include "model/spec_tensors.h"
#include "base/status.h"

#include "base/format.h"
#include <charconv>
#include <limits>

namespace el {
namespace {

uint64_t dim_value(Dim dim, const ModelSpec &spec, const LayerSpec &layer) {
    const uint64_t query = uint64_t(layer.n_heads) * layer.head_dim_k,
                   key = uint64_t(layer.n_kv_heads) * layer.head_dim_k,
                   value = uint64_t(layer.n_kv_heads) * layer.head_dim_v;
    const uint64_t state = uint64_t(layer.n_state_heads) * layer.state_dim_v,
                   state_qkv = state + 2 * uint64_t(layer.n_state_keys) * layer.state_dim_k;
    switch (dim) {
    case Dim::kOne:
        return 1;
    case Dim::kWidth:
        return spec.width;
    case Dim::kVocab:
        return spec.vocab;
    case Dim::kHeads:
        return layer.n_heads;
    case Dim::kKvHeads:
        return layer.n_kv_heads;
    case Dim::kHeadDim:
        return layer.head_dim_k;
    case Dim::kQueryWidth:
        return query;
    case Dim::kGatedQueryWidth:
        return 2 * query;
    case Dim::kKeyWidth:
        return key;
    case Dim::kValueWidth:
        return value;
    case Dim::kQkvWidth:
        return query + key + value;
    case Dim::kGatedQkvWidth:
        return 2 * query + key + value;
    case Dim::kAttentionWidth:
        return uint64_t(layer.n_heads) * layer.head_dim_v;
    case Dim::kFfnWidth:
        return layer.ffn_width;
    case Dim::kFfnWidthTwice:
        return 2 * uint64_t(layer.ffn_width);
    case Dim::kRopePairs:
        return layer.rope.dims / 2;
    case Dim::kExperts:
        return layer.n_experts;
    case Dim::kExpertWidth:
        return layer.expert_width;
    case Dim::kExpertsTimesExpertWidth:
        return uint64_t(layer.n_experts) * layer.expert_width;
    case Dim::kExpertsTimesExpertWidthTwice:
        return 2 * uint64_t(layer.n_experts) * layer.expert_width;
    case Dim::kExpertsTimesWidth:
        return uint64_t(layer.n_experts) * spec.width;
    case Dim::kSharedWidth:
        return layer.shared_width;
    case Dim::kKernel:
        return layer.kernel;
    case Dim::kWidthThrice:
        return 3 * uint64_t(spec.width);
    case Dim::kStateHeads:
        return layer.n_state_heads;
    case Dim::kStateDimV:
        return layer.state_dim_v;
    case Dim::kStateWidth:
        return state;
    case Dim::kStateQkvWidth:
        return state_qkv;
    case Dim::kScanInWidth:
        return state + state_qkv + layer.n_state_heads;
    case Dim::kStateKeys:
        return layer.n_state_keys;
    case Dim::kStateGroupWidth:
        return layer.n_state_keys ? state / layer.n_state_keys : 0;
    case Dim::kPerLayerWidth:
        return spec.per_layer_width;
    case Dim::kLayersTimesPerLayerWidth:
        return spec.layers.size() * uint64_t(spec.per_layer_width);
    }
    return 0;
}

enum class Need : uint8_t { kNo, kMaybe, kYes };

Need need(When when, const ModelSpec &spec, const LayerSpec &layer) {
    auto yes_if = [](bool condition) { return condition ? Need::kYes : Need::kNo; };
    auto maybe_if = [](bool condition) { return condition ? Need::kMaybe : Need::kNo; };
    const bool attention = layer.mixer == MixerKind::kAttention, own = attention && layer.kv_layer < 0;
    const bool fused = layer.has(Role::kQueryKeyValue);
    const bool experts = layer.n_experts > 0, shared = experts ? layer.shared_width > 0 : false;
    switch (when) {
    case When::kAlways:
        return Need::kYes;
    case When::kOptional:
        return Need::kMaybe;
    case When::kSequential:
        return yes_if(!spec.parallel_residual);
    case When::kAttention:
        return yes_if(attention);
    case When::kOwnKeys:
        return yes_if(own);
    case When::kFused:
        return maybe_if(attention);
    case When::kApart:
        return yes_if(attention && !fused);
    case When::kOwnKeysApart:
        return yes_if(own && !fused);
    case When::kOwnKeysApartOptional:
        return maybe_if(own && !fused);
    case When::kFusedBias:
        return maybe_if(fused);
    case When::kApartBias:
        return maybe_if(!layer.has(Role::kQueryKeyValueBias));
    case When::kDense:
        return yes_if(!experts);
    case When::kExperts:
        return yes_if(experts);
    case When::kFusedExperts:
        return maybe_if(experts);
    case When::kApartExperts:
        return yes_if(experts && !layer.has(Role::kExpertGateUp));
    case When::kShared:
        return yes_if(shared);
    case When::kSharedOptional:
        return maybe_if(shared);
    case When::kShortConv:
        return yes_if(layer.mixer == MixerKind::kShortConv);
    case When::kDeltaRule:
        return yes_if(layer.mixer == MixerKind::kDeltaRule);
    case When::kSelectiveScan:
        return yes_if(layer.mixer == MixerKind::kSelectiveScan);
    case When::kPerLayerInput:
        return yes_if(spec.per_layer_width > 0);
    }
    return Need::kNo;
}

int32_t index_of(const GgufFile &file, const TensorInfo *tensor) {
    return static_cast<int32_t>(tensor - file.tensors().data());
}

int32_t find_tensor(const GgufFile &file, const TensorRow &row, const std::string &name, const ModelSpec &spec,
                    const LayerSpec &layer) {
    const Need needed = need(row.when, spec, layer);
    if (needed == Need::kNo) return -1;
    const std::string &source = file.metadata().source();
    const TensorInfo *tensor = file.find_tensor(name);
    if (!tensor) {
        if (needed == Need::kMaybe) return -1;
        fail(Status::kTensorInvalid, "{}: tensor {} is missing", source, name);
    }
    const uint64_t rows = dim_value(row.rows, spec, layer), cols = dim_value(row.cols, spec, layer);
    if (tensor->shape[0] != cols || tensor->rows() != rows)
        fail(Status::kTensorInvalid, "{}: tensor {} has the shape [{}, {}], expected [{}, {}]", source, name,
             tensor->shape[0], tensor->rows(), cols, rows);
    if (rows > uint64_t(std::numeric_limits<int32_t>::max()) || cols > uint64_t(std::numeric_limits<int32_t>::max()))
        fail(Status::kTensorInvalid, "{}: tensor {} of {} rows and {} columns is too large", source, name, rows, cols);
    return index_of(file, tensor);
}

// Formats with small exponents (NVFP4) have a scale for the whole matrix beside it, `NAME.scale` for `NAME.weight`: one
// number, or one for each expert. `NAME.input_scale` is for 4-bit activations, which nothing here has.
std::string scale_name(std::string_view matrix) {
    constexpr std::string_view kEnd = ".weight";
    return std::string(matrix.substr(0, matrix.size() - kEnd.size() * matrix.ends_with(kEnd))) + ".scale";
}

int32_t find_scale(const GgufFile &file, const TensorRow &row, const std::string &name, const LayerSpec &layer) {
    if (row.rows == Dim::kOne || row.role == Role::kTokenEmbedding || !name.ends_with(".weight")) return -1;
    const std::string scale = scale_name(name);
    const TensorInfo *tensor = file.find_tensor(scale);
    if (!tensor) return -1;
    const bool experts = row.rows == Dim::kExpertsTimesExpertWidth || row.rows == Dim::kExpertsTimesWidth ||
                         row.rows == Dim::kExpertsTimesExpertWidthTwice;
    const uint64_t n = experts ? layer.n_experts : 1;
    if (tensor->shape[0] != n || tensor->rows() != 1)
        fail(Status::kTensorInvalid, "{}: tensor {} has the shape [{}, {}], expected [{}, 1]", file.metadata().source(),
             scale, tensor->shape[0], tensor->rows(), n);
    return index_of(file, tensor);
}

// What the text does not need: scales of activations, encoders of images and sound, layers that draft.
bool is_beside_the_model(std::string_view name, const ModelSpec &spec) {
    if (name.ends_with(".input_scale")) return true;
    for (std::string_view encoder : {"v.", "a.", "mm."})
        if (name.starts_with(encoder)) return true;
    if (!name.starts_with("blk.")) return false;
    uint32_t layer = 0;
    const char *begin = name.data() + 4, *end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(begin, end, layer);
    return error == std::errc() && rest != end && *rest == '.' && layer >= spec.layers.size() &&
           layer - spec.layers.size() < spec.draft_layers;
}

// A tensor that no role needs would be left out of the computation: better no answer than a wrong one.
void check_all_used(const GgufFile &file, const ModelSpec &spec, std::vector<bool> used) {
    auto mark = [&](const RoleTensors &tensors) {
        for (int32_t t : tensors)
            if (t >= 0) used[static_cast<size_t>(t)] = true;
    };
    mark(spec.tensor);
    mark(spec.scale);
    for (const LayerSpec &layer : spec.layers) {
        mark(layer.tensor);
        mark(layer.scale);
    }
    for (size_t i = 0; i < used.size(); ++i)
        if (!used[i] && !is_beside_the_model(file.tensors()[i].name, spec))
            fail(Status::kUnsupported,
                 "{}: tensor {} has no meaning for architecture {} here; its result would be wrong",
                 file.metadata().source(), file.tensors()[i].name, spec.architecture);
}

bool is_of_keys(When when) {
    return when == When::kOwnKeys || when == When::kOwnKeysApart || when == When::kOwnKeysApartOptional;
}

// Checkpoints may keep K and V that a layer had before it came to share another's.
void mark_idle(const GgufFile &file, const std::string &name, std::vector<bool> &idle) {
    for (const std::string &kept : {name, scale_name(name)})
        if (const TensorInfo *tensor = file.find_tensor(kept)) idle[static_cast<size_t>(index_of(file, tensor))] = true;
}

// Until 2024, converters gave every expert tensors of its own.
void refuse_separate_experts(const GgufFile &file, const ModelSpec &spec) {
    const char *old = "blk.0.ffn_gate.0.weight";
    if (spec.layers[0].n_experts && file.find_tensor(old))
        fail(Status::kUnsupported,
             "{}: tensor {}: the file has each expert in a tensor of its own, as old converters wrote it; convert the "
             "model anew",
             file.metadata().source(), old);
}

// Which of the two sets of factors counts depends on the context, so neither can do alone.
void check_long_rope(const GgufFile &file, const Keys &keys, const ModelSpec &spec) {
    if (!spec.has(Role::kRopeFactorsLong)) return;
    if (!spec.has(Role::kRopeFactors))
        fail(Status::kTensorInvalid, "{}: tensor rope_factors_short.weight is missing", file.metadata().source());
    for (const LayerSpec &layer : spec.layers)
        if (layer.rope.dims && layer.rope.factors && layer.rope.original_context == 0)
            keys.bad("rope.scaling.original_context_length",
                     "is missing or 0, but the model has factors for longer contexts");
}

}  // namespace

void bind_tensors(const GgufFile &file, const Keys &keys, const ArchRow &arch, ModelSpec &spec) {
    spec.tensor.fill(-1);
    spec.scale.fill(-1);
    for (LayerSpec &layer : spec.layers) {
        layer.tensor.fill(-1);
        layer.scale.fill(-1);
    }
    refuse_separate_experts(file, spec);
    // The model's tensors may depend on a layer's numbers: those of a layer that attends to everything.
    const LayerSpec *typical = &spec.layers[0];
    for (const LayerSpec &layer : spec.layers)
        if (layer.rope.dims && layer.rope.factors) typical = &layer;
    auto bind = [&](auto &to, const TensorRow &row, const std::string &name, const LayerSpec &layer) {
        const size_t role = static_cast<size_t>(row.role);
        to.tensor[role] = find_tensor(file, row, name, spec, layer);
        if (to.tensor[role] >= 0) to.scale[role] = find_scale(file, row, name, layer);
    };
    std::vector<bool> idle(file.tensors().size(), false);
    for (TensorRows rows : arch.tensors)
        for (const TensorRow &row : rows) {
            const std::string_view name = row.name;
            const size_t hole = name.find("{}");
            if (hole == name.npos) {
                bind(spec, row, std::string(name), *typical);
                continue;
            }
            for (size_t i = 0; i < spec.layers.size(); ++i) {
                const std::string full = el::format("{}{}{}", name.substr(0, hole), i, name.substr(hole + 2));
                bind(spec.layers[i], row, full, spec.layers[i]);
                if (spec.layers[i].kv_layer >= 0 && is_of_keys(row.when)) mark_idle(file, full, idle);
            }
        }
    check_all_used(file, spec, std::move(idle));
    check_long_rope(file, keys, spec);
}

}  // namespace el
