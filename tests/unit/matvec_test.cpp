// The kernels of cuda/ops/matvec.cu and expert_matvec.cu on emulated blocks, against sums in double over what the
// formats' headers decode and the input in 8 bits.
#include "emulation/late.h"
#include "unit/packed_weights.h"

#include "ops/matvec.h"
#include "packed.cuh"

#include <algorithm>
#include <doctest/doctest.h>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

using namespace el;
using namespace el::cuda;
using namespace weights_test;

namespace {

struct Shape {
    std::vector<Format> formats;
    std::vector<uint32_t> rows;
    uint32_t cols;
    int n = 1;
    bool norm = false, gate = false, residual = false, bias = false, norm_weights = true;
    int n_multiprocessors = 3;
    uint32_t row_begin = 0;
    size_t block_shared_bytes = 160 << 10;
};

// What the kernels make of a row: 8 bits and a scale for each group.
std::vector<double> rounded(const float *x, const float *weight, uint32_t n, bool norm) {
    std::vector<double> out(n);
    double squares = 0;
    for (uint32_t i = 0; i < n; ++i) squares += double(x[i]) * x[i];
    for (uint32_t begin = 0; begin < n; begin += kGroup) {
        float v[kGroup], most = 0;
        for (uint32_t i = 0; i < kGroup; ++i) {
            v[i] = x[begin + i] * (weight ? weight[begin + i] : 1.0f);
            most = std::max(most, std::fabs(v[i]));
        }
        const float inverse = 127.0f / most;
        for (uint32_t i = 0; i < kGroup; ++i) out[begin + i] = std::nearbyint(v[i] * inverse) * double(most / 127.0f);
    }
    if (norm)
        for (double &v : out) v /= std::sqrt(squares / n + 1e-5);
    return out;
}

struct Way {
    bool bulk, early, odd;
};

// While it lives, kernels have bulk copies or not, and copies arrive as late as they may or, every other time, at once.
struct Copies {
    explicit Copies(bool bulk) {
        static unsigned n = 0;
        emulation::has_bulk_copies = bulk;
        emulation::early_copies = n++ % 2;
    }
    ~Copies() { emulation::has_bulk_copies = emulation::early_copies = false; }
    Copies(const Copies &) = delete;
};

void check(const Shape &s, const Way &way) {
    std::mt19937 random(7);
    std::vector<std::unique_ptr<Weights>> weights;
    const size_t n_parts = s.formats.size(), n = size_t(s.n);
    std::vector<float> x = random_floats(random, n * s.cols);
    const std::vector<float> norm_weight = random_floats(random, s.cols);
    std::vector<std::vector<float>> bias, out;
    std::vector<uint8_t> quantized(kMatvecTokens * matvec_scratch(s.cols), 0xff);  // no numbers
    MatvecCall c;
    for (size_t i = 0; i < n_parts; ++i) {
        weights.push_back(std::make_unique<Weights>(random, s.formats[i], s.rows[i] + s.row_begin, s.cols));
        bias.push_back(random_floats(random, s.rows[i]));
        out.push_back(std::vector<float>(n * s.rows[i], NAN));
        c.part[i] = {weights[i]->matrix, s.row_begin, s.rows[i], s.bias ? bias[i].data() : nullptr, out[i].data()};
        REQUIRE(matvec_supported(weights[i]->matrix, s.row_begin, 0, s.cols));
    }
    std::vector<float> residual = random_floats(random, n * s.rows[0]);
    c.n_parts = int(n_parts);
    c.cols = s.cols;
    c.n = s.n;
    c.x = x.data();
    c.norm = s.norm;
    c.epsilon = 1e-5f;
    c.norm_weight = s.norm && s.norm_weights ? norm_weight.data() : nullptr;
    c.quantized = quantized.data();
    c.residual = s.residual ? residual.data() : nullptr;
    c.gate = s.gate;
    c.activation = ActivationKind::kSilu;
    c.odd = way.odd;
    c.formats = way.odd ? uint64_t{1} << uint32_t(Format::kQ6_K) : 0;
    const size_t shared_bytes = way.early ? 227 << 10 : s.block_shared_bytes;
    const Copies copies(way.bulk);
    matvec(c, {s.n_multiprocessors, shared_bytes, way.early}, nullptr);
    constexpr size_t kSmall = 200'000;                     // weights; others take long
    if (way.odd && size_t(s.rows[0]) * s.cols < kSmall) {  // the same when kernels before are slow
        emulation::Late late;
        for (auto *values : {&x, &residual}) late.add(*values);
        late.add(quantized);
        for (std::vector<float> &values : out) std::fill(values.begin(), values.end(), NAN);
        matvec(c, {s.n_multiprocessors, shared_bytes, way.early}, nullptr);
    }
    CHECK(emulation::shared_bytes <= shared_bytes);

    for (size_t t = 0; t < n; ++t) {
        const std::vector<double> input = rounded(x.data() + t * s.cols, c.norm_weight, s.cols, s.norm);
        auto dot = [&](size_t part, uint32_t row) {
            const float *w = weights[part]->values.data() + size_t(row + s.row_begin) * s.cols;
            double sum = s.bias ? bias[part][row] : 0;
            for (uint32_t k = 0; k < s.cols; ++k) sum += input[k] * w[k];
            return sum;
        };
        for (size_t i = 0; i < (s.gate ? 1 : n_parts); ++i) {
            double error = 0, size = 0;
            for (uint32_t r = 0; r < s.rows[i]; ++r) {
                double expected = dot(i, r);
                if (s.gate) expected = expected / (1 + std::exp(-expected)) * dot(1, r);
                if (s.residual && i == 0) expected += residual[t * s.rows[0] + r];
                const double got = out[i][t * s.rows[i] + r];
                error += (got - expected) * (got - expected);
                size += expected * expected;
            }
            CAPTURE(s.cols);
            CAPTURE(s.n);
            CAPTURE(i);
            CHECK(std::sqrt(error / size) < 1e-5);
        }
    }
}

void check(const Shape &s) {
    check(s, {false, false, false});
    for (bool odd : {false, true}) check(s, {true, true, odd});
}

const std::vector<Format> kFormats = [] {
    std::vector<Format> all;
    PackedFormats::for_each([&](auto f) { all.push_back(decltype(f)::type::kFormat); });
    return all;
}();

}  // namespace

