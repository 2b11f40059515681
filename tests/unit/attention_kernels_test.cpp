// The kernels of cuda/ops/decode_attention.cu, rope_and_write.cu and flash_attention.cu on emulated blocks.
#include "emulation/late.h"
#include "unit/attention_setup.h"

#include "device.h"

#include <doctest/doctest.h>

namespace {

using namespace attention_test;

void check_rows(const CacheRows &got, const CacheRows &wanted) {
    size_t others = 0;
    for (size_t i = 0; i < got.data.size() * sizeof(uint4); ++i) others += got.bytes()[i] != wanted.bytes()[i];
    CHECK(others <= 4);  // some values lie between two of the format's numbers
}

void add_made_in_step(emulation::Late &late, Setup &s) {
    for (auto *values : {&s.q, &s.q_out, &s.own_k, &s.own_v}) late.add(*values);
    for (uint32_t t = 0; t < s.n; ++t) {
        const int32_t slot = s.slot[Setup::kGroup * s.limits.max_tokens + t];
        for (uint32_t h = 0; slot >= 0 && h < s.c.n_kv_heads; ++h)
            for (const Plane &plane : {s.k.plane, s.v.plane}) late.add(plane.row(slot, h), plane.row_bytes);
    }
}

void check_outputs(const Case &c, const Setup &s) {
    for (uint32_t t = 0; t < s.n; ++t)
        for (uint32_t h = 0; h < s.n_heads && s.sequence[t] >= 0; ++h) {
            const std::vector<double> expected = s.expected(t, h);
            const float *out = &s.out[(size_t(t) * s.n_heads + h) * c.dim];
            double error = 0, size = 0;
            for (uint32_t i = 0; i < c.dim; ++i) {
                error += (out[i] - expected[i]) * (out[i] - expected[i]);
                size += expected[i] * expected[i];
            }
            CAPTURE(t);
            CAPTURE(h);
            CHECK(std::sqrt(error / size) < (c.k == Format::kF16 ? 1e-3 : 2e-3));
        }
}

void check(const Case &c) {
    CAPTURE(int(c.kernel));
    CAPTURE(c.dim);
    CAPTURE(c.group);
    CAPTURE(c.sequence.size());
    CAPTURE(int(c.k));
    Setup s(c);
    CacheRows k_wanted = s.k, v_wanted = s.v;
    const HeadsCall call = s.call();
    static std::vector<uint4> scratch;  // of all calls, as of all layers
    auto start = [&] {
        decode_attention(
            {call, reinterpret_cast<uint8_t *>(scratch.data()), c.multiprocessors, c.kernel == Kernel::kClusters},
            nullptr);
    };
    if (c.kernel == Kernel::kFlash) {
        REQUIRE(flash_attention(call.attention, nullptr));
    } else {
        REQUIRE(decode_attention_supported(call.attention.args, call.attention.k, call.attention.v));
        scratch.resize(std::max(scratch.size(), decode_attention_scratch(call.attention.args, int(s.n)) / 16 + 1));
        start();
    }
    if (c.own_rows) s.write_own(k_wanted, v_wanted);
    check_rows(s.k, k_wanted);
    check_rows(s.v, v_wanted);
    check_outputs(c, s);
    if (c.kernel == Kernel::kFlash) return;
    emulation::Late late;
    add_made_in_step(late, s);
    std::fill(s.out.begin(), s.out.end(), NAN);
    start();
    check_outputs(c, s);
}

constexpr uint32_t kDims[] = {64, 80, 96, 128, 256};
constexpr Format kF16 = Format::kF16, kQ8 = Format::kQ8_0, kQ4 = Format::kQ4_0;

}  // namespace

TEST_CASE("one token: norms, rope and its rows of the cache, alone and in clusters of blocks") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (uint32_t dim : kDims)
            for (Format k : {kF16, kQ8, kQ4}) {
                const uint32_t group = dim / 16 % 8 + 1;
                Case c = {.kernel = kernel, .dim = dim, .group = group, .k = k, .before = {100}, .sequence = {0}};
                c.v = k == kF16 ? kF16 : kQ8;
                check(c);
                c.norms = true;
                c.rope_dims = dim;
                c.v = k;
                c.n_kv_heads = 2;
                check(c);
            }
}

TEST_CASE("one token: contexts of all lengths, in parts") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (Format format : {kF16, kQ4})
            for (int32_t before : {0, 1, 15, 16, 31, 127, 1200})
                for (int blocks : {1, 24, 130}) {
                    Case c = {.kernel = kernel, .dim = 64, .group = 5, .k = format, .v = format, .sequence = {0}};
                    c.before = {before};
                    c.rope_dims = 32;
                    c.pairs = RopePairs::kInterleaved;
                    c.multiprocessors = blocks;
                    check(c);
                }
}

TEST_CASE("one token: windows, sinks, soft-caps, groups of more heads than a block takes, padding") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (Format format : {kF16, kQ8}) {
            Case c = {.kernel = kernel, .dim = 96, .group = 4, .k = format, .v = format, .sequence = {0}};
            c.before = {700};
            for (int window : {1, 20, 400}) {
                c.window = window;
                c.sinks = window == 20;
                check(c);
            }
            c.soft_cap = 3;
            check(c);
            c.own_rows = false;
            c.group = 12;
            c.n_kv_heads = 2;
            check(c);
            c.sequence = {-1};
            c.own_rows = true;
            check(c);
        }
}

TEST_CASE("few tokens, whose rows a kernel of their own writes") {
    for (uint32_t dim : kDims)
        for (Format format : {kF16, kQ8, kQ4}) {
            Case c = {.kernel = Kernel::kDecode, .dim = dim, .group = 2, .n_kv_heads = 2, .k = format, .v = format};
            c.before = {40, 150};
            c.sequence = {1, 0, 1, -1, 1};
            c.norms = true;
            c.rope_dims = dim / 2;
            check(c);
            c.kernel = Kernel::kClusters;
            c.rope_dims = 0;
            c.tree = true;
            c.sequence = {0, 0, 0, 1, 0, 0, 0, 0};
            c.sinks = true;
            check(c);
            c.sequence = {1, 1};
            c.tree = false;
            c.window = 33;
            c.soft_cap = 5;
            check(c);
            // The rows of this step in the second unit of a warp.
            c.before = {40, 100};
            c.window = 0;
            c.multiprocessors = 1;
            check(c);
            c.own_rows = false;
            check(c);
        }
}

TEST_CASE("many tokens") {
    for (uint32_t dim : kDims)
        for (Format format : {kF16, kQ8, kQ4}) {
            Case c = {.kernel = Kernel::kFlash, .dim = dim, .group = dim / 16 % 8 + 1, .k = format, .v = format};
            c.own_rows = false;
            c.before = {90};
            c.window = 50;
            c.sequence.assign(24, 0);
            check(c);
            c.sequence = {0, 0, 1, 1, 0, -1, 2, 0, 0, 1, -1};
            c.before = {70, 0, 130};
            c.window = 0;
            c.sinks = true;
            c.soft_cap = 4;
            c.n_kv_heads = 2;
            check(c);
            c.tree = true;
            c.sinks = false;
            check(c);
        }
}
