// The CUDA backend as the engine sees it: calls go to the module, failures come back as exceptions or reports.
#include "backend/backend.h"
#include "backend/cuda/loader.h"

#include "base/format.h"
#include <new>

namespace el {
namespace {

using namespace cuda;

void check(int32_t status, const char *error) {
    if (status != 0) fail(static_cast<Status>(status), "{}", error);
}

std::vector<Tensor> tensors_of(std::span<const WeightTensor> weights) {
    std::vector<Tensor> tensors;
    for (const WeightTensor &t : weights)
        tensors.push_back({t.name.data(), t.name.size(), t.format, t.uses, t.rows, t.cols});
    return tensors;
}

ProgramView view_of(const Program &p) {
    return {p.values.data(),
            p.ops.data(),
            p.constants.data(),
            p.cache_layers.data(),
            p.cache_groups.data(),
            p.state_layers.data(),
            p.values.size(),
            p.ops.size(),
            p.constants.size(),
            p.cache_layers.size(),
            p.cache_groups.size(),
            p.state_layers.size(),
            p.vocab,
            p.logits};
}

LimitsView view_of(const ExecutableLimits &limits) {
    return {limits.step,           limits.cache_k,      limits.cache_v,
            limits.n_pages.data(), limits.stream.given, limits.stream.priority};
}

class CudaStore final : public WeightStore {
  public:
    CudaStore(const Module &module, std::span<const WeightTensor> weights) : module_(module) {
        const std::vector<Tensor> tensors = tensors_of(weights);
        char error[kErrorBytes] = "";
        check(module.store_create(0, tensors.data(), tensors.size(), &handle_, error), error);
    }
    ~CudaStore() override { module_.store_free(handle_); }
    std::byte *place(size_t, uint64_t) override { return nullptr; }
    void load(size_t tensor, uint64_t row, uint64_t n_rows, const std::byte *rows) override {
        char error[kErrorBytes] = "";
        check(module_.store_load(handle_, tensor, row, n_rows, rows, error), error);
    }
    const Store *handle() const { return handle_; }

  private:
    const Module &module_;
    Store *handle_ = nullptr;
};

class CudaExecutable final : public el::Executable, public CacheMemory {
  public:
    CudaExecutable(const Module &module, const Program &program, const ExecutableLimits &limits, const CudaStore &store)
        : module_(module), n_ops_(program.ops.size()) {
        const ProgramView view = view_of(program);
        const LimitsView limits_view = view_of(limits);
        char error[kErrorBytes] = "";
        check(module.executable_create(store.handle(), &view, &limits_view, &handle_, error), error);
    }
    ~CudaExecutable() override { module_.executable_free(handle_); }

    void time_stages(std::vector<StageTime> *times) override {
        times_ = times;
        if (times_) spans_.resize(n_ops_);
    }
    Status run(const Step &step) noexcept override {
        const StepEvents events = std::exchange(events_, {});
        if (times_) return run_timed(step, events);
        return static_cast<Status>(module_.executable_run(handle_, &step, events, error_));
    }
    void use_events(void *wait, void *done) noexcept override { events_ = {wait, done}; }
    const char *error() const noexcept override { return error_; }
    const float *logits(uint32_t row) const noexcept override { return module_.executable_logits(handle_, row); }
    bool best(uint32_t row, size_t n, BestTokens &out) const noexcept override {
        return module_.executable_best(handle_, row, n, &out) != 0;
    }
    Status failure() const noexcept override {
        return static_cast<Status>(module_.executable_failure(handle_, error_));
    }
    CacheMemory &cache() noexcept override { return *this; }

    bool can_turn_keys() const noexcept override { return module_.can_turn_keys(handle_) != 0; }
    void copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n) noexcept override {
        module_.copy_rows(handle_, group, from, to, n);
    }
    void turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions) noexcept override {
        module_.turn_keys(handle_, group, slots, n, positions);
    }
    void copy_state(int32_t from, int32_t to) noexcept override { module_.copy_state(handle_, from, to); }
    size_t row_bytes(uint32_t group) const noexcept override { return module_.row_bytes(handle_, group); }
    void read_rows(uint32_t group, const int32_t *slots, size_t n, std::byte *out) const noexcept override {
        module_.read_rows(handle_, group, slots, n, out);
    }
    void write_rows(uint32_t group, const int32_t *slots, size_t n, const std::byte *in) noexcept override {
        module_.write_rows(handle_, group, slots, n, in);
    }
    size_t state_bytes() const noexcept override { return module_.state_bytes(handle_); }
    void read_state(int32_t slot, size_t begin, size_t n, std::byte *out) const noexcept override {
        module_.read_state(handle_, slot, begin, n, out);
    }
    void write_state(int32_t slot, size_t begin, size_t n, const std::byte *in) noexcept override {
        module_.write_state(handle_, slot, begin, n, in);
    }