TEST_CASE("a packed matrix decodes to what the file's blocks hold") {
    std::mt19937 random(3);
    for (Format format : kFormats)
        for (uint32_t cols : {256u, 1024u, 1280u, 2304u}) {
            const Weights w(random, format, 7, cols);
            with_packed_format(format, [&](auto f) {
                float group[kGroup];
                size_t wrong = 0;
                for (uint32_t r = 0; r < w.rows; ++r)
                    for (uint32_t g = 0; g < cols / kGroup; ++g) {
                        decode_packed<typename decltype(f)::type>(w.matrix.data, cols, r, g, group);
                        for (uint32_t i = 0; i < kGroup; ++i) wrong += group[i] != w.values[r * cols + g * kGroup + i];
                    }
                CHECK(wrong == 0);
            });
        }
}

TEST_CASE("a packed matrix of MXFP4 has all powers of 2 of the file") {
    constexpr uint32_t kCols = 255 * kGroup;
    std::vector<uint4> tile(packed_shape(Format::kMXFP4).tile_bytes(kCols) / sizeof(uint4));
    uint8_t *const data = reinterpret_cast<uint8_t *>(tile.data());
    MXFP4::Block block;
    for (uint32_t i = 0; i < 16; i++) block.qs[i] = uint8_t(i | (15 - i) << 4);
    size_t wrong = 0;
    for (uint32_t e = 0; e < 255; e++) {
        float expected[kGroup], got[kGroup];
        block.e = uint8_t(e);
        format_info(Format::kMXFP4).decode(reinterpret_cast<const std::byte *>(&block), kGroup, expected);
        pack_group<MXFP4>(block, data, kCols, 2, e);
        decode_packed<MXFP4>(data, kCols, 2, e, got);
        for (uint32_t i = 0; i < kGroup; i++) wrong += got[i] != expected[i];
    }
    CHECK(wrong == 0);
}

