// Kernels called directly, compared with plain loops.
#include "backend/cpu/tile.h"
#include "harness.h"
#include "quant/half.h"

#include <algorithm>
#include <cmath>

namespace el::conformance {
namespace {

using namespace cpu;

struct KernelContext {
    Report &report;
    const Kernels &kernels;
    std::string prefix;
    Random random;
};

// The activations as the kernels see them, in the order of the group's layout.
float quantized_value(const std::vector<uint8_t> &bytes, size_t k, size_t t, size_t T) {
    const uint8_t *block = bytes.data() + k / 32 * kActivationBytes * T;
    float scale;
    memcpy(&scale, block + 32 * T + 4 * (k % 32 / 16 * T + t), 4);
    return scale * float(static_cast<int8_t>(block[32 * t + k % 32]));
}

void test_quantize(KernelContext &c) {
    const std::string name = c.prefix + "quantize";
    if (!c.report.wanted(name)) return;
    for (int T : {1, 2, 4, 8}) {
        const size_t n = 96;
        std::vector<uint8_t> out(n / 32 * kActivationBytes * size_t(T));
        bool ok = true;
        for (int t = 0; t < T; t++) {
            std::vector<float> x = c.random.values(n, t == 1 ? 1e-6f : 3.0f);
            if (t == 2) x.assign(n, 0.0f);
            c.kernels.quantize(x.data(), n, t, T, out.data());
            for (size_t k = 0; k < n; k++) {
                float largest = 0;
                for (size_t i = k / 16 * 16; i < k / 16 * 16 + 16; i++) largest = std::max(largest, std::fabs(x[i]));
                ok &= std::fabs(quantized_value(out, k, size_t(t), size_t(T)) - x[k]) <= largest / 127 * 0.501f;
            }
            for (size_t block = 0; block < n / 32; block++) {
                float sums[2] = {}, stored[2];
                for (size_t i = 0; i < 32; i++) {
                    const float value = quantized_value(out, 32 * block + i, size_t(t), size_t(T));
                    sums[0] += value;
                    if (i < 16) sums[1] += value;
                }
                for (int s = 0; s < 2; s++) {
                    memcpy(&stored[s], out.data() + block * kActivationBytes * size_t(T) + (32 + 8 + 4 * s) * T + 4 * t,
                           4);
                    ok &= std::fabs(stored[s] - sums[s]) <= 1e-4f * std::fabs(x[32 * block]) + 1e-4f;
                }
            }
        }
        c.report.check(el::format("{} T={}", name, T), ok, "a value or sum is off");
    }
}

std::vector<uint8_t> prepare(KernelContext &c, const std::vector<float> &x, size_t cols, size_t T, bool quantized) {
    std::vector<uint8_t> out(quantized ? cols / 32 * kActivationBytes * T : cols * T * sizeof(float));
    for (size_t t = 0; t < T; t++) {
        if (quantized)
            c.kernels.quantize(x.data() + t * cols, cols, int(t), int(T), out.data());
        else
            for (size_t k = 0; k < cols; k++) memcpy(&out[(k * T + t) * 4], &x[t * cols + k], 4);
    }
    return out;
}

// Tiles of one format: packing, decoding, and products with every size of group.
void test_tiles(KernelContext &c, Format format) {
    const FormatInfo &info = format_info(format);
    const std::string name = el::format("{}tile {}", c.prefix, info.name);
    if (!c.report.wanted(name)) return;
    for (uint32_t cols : {info.values, 3 * info.values, info.values == 1 ? 37 : 2 * info.values}) {
        const uint32_t rows = 21;
        const std::vector<std::byte> blocks = encode(format, c.random.values(rows * cols));
        const std::vector<float> weights =
            cpu::tile_layout(format).quantized() ? decode(format, blocks) : decode(format, blocks);
        Matrix m(format, rows, cols);
        std::vector<std::byte> data(m.bytes() + 64);
        m.data = data.data();
        m.pack(0, 16, blocks.data());
        m.pack(16, rows - 16, blocks.data() + 16 * row_bytes(format, cols));
        std::vector<float> unpacked(weights.size());
        for (uint32_t r = 0; r < rows; r++) m.decode(r, 0, cols, unpacked.data() + r * cols);
        c.report.check(el::format("{} cols={} decode", name, cols), unpacked == weights, "values differ");

        for (size_t T : {1, 2, 4, 8}) {
            if (int(T) > c.kernels.group_tokens) continue;
            const std::vector<float> x = c.random.values(T * cols);
            const std::vector<uint8_t> activations = prepare(c, x, cols, T, m.layout->quantized());
            std::vector<float> expected, got;
            for (size_t panel = 0; panel < m.panels(); panel++) {
                float tile[8 * kPanelRows];
                c.kernels.tile[size_t(m.layout->kind)][T == 8 ? 3 : T / 2](
                    {m.scales(panel, 0), m.quants(panel, 0), activations.data(), cols, tile});
                for (size_t t = 0; t < T; t++)
                    for (size_t r = 0; r < kPanelRows; r++) {
                        const size_t row = panel * kPanelRows + r;
                        double sum = 0;
                        for (size_t k = 0; k < cols && row < rows; k++)
                            sum += double(weights[row * cols + k]) *
                                   (m.layout->quantized() ? quantized_value(activations, k, t, T) : x[t * cols + k]);
                        expected.push_back(float(sum));
                        got.push_back(tile[t * kPanelRows + r]);
                    }
            }
            c.report.compare(el::format("{} cols={} T={}", name, cols, T), expected, got, 1e-5);
        }
    }
}

void test_norms(KernelContext &c, const std::string &name, const std::vector<float> &a, const std::vector<float> &b) {
    const size_t n = a.size();
    for (int parts = 0; parts < 8; parts++) {
        const bool centred = parts & 1, weight = parts & 2, bias = parts & 4;
        double mean = 0, variance = 0;
        for (float x : a) mean += centred ? double(x) / double(n) : 0;
        for (float x : a) variance += (x - mean) * (x - mean) / double(n);
        std::vector<float> expected(n), got(n);
        for (size_t i = 0; i < n; i++)
            expected[i] = float((a[i] - mean) / std::sqrt(variance + 1e-5) * (weight ? b[i] : 1) + (bias ? a[i] : 0));
        c.kernels.norm(
            {a.data(), weight ? b.data() : nullptr, bias ? a.data() : nullptr, n, 1e-5f, centred, got.data()});
        c.report.compare(el::format("{} norm {}", name, parts), expected, got, n == 1 && centred ? 1e-3 : 2e-6);
    }
}

double activated(Activation activation, double a, double b) {
    auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
    switch (activation) {
    case Activation::kNone:
        return a * b;
    case Activation::kSilu:
        return a * sigmoid(a) * b;
    case Activation::kGelu:
        return 0.5 * a * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))) * b;
    case Activation::kReluSquared:
        return a > 0 ? a * a * b : 0;
    case Activation::kSigmoid:
        return sigmoid(a) * b;
    case Activation::kClampedSwiglu:
        a = std::min(a, 7.0);
        return a * sigmoid(1.702 * a) * (std::clamp(b, -7.0, 7.0) + 1);
    }
    return 0;
}

