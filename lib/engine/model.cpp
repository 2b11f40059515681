#include "engine/model.h"
#include "engine/load.h"

namespace el {

std::shared_ptr<const Model> Model::load(const std::string &path, const ModelOptions &options) {
    return load(GgufFile::open(path, options.log), options);
}

std::shared_ptr<const Model> Model::load(GgufFile file, const ModelOptions &options) {
    return std::shared_ptr<const Model>(new Model(std::move(file), options));
}

Model::Model(GgufFile file, const ModelOptions &options)
    : path_(file.file(0).path()), file_(std::move(file)), log_(options.log), budget_(options.budget_bytes),
      vocabulary_(Vocabulary::from_metadata(metadata(), options.log)),
      plan_(plan_model(file_, vocabulary_.get(), options)) {
    claim_ = BudgetClaim(budget_, resident_bytes(plan_.regions));
    if (const Room room = plan_.room(claim_.available()); !room.holds(plan_.regions))
        refuse(plan_.regions, room, "the model", "choose a smaller one or a stronger quantization");
    if (plan_.backend) {
        store_ = plan_.backend->create_store(plan_.weights, {plan_.isa});
        hash_ = read_weights(file_, plan_.weights, plan_.layout.row_granularity, options, *store_);
    }
    file_.close_files();
}

uint64_t Model::n_parameters() const {
    uint64_t n = 0;
    for (const TensorInfo &tensor : tensors()) n += tensor.rows() * tensor.shape[0];
    return n;
}

}  // namespace el
