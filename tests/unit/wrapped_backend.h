// The reference backend with executables wrapped in others.
#pragma once
#include "engine_helpers.h"

namespace el {

// Does what the inner one does.
class WrappedExecutable : public Executable {
  public:
    explicit WrappedExecutable(std::unique_ptr<Executable> inner) : inner_(std::move(inner)) {}
    Status run(const Step &step) noexcept override { return inner_->run(step); }
    const float *logits(uint32_t row) const noexcept override { return inner_->logits(row); }
    CacheMemory &cache() noexcept override { return inner_->cache(); }

  private:
    std::unique_ptr<Executable> inner_;
};

// `Wrapped` is made of the inner executable and the program.
template <typename Wrapped> class WrappedBackend final : public Backend {
  public:
    const char *name() const noexcept override { return inner_->name(); }
    WeightLayout layout(std::span<const WeightTensor> tensors, const BackendOptions &options) const override {
        return inner_->layout(tensors, options);
    }
    std::unique_ptr<WeightStore> create_store(std::span<const WeightTensor> tensors,
                                              const BackendOptions &options) const override {
        return inner_->create_store(tensors, options);
    }
    std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits,
                                     int n_threads) const override {
        return inner_->memory(program, limits, n_threads);
    }
    std::unique_ptr<Executable> compile(const Program &program, const ExecutableLimits &limits,
                                        const WeightStore &store, Arena &arena, ThreadPool &pool) const override {
        return std::make_unique<Wrapped>(inner_->compile(program, limits, store, arena, pool), program);
    }

  private:
    std::unique_ptr<Backend> inner_ = create_reference_backend();
};

template <typename Wrapped> std::shared_ptr<const Model> load_wrapped(const std::string &name) {
    static const BackendEntry entries[] = {
        {"cpu", true, []() -> std::unique_ptr<Backend> { return std::make_unique<WrappedBackend<Wrapped>>(); }}};
    set_backends(entries);
    ModelOptions options;
    options.reference_kernels = true;
    auto model = Model::load(kGolden + name + ".gguf", options);
    use_backends();
    return model;
}

}  // namespace el
