#include "engine/model.h"
#include "base/system_memory.h"
#include "engine/backends.h"
#include "engine/load.h"
#include "program/build.h"

namespace el {
namespace {

std::unique_ptr<Backend> create_backend(const ModelOptions &options) {
    bool device_known = false;
    for (const BackendEntry &entry : backends()) {
        if (options.device != entry.device) continue;
        device_known = true;
        if (entry.reference == options.reference_kernels) return entry.create();
    }
    if (device_known) fail(Status::kUnsupported, "device '{:.32}' has no such kernels", options.device);
    fail(Status::kNotFound, "there is no device '{:.32}'; see edgellm_device_get_info()", options.device);
}

Isa choose_isa(std::optional<Isa> cap) {
    if (!cap) return detect_cpu().best;
    if (!isa_available(*cap))
        fail(Status::kUnsupported, "this CPU does not have the instruction set '{}'", isa_name(*cap));
    return *cap;
}

}  // namespace

std::shared_ptr<const Model> Model::load(const std::string &path, const ModelOptions &options) {
    return load(GgufFile::open(path, options.log), options);
}

std::shared_ptr<const Model> Model::load(GgufFile file, const ModelOptions &options) {
    std::shared_ptr<Model> model(new Model(std::move(file)));
    model->path_ = model->file_.file(0).path();
    model->log_ = options.log;
    model->vocabulary_ = Vocabulary::from_metadata(model->metadata(), options.log);
    if (!options.vocabulary_only && !model->tensors().empty())
        model->load_weights(options);
    else if (!options.vocabulary_only && !model->vocabulary_)
        resolve_spec(model->file_);  // says what is wrong
    model->file_.close_files();
    return model;
}

void Model::load_weights(const ModelOptions &options) {
    isa_ = choose_isa(options.isa);
    spec_ = resolve_spec(file_);
    if (vocabulary_ && uint32_t(vocabulary_->size()) > spec_.vocab)
        fail(Status::kVocabularyInvalid, "{}: the vocabulary has {} tokens, but tensor token_embd.weight only {} rows",
             metadata().source(), vocabulary_->size(), spec_.vocab);
    program_ = build_program(spec_, tensors());
    std::vector<WeightTensor> weights = weight_tensors(file_, program_);
    backend_ = create_backend(options);
    const BackendOptions backend_options{isa_};
    weight_bytes_ = backend_->layout(weights, backend_options).bytes;
    check_available_memory(weight_bytes_, "the model", "choose a smaller one or a stronger quantization");
    store_ = backend_->create_store(weights, backend_options);
    read_weights(file_, weights, options, *store_);
}

uint64_t Model::n_parameters() const {
    uint64_t n = 0;
    for (const TensorInfo &tensor : tensors()) n += tensor.rows() * tensor.shape[0];
    return n;
}

}  // namespace el
