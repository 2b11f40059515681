// Speed of kernels and of ops, on one thread or a GPU: GB/s of weights or state for one token, GFLOP/s or time for
// many.
#include "backend/cpu/tile.h"
#include "harness.h"

#include <algorithm>
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
double seconds(const Target &target, const Model &m, int n) {
    Session session(*target.backend, m, {.isa = target.isa, .max_rows = 2048}, uint32_t(n));
    Tokens tokens{std::vector<int>(size_t(n), 0), true};
    session.prepare(tokens);
    return time_of([&] { session.run(); });
}

// Layers of one matrix each, more than any cache holds: a step's own costs count little beside them.
void bench_linears(const Target &target, Format format) {
    const uint32_t width = 4096, n_layers = format_info(format).values == 1 ? 12 : 48;
    Model m(1);
    ValueId x = m.embed(50, width);
    const WeightRef first = m.matrix(format, width, width);
    for (uint32_t i = 0; i < n_layers; i++) {
        WeightRef w = first;
        if (i > 0) {
            w.tensor = int32_t(m.tensors.size());
            m.tensors.push_back(m.tensors[size_t(first.tensor)]);
            m.data.push_back(m.data[size_t(first.tensor)]);
        }
        x = m.binary(OpKind::kAdd, x, m.linear(m.norm(x), w));
    }
    m.finish(x);
    const double values = double(n_layers) * width * width, bytes = n_layers * double(row_bytes(format, width)) * width;
    std::printf("%-8s linears %-7s GB/s for 1, 2, 4, 8 tokens", target.name, format_info(format).name);
    for (int n : {1, 2, 4, 8}) std::printf(" %8.1f", bytes / seconds(target, m, n) / 1e9);
    std::printf(", GFLOP/s for 64, 512");
    for (int n : {64, 512}) std::printf(" %9.1f", 2 * values * n / seconds(target, m, n) / 1e9);
    std::printf("\n");
}

void bench_experts(const Target &target, Format format, const Experts &e) {
    const uint32_t width = 2048;
    Model m(1);
    ValueId x = m.embed(50, width);
    m.finish(mixture(m, x, format, e, ActivationKind::kSilu));
    const double values = 3.0 * e.used * e.ffn * width;  // of the experts of one token
    const FormatInfo &info = format_info(format);
    std::printf("%-8s %-6s %3u of %3u experts %8.1f GB/s %8.1f GFLOP/s\n", target.name, info.name, e.used, e.n,
                values / info.values * double(info.bytes) / seconds(target, m, 1) / 1e9,
                2 * values * 512 / seconds(target, m, 512) / 1e9);
}

// One token: bytes of state read and written; many: time. What the step costs without the op is left out.
void bench_recurrent(const Target &target, const char *name, const Model &m) {
    const double bytes = 2.0 * sizeof(float) * double(m.program.state_layers[0].floats);
    Model without = m;
    without.program.ops.erase(without.program.ops.end() - 2);
    auto cost = [&](int n) { return seconds(target, m, n) - seconds(target, without, n); };
    std::printf("%-8s %-24s %8.1f GB/s %8.2f us per token of 512\n", target.name, name, bytes / cost(1) / 1e9,
                cost(512) / 512 * 1e6);
}

struct Heads {
    uint32_t n, kv, dim;
};

// One token after 4096: bytes of the cache read.
void bench_attention(const Target &target, Format k, Format v, const Heads &h) {
    const uint32_t heads = h.n, kv_heads = h.kv, dim = h.dim, depth = 4096, step = 512;
    Model m(1);
    ValueId q = m.embed(50, heads * dim), rows = m.embed(50, kv_heads * dim);
    m.finish(m.attend(q, rows, rows, {0, heads, kv_heads, dim, dim, 0.1f, 0}));
    Session session(*target.backend, m, {.isa = target.isa, .cache_k = k, .cache_v = v, .max_rows = depth + 1}, step);
    for (uint32_t i = 0; i < depth / step; i++) {
        session.prepare({std::vector<int>(step, 0), true});
        session.run();
    }
    session.prepare({{0}, true});
    const double bytes = double(depth) * kv_heads * double(cache_row_bytes(k, dim) + cache_row_bytes(v, dim));
    const double time = time_of([&] { session.run(); });
    std::printf("%-8s attention %2u / %u heads of %u %-4s %-4s %8.1f GB/s %8.1f us\n", target.name, heads, kv_heads,
                dim, format_info(k).name, format_info(v).name, bytes / time / 1e9, time * 1e6);
}

void bench_states(const Target &target) {
    Model conv(1), delta(1), scan(1);
    conv.finish(short_conv(conv, conv.embed(50, 6144), 4, false, ActivationKind::kSilu));
    bench_recurrent(target, "conv 6144 x 4", conv);
    delta.finish(delta_rule(delta, delta.embed(50, 4), {0, 16, 32, 128, 128, 1e-6f}));
    bench_recurrent(target, "delta 32 x 128 x 128", delta);
    scan.finish(selective_scan(scan, scan.embed(50, 4), {0, 48, 64, 1, 128}));
    bench_recurrent(target, "scan 48 x 64 x 128", scan);
}

// What choosing a token adds to a step.
void bench_best(const Target &target, uint32_t vocab) {
    Model m(1);
    const ValueId x = m.embed(50, 64);
    m.finish(m.linear(x, m.matrix(Format::kF16, vocab, 64)));
    Session session(*target.backend, m, {.isa = target.isa}, 1);
    session.prepare({{0}, true});
    const double step = time_of([&] { session.step(); });
    auto cost = [&](size_t n) {
        return 1e6 * (time_of([&] {
                          BestTokens best;
                          session.step();
                          session.best(0, n, best);
                      }) -
                      step);
    };
    const double row = 1e6 * (time_of([&] { session.run(); }) - step);
    std::printf("%-8s best of %6u: 1 %5.1f us, 40 %5.1f us, 256 %5.1f us, the row %5.1f us\n", target.name, vocab,
                cost(1), cost(40), cost(256), row);
}

}  // namespace

void bench(const Options &options, Isa isa) {
    for (Format format : formats(true))
        if (el::format("{} {}", isa_name(isa), format_info(format).name).find(options.only) != std::string::npos)
            bench_format(kernels_of(isa), format);
    const std::unique_ptr<Backend> backend = create_cpu_backend();
    bench_ops(options, {isa_name(isa), isa, backend.get()});
}

void bench_ops(const Options &options, const Target &target) {
    auto wanted = [&](const char *what) {
        return el::format("{} {}", target.name, what).find(options.only) != std::string::npos;
    };
    if (wanted("experts"))
        for (const Experts &e : {Experts{32, 4, 1024}, {64, 8, 1024}}) bench_experts(target, Format::kQ4_K, e);
    if (wanted("recurrent")) bench_states(target);
    if (wanted("attention"))
        for (const Heads &heads : {Heads{8, 8, 128}, {32, 8, 128}, {8, 1, 512}, {8, 2, 512}})
            for (Format format : kCacheFormats) bench_attention(target, format, format, heads);
}

void bench_device(const Options &options, const Target &target) {
    for (Format format : formats(true))
        if (el::format("{} linears {}", target.name, format_info(format).name).find(options.only) != std::string::npos)
            bench_linears(target, format);
    bench_ops(options, target);
    if (el::format("{} best", target.name).find(options.only) != std::string::npos)
        for (uint32_t vocab : {32000u, 128256u, 262144u}) bench_best(target, vocab);
}

}  // namespace el::conformance
