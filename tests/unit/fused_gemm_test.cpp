// The kernel of cuda/ops/fused_gemm.cu on emulated blocks, against sums in double over decoded weights.
#include "ops/gemm.cuh"
#include "unit/packed_weights.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

using namespace weights_test;

namespace {

struct Case {
    uint32_t rows, cols;  // of the matrix; of one expert
    int n;                // tokens; pairs
    int tile = kFusedTiles[0];
    uint32_t row_begin = 0, col_begin = 0, out_stride = 0;  // out_stride: 0: as many as rows
    bool bias = false;
    uint32_t n_experts = 0, share = 1;  // 0: none
};

// Activations as convert() puts them, `run` columns to each of four threads; values that float16 has.
struct Activations {
    std::vector<float> values, undo;
    std::vector<uint4> data;  // float16, rows of operand_cols()

    Activations(std::mt19937 &random, size_t n, uint32_t cols, uint32_t run) : values(random_floats(random, n * cols)) {
        const size_t stride = operand_cols(cols);
        data.assign(n * stride / 8, uint4{});
        for (size_t i = 0; i < n; ++i) {
            undo.push_back(std::ldexp(1.0f, int(i % 3) - 1));
            for (uint32_t c = 0; c < cols; ++c) {
                float &x = values[i * cols + c];
                const uint16_t half = f32_to_f16(x);
                x = f16_to_f32(half);
                const uint32_t begin = c / (4 * run) * 4 * run, part = (c - begin) / run, v = c % run,
                               place = begin + v / 4 * 16 + v / 2 % 2 * 8 + 2 * part + v % 2;
                reinterpret_cast<uint16_t *>(data.data())[i * stride + place] = half;
            }
        }
    }
};

// `values`: of the whole matrix.
void check(const Matrix &m, const std::vector<float> &values, const Case &c, std::mt19937 &random) {
    CAPTURE(int(m.format));
    CAPTURE(c.rows);
    CAPTURE(c.cols);
    CAPTURE(c.n);
    CAPTURE(c.tile);
    CAPTURE(c.row_begin);
    CAPTURE(c.col_begin);
    CAPTURE(c.n_experts);
    const size_t n = size_t(c.n), n_x = (n + c.share - 1) / c.share;
    const uint32_t stride = c.out_stride ? c.out_stride : c.rows;
    const Activations x(random, n_x, c.cols, fused_run(m));
    const std::vector<float> bias = random_floats(random, c.rows * std::max(c.n_experts, 1u));
    std::vector<uint4> memory(n * stride / 4 + 2, {~0u, ~0u, ~0u, ~0u});
    float *out = reinterpret_cast<float *>(memory.data());
    // Pairs go to experts 0 and 2 of three, and so on: some have none.
    std::vector<int32_t> expert(n), order;
    std::vector<Pairs::Tile> tiles;
    for (size_t i = 0; i < n; ++i) expert[i] = c.n_experts ? int32_t(i * 7 % c.n_experts / 2 * 2) : 0;
    for (int32_t e = 0; e < int32_t(c.n_experts); ++e) {
        const size_t first = order.size();
        for (size_t i = 0; i < n; ++i)
            if (expert[i] == e) order.push_back(int32_t(i));
        for (size_t at = first; at < order.size(); at += size_t(c.tile))
            tiles.push_back({e, int32_t(at), int32_t(std::min(order.size() - at, size_t(c.tile)))});
    }
    int32_t n_tiles = int32_t(tiles.size());
    FusedCall call = {m,
                      c.row_begin,
                      c.rows,
                      c.col_begin,
                      c.cols,
                      reinterpret_cast<const __half *>(x.data.data()),
                      x.undo.data(),
                      1 / weight_factor(m.format),
                      c.bias ? bias.data() : nullptr,
                      out,
                      stride,
                      c.n,
                      c.tile,
                      {}};
    call.share = c.share;
    call.n_experts = call.n_all_experts = c.n_experts;
    if (c.n_experts) call.pairs = {order.data(), nullptr, tiles.data(), &n_tiles};
    for (bool early : {false, true}) {
        emulation::early_copies = early;
        std::fill(memory.begin(), memory.end(), uint4{~0u, ~0u, ~0u, ~0u});
        fused_gemm(call, nullptr);
        double error = 0, size = 0;
        for (size_t i = 0; i < n; ++i)
            for (uint32_t r = 0; r < stride; ++r) {
                const float got = out[i * stride + r];
                if (r >= c.rows) {
                    CHECK(std::isnan(got));
                    continue;
                }
                const size_t row = c.row_begin + size_t(expert[i]) * c.rows + r;
                double sum = 0;
                for (uint32_t k = 0; k < c.cols; ++k)
                    sum += double(values[row * m.cols + c.col_begin + k]) * x.values[i / c.share * c.cols + k];
                const double wanted =
                    sum * x.undo[i / c.share] + (c.bias ? bias[size_t(expert[i]) * c.rows + r] : 0.0f);
                error += (got - wanted) * (got - wanted);
                size += wanted * wanted;
            }
        CHECK(std::sqrt(error / size) < 1e-3);
    }
    emulation::early_copies = false;
}

void check(Format format, const Case &c) {
    std::mt19937 random(5);
    const uint32_t rows = c.rows * std::max(c.n_experts, 1u) + c.row_begin + 3, cols = c.cols + c.col_begin;
    if (packed_shape(format).bits) {
        const Weights weights(random, format, rows, cols);
        return check(weights.matrix, weights.values, c, random);
    }
    std::vector<float> values = random_floats(random, size_t(rows) * cols);
    std::vector<uint4> data(values.size() / 8);
    for (size_t i = 0; i < values.size(); ++i) {
        const uint16_t half = f32_to_f16(values[i]);
        reinterpret_cast<uint16_t *>(data.data())[i] = half;
        values[i] = f16_to_f32(half);
    }
    check({reinterpret_cast<uint8_t *>(data.data()), Format::kF16, cols, 2 * cols, false}, values, c, random);
}

std::vector<Format> formats() {
    std::vector<Format> all = {Format::kF16};
    PackedFormats::for_each([&](auto f) { all.push_back(decltype(f)::type::kFormat); });
    return all;
}

}  // namespace