TEST_CASE("every format, with 1 to 8 tokens") {
    for (Format format : kFormats) {
        CAPTURE(format_info(format).name);
        const uint32_t cols = format_info(format).values == 32 ? 1120 : 1280;
        for (int n : {1, 2, 3, 5, 8}) check({.formats = {format}, .rows = {21}, .cols = cols, .n = n, .norm = n != 2});
    }
}

TEST_CASE("a norm without weights, and inputs that the warps of a block take in several turns") {
    for (bool weights : {false, true})
        for (int n : {1, 2, 8})
            for (uint32_t cols : {544u, 6176u}) {
                Shape s = {.formats = {Format::kQ8_0}, .rows = {9}, .cols = cols, .n = n, .n_multiprocessors = 2};
                s.norm_weights = weights;
                check(s);
                s.norm = true;
                check(s);
            }
}

TEST_CASE("a value that is no number makes a token's results none, and no other's") {
    constexpr uint32_t kRows = 6;
    for (uint32_t cols : {544u, 6208u})
        for (int n : {1, 2, 8})
            for (uint32_t at : {0u, 37u, cols - 1}) {
                std::mt19937 random(9);
                const Weights w(random, Format::kQ4_0, kRows, cols);
                std::vector<float> x = random_floats(random, size_t(n) * cols), out(size_t(n) * kRows, 0);
                std::vector<uint8_t> quantized(kMatvecTokens * matvec_scratch(cols));
                x[size_t(n - 1) * cols + at] = NAN;
                MatvecCall c;
                c.part[0] = {w.matrix, 0, kRows, nullptr, out.data()};
                c.n_parts = 1;
                c.cols = cols;
                c.n = n;
                c.x = x.data();
                c.quantized = quantized.data();
                matvec(c, {2, size_t(227) << 10, true}, nullptr);
                CAPTURE(cols);
                CAPTURE(n);
                CAPTURE(at);
                for (size_t i = 0; i < out.size(); ++i) CHECK(std::isfinite(out[i]) == (i < size_t(n - 1) * kRows));
            }
}

TEST_CASE("shapes: fewer tiles than blocks, many columns, ranges of rows") {
    for (uint32_t rows : {1u, 4u, 50u, 301u})
        for (int blocks : {1, 8, 132})
            check({.formats = {Format::kQ4_K}, .rows = {rows}, .cols = 512, .n_multiprocessors = blocks});
    check({.formats = {Format::kQ4_0}, .rows = {9}, .cols = 32});
    check({.formats = {Format::kQ8_0}, .rows = {9}, .cols = 14336, .norm = true});
    check({.formats = {Format::kQ6_K}, .rows = {16}, .cols = 768, .row_begin = 8});
    check({.formats = {Format::kQ4_K}, .rows = {2400}, .cols = 4096, .n = 8, .n_multiprocessors = 1});
}

TEST_CASE("more weights for a block than twice what its ring holds") {
    for (bool gate : {false, true}) {
        Shape s = {.formats = {Format::kQ4_K, gate ? Format::kQ4_K : Format::kQ6_K}, .rows = {150, 150}, .cols = 4096};
        s.norm = s.gate = gate;
        s.n_multiprocessors = 1;
        check(s);
        s.cols = 1792;
        s.n_multiprocessors = 2;
        check(s);
    }
    check({.formats = {Format::kQ6_K}, .rows = {70}, .cols = 14336, .residual = true, .n_multiprocessors = 1});
}

