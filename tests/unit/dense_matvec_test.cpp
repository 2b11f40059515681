// The kernels of cuda/ops/dense_matvec.cu on emulated blocks, against sums in double.
#include "emulation/late.h"
#include "unit/packed_weights.h"

#include "ops/matvec.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <doctest/doctest.h>

using namespace el;
using namespace el::cuda;
using weights_test::random_floats;

namespace {

constexpr uint32_t kColBegin = 8;  // of matrices that are wider than what is wanted

struct Shape {
    Format format = Format::kF16;
    std::vector<uint32_t> rows = {100};  // of each part
    uint32_t cols = 336;
    int n = 1;
    bool norm = false, norm_weights = true, gate = false, residual = false, bias = false;
    int n_multiprocessors = 3;
};

// A part of a matrix in a file.
struct Floats {
    uint32_t cols;
    std::vector<float> values;
    std::vector<uint4> data;
    Matrix matrix;

    Floats(std::mt19937 &random, Format format, uint32_t rows, uint32_t cols_)
        : cols(cols_ + kColBegin), values(size_t(rows) * cols) {
        const FormatInfo &info = format_info(format);
        const std::vector<float> wanted = random_floats(random, values.size());
        data.resize(wanted.size() * info.bytes / 16 + 1);
        info.encode(wanted.data(), wanted.size(), data.data());
        info.decode(data.data(), wanted.size(), values.data());
        matrix = {reinterpret_cast<const uint8_t *>(data.data()) + kColBegin * info.bytes, format, cols,
                  cols * info.bytes, false};
    }
    Floats(const Floats &) = delete;
    float at(uint32_t row, uint32_t col) const { return values[size_t(row) * cols + kColBegin + col]; }
};

void check(const Shape &s) {
    constexpr uint32_t kRowBegin = 1;
    constexpr double kEpsilon = 1e-2;
    std::mt19937 random(5);
    const size_t n = size_t(s.n);
    std::vector<float> x = random_floats(random, n * s.cols), residual = random_floats(random, n * s.rows[0]);
    std::vector<uint4> aligned(s.cols / 4);
    float *norm_weight = reinterpret_cast<float *>(aligned.data());
    for (uint32_t i = 0; i < s.cols; ++i) norm_weight[i] = s.norm_weights ? float(random() % 1000) / 500 : 1;
    std::deque<Floats> weights;
    std::vector<std::vector<float>> bias, out;
    MatvecCall c;
    for (size_t i = 0; i < s.rows.size(); ++i) {
        weights.emplace_back(random, s.format, s.rows[i] + kRowBegin, s.cols);
        bias.push_back(random_floats(random, s.rows[i]));
        out.push_back(std::vector<float>(n * s.rows[i], NAN));
    }
    for (size_t i = 0; i < s.rows.size(); ++i)
        c.part[i] = {weights[i].matrix, kRowBegin, s.rows[i], s.bias ? bias[i].data() : nullptr, out[i].data()};
    c.n_parts = int(s.rows.size());
    c.cols = s.cols;
    c.n = s.n;
    c.x = x.data();
    c.norm = s.norm;
    c.epsilon = float(kEpsilon);
    c.norm_weight = s.norm && s.norm_weights ? norm_weight : nullptr;
    c.residual = s.residual ? residual.data() : nullptr;
    c.gate = s.gate;
    c.activation = ActivationKind::kSilu;
    {
        emulation::Late late;
        late.add(x);
        late.add(residual);
        REQUIRE(dense_matvec(c, {s.n_multiprocessors, 99 << 10, true}, nullptr));
    }
    CAPTURE(s.cols);
    CAPTURE(s.n);
    for (size_t t = 0; t < n; ++t) {
        const float *row = x.data() + t * s.cols;
        double squares = 0;
        for (uint32_t k = 0; k < s.cols; ++k) squares += double(row[k]) * row[k];
        const double factor = s.norm ? 1 / std::sqrt(squares / s.cols + kEpsilon) : 1;
        auto product = [&](size_t part, uint32_t r) {
            double sum = 0;
            for (uint32_t k = 0; k < s.cols; ++k)
                sum += double(row[k]) * (s.norm ? norm_weight[k] : 1) * weights[part].at(r + kRowBegin, k);
            return sum * factor + (s.bias ? bias[part][r] : 0);
        };
        for (size_t i = 0; i < (s.gate ? 1 : s.rows.size()); ++i)
            for (uint32_t r = 0; r < s.rows[i]; ++r) {
                // Sums of as many products are as large as the root, and float32 gives seven digits of that.
                double expected = product(i, r), tolerance = 2e-6 * std::sqrt(s.cols);
                if (s.gate) {
                    const double factor_of_gate = product(1, r), sigmoid = 1 / (1 + std::exp(-expected));
                    const double slope = sigmoid * (1 + expected * (1 - sigmoid));
                    tolerance *= std::fabs(slope * factor_of_gate) + std::fabs(expected * sigmoid) + 1e-2;
                    expected *= sigmoid * factor_of_gate;
                }
                if (s.residual) expected += residual[t * s.rows[0] + r];
                const double error = std::fabs(out[i][t * s.rows[i] + r] - expected);
                tolerance += 1e-6 * std::fabs(expected);
                if (!(error < tolerance)) {  // NaN too
                    CAPTURE(i);
                    CAPTURE(r);
                    CAPTURE(expected);
                    CHECK(error < tolerance);
                }
            }
    }
}

}  // namespace

