// Attention in all the shapes that fast kernels tell apart, from the raw queries and keys on: sizes of heads, query
// heads for a KV head, formats of the cache, windows, sinks, soft caps, long contexts and trees of drafts.
#include "harness.h"

#include <cmath>
#include <span>

namespace el::conformance {
namespace {

using Cache = std::pair<Format, Format>;  // of keys and values
constexpr Cache kCaches[] = {{Format::kF16, Format::kF16},
                             {Format::kQ8_0, Format::kQ8_0},
                             {Format::kQ4_0, Format::kQ4_0},
                             {Format::kQ8_0, Format::kQ4_0}};
constexpr Cache kOtherCaches[] = {{Format::kF32, Format::kF32},
                                  {Format::kF16, Format::kQ8_0},
                                  {Format::kQ4_0, Format::kF16},
                                  {Format::kQ8_0, Format::kF32}};

struct Shape {
    uint32_t dim, group, kv_heads = 2;
    bool norm = false, sinks = false;
    int rope = 0;  // 0: none, halves, interleaved, part of a head, with factors
    float soft_cap = 0;
    uint32_t window = 0;
    uint32_t dim_v = 0;  // 0: dim
};

Model build(uint32_t seed, const Shape &s) {
    Model m(seed);
    const uint32_t heads = s.group * s.kv_heads, dim_v = s.dim_v ? s.dim_v : s.dim;
    constexpr uint32_t kWidth = 16;  // what goes in and out is tested elsewhere
    ValueId x = m.embed(50, kWidth);
    auto dense = [&](ValueId in, uint32_t rows, uint32_t cols) {
        return m.linear(in, m.matrix(Format::kF32, rows, cols));
    };
    auto positioned = [&](ValueId v, uint32_t n) {
        if (s.norm) v = m.norm(v, n);
        if (s.rope == 0) return v;
        const uint32_t dims = s.rope == 3 ? s.dim / 4 * 2 : s.dim;
        return m.rope(v, n, s.dim, dims, s.rope == 2 ? RopePairs::kInterleaved : RopePairs::kHalves, s.rope == 4);
    };
    ValueId q = positioned(dense(x, heads * s.dim, kWidth), heads);
    ValueId k = positioned(dense(x, s.kv_heads * s.dim, kWidth), s.kv_heads);
    ValueId v = dense(x, s.kv_heads * dim_v, kWidth);
    ValueId y = m.attend(q, k, v, {0, heads, s.kv_heads, s.dim, dim_v, 0.2f, s.soft_cap});
    if (s.sinks) m.program.ops.back().weight[0] = m.vector(heads, 1.0f);
    m.program.cache_groups[0].window = s.window;
    m.finish(dense(y, kWidth, heads * dim_v));
    return m;
}

std::string name_of(const Context &c, const Shape &s) {
    return el::format("{}heads of {}{}: {} x {}{}{}{}{}{}", c.prefix, s.dim, s.dim_v ? el::format("/{}", s.dim_v) : "",
                      s.kv_heads, s.group, s.norm ? " norm" : "", s.sinks ? " sinks" : "",
                      s.rope ? el::format(" rope {}", s.rope) : "", s.soft_cap ? " cap" : "",
                      s.window ? " window" : "");
}

void compare_caches(Context &c, const Shape &s, const std::vector<Tokens> &steps, const char *what, uint32_t max_rows,
                    std::span<const Cache> caches = kCaches) {
    const std::string name = name_of(c, s) + what;
    if (!c.report.wanted(name)) return;
    const Model m = build(c.seed, s);
    for (auto [k, v] : caches)
        compare(c, el::format("{} {} {}", name, format_info(k).name, format_info(v).name), m,
                {.threads = 2, .cache_k = k, .cache_v = v, .max_rows = max_rows}, steps, tolerance_of_cache(k, v, 1));
}

Tokens tree(int n, int sequence) {
    Tokens t = tokens(n, sequence);
    t.tree = true;
    return t;
}

// What the kernels on matrix units do not take: large heads, keys and values of other sizes or formats. Long contexts
// are split over blocks, short ones are not.
void test_other_shapes(Context &c) {
    Tokens two = tokens(2, 0);
    two.sequence.push_back(1);
    const std::vector<Tokens> steps = {tokens(700),   tokens(1),  two,          tree(7, 0), tokens(8, 1),
                                       tokens(20, 1), tree(3, 1), tokens(1, 2), tokens(1)};
    for (const auto &[group, window] : {std::pair(1u, 300u), {3u, 0u}, {8u, 0u}, {12u, 300u}})
        compare_caches(c, {512, group, 1, false, window == 0, 1, group == 3 ? 2.0f : 0, window}, steps, " long", 768);
    for (const auto &[dim, dim_v] : {std::pair(192u, 128u), {64u, 0u}, {40u, 0u}, {20u, 516u}}) {
        compare_caches(c, {dim, 5, 2, false, true, 0, 0, 0, dim_v}, steps, " long", 768, kOtherCaches);
        if (dim_v) compare_caches(c, {dim, 1, 2, false, false, 0, 0, 0, dim_v}, steps, " long", 768);
    }
    compare_caches(c, {512, 2, 1}, {tokens(4500), tokens(1), tokens(2), tokens(1)}, " deep", 4544,
                   std::span(kCaches).first(1));
}

// Where GPUs come to split it in another way, but not the layers whose windows stay below; of one window the first rows
// seen lie within what is taken at once.
void test_long_context(Context &c, uint32_t dim, std::span<const Cache> caches) {
    const std::string name =
        el::format("{}heads of {}: 1 x 3, and 2 x 2 and 3 x 1 with windows, turning long", c.prefix, dim);
    if (!c.report.wanted(name)) return;
    Model m(c.seed);
    const ValueId x = m.embed(50, 48);
    auto attend = [&](uint32_t kv_heads, uint32_t heads, bool positioned = false) {
        auto dense = [&](uint32_t rows) { return m.linear(x, m.matrix(Format::kF32, rows, 48)); };
        auto heads_of = [&](uint32_t n) {
            const ValueId y = dense(n * dim);
            return positioned ? m.rope(m.norm(y, n), n, dim, dim, RopePairs::kHalves, false) : y;
        };
        const ValueId q = heads_of(heads), k = heads_of(kv_heads), v = dense(kv_heads * dim);
        const ValueId y = m.attend(q, k, v, {0, heads, kv_heads, dim, dim, 0.2f, 0});
        return m.linear(y, m.matrix(Format::kF32, 48, heads * dim));
    };
    const ValueId all = attend(1, 3, true), few = attend(2, 4), most = attend(3, 3);
    m.finish(m.binary(OpKind::kAdd, m.binary(OpKind::kAdd, all, few), most));
    m.program.cache_groups[1].window = 300;
    m.program.cache_groups[2].window = 4099;
    for (auto [k, v] : caches)
        compare(c, el::format("{} {} {}", name, format_info(k).name, format_info(v).name), m,
                {.threads = 2, .cache_k = k, .cache_v = v, .max_rows = 4192},
                {tokens(4092), tokens(1), tokens(2), tokens(1), tokens(1), tree(7, 0), tokens(1), tokens(4), tokens(1)},
                tolerance_of_cache(k, v, 1));
}

// A query that is no number must not become an answer that is one: of the first head all is NaN, of the others nothing.
void test_broken_queries(Context &c, uint32_t dim, float soft_cap) {
    const std::string name = el::format("{}heads of {}{}: NaN stays NaN", c.prefix, dim, soft_cap > 0 ? " cap" : "");
    if (!c.report.wanted(name)) return;
    Model m(c.seed);
    const ValueId x = m.embed(50, 16);
    auto dense = [&](uint32_t rows) { return m.linear(x, m.matrix(Format::kF32, rows, 16)); };
    const WeightRef queries = m.matrix(Format::kF32, 3 * dim, 16);
    reinterpret_cast<float *>(m.data[size_t(queries.tensor)].data())[0] = NAN;
    const ValueId q = m.linear(x, queries), k = dense(dim), v = dense(dim);
    m.finish(m.attend(q, k, v, {0, 3, 1, dim, dim, 0.2f, soft_cap}));
    for (Format cache : {Format::kF16, Format::kQ8_0}) {
        const std::vector<float> got =
            flat(run(*c.tested, m, {.isa = c.isa, .threads = 2, .cache_k = cache, .cache_v = cache, .max_rows = 736},
                     {tokens(1), tokens(3), tokens(1), tokens(700), tokens(1), tokens(4), tokens(20)}));
        size_t wrong = 0;
        for (size_t i = 0; i < got.size(); i++) wrong += std::isnan(got[i]) != (i / dim % 3 == 0);
        c.report.check(el::format("{} {}", name, format_info(cache).name), wrong == 0,
                       el::format("{} of {} values are off", wrong, got.size()));
    }
}

}  // namespace

void test_attention_shapes(Context &c) {
    const bool gpu = c.prefix == "cuda ";
    int i = 0;
    for (uint32_t dim : {16u, 24u, 32u, 64u, 80u, 96u, 128u, 256u, 512u})
        for (uint32_t group = 1; group <= 8; ++group, ++i) {
            if (!gpu && i % 5) continue;  // other backends tell fewer of them apart
            const Shape s{dim,        group, 1 + uint32_t(i % 3),   i % 2 == 0,
                          i % 3 == 1, i % 5, i % 4 == 3 ? 2.0f : 0, i % 7 == 6 ? 20u : 0u};
            compare_caches(c, s, conversation(), "", 64);
        }
    for (uint32_t dim : {64u, 128u, 256u}) {
        compare_caches(c, {dim, 12, 1}, conversation(), "", 64);
        compare_caches(c, {dim, 4, 2, true, false, 1}, {tokens(20), tree(7, 0), tokens(9, 1), tree(40, 1), tree(3, 1)},
                       " tree", 96);
        Tokens two = tokens(2, 0), many = tokens(20, 0);
        two.sequence.push_back(1);
        many.sequence.insert(many.sequence.end(), 30, 1);
        // Past what a worker of the CPU takes alone, 128 rows; devices split more.
        const int before = c.report.wants_large() ? 700 : 280;
        for (uint32_t window : {0u, c.report.wants_large() ? 300u : 150u})
            compare_caches(c, {dim, 3, 1, false, true, 1, 0, window},
                           {tokens(before), tokens(1), two, many, tokens(1, 1)}, " long", 768);
    }
    for (uint32_t dim : {16u, 64u, 80u, 128u, 256u, 512u})
        for (float soft_cap : {0.0f, 2.0f}) test_broken_queries(c, dim, soft_cap);
    if (gpu) test_other_shapes(c);
    // Rows of a step anywhere in what blocks and their warps take, behind others of the same warp.
    if (gpu)
        for (uint32_t dim : {64u, 128u}) {
            std::vector<Tokens> steps(31, tokens(2));
            steps[0] = tokens(599);
            compare_caches(c, {dim, 3, 1}, steps, " pairs", 672);
        }
    // So long that parts of it meet at last in the memory of the device.
    if (gpu)
        compare_caches(c, {64, 2, 1, false, false, 1}, {tokens(4500), tokens(1), tokens(2), tokens(1)}, " deep", 4544);
    if (gpu)
        for (uint32_t dim : {64u, 80u, 128u, 256u})
            test_long_context(c, dim, dim == 64 || dim == 128 ? kCaches : std::span(kCaches).last(1));
}

}  // namespace el::conformance
