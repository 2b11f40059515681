// The kernels of cuda/ops/attention.cu, decode_attention.cu, rope_and_write.cu and flash_attention.cu on emulated
// blocks.
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

// The kernel for all shapes multiplies in float32; others have queries in float16, which large scores feel.
double tolerance_of(const Case &c) {
    if (c.loud_row >= 0) return 2e-2;
    return c.kernel == Kernel::kAny ? 1e-5 : c.k == Format::kF16 ? 1e-3 : 2e-3;
}

void check_outputs(const Case &c, Setup &s) {
    for (uint32_t t = 0; t < s.n; ++t)
        for (uint32_t h = 0; h < s.n_heads && s.sequence[t] >= 0; ++h) {
            const std::vector<double> &expected = s.expected(t, h);
            const float *out = &s.out[(size_t(t) * s.n_heads + h) * c.v_dim()];
            double error = 0, size = 0;
            for (uint32_t i = 0; i < c.v_dim(); ++i) {
                error += (out[i] - expected[i]) * (out[i] - expected[i]);
                size += expected[i] * expected[i];
            }
            CAPTURE(t);
            CAPTURE(h);
            CHECK(std::sqrt(error / size) < tolerance_of(c));
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
    static std::vector<uint4> scratch;                    // of all calls, as of all layers
    const bool clusters = c.kernel == Kernel::kClusters;  // of chips that have bulk copies as well
    emulation::has_bulk_copies = clusters;
    auto start = [&] {
        decode_attention(
            {call, reinterpret_cast<uint8_t *>(scratch.data()), c.multiprocessors, clusters, c.long_context}, nullptr);
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
    // Two of the four ways in which copies arrive, the others in the next case; with clusters both that there are.
    static unsigned n_cases = 0;
    ++n_cases;
    for (bool early : {false, true}) {
        const bool first = early == (n_cases % 2 == 0);
        emulation::has_bulk_copies = first || clusters;
        emulation::fitting_blocks = first ? 1 : 2;
        emulation::early_copies = early;
        std::fill(s.out.begin(), s.out.end(), NAN);
        start();
        check_outputs(c, s);
    }
    emulation::has_bulk_copies = emulation::early_copies = false;
    emulation::fitting_blocks = 4;
}

// The kernel for all shapes; whether parts of what tokens see met in memory.
bool check_any(const Case &c) {
    CAPTURE(c.dim);
    CAPTURE(c.dim_v);
    CAPTURE(c.group);
    CAPTURE(c.sequence.size());
    CAPTURE(int(c.k));
    CAPTURE(int(c.v));
    Setup s(c);
    const AttentionCall call = s.call().attention;
    constexpr size_t kBehind = 64;  // bytes that are nobody's
    std::vector<uint8_t> scratch(attention_scratch(call.args, s.limits.max_pages, c.multiprocessors) + kBehind, 0xff);
    auto start = [&] {
        std::fill(s.out.begin(), s.out.end(), NAN);
        attention(call, {scratch.data(), c.multiprocessors, false}, nullptr);
        CHECK(std::count(scratch.end() - kBehind, scratch.end(), 0xff) == kBehind);
        check_outputs(c, s);
        for (uint32_t t = 0; t < s.n; ++t) {
            const auto first = s.out.begin() + ptrdiff_t(size_t(t) * s.n_heads * c.v_dim());
            if (s.sequence[t] < 0)
                CHECK(std::count(first, first + s.n_heads * c.v_dim(), 0.0f) == s.n_heads * c.v_dim());
        }
    };
    start();
    const std::vector<float> once = s.out;
    emulation::Late late;
    add_made_in_step(late, s);
    late.add(scratch);
    start();
    CHECK(s.out == once);
    return std::count(scratch.begin(), scratch.end(), 0xff) < ptrdiff_t(scratch.size());
}

template <typename T> T one_of(std::mt19937 &random, std::initializer_list<T> all) {
    return all.begin()[random() % all.size()];
}

// Any shape, in any situation.
Case any_case(std::mt19937 &random) {
    Case c = {.kernel = Kernel::kAny, .dim = one_of(random, {16u, 20u, 24u, 32u, 40u, 96u, 130u, 512u})};
    c.dim_v = one_of(random, {0u, 0u, 16u, 18u, 40u, 80u, 512u, 520u});
    c.group = one_of(random, {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 11u});
    c.n_kv_heads = 1 + uint32_t(random() % 3);
    c.k = one_of(random, {Format::kF32, Format::kF16, Format::kQ8_0, Format::kQ4_0});
    c.v = one_of(random, {Format::kF32, Format::kF16, Format::kQ8_0, Format::kQ4_0});
    for (int i = 0; i < 2; ++i) c.before.push_back(one_of(random, {0, 1, 31, 33, 63, 64, 100, 300, 500}));
    c.sequence.resize(1 + random() % 8);
    for (int32_t &sequence : c.sequence) sequence = one_of(random, {0, 0, 0, 1, -1});
    c.window = one_of(random, {0, 0, 1, 20, 100});
    c.soft_cap = one_of(random, {0.0f, 0.0f, 3.0f});
    c.sinks = random() % 3 == 0;
    c.tree = random() % 3 == 0;
    c.own_rows = false;
    c.multiprocessors = one_of(random, {1, 2, 8, 24});
    return c;
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
                c.v = k == kQ8 ? kQ4 : k == kQ4 ? kQ8 : kF16;
                check(c);
                c.norms = true;
                c.rope_dims = dim;
                c.v = k;
                c.n_kv_heads = 2;
                check(c);
            }
}

TEST_CASE("one token: norms of K, of V and of both, with weights for all heads, for each and without") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (uint32_t dim : kDims)
            for (uint32_t group : {4u, 12u}) {
                Case c = {.kernel = kernel, .dim = dim, .group = group, .n_kv_heads = 2, .before = {40}};
                c.sequence = {0};
                c.v_norm = true;
                c.head_weights = true;
                check(c);
                c.norms = true;
                c.rope_dims = dim / 2;
                check(c);
                c.pairs = RopePairs::kInterleaved;
                c.norm_weights = false;
                check(c);
                c.v_norm = false;
                check(c);
            }
}