TEST_CASE("prompts times matrices in all formats") {
    for (Format format : formats())
        for (const Case &c : {Case{.rows = 70, .cols = 256, .n = 9},
                              {.rows = 130, .cols = 1280, .n = 40, .bias = true},
                              {.rows = 64, .cols = 512, .n = 150, .tile = kFusedTiles[1]}})
            check(format, c);
}

TEST_CASE("columns that end within a stage") {
    for (Format format : {Format::kQ4_0, Format::kQ8_0, Format::kIQ4_NL, Format::kF16})
        for (uint32_t cols : {32u, 96u, 1120u}) check(format, {.rows = 37, .cols = cols, .n = 33});
}

TEST_CASE("parts of a matrix, and of rows of the result") {
    for (Format format : {Format::kQ4_K, Format::kQ8_0, Format::kF16})
        for (int tile : kFusedTiles)
            for (uint32_t row_begin : {0u, 5u, 8u})
                for (uint32_t col_begin : {0u, 256u})
                    check(format, {.rows = 41,
                                   .cols = 512,
                                   .n = 35,
                                   .tile = tile,
                                   .row_begin = row_begin,
                                   .col_begin = col_begin,
                                   .out_stride = 48,
                                   .bias = true});
}

TEST_CASE("experts, some of which no pair has chosen") {
    for (Format format : {Format::kQ4_K, Format::kQ6_K, Format::kQ8_0, Format::kF16})
        for (int tile : kFusedTiles)
            for (uint32_t rows : {21u, 40u})
                check(format,
                      {.rows = rows, .cols = 256, .n = 90, .tile = tile, .bias = true, .n_experts = 5, .share = 2});
}
