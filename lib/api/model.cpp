#include "api/backends.h"
#include "api/guard.h"
#include "api/handles.h"
#include "api/options.h"

using namespace el;

static_assert(kBudgetAvailable == EDGELLM_BUDGET_AVAILABLE);

ModelOptions el::model_options(const edgellm_model_options *given) {
    edgellm_model_options in = read_struct<edgellm_model_options>(given, EDGELLM_MODEL_OPTIONS_INIT, "options");
    check_flags(in.flags, EDGELLM_MODEL_VOCABULARY_ONLY | EDGELLM_MODEL_MAP_FILE, "options.flags");
    ModelOptions options;
    if (in.device) options.device = in.device;
    if (in.kernels != EDGELLM_KERNELS_AUTO && in.kernels != EDGELLM_KERNELS_REFERENCE)
        fail(Status::kUnsupported, "options.kernels is {}, which this library does not know", in.kernels);
    options.reference_kernels = in.kernels == EDGELLM_KERNELS_REFERENCE;
    if (in.isa && !(options.isa = parse_isa(in.isa)))
        fail(Status::kUnsupported, "options.isa is '{:.32}', which this library does not know", in.isa);
    options.map = in.flags & EDGELLM_MODEL_MAP_FILE;
    options.vocabulary_only = in.flags & EDGELLM_MODEL_VOCABULARY_ONLY;
    if (in.budget_bytes == 0)
        fail(Status::kInvalidArgument, "options.budget_bytes is 0, which holds nothing; EDGELLM_BUDGET_AVAILABLE takes "
                                       "what the system has available");
    options.budget_bytes = in.budget_bytes;
    options.log = {in.log, in.log_user, static_cast<LogLevel>(in.log_level)};
    options.progress = in.progress;
    options.progress_user = in.progress_user;
    return options;
}

namespace {

edgellm_model_info describe(const Model &model) {
    edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
    info.n_vocab = static_cast<int32_t>(model.n_vocab());
    info.n_metadata = model.metadata().entries().size();
    if (auto architecture = model.metadata().get_string("general.architecture"))
        copy_text(info.architecture, *architecture);
    if (model.has_weights()) copy_text(info.device, model.device());
    if (const Vocabulary *vocabulary = model.vocabulary()) {
        info.flags |= EDGELLM_MODEL_HAS_VOCABULARY;
        if (!vocabulary->chat_template().empty()) info.flags |= EDGELLM_MODEL_HAS_CHAT_TEMPLATE;
        if (vocabulary->add_bos()) info.flags |= EDGELLM_MODEL_ADDS_BOS;
        if (vocabulary->add_eos()) info.flags |= EDGELLM_MODEL_ADDS_EOS;
        info.bos_token = vocabulary->bos();
        info.eos_token = vocabulary->eos();
    }
    if (!model.has_weights()) return info;
    const ModelSpec &spec = model.spec();
    info.flags |= EDGELLM_MODEL_HAS_WEIGHTS;
    info.n_layers = static_cast<int32_t>(spec.layers.size());
    info.embedding_width = static_cast<int32_t>(spec.width);
    info.trained_context_tokens = static_cast<int32_t>(spec.context_length);
    info.n_parameters = model.n_parameters();
    info.weight_bytes = model.weight_bytes();
    return info;
}

}  // namespace

edgellm_status edgellm_model_load(const char *path, const edgellm_model_options *options, edgellm_model **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        need(path, "path");
        register_backends();
        auto handle = std::make_unique<edgellm_model>();
        handle->model = Model::load(path, el::model_options(options));
        *out = handle.release();
    });
}

void edgellm_model_free(edgellm_model *model) { delete model; }

edgellm_status edgellm_model_get_info(const edgellm_model *model, edgellm_model_info *info) {
    return guard([&] {
        need(model, "model");
        need(info, "info");
        check_out(info, "info");
        write_struct(info, describe(*model->model));
    });
}

edgellm_status edgellm_model_get_key(const edgellm_model *model, size_t index, char *buf, size_t cap, size_t *needed) {
    return guard([&] {
        need(model, "model");
        const auto &entries = model->model->metadata().entries();
        if (index >= entries.size())
            fail(Status::kNotFound, "there is no metadata key {}; the file has {}", index, entries.size());
        return write_text(entries[index].key, buf, cap, needed);
    });
}

edgellm_status edgellm_model_get_metadata(const edgellm_model *model, const char *key, char *buf, size_t cap,
                                          size_t *needed) {
    return guard([&] {
        need(model, "model");
        need(key, "key");
        const Metadata &metadata = model->model->metadata();
        const Metadata::Entry *entry = metadata.find(key);
        if (!entry) fail(Status::kNotFound, "{}: there is no metadata key '{:.100}'", metadata.source(), key);
        return write_text(Metadata::to_text(*entry), buf, cap, needed);
    });
}