TEST_CASE("one token: contexts of all lengths, in parts") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (const auto &[dim, format] : {std::pair(64u, kF16), {64u, kQ8}, {64u, kQ4}, {128u, kF16}})
            for (int32_t before : {0, 1, 15, 16, 31, 127, 1200})
                for (int blocks : {1, 24, 130}) {
                    Case c = {.kernel = kernel, .dim = dim, .group = 5, .k = format, .v = format, .sequence = {0}};
                    c.before = {before};
                    c.norms = dim == 128;
                    c.rope_dims = 32;
                    c.pairs = RopePairs::kInterleaved;
                    c.multiprocessors = blocks;
                    check(c);
                    c.long_context = true;
                    if (kernel == Kernel::kClusters) check(c);
                }
}

TEST_CASE("one token: more pages for a warp than lanes") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (const auto &[dim, format] : {std::pair(64u, kF16), {128u, kF16}, {256u, kF16}, {64u, kQ8}, {256u, kQ4}}) {
            Case c = {.kernel = kernel, .dim = dim, .k = format, .v = format, .sequence = {0}};
            c.before = {kernel == Kernel::kDecode ? 8300 : 4300};
            c.multiprocessors = 1;
            check(c);
            c.long_context = true;
            if (kernel == Kernel::kClusters) check(c);
        }
}

TEST_CASE("one token: a score far above the others, anywhere in what a warp has at once") {
    for (int32_t row : {5, 16, 70, 300, 590})
        for (const auto &[dim, format] : {std::pair(64u, kF16), {128u, kF16}, {64u, kQ4}, {128u, kQ8}}) {
            Case c = {.kernel = Kernel::kClusters, .dim = dim, .group = 4, .k = format, .v = format, .sequence = {0}};
            c.before = {600};
            c.multiprocessors = 2;
            c.loud_row = row;
            check(c);
            c.long_context = true;
            check(c);
        }
}

