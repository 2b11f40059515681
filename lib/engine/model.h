// A model: one file's metadata, vocabulary, specs, program and weights. Immutable after load, shared by threads.
#pragma once
#include "engine/plan.h"

#include <memory>
#include <string>

namespace el {

class Model {
  public:
    // Throws Error.
    static std::shared_ptr<const Model> load(const std::string &path, const ModelOptions &options);
    static std::shared_ptr<const Model> load(GgufFile file, const ModelOptions &options);

    const std::string &path() const { return path_; }
    const Metadata &metadata() const { return file_.metadata(); }
    const std::vector<TensorInfo> &tensors() const { return file_.tensors(); }
    const Vocabulary *vocabulary() const { return vocabulary_.get(); }  // NULL: none
    const Log &log() const { return log_; }

    bool has_weights() const { return store_ != nullptr; }
    const std::string &device() const { return plan_.device; }  // that runs it, if it has weights
    // Those below need weights.
    const ModelPlan &plan() const { return plan_; }
    const ModelSpec &spec() const { return plan_.spec; }
    const Program &program() const { return plan_.program; }
    const Backend &backend() const { return *plan_.backend; }
    const WeightStore &weights() const { return *store_; }
    Isa isa() const { return plan_.isa; }
    uint64_t weight_bytes() const { return plan_.layout.bytes(); }
    Budget &budget() const { return budget_; }
    uint64_t hash() const { return hash_; }  // another one: another model; see read_weights()
    uint64_t n_parameters() const;           // 0 without weights

    // Logits of one row; without weights the number of tokens of the vocabulary.
    uint32_t n_vocab() const { return has_weights() ? spec().vocab : vocabulary_ ? vocabulary_->size() : 0; }

  private:
    Model(GgufFile file, const ModelOptions &options);

    std::string path_;
    GgufFile file_;
    Log log_;
    mutable Budget budget_;  // contexts claim their part, too
    BudgetClaim claim_;
    std::unique_ptr<const Vocabulary> vocabulary_;
    ModelPlan plan_;
    std::unique_ptr<WeightStore> store_;
    uint64_t hash_ = 0;
};

}  // namespace el