void test_gates(KernelContext &c, const std::string &name, const std::vector<float> &a, const std::vector<float> &b) {
    const size_t n = a.size();
    for (int activation = 0; activation <= int(Activation::kClampedSwiglu); activation++)
        for (bool two : {false, true}) {
            std::vector<float> expected(n), got(n);
            for (size_t i = 0; i < n; i++)
                expected[i] = float(activated(Activation(activation), 2 * a[i], two ? 9 * b[i] : 1));
            std::vector<float> twice(n), nine(n);
            for (size_t i = 0; i < n; i++) {
                twice[i] = 2 * a[i];
                nine[i] = 9 * b[i];
            }
            c.kernels.gate({Activation(activation), twice.data(), two ? nine.data() : nullptr, n, got.data()});
            c.report.compare(el::format("{} gate {} {}", name, activation, two), expected, got, 2e-6);
        }
}

void test_rows(KernelContext &c) {
    for (size_t n : {1, 3, 4, 8, 15, 16, 17, 31, 64, 100}) {
        const std::string name = el::format("{}rows n={}", c.prefix, n);
        if (!c.report.wanted(name)) continue;
        const std::vector<float> a = c.random.values(n, 5), b = c.random.values(n);
        std::vector<float> expected(n), got(n);
        test_norms(c, name, a, b);
        test_gates(c, name, a, b);
        for (size_t i = 0; i < n; i++) expected[i] = 0.3f * a[i];
        c.kernels.scale(a.data(), 0.3f, n, got.data());
        c.report.compare(name + " scale", expected, got, 0);
        for (size_t i = 0; i < n; i++) expected[i] += -2.0f * b[i];
        c.kernels.add_scaled(b.data(), -2.0f, n, got.data());
        c.report.compare(name + " add_scaled", expected, got, 1e-6);
        for (size_t i = 0; i < n; i++) expected[i] = float(3 * std::tanh(double(a[i]) / 3)) + 6;
        c.kernels.soft_cap(a.data(), 3, n, got.data());
        for (float &x : got) x += 6;  // it is exact in relation to the cap, also where the result is nearly -3
        c.report.compare(name + " soft_cap", expected, got, 5e-7);
        for (size_t i = 0; i < n; i++) expected[i] = a[i] + b[i];
        c.kernels.add(a.data(), b.data(), n, got.data());
        c.report.compare(name + " add", expected, got, 0);
        std::vector<uint16_t> halves(n + 1, 0x1234);
        c.kernels.to_f16(a.data(), n, halves.data());
        bool ok = halves[n] == 0x1234;
        for (size_t i = 0; i < n; i++) ok &= halves[i] == f32_to_f16(a[i]);
        c.report.check(name + " to_f16", ok, "values differ");
    }
}

