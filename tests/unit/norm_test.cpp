// The kernels of cuda/ops/norm.cu on emulated blocks, against sums in double.
#include "emulation/late.h"

#include "ops.h"
#include "random_values.h"

#include <cmath>
#include <doctest/doctest.h>
#include <random>

using namespace el;
using namespace el::cuda;

namespace {

struct Shape {
    NormKind kind = NormKind::kRms;
    uint32_t width = 64, groups = 1;
    bool weight = true, whole_row = false, bias = false, residual = false;
    int n = 3;
    bool in_place = false;  // writes where it reads
};

// At an address that loads of 16 bytes can take.
struct Floats {
    std::vector<uint4> memory;
    float *data() { return reinterpret_cast<float *>(memory.data()); }
    const float *data() const { return reinterpret_cast<const float *>(memory.data()); }
    Floats(std::mt19937 &random, size_t n) : memory(n / 4 + 2) {
        RandomNormal normal;
        for (size_t i = 0; i < n; ++i) data()[i] = normal(random);
    }
};

void check(const Shape &s) {
    std::mt19937 random(5);
    const uint32_t n = s.width / s.groups, weight_width = s.whole_row ? s.width : n;
    const size_t values = size_t(s.n) * s.width;
    const Floats x(random, values);
    Floats read = x, residual(random, values), weight(random, weight_width), bias(random, weight_width);
    Floats apart = x;
    float *out = (s.in_place ? read : apart).data();
    apart.data()[values] = read.data()[values] = 77;
    {
        emulation::Late late;
        late.add(read.memory);
        late.add(residual.memory);
        norm({{s.kind, s.groups, 1e-2f},
              read.data(),
              s.weight ? weight.data() : nullptr,
              s.bias ? bias.data() : nullptr,
              s.width,
              weight_width,
              out,
              s.n,
              s.residual ? residual.data() : nullptr},
             true, nullptr);
    }
    CHECK(out[values] == 77.0f);
    size_t wrong = 0;
    for (size_t part = 0; part < size_t(s.n) * s.groups; ++part) {
        const float *row = x.data() + part * n;
        double mean = 0, squares = 0;
        for (uint32_t i = 0; i < n; ++i) mean += row[i] / double(n);
        if (s.kind == NormKind::kRms) mean = 0;
        for (uint32_t i = 0; i < n; ++i) squares += (row[i] - mean) * (row[i] - mean) / n;
        for (uint32_t i = 0; i < n; ++i) {
            const size_t at = s.whole_row ? part % s.groups * n + i : i;
            double expected = (row[i] - mean) / std::sqrt(squares + 1e-2);
            if (s.weight) expected *= weight.data()[at];
            if (s.bias) expected += bias.data()[at];
            if (s.residual) expected += residual.data()[part * n + i];
            wrong += !(std::fabs(out[part * n + i] - expected) < 2e-5);  // NaN too
        }
    }
    CAPTURE(s.width);
    CAPTURE(s.groups);
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("norms of rows of all lengths, with a residual and without") {
    for (NormKind kind : {NormKind::kRms, NormKind::kLayer})
        for (bool residual : {false, true})
            for (uint32_t width : {4u, 63u, 64u, 512u, 516u, 4096u, 4100u, 8192u, 8196u})
                for (int n : {1, 9})
                    check(
                        {.kind = kind, .width = width, .bias = kind == NormKind::kLayer, .residual = residual, .n = n});
}

TEST_CASE("norms of parts of rows") {
    for (bool whole_row : {false, true})
        for (bool weight : {false, true})
            for (const auto &[width, groups] : {std::pair(256u, 4u), {63u, 3u}, {1280u, 2u}, {17000u, 2u}}) {
                Shape s = {
                    .width = width, .groups = groups, .weight = weight, .whole_row = whole_row, .residual = true};
                check(s);
                s.bias = true;
                check(s);
            }
}