TEST_CASE("chips with little shared memory") {
    for (size_t bytes : {size_t(99) << 10, size_t(80) << 10})
        for (int n : {1, 8}) {
            check({.formats = {Format::kQ6_K},
                   .rows = {900},
                   .cols = 2048,
                   .n = n,
                   .n_multiprocessors = 1,
                   .block_shared_bytes = bytes});
            check({.formats = {Format::kQ8_0},
                   .rows = {30},
                   .cols = 20000 / 32 * 32,
                   .n = n,
                   .norm = true,
                   .block_shared_bytes = bytes});
        }
}

TEST_CASE(
    "several tokens: one band and many, teams of few warps and of many, an input that stays and one that does not") {
    for (int n : {5, 8})
        for (uint32_t cols : {256u, 2816u, 7168u})
            for (int blocks : {1, 20}) {
                check({.formats = {Format::kQ4_K},
                       .rows = {100},
                       .cols = cols,
                       .n = n,
                       .norm = true,
                       .residual = true,
                       .n_multiprocessors = blocks,
                       .block_shared_bytes = 99 << 10});
                check({.formats = {Format::kQ5_1, Format::kQ5_1},
                       .rows = {41, 41},
                       .cols = cols + 32,
                       .n = n,
                       .gate = true,
                       .n_multiprocessors = blocks,
                       .block_shared_bytes = 99 << 10});
            }
}

namespace {

struct ExpertShape {
    Format format;
    uint32_t rows, cols, n_used;
    std::vector<std::vector<uint32_t>> chosen;  // of each token
    bool own_input = false;
    int n_multiprocessors = 3;
};

void check(const ExpertShape &s, bool bulk) {
    std::mt19937 random(11);
    uint32_t n_experts = 0;
    std::set<uint32_t> distinct;
    std::vector<float> route;  // the experts' numbers, then their shares
    for (const std::vector<uint32_t> &one : s.chosen) {
        distinct.insert(one.begin(), one.end());
        route.insert(route.end(), one.begin(), one.end());
        route.insert(route.end(), s.n_used, 0.5f);
        n_experts = std::max(n_experts, *distinct.rbegin() + 1);
    }
    const uint32_t n_pairs = uint32_t(s.chosen.size()) * s.n_used, n_inputs = n_pairs / (s.own_input ? 1 : s.n_used);
    const Weights w(random, s.format, n_experts * s.rows, s.cols);
    const std::vector<float> bias = random_floats(random, n_experts * s.rows);
    std::vector<float> x = random_floats(random, n_inputs * s.cols), out(n_pairs * s.rows, NAN);
    std::vector<uint8_t> quantized(n_inputs * matvec_scratch(s.cols));
    const LinearCall linear = {w.matrix, 0, s.rows, 0, s.cols, x.data(), bias.data(), out.data(), int(n_pairs)};
    const Copies copies(bulk);
    emulation::Late late;  // kernels before are slow
    for (auto *values : {&x, &route}) late.add(*values);
    REQUIRE(expert_matvec({linear, route.data(), s.n_used, s.own_input}, quantized.data(),
                          {s.n_multiprocessors, 99 << 10, false}, nullptr));
    CHECK(emulation::shared_bytes <= 99 << 10);
    const PackedShape shape = packed_shape(s.format);
    CHECK(emulation::copied_bytes == distinct.size() * shape.tiles(s.rows) * shape.tile_bytes(s.cols));  // once

    double error = 0, size = 0;
    std::vector<std::vector<double>> input;
    for (uint32_t i = 0; i < n_inputs; ++i) input.push_back(rounded(x.data() + i * s.cols, nullptr, s.cols, false));
    for (uint32_t pair = 0; pair < n_pairs; ++pair) {
        const uint32_t expert = s.chosen[pair / s.n_used][pair % s.n_used];
        const std::vector<double> &from = input[s.own_input ? pair : pair / s.n_used];
        for (uint32_t r = 0; r < s.rows; ++r) {
            const size_t row = expert * s.rows + r;
            double expected = bias[row];
            for (uint32_t k = 0; k < s.cols; ++k) expected += from[k] * w.values[row * s.cols + k];
            error += (out[pair * s.rows + r] - expected) * (out[pair * s.rows + r] - expected);
            size += expected * expected;
        }
    }
    CHECK(std::sqrt(error / size) < 1e-5);
}

// Tokens with n_used of n_experts each.
std::vector<std::vector<uint32_t>> any_experts(size_t n_tokens, uint32_t n_used, uint32_t n_experts) {
    std::mt19937 random(5);
    std::vector<uint32_t> all(n_experts);
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::vector<uint32_t>> chosen;
    for (size_t t = 0; t < n_tokens; ++t) {
        std::shuffle(all.begin(), all.end(), random);
        chosen.emplace_back(all.begin(), all.begin() + n_used);
    }
    return chosen;
}

}  // namespace