// Large, small and special inputs of the activation function.
void test_extremes(KernelContext &c) {
    const std::string name = c.prefix + "extremes";
    if (!c.report.wanted(name)) return;
    const std::vector<float> x = {-1e30f, -200, -88, -87, -20, -1e-20f, 0, 1e-20f, 20, 87, 88, 200, 1e30f, 3, -3, 0.5f};
    const std::vector<float> ones(x.size(), 1.0f);
    std::vector<float> got(x.size());
    for (Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kSigmoid}) {
        c.kernels.gate({activation, x.data(), ones.data(), x.size(), got.data()});
        bool ok = true;
        for (size_t i = 0; i < x.size(); i++) {
            const double expected = activated(activation, double(x[i]), 1);
            ok &= std::fabs(got[i] - expected) <=
                  1e-6 * std::fabs(expected) + 1e-7 * std::min(1.0, std::fabs(double(x[i])));
        }
        c.report.check(el::format("{} {}", name, int(activation)), ok, "a value is off");
    }
    std::vector<float> broken(64, 1.0f), out(64);
    broken[5] = NAN;
    for (int activation = 0; activation <= int(Activation::kClampedSwiglu); activation++) {
        c.kernels.gate({Activation(activation), broken.data(), broken.data(), 64, out.data()});
        c.report.check(el::format("{} NaN stays NaN {}", name, activation), std::isnan(out[5]) && !std::isnan(out[6]),
                       "");
    }
}

}  // namespace

void test_kernels(const Options &options, Report &report, Isa isa) {
    KernelContext c{report, kernels_of(isa), el::format("{} ", isa_name(isa)), Random(options.seed)};
    report.check(c.prefix + "table", c.kernels.name == std::string(isa_name(isa)), "not compiled in");
    test_quantize(c);
    for (Format format : formats(true)) test_tiles(c, format);
    test_rows(c);
    test_extremes(c);
}

}  // namespace el::conformance
