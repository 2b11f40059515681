// The CPU backend: fused stages over tiles of quantized weights, with kernels for several instruction sets.
#include "backend/cpu/linear.h"

namespace el {
namespace {

using namespace cpu;

// Of one panel in the common format Q4_K and as many tokens as its kernel takes at once, all of it in the cache.
double measure_matrix_rate(const Kernels &kernels, ThreadPool &pool) {
    constexpr uint32_t kCols = 1024;
    const auto group = uint32_t(kernels.group_tokens);
    Matrix panel(Format::kQ4_K, kPanelRows, kCols);
    Arena arena(panel.bytes() + prepared_row_bytes(kCols, true) * group);
    panel.data = arena.take<std::byte>(panel.bytes());
    const uint8_t *activations = arena.take<uint8_t>(prepared_row_bytes(kCols, true) * group);
    const TileFunction tile = kernels.tile[size_t(panel.layout->kind)][group_index(group)];
    const double calls = measure_call_rate(pool, [&](int) {
        alignas(64) float out[8 * kPanelRows];
        tile({panel.scales(0, 0), panel.quants(0, 0), activations, kCols, out});
    });
    return 2.0 * kPanelRows * kCols * group * calls;
}

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
    DeviceRates measure(const BackendOptions &options, ThreadPool &pool) const override {
        return {measure_read_rate(pool), measure_matrix_rate(kernels_for(options.isa), pool)};
    }
};

}  // namespace

std::unique_ptr<Backend> create_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace el
