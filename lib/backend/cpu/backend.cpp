// The CPU backend: fused stages over tiles of quantized weights, with kernels for several instruction sets.
#include "backend/cpu/executable.h"

namespace el {
namespace {

using namespace cpu;

class CpuBackend final : public Backend {
  public:
    const char *name() const noexcept override { return "cpu"; }
    WeightLayout layout(std::span<const WeightTensor> tensors, const BackendOptions &) const override {
        return CpuStore::layout(tensors);
    }
    std::unique_ptr<WeightStore> create_store(std::span<const WeightTensor> tensors,
                                              const BackendOptions &options) const override {
        return std::make_unique<CpuStore>(tensors, options.isa);
    }
    std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits,
                                     int n_threads) const override {
        return CpuExecutable::memory(program, limits, n_threads);
    }
    std::unique_ptr<Executable> compile(const Program &program, const ExecutableLimits &limits,
                                        const WeightStore &store, Arena &arena, ThreadPool &pool) const override {
        return std::make_unique<CpuExecutable>(program, limits, static_cast<const CpuStore &>(store), arena, pool);
    }
};

}  // namespace

std::unique_ptr<Backend> create_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace el
