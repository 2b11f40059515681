// Speed of the matrix kernels, one thread: GB/s of weights for one token, GFLOP/s for many.
#include "backend/cpu/tile.h"
#include "harness.h"

#include <chrono>
#include <cstdio>

namespace el::conformance {
namespace {

using namespace cpu;

// Seconds of one call, the best of several.
template <typename Call> double time_of(Call call) {
    using Clock = std::chrono::steady_clock;
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        const auto begin = Clock::now();
        call();
        best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return best;
}

void bench_format(const Kernels &kernels, Format format) {
    const uint32_t rows = 4096, cols = 2048, n_tokens = 64;
    Random random(1);
    Matrix m(format, rows, cols);
    Arena arena(m.bytes(), Arena::Fill::kNone);
    m.data = arena.take<std::byte>(m.bytes());
    const std::vector<std::byte> blocks = encode(format, random.values(16 * cols));
    for (uint32_t row = 0; row < rows; row += 16) m.pack(row, 16, blocks.data());

    const bool quantized = m.layout->quantized();
    auto multiply = [&](size_t T, size_t groups) {
        const size_t bytes = quantized ? cols / 32 * kActivationBytes * T : cols * T * sizeof(float);
        std::vector<uint8_t> activations(bytes * groups);
        const std::vector<float> x = random.values(cols);
        for (size_t g = 0; quantized && g < groups; g++)
            for (size_t t = 0; t < T; t++)
                kernels.quantize(x.data(), cols, int(t), int(T), activations.data() + g * bytes);
        alignas(64) float tile[8 * kPanelRows];
        return time_of([&] {
            for (size_t p = 0; p < m.panels(); p++)
                for (size_t g = 0; g < groups; g++)
                    kernels.tile[size_t(m.layout->kind)][T == 8 ? 3 : T / 2](
                        {m.scales(p, 0), m.quants(p, 0), activations.data() + g * bytes, cols, tile});
        });
    };
    const double one = multiply(1, 1), group = size_t(kernels.group_tokens),
                 many = multiply(size_t(group), n_tokens / size_t(group));
    std::printf("%-8s %-6s %8.1f GB/s %8.1f GFLOP/s\n", kernels.name, format_info(format).name,
                double(m.bytes()) / one / 1e9, 2.0 * rows * cols * n_tokens / many / 1e9);
}

}  // namespace

void bench(const Options &options, Isa isa) {
    for (Format format : formats(true))
        if (fmt::format("{} {}", isa_name(isa), format_info(format).name).find(options.only) != std::string::npos)
            bench_format(kernels_of(isa), format);
}

}  // namespace el::conformance