TEST_CASE("one token: values of all sizes that float16 has") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (Format format : {kF16, kQ8, kQ4})
            for (const auto &[first, last] : {std::pair(2e-4f, 2e-4f), {1e-3f, 1e4f}, {1e4f, 1e-3f}, {1e4f, 1e4f}}) {
                Case c = {.kernel = kernel, .dim = 128, .group = 3, .k = format, .v = format, .sequence = {0}};
                c.before = {600};
                c.multiprocessors = 2;
                c.first_size = first;
                c.last_size = last;
                check(c);
                c.long_context = kernel == Kernel::kClusters;
                if (c.long_context) check(c);
            }
}

TEST_CASE("one token: a score far above the others, with large values of either sign or of one") {
    for (Format format : {kF16, kQ8, kQ4})
        for (int32_t row : {5, 70, 300, 590})
            for (bool positive : {false, true}) {
                Case c = {.kernel = Kernel::kClusters, .dim = 128, .group = 4, .k = format, .v = format};
                c.sequence = {0};
                c.before = {600};
                c.multiprocessors = 2;
                c.loud_row = row;
                c.first_size = c.last_size = format == kF16 ? 1e4f : 1e5f;
                c.positive_values = positive;
                check(c);
                c.long_context = true;
                check(c);
            }
}

TEST_CASE("one token: windows, sinks, soft-caps, groups of more heads than a block takes, padding") {
    for (Kernel kernel : {Kernel::kDecode, Kernel::kClusters})
        for (const auto &[dim, format] : {std::pair(96u, kF16), {96u, kQ8}, {128u, kF16}})
            for (bool long_context : {false, true}) {
                if (long_context && kernel == Kernel::kDecode) continue;
                Case c = {.kernel = kernel, .dim = dim, .group = 4, .k = format, .v = format, .sequence = {0}};
                c.before = {700};
                c.long_context = long_context;
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
            c.long_context = true;
            check(c);
            c.long_context = false;
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

TEST_CASE("few tokens, in any shape of heads and any formats of the cache") {
    std::mt19937 random(11);
    bool split = false;
    for (int i = 0; i < 100; ++i) {
        CAPTURE(i);
        split |= check_any(any_case(random));
    }
    CHECK(split);
}

TEST_CASE("large heads: parts of long contexts on all multiprocessors, short ones in one block") {
    for (uint32_t group = 1; group <= 8; ++group) {
        Case c = {.kernel = Kernel::kAny, .dim = 512, .group = group, .before = {700}, .sequence = {0}};
        c.own_rows = false;
        CHECK(check_any(c));
        c.before = {40};
        CHECK(!check_any(c));
    }
}

TEST_CASE("any shape of heads: more pages in a part than lanes") {
    Case c = {.kernel = Kernel::kAny, .dim = 40, .n_kv_heads = 3, .before = {2300}, .sequence = {0}};
    c.own_rows = false;
    c.multiprocessors = 1;
    check_any(c);
}

TEST_CASE("more parts of a context than lanes put together") {
    Case c = {.kernel = Kernel::kAny, .dim = 16, .group = 2, .before = {3000}, .sequence = {0, 0}};
    c.own_rows = false;
    c.sinks = true;
    c.multiprocessors = 40;
    CHECK(check_any(c));
}

TEST_CASE("more tokens than steps of few have, in shapes that matrix units do not take") {
    for (Format format : {kF16, kQ8}) {
        Case c = {.kernel = Kernel::kAny, .dim = 40, .group = 3, .k = format, .v = format, .before = {90, 3}};
        c.sequence.assign(9, 0);
        c.sequence.insert(c.sequence.end(), {1, -1, 1});
        c.own_rows = false;
        CHECK(!check_any(c));
    }
}
