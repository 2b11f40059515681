// Speed of kernels and of ops, one thread: GB/s of weights or state for one token, GFLOP/s or time for many.
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
    std::printf("%-8s %-7s %8.1f GB/s %8.1f GFLOP/s\n", kernels.name, format_info(format).name,
                double(m.bytes()) / one / 1e9, 2.0 * rows * cols * n_tokens / many / 1e9);
}

// Of a step of n tokens.
double seconds(const Model &m, Isa isa, int n) {
    const std::unique_ptr<Backend> backend = create_cpu_backend();
    Session session(*backend, m, {.isa = isa, .max_rows = 2048}, uint32_t(n));
    Tokens tokens{std::vector<int>(size_t(n), 0), true};
    session.prepare(tokens);
    return time_of([&] { session.run(); });
}

void bench_experts(Isa isa, Format format, const Experts &e) {
    const uint32_t width = 2048;
    Model m(1);
    ValueId x = m.embed(50, width);
    m.finish(mixture(m, x, format, e, ActivationKind::kSilu));
    const double values = 3.0 * e.used * e.ffn * width;  // of the experts of one token
    const FormatInfo &info = format_info(format);
    std::printf("%-8s %-6s %3u of %3u experts %8.1f GB/s %8.1f GFLOP/s\n", isa_name(isa), info.name, e.used, e.n,
                values / info.values * double(info.bytes) / seconds(m, isa, 1) / 1e9,
                2 * values * 512 / seconds(m, isa, 512) / 1e9);
}

// One token: bytes of state read and written; many: time. What the step costs without the op is left out.
void bench_recurrent(Isa isa, const char *name, const Model &m) {
    const double bytes = 2.0 * sizeof(float) * double(m.program.state_layers[0].floats);
    Model without = m;
    without.program.ops.erase(without.program.ops.end() - 2);
    auto cost = [&](int n) { return seconds(m, isa, n) - seconds(without, isa, n); };
    std::printf("%-8s %-24s %8.1f GB/s %8.2f us per token of 512\n", isa_name(isa), name, bytes / cost(1) / 1e9,
                cost(512) / 512 * 1e6);
}

// One token after 4096: bytes of the cache read.
void bench_attention(Isa isa, Format k, Format v, uint32_t heads) {
    const uint32_t kv_heads = 8, dim = 128, depth = 4096, step = 512;
    Model m(1);
    ValueId q = m.embed(50, heads * dim), rows = m.embed(50, kv_heads * dim);
    m.finish(m.attend(q, rows, rows, {0, heads, kv_heads, dim, dim, 0.1f, 0}));
    const std::unique_ptr<Backend> backend = create_cpu_backend();
    Session session(*backend, m, {.isa = isa, .cache_k = k, .cache_v = v, .max_rows = depth + 1}, step);
    for (uint32_t i = 0; i < depth / step; i++) {
        session.prepare({std::vector<int>(step, 0), true});
        session.run();
    }
    session.prepare({{0}, true});
    const double bytes = double(depth) * kv_heads * double(cache_row_bytes(k, dim) + cache_row_bytes(v, dim));
    const double time = time_of([&] { session.run(); });
    std::printf("%-8s attention %2u heads %-4s %-4s %8.1f GB/s %8.1f us\n", isa_name(isa), heads, format_info(k).name,
                format_info(v).name, bytes / time / 1e9, time * 1e6);
}

void bench_states(Isa isa) {
    Model conv(1), delta(1), scan(1);
    conv.finish(short_conv(conv, conv.embed(50, 6144), 4, false, ActivationKind::kSilu));
    bench_recurrent(isa, "conv 6144 x 4", conv);
    delta.finish(delta_rule(delta, delta.embed(50, 4), {0, 16, 32, 128, 128, 1e-6f}));
    bench_recurrent(isa, "delta 32 x 128 x 128", delta);
    scan.finish(selective_scan(scan, scan.embed(50, 4), {0, 48, 64, 1, 128}));
    bench_recurrent(isa, "scan 48 x 64 x 128", scan);
}

}  // namespace

void bench(const Options &options, Isa isa) {
    for (Format format : formats(true))
        if (fmt::format("{} {}", isa_name(isa), format_info(format).name).find(options.only) != std::string::npos)
            bench_format(kernels_of(isa), format);
    auto wanted = [&](const char *what) {
        return fmt::format("{} {}", isa_name(isa), what).find(options.only) != std::string::npos;
    };
    if (wanted("experts"))
        for (const Experts &e : {Experts{32, 4, 1024}, {64, 8, 1024}}) bench_experts(isa, Format::kQ4_K, e);
    if (wanted("recurrent")) bench_states(isa);
    if (wanted("attention"))
        for (uint32_t heads : {8u, 32u})
            for (Format format : kCacheFormats) bench_attention(isa, format, format, heads);
}

}  // namespace el::conformance
