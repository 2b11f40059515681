// A model: one file's metadata, vocabulary, specs, program and weights. Immutable after load, shared by threads.
#pragma once
#include "backend/backend.h"
#include "base/log.h"
#include "model/gguf.h"
#include "model/spec.h"
#include "text/vocab.h"

#include <memory>
#include <optional>
#include <string>

namespace el {

struct ModelOptions {
    std::string device = "cpu";
    bool reference_kernels = false;
    std::optional<Isa> isa;  // caps what the CPU has; throws kUnsupported if the CPU lacks it
    bool map = false;        // map the file while it is read
    bool vocabulary_only = false;
    Log log;
    int32_t (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes) = nullptr;  // non-zero: kCancelled
    void *progress_user = nullptr;
};

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
    // Those below need weights.
    const ModelSpec &spec() const { return spec_; }
    const Program &program() const { return program_; }
    const Backend &backend() const { return *backend_; }
    const WeightStore &weights() const { return *store_; }
    Isa isa() const { return isa_; }
    uint64_t weight_bytes() const { return weight_bytes_; }
    uint64_t n_parameters() const;  // 0 without weights

    // Logits of one row; without weights the number of tokens of the vocabulary.
    uint32_t n_vocab() const { return has_weights() ? spec_.vocab : vocabulary_ ? vocabulary_->size() : 0; }

  private:
    explicit Model(GgufFile file) : file_(std::move(file)) {}
    void load_weights(const ModelOptions &options);

    std::string path_;
    GgufFile file_;
    Log log_;
    std::unique_ptr<const Vocabulary> vocabulary_;
    ModelSpec spec_;
    Program program_;
    Isa isa_ = Isa::kScalar;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<WeightStore> store_;
    uint64_t weight_bytes_ = 0;
};

}  // namespace el