TEST_CASE("matrices of floats, and parts of them, with 1 to 8 tokens") {
    for (Format format : {Format::kF16, Format::kBF16, Format::kF32})
        for (int n : {1, 2, 3, 8})
            for (uint32_t rows : {3u, 100u}) check({.format = format, .rows = {rows}, .n = n, .bias = true});
}

TEST_CASE("rows of floats that end within a warp's columns, and that warps share in several turns") {
    for (Format format : {Format::kBF16, Format::kF32})
        for (uint32_t cols : {8u, 256u, 264u, 2048u, 2304u, 3080u, 8200u})
            for (int blocks : {1, 40})
                check({.format = format, .rows = {42}, .cols = cols, .norm = true, .n_multiprocessors = blocks});
}

TEST_CASE("several matrices of floats after a norm") {
    for (int n : {1, 2, 4, 5})
        for (int blocks : {1, 2, 40})
            for (bool norm_weights : {false, true}) {
                check({.rows = {64, 33, 2, 7},
                       .cols = 520,
                       .n = n,
                       .norm = true,
                       .norm_weights = norm_weights,
                       .bias = n == 2,
                       .n_multiprocessors = blocks});
            }
}

TEST_CASE("rows of floats that are wider than what warps keep of their input") {
    for (Format format : {Format::kF16, Format::kF32})
        for (int n : {1, 2, 3, 4, 8})
            for (bool gate : {false, true})
                check({.format = format,
                       .rows = gate ? std::vector<uint32_t>{90, 90} : std::vector<uint32_t>{90, 13},
                       .cols = 2568,
                       .n = n,
                       .norm = true,
                       .gate = gate,
                       .n_multiprocessors = 1});
}

TEST_CASE("gates of floats, and residuals") {
    for (Format format : {Format::kF16, Format::kF32})
        for (int n : {1, 2, 3, 8})
            for (int blocks : {1, 5}) {
                for (uint32_t rows : {1u, 50u})
                    check({.format = format,
                           .rows = {rows, rows},
                           .n = n,
                           .norm = true,
                           .gate = true,
                           .bias = n != 2,
                           .n_multiprocessors = blocks});
                check({.format = format,
                       .rows = {70},
                       .cols = 1032,
                       .n = n,
                       .residual = true,
                       .bias = n == 2,
                       .n_multiprocessors = blocks});
            }
}

TEST_CASE("what the kernels for floats do not take, they leave alone") {
    std::mt19937 random(5);
    Floats f(random, Format::kF16, 4, 64), other(random, Format::kBF16, 4, 64);
    std::vector<float> x(64), out(16, NAN);
    MatvecCall c;
    c.part[0] = {f.matrix, 0, 4, nullptr, out.data()};
    c.part[1] = {other.matrix, 0, 4, nullptr, out.data()};
    c.n_parts = 2;
    c.cols = 64;
    c.x = x.data();
    const Chip chip = {1, 99 << 10, false};
    CHECK(!dense_matvec(c, chip, nullptr));  // two formats
    c.n_parts = 1;
    CHECK(dense_matvec(c, chip, nullptr));
    c.n = kMatvecTokens + 1;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.n = 1;
    c.cols = 63;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.cols = 56;
    c.part[0].m.data += 2;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.part[0].m.data -= 2;
    c.part[0].m.row_bytes += 2;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.part[0].m.row_bytes -= 2;
    c.x = x.data() + 1;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.x = x.data();
    c.norm_weight = x.data() + 1;
    CHECK(!dense_matvec(c, chip, nullptr));
    c.norm_weight = nullptr;
    CHECK(dense_matvec(c, chip, nullptr));
    c.part[0].m.format = Format::kQ4_0;
    CHECK(!dense_matvec(c, chip, nullptr));
}
