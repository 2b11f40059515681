// The kernels of cuda/ops/cache.cu on emulated blocks, in all formats of caches.
#include "random_values.h"
#include "unit/attention_setup.h"

#include <doctest/doctest.h>

namespace {

using namespace attention_test;

constexpr uint32_t kHeads = 2, kPages = 3;
const std::vector<int32_t> kSlots = {5, 70, 31};

struct Kind {
    Format format;
    bool rotated;
};

template <typename Visit> void for_planes(Visit visit) {
    for (const Kind &kind : {Kind{Format::kF32, false},
                             {Format::kF16, false},
                             {Format::kQ8_0, false},
                             {Format::kQ4_0, false},
                             {Format::kQ4_0, true}})
        for (uint32_t dim : {4u, 16u, 20u, 32u, 40u, 64u, 80u, 96u, 128u, 130u, 512u}) {
            CacheRows rows(kind.format, kHeads, dim, kPages);
            rows.plane.rotated = kind.rotated;
            CAPTURE(int(kind.format));
            CAPTURE(kind.rotated);
            CAPTURE(dim);
            visit(rows);
        }
}

std::vector<float> random_floats(size_t n) {
    std::mt19937 random(3);
    return el::random_floats(random, n);
}

std::vector<float> head_of(const std::vector<float> &x, const CacheRows &rows, size_t row, uint32_t head) {
    const auto first = x.begin() + ptrdiff_t((row * kHeads + head) * rows.plane.head_dim);
    return {first, first + rows.plane.head_dim};
}

// Rows for all slots of what cache_write() wrote.
std::vector<float> fill(CacheRows &rows) {
    const std::vector<float> x = random_floats(kSlots.size() * kHeads * rows.plane.head_dim);
    cache_write(rows.plane, kSlots.data(), x.data(), int(kSlots.size()), nullptr);
    return x;
}

size_t others(const CacheRows &a, const CacheRows &b) {
    size_t n = 0;
    for (size_t i = 0; i < a.data.size() * sizeof(uint4); ++i) n += a.bytes()[i] != b.bytes()[i];
    return n;
}

// What a row holds, without the transform.
std::vector<float> values_of(const CacheRows &rows, int32_t slot, uint32_t head) {
    std::vector<float> x = rows.read(slot, head);
    if (rows.plane.rotated) host::rotate_back(x.data(), rows.plane.head_dim);
    return x;
}

}  // namespace

TEST_CASE("rows are written as the formats have them, and none for tokens without a slot") {
    for_planes([](CacheRows &rows) {
        CacheRows wanted = rows;
        const std::vector<int32_t> slots = {kSlots[0], -1, kSlots[2]};
        const std::vector<float> x = random_floats(slots.size() * kHeads * rows.plane.head_dim);
        cache_write(rows.plane, slots.data(), x.data(), int(slots.size()), nullptr);
        for (size_t i : {size_t(0), size_t(2)})
            for (uint32_t h = 0; h < kHeads; ++h) wanted.write(head_of(x, rows, i, h), slots[i], h);
        // Some values that were transformed lie between two of the format's numbers.
        CHECK(others(rows, wanted) <= (rows.plane.rotated ? 8 : 0));
    });
}

TEST_CASE("packed rows are blocks of the formats, and come back the same") {
    for_planes([](CacheRows &rows) {
        CacheRows back = rows;
        fill(rows);
        const size_t row = rows.plane.row_bytes, before = 6, stride = before + kHeads * row + 2;
        std::vector<uint8_t> packed(before + kSlots.size() * stride, 0xee);
        pack_rows(rows.plane, kSlots.data(), int(kSlots.size()), packed.data() + before, stride, false, nullptr);
        for (size_t i = 0; i < kSlots.size(); ++i)
            for (uint32_t h = 0; h < kHeads; ++h) {
                std::vector<float> x(rows.padded());
                rows.info().decode(packed.data() + before + i * stride + h * row, x.size(), x.data());
                CHECK(x == rows.read(kSlots[i], h));
            }
        CHECK(std::count(packed.begin(), packed.begin() + before, 0xee) == before);
        CHECK(packed.back() == 0xee);
        pack_rows(back.plane, kSlots.data(), int(kSlots.size()), packed.data() + before, stride, true, nullptr);
        CHECK(others(back, rows) == 0);
    });
}

TEST_CASE("rows are copied to other slots") {
    for_planes([](CacheRows &rows) {
        fill(rows);
        CacheRows wanted = rows;
        const std::vector<int32_t> to = {6, 0, 95};
        copy_rows(rows.plane, kSlots.data(), to.data(), int(to.size()), nullptr);
        for (size_t i = 0; i < to.size(); ++i)
            for (uint32_t h = 0; h < kHeads; ++h)
                std::copy_n(wanted.plane.row(kSlots[i], h), wanted.plane.row_bytes, wanted.plane.row(to[i], h));
        CHECK(others(rows, wanted) == 0);
    });
}

TEST_CASE("keys are turned by some positions") {
    constexpr int kPositions = 5;
    for (RopePairs pairs : {RopePairs::kHalves, RopePairs::kInterleaved})
        for_planes([&](CacheRows &rows) {
            fill(rows);
            const CacheRows before = rows;
            const uint32_t dims = rows.plane.head_dim / 4 * 2;
            std::vector<float> frequencies(dims / 2), factors(dims / 2);
            for (uint32_t i = 0; i < dims / 2; ++i) {
                frequencies[i] = std::pow(100.0f, -2.0f * float(i) / float(dims));
                factors[i] = 1 + 0.1f * float(i % 3);
            }
            const Rope rope{{pairs, kHeads, rows.plane.head_dim, dims, 0, 1, 0}, frequencies.data(), factors.data()};
            turn_rows(rows.plane, rope, kSlots.data(), int(kSlots.size()), kPositions, nullptr);
            for (int32_t slot : kSlots)
                for (uint32_t h = 0; h < kHeads; ++h) {
                    std::vector<float> wanted = values_of(before, slot, h);
                    for (uint32_t i = 0; i < dims / 2; ++i) {
                        const bool apart = pairs == RopePairs::kHalves;
                        float &a = wanted[apart ? i : 2 * i], &b = wanted[apart ? i + dims / 2 : 2 * i + 1];
                        const double angle = kPositions * double(frequencies[i]) / factors[i], x = a, y = b;
                        a = float(x * std::cos(angle) - y * std::sin(angle));
                        b = float(x * std::sin(angle) + y * std::cos(angle));
                    }
                    const std::vector<float> got = values_of(rows, slot, h);
                    double error = 0, size = 0;
                    for (uint32_t i = 0; i < rows.plane.head_dim; ++i) {
                        error += std::pow(double(got[i]) - wanted[i], 2);
                        size += std::pow(double(wanted[i]), 2);
                    }
                    const Format format = rows.plane.format;
                    CHECK(std::sqrt(error / size) < (format == Format::kQ4_0   ? 0.2
                                                     : format == Format::kQ8_0 ? 0.01
                                                     : format == Format::kF16  ? 1e-3
                                                                               : 1e-6));
                }
        });
}
