// The kernels of cuda/ops/rows.cu on emulated blocks, with inputs that come late.
#include "emulation/late.h"

#include "ops.h"
#include "random_values.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <random>

using namespace el;
using namespace el::cuda;

namespace {

std::mt19937 random_bits(5);

std::vector<float> floats(size_t n) { return random_floats(random_bits, n); }

// Runs start(out) while `inputs` are late, and compares what it writes with wanted(row, i).
template <typename Start, typename Wanted>
void check(int rows, uint32_t width, std::vector<std::vector<float> *> inputs, Start start, Wanted wanted) {
    const size_t n = size_t(rows) * width;
    std::vector<uint4> memory(n / 4 + 2);
    float *out = reinterpret_cast<float *>(memory.data());
    std::fill_n(out, n + 1, 77.0f);
    {
        emulation::Late late;
        for (std::vector<float> *input : inputs) late.add(*input);
        start(out);
    }
    CHECK(out[n] == 77.0f);
    size_t wrong = 0;
    for (size_t i = 0; i < n; ++i) {
        const double expected = wanted(i / width, uint32_t(i % width));
        wrong += !(std::fabs(out[i] - expected) < 1e-5 * (1 + std::fabs(expected)));  // NaN too
    }
    CHECK(wrong == 0);
}

constexpr int kRows = 3;
constexpr uint32_t kWidths[] = {5, 96, 300};

}  // namespace

TEST_CASE("gates and sums") {
    for (uint32_t width : kWidths) {
        std::vector<float> a = floats(kRows * width), b = floats(kRows * width), one = floats(kRows);
        auto silu = [](double x) { return x / (1 + std::exp(-x)); };
        check(
            kRows, width, {&a, &b},
            [&](float *out) {
                gate({ActivationKind::kSilu, a.data(), b.data(), width, width, out, kRows}, true, nullptr);
            },
            [&](size_t row, uint32_t i) { return silu(a[row * width + i]) * b[row * width + i]; });
        check(
            kRows, width, {&one, &b},
            [&](float *out) {
                gate({ActivationKind::kSigmoid, one.data(), b.data(), 1, width, out, kRows}, true, nullptr);
            },
            [&](size_t row, uint32_t i) { return b[row * width + i] / (1 + std::exp(-double(one[row]))); });
        check(
            kRows, width, {&a},
            [&](float *out) {
                gate({ActivationKind::kReluSquared, a.data(), nullptr, width, width, out, kRows}, true, nullptr);
            },
            [&](size_t row, uint32_t i) { return std::pow(std::max(a[row * width + i], 0.0f), 2); });
        check(
            kRows, width, {&a, &b}, [&](float *out) { add(a.data(), b.data(), kRows * width, out, true, nullptr); },
            [&](size_t row, uint32_t i) { return double(a[row * width + i]) + b[row * width + i]; });
    }
}

TEST_CASE("scales and soft caps") {
    const std::vector<int32_t> position = {0, 9, 100};
    std::vector<float> bias = floats(300);
    const float weight = 1.5f;
    for (uint32_t width : kWidths) {
        std::vector<float> x = floats(kRows * width);
        check(
            kRows, width, {&x},
            [&](float *out) {
                scale({{0.4f, 0.1f, 4}, x.data(), &weight, bias.data(), position.data(), width, out, kRows}, true,
                      nullptr);
            },
            [&](size_t row, uint32_t i) {
                return 0.4 * (1 + 0.1 * std::log(1 + position[row] / 4)) * 1.5 * x[row * width + i] + bias[i];
            });
        check(
            kRows, width, {&x}, [&](float *out) { soft_cap(0.7f, x.data(), kRows * width, out, true, nullptr); },
            [&](size_t row, uint32_t i) { return 0.7 * std::tanh(x[row * width + i] / 0.7); });
    }
}

TEST_CASE("parts of rows, and some of them") {
    constexpr uint32_t kGroups = 4, kOfGroup = 75;
    std::vector<float> x = floats(size_t(kRows) * kGroups * kOfGroup);
    check(
        kRows, kGroups * 9, {&x},
        [&](float *out) {
            slice({kGroups, 3, 9}, x.data(), kGroups * kOfGroup, out, kRows, true, nullptr);
        },
        [&](size_t row, uint32_t i) { return x[(row * kGroups + i / 9) * kOfGroup + 3 + i % 9]; });
    const std::vector<int32_t> taken = {2, 0};
    check(
        2, 300, {&x}, [&](float *out) { take_rows(x.data(), taken.data(), 300, out, 2, true, nullptr); },
        [&](size_t row, uint32_t i) { return x[size_t(taken[row]) * 300 + i]; });
}

TEST_CASE("heads are turned by their position") {
    const std::vector<int32_t> position = {0, 3, 50};
    const std::vector<float> frequencies = {1, 0.5f, 0.2f, 0.1f};
    constexpr uint32_t kHeads = 3, kDim = 10, kDims = 8;
    std::vector<float> x = floats(size_t(kRows) * kHeads * kDim);
    for (RopePairs pairs : {RopePairs::kHalves, RopePairs::kInterleaved})
        check(
            kRows, kHeads * kDim, {&x},
            [&](float *out) {
                rope({{pairs, kHeads, kDim, kDims, 0, 1, 0}, frequencies.data(), nullptr}, position.data(), x.data(),
                     out, kRows, true, nullptr);
            },
            [&](size_t row, uint32_t i) -> double {
                const float *head = &x[(row * kHeads + i / kDim) * kDim];
                const uint32_t at = i % kDim;
                if (at >= kDims) return head[at];
                const bool halves = pairs == RopePairs::kHalves, second = halves ? at >= kDims / 2 : at % 2;
                const uint32_t pair = halves ? at % (kDims / 2) : at / 2, other = halves ? kDims / 2 : 1;
                const double angle = position[row] * double(frequencies[pair]);
                return second ? head[at - other] * std::sin(angle) + head[at] * std::cos(angle)
                              : head[at] * std::cos(angle) - head[at + other] * std::sin(angle);
            });
}

TEST_CASE("what experts give is scaled and summed up") {
    constexpr uint32_t kUsed = 2, kPart = 70;
    std::vector<float> parts = floats(size_t(kRows) * kUsed * kPart), scales = floats(5), bias = floats(5 * kPart);
    std::vector<float> route = {3, 1, 0.25f, 0.75f, 0, 4, 0.5f, 0.5f, 2, 3, 0.1f, 0.9f};  // experts, shares
    auto expert = [&](size_t row, uint32_t j) { return size_t(route[row * 2 * kUsed + j]); };
    for (bool with_bias : {false, true})
        check(
            kRows, kUsed * kPart, {&parts, &route},
            [&](float *out) {
                expert_scale({parts.data(), route.data(), scales.data(), with_bias ? bias.data() : nullptr, kUsed,
                              kUsed * kPart, out, kRows},
                             true, nullptr);
            },
            [&](size_t row, uint32_t i) {
                const size_t e = expert(row, i / kPart);
                return double(parts[row * kUsed * kPart + i]) * scales[e] +
                       (with_bias ? bias[e * kPart + i % kPart] : 0);
            });
    check(
        kRows, kPart, {&parts, &route},
        [&](float *out) { combine(parts.data(), route.data(), kUsed, kPart, out, kRows, true, nullptr); },
        [&](size_t row, uint32_t i) {
            double sum = 0;
            for (uint32_t j = 0; j < kUsed; ++j)
                sum += double(route[row * 2 * kUsed + kUsed + j]) * parts[(row * kUsed + j) * kPart + i];
            return sum;
        });
}