TEST_CASE("experts that 1 to 8 tokens have chosen are read once") {
    for (Format format : kFormats)
        for (size_t n : {1, 2, 3, 8}) {
            CAPTURE(format_info(format).name);
            CAPTURE(n);
            const uint32_t cols = format_info(format).values == 32 ? 1120 : 1280;
            for (bool own_input : {false, true}) check({format, 8, cols, 2, any_experts(n, 2, 6), own_input}, n % 2);
        }
    for (size_t n = 1; n <= 8; ++n)
        for (bool own_input : {false, true}) {
            CAPTURE(n);
            for (uint32_t n_used : {1u, 3u, 16u})
                check({Format::kQ4_0, 12, 64, n_used, any_experts(n, n_used, 17), own_input}, true);
            const std::vector<uint32_t> same = {4, 0, 2};
            check({Format::kQ4_0, 12, 64, 3, std::vector(n, same), own_input}, true);
            std::vector<std::vector<uint32_t>> others(n);
            for (uint32_t t = 0; t < n; ++t) others[t] = {2 * t + 1, 2 * t};
            check({Format::kQ4_0, 12, 64, 2, others, own_input}, true);
        }
    for (int blocks : {20, 132})  // a share of few tiles, all of them of one expert
        check({Format::kQ4_0, 16, 64, 3, std::vector(8, std::vector<uint32_t>{4, 0, 2}), false, blocks}, true);
    std::vector<std::vector<uint32_t>> late(8, std::vector<uint32_t>(16));  // what most choose comes last
    for (uint32_t t = 0; t < 8; ++t) std::iota(late[t].begin(), late[t].end(), 16 * std::min(t, 2u));
    check({Format::kQ4_0, 4, 64, 16, late}, false);
}

TEST_CASE("experts with more sums than a block has room for") {
    for (int blocks : {1, 2}) {
        check({Format::kQ4_0, 2400, 64, 4, any_experts(1, 4, 4), false, blocks}, blocks == 1);
        check({Format::kQ4_0, 800, 64, 4, any_experts(8, 4, 6), false, blocks}, blocks == 1);
        check({Format::kQ4_0, 160, 1056, 4, any_experts(8, 4, 6), true, blocks}, blocks == 1);
    }
}

TEST_CASE("several matrices of one input, in different formats") {
    const std::vector<Format> formats = {Format::kQ4_K, Format::kQ6_K, Format::kQ8_0, Format::kQ5_K};
    for (int n : {1, 4})
        for (int blocks : {1, 2, 7, 40})
            check({.formats = formats,
                   .rows = {128, 33, 2, 70},
                   .cols = 1536,
                   .n = n,
                   .norm = true,
                   .bias = true,
                   .n_multiprocessors = blocks});
}

TEST_CASE("gates and residuals") {
    for (int n : {1, 2, 5})
        for (int blocks : {1, 5, 40}) {
            check({.formats = {Format::kQ4_K, Format::kQ6_K},
                   .rows = {90, 90},
                   .cols = 1024,
                   .n = n,
                   .norm = true,
                   .gate = true,
                   .bias = true,
                   .n_multiprocessors = blocks});
            check({.formats = {Format::kQ5_0},
                   .rows = {70},
                   .cols = 2080,
                   .n = n,
                   .residual = true,
                   .bias = n == 2,
                   .n_multiprocessors = blocks});
        }
}