  private:
    Status run_timed(const Step &step, StepEvents events) noexcept try {
        size_t n = 0;
        const int32_t status = module_.executable_profile(handle_, &step, events, spans_.data(), &n, error_);
        times_->assign(n, {});
        for (size_t i = 0; i < n; ++i) {
            for (uint32_t op = spans_[i].begin; op < spans_[i].end; ++op) (*times_)[i].ops.push_back(op);
            (*times_)[i].seconds = spans_[i].seconds;
        }
        return static_cast<Status>(status);
    } catch (const std::bad_alloc &) {
        error_[0] = 0;
        return Status::kOutOfMemory;
    }

    const Module &module_;
    const size_t n_ops_;
    cuda::Executable *handle_ = nullptr;
    std::vector<StageTime> *times_ = nullptr;
    std::vector<StageSpan> spans_;
    StepEvents events_;
    mutable char error_[kErrorBytes] = "";
};

class CudaBackend final : public Backend {
  public:
    explicit CudaBackend(const Module &module) : module_(module) {}
    const char *name() const noexcept override { return "cuda"; }
    bool has_streams() const noexcept override { return true; }
    Device device() const override {
        DeviceInfo info;
        char error[kErrorBytes] = "";
        check(module_.device_info(0, &info, error), error);
        return {el::format("{}, compute capability {}.{}, {} multiprocessors{}", info.name,
                           info.compute_capability / 10, info.compute_capability % 10, info.n_multiprocessors,
                           info.misses_blas ? ", without cuBLAS" : ""),
                info.memory_bytes, info.integrated == 0};
    }
    uint64_t free_bytes() const override {
        uint64_t bytes = 0;
        char error[kErrorBytes] = "";
        check(module_.free_bytes(0, &bytes, error), error);
        return bytes;
    }

    DeviceRates measure(const BackendOptions &, ThreadPool &) const override {
        DeviceRates rates;
        char error[kErrorBytes] = "";
        check(module_.measure(0, &rates.read_bytes_per_s, &rates.matrix_flops_per_s, error), error);
        return rates;
    }

    WeightLayout layout(std::span<const WeightTensor> tensors, const BackendOptions &) const override {
        const std::vector<Tensor> view = tensors_of(tensors);
        WeightLayout layout;
        layout.tensor_bytes.resize(view.size());
        layout.row_granularity = module_.row_granularity;
        module_.weight_bytes(view.data(), view.size(), layout.tensor_bytes.data(), &layout.load_extra_bytes);
        return layout;
    }
    std::unique_ptr<WeightStore> create_store(std::span<const WeightTensor> tensors,
                                              const BackendOptions &) const override {
        return std::make_unique<CudaStore>(module_, tensors);
    }
    std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits, int) const override {
        const ProgramView view = view_of(program);
        const LimitsView limits_view = view_of(limits);
        std::vector<Region> regions;
        size_t n = 16;  // mostly enough
        do {
            regions.resize(n);
            char error[kErrorBytes] = "";
            check(module_.executable_memory(&view, &limits_view, regions.data(), regions.size(), &n, error), error);
        } while (n > regions.size());
        regions.resize(n);
        std::vector<MemoryRegion> out;
        for (const Region &r : regions)
            out.push_back({r.on_host ? "cpu" : "cuda", r.name, r.bytes, r.cache_group, false});
        return out;
    }
    std::unique_ptr<el::Executable> compile(const Program &program, const ExecutableLimits &limits,
                                            const WeightStore &store, Arena &, ThreadPool &) const override {
        return std::make_unique<CudaExecutable>(module_, program, limits, static_cast<const CudaStore &>(store));
    }

  private:
    const Module &module_;
};

}  // namespace

std::unique_ptr<Backend> create_cuda_backend() {
    const Loaded &loaded = load_module();
    if (!loaded.module) fail(Status::kNotFound, "cuda: {}", loaded.reason);
    int32_t n = 0;
    char error[kErrorBytes] = "";
    if (const int32_t status = loaded.module->device_count(&n, error); status != 0)
        fail(static_cast<Status>(status), "cuda: {}", error);
    if (n == 0) fail(Status::kNotFound, "cuda: the driver knows no GPU");
    return std::make_unique<CudaBackend>(*loaded.module);
}

}  // namespace el
