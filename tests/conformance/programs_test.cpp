// Whole programs, compared with the reference backend: fused stages, single ops, caches, several sequences.
#include "harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

namespace el::conformance {

std::vector<float> flat(const std::vector<std::vector<float>> &parts) {
    std::vector<float> all;
    for (const std::vector<float> &p : parts) all.insert(all.end(), p.begin(), p.end());
    return all;
}

namespace {

// What the reference makes when its weights, those of floats, differ as sums in another order would: of eight such, and
// of `expected`, the nearest to `got`. Values may tie that decide about many, as two opposite ones do that both could
// give a block of Q4_0 its scale.
std::vector<float> nearest(const Backend &reference, const Model &model, const Setup &setup,
                           const std::vector<Tokens> &steps, std::vector<float> expected,
                           const std::vector<float> &got) {
    for (uint32_t i = 0; i < 8; i++) {
        Model other = model;
        Random random(i);
        for (size_t t = 0; t < other.tensors.size(); t++) {
            if (other.tensors[t].format != Format::kF32) continue;
            auto *values = reinterpret_cast<float *>(other.data[t].data());
            for (size_t j = 0; j < other.data[t].size() / sizeof(float); j++) values[j] *= 1 + 1e-6f * random.normal();
        }
        std::vector<float> made = flat(run(reference, other, setup, steps));
        if (relative_error(made, got) < relative_error(expected, got)) expected = std::move(made);
    }
    return expected;
}

}  // namespace

Tokens tokens(int n, int sequence) { return {std::vector<int>(size_t(n), sequence), false}; }

void compare(Context &c, const std::string &name, const Model &model, Setup setup, const std::vector<Tokens> &steps,
             double tolerance) {
    if (!c.report.wants_case(name)) return;
    setup.isa = c.isa;
    // What the reference says is the same for all instruction sets.
    static std::map<std::string, std::vector<float>> known;
    std::vector<float> &expected = known[name.substr(c.prefix.size())];
    Setup simple = setup;
    simple.threads = 1;
    if (expected.empty()) expected = flat(run(*c.reference, model, simple, steps));
    const auto got = run(*c.tested, model, setup, steps);
    const bool halves = std::any_of(model.tensors.begin(), model.tensors.end(), [](const WeightTensor &t) {
        return (t.uses & kUseMatrix) && (t.format == Format::kF16 || t.format == Format::kBF16);
    });
    if (halves) tolerance = std::max(tolerance, c.least_tolerance);
    const bool quantized = format_info(setup.cache_k).values > 1 || format_info(setup.cache_v).values > 1;
    const std::vector<float> made = flat(got);
    std::vector<float> wanted = expected;
    if (quantized && relative_error(wanted, made) > tolerance) {
        std::printf("%s: values may tie; looking for the nearest result\n", name.c_str());
        wanted = nearest(*c.reference, model, simple, steps, wanted, made);
    }
    c.report.compare(name, wanted, made, tolerance);
    if (c.report.wants_repeats())
        c.report.check(name + " again", got == run(*c.tested, model, setup, steps), "two runs differ");
}

// Rounding of activations to 8 bits; floats are only summed in another order.
double tolerance_of(Format format) { return format_info(format).values > 1 ? 1.5e-2 : 1e-5; }

double tolerance_of_cache(Format k, Format v, int n_layers) {
    // Of one layer. Devices round queries, decoded rows and shares to float16, which is 5e-4 of the result.
    auto own = [](Format f) {
        return f == Format::kQ4_0 ? 1e-2 : f == Format::kQ8_0 ? 1e-3 : f == Format::kF16 ? 5e-4 : 5e-5;
    };
    // Of each further one. What it caches differs by d, 0.8 * 5e-4 of it on average, and a value comes to lie on
    // another quant with probability d / step, off by a whole step: rows differ by the root of d * step. Of 32 normal
    // values the largest is about 2.4 times as large as they are. (The reference with such roundings is off by 2.4e-3
    // where two layers have heads of 256 in Q8_0, as devices are; 8 bits themselves round away 5e-3.)
    auto further = [&](Format f) {
        const double step = f == Format::kQ4_0 ? 2.4 / 8 : f == Format::kQ8_0 ? 2.4 / 127 : 0;
        return std::max(own(f), std::sqrt(0.8 * 5e-4 * step));
    };
    return std::max(own(k), own(v)) + (n_layers - 1) * std::max(further(k), further(v));
}

// A prompt, single tokens, few tokens, several sequences at once, an output for only the last token.
std::vector<Tokens> conversation() {
    Tokens several = tokens(3, 0), last = tokens(9, 1);
    several.sequence.insert(several.sequence.end(), 7, 1);
    several.sequence.push_back(2);
    last.last_only = true;
    return {tokens(33), tokens(1), several, tokens(3), tokens(1, 2), last, tokens(5, 2), tokens(2), tokens(8)};
}

namespace {

// What devices have kernels of few tokens for. Large shapes of all formats would take too long.
constexpr Format kCommon[] = {Format::kF32,  Format::kF16,    Format::kBF16,   Format::kQ4_0,
                              Format::kQ4_1, Format::kQ5_0,   Format::kQ5_1,   Format::kQ8_0,
                              Format::kQ2_K, Format::kQ3_K,   Format::kQ4_K,   Format::kQ5_K,
                              Format::kQ6_K, Format::kIQ4_NL, Format::kIQ4_XS, Format::kMXFP4};

void test_linears(Context &c) {
    for (Format format : formats(true)) {
        const FormatInfo &info = format_info(format);
        const uint32_t few = info.values == 1 ? 45 : info.values == 32 ? 96 : 256;
        std::vector<std::pair<uint32_t, uint32_t>> shapes = {{5, few}, {16, few}, {50, few}};
        const bool common = std::count(std::begin(kCommon), std::end(kCommon), format);
        if (!common) shapes.emplace_back(10, 5 * few);  // several blocks a row
        // More columns or rows than the warps of a large device ask for ahead.
        if (common && c.report.wants_large()) shapes.emplace_back(10, info.values == 1 ? 1096 : 60 * 1024 + 256);
        if (format == Format::kQ8_0 || format == Format::kQ4_K) shapes.emplace_back(30000, few);
        for (auto [rows, cols] : shapes) {
            const std::string name = el::format("{}linear {} rows={}", c.prefix, info.name, rows);
            if (!c.report.wanted(name)) continue;
            Model m(c.seed);
            ValueId x = m.embed(cols == few ? 50 : 20, cols);
            m.finish(m.linear(x, m.matrix(format, rows, cols), rows != 16));
            for (int n : {1, 2, 3, 7, 8, 33})
                compare(c, el::format("{} tokens={}", name, n), m, {.threads = n == 7 ? 3 : 1 + n % 2}, {tokens(n)},
                        tolerance_of(format));
        }
    }
}

// Prompts: more tokens than a tile has, rows and columns that end within one.
void test_prompts(Context &c) {
    for (Format format : formats(true)) {
        const std::string name = el::format("{}prompt {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        const uint32_t block = format_info(format).values, cols = block == 1 ? 1100 : block == 32 ? 1120 : 1280;
        Model m(c.seed);
        ValueId x = m.embed(50, cols);
        m.finish(m.linear(x, m.matrix(format, 157, cols), true));
        for (const char *route : c.prompt_routes) {
            const PromptRoute chosen(route);
            for (int n : {9, 64, 128, 200})
                compare(c, el::format("{}{} tokens={}", name, chosen.name(), n), m, {.threads = 2}, {tokens(n)},
                        tolerance_of(format));
        }
    }
}

void test_embeds(Context &c) {
    for (Format format : formats(true)) {
        const std::string name = el::format("{}embed {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        Model m(c.seed);
        m.finish(m.embed(50, 256, format));
        compare(c, name, m, {.threads = 2}, {tokens(9)}, 0);
        // Tied: the same tensor is looked up and multiplied.
        Model tied(c.seed);
        ValueId x = tied.embed(50, 256, format);
        WeightRef head = tied.program.ops[0].weight[0];
        tied.finish(tied.linear(tied.norm(x), head));
        compare(c, name + " tied", tied, {.threads = 2}, {tokens(1), tokens(9)}, tolerance_of(format));
    }
}

// Every finite number that 16 bits can be, the smallest too.
void test_all_halves(Context &c) {
    for (auto [format, exponent] : {std::pair(Format::kF16, 0x7c00u), {Format::kBF16, 0x7f80u}}) {
        const std::string name = el::format("{}embed every {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        Model m(c.seed);
        m.finish(m.embed(1, 1 << 16, format));
        for (uint32_t i = 0; i < 1 << 16; ++i) {
            const auto half = uint16_t((i & exponent) == exponent ? 0 : i);
            std::memcpy(m.data.back().data() + i * sizeof half, &half, sizeof half);
        }
        compare(c, name, m, {.threads = 2}, {tokens(1)}, 0);
    }
}

// A part of a tensor gives what a tensor of just that part gives.
void test_ranges(Context &c) {
    for (Format format : formats(true)) {
        const std::string name = el::format("{}range {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        const uint32_t block = format_info(format).values, in = block == 1 ? 24 : 2 * block;
        for (uint32_t row_begin : {0u, 16u, 23u}) {
            const uint32_t rows = 30, col_begin = block > 1 ? block : row_begin == 23 ? 8 : 7;
            Model part(c.seed), whole(c.seed);
            ValueId x = part.embed(20, in), y = whole.embed(20, in);
            WeightRef ref = whole.matrix(format, 64, 4 * in);
            ref.row_begin = row_begin;
            ref.rows = rows;
            ref.col_begin = col_begin;
            ref.cols = in;
            WeightRef cut = part.matrix(format, rows, in);
            const std::vector<float> all = decode(format, whole.data.back());
            std::vector<float> values;
            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t k = 0; k < in; k++) values.push_back(all[(row_begin + r) * 4 * in + col_begin + k]);
            // The same blocks, as decoding them and encoding again would change them.
            const size_t bytes = row_bytes(format, in);
            for (uint32_t r = 0; r < rows; r++)
                std::copy_n(whole.data.back().data() + row_bytes(format, 4 * in) * (row_begin + r) +
                                row_bytes(format, col_begin),
                            bytes, part.data.back().data() + r * bytes);
            part.finish(part.linear(x, cut));
            whole.finish(whole.linear(y, ref));
            const Setup setup{.isa = c.isa, .threads = 2};
            for (int n : {1, 11})
                c.report.compare(el::format("{} from {} tokens={}", name, row_begin, n),
                                 flat(run(*c.tested, part, setup, {tokens(n)})),
                                 flat(run(*c.tested, whole, setup, {tokens(n)})),
                                 c.one_path ? 0 : tolerance_of(format));
        }
    }
}

// Ops one by one and in unusual orders, where nothing can be fused or only a part of it.
void test_orders(Context &c) {
    struct Case {
        const char *name;
        void (*build)(Model &, ValueId x);
    };
    constexpr auto kAdd = OpKind::kAdd, kGate = OpKind::kGate;
    static const Case kCases[] = {
        {"norm", [](Model &m, ValueId x) { m.finish(m.norm(x)); }},
        {"norm in groups", [](Model &m, ValueId x) { m.finish(m.norm(x, 4)); }},
        {"norm read twice",
         [](Model &m, ValueId x) {
             ValueId n = m.norm(x);
             m.finish(m.binary(kAdd, n, m.linear(n, m.matrix(Format::kF32, 64, 64))));
         }},
        {"norm of norm",
         [](Model &m, ValueId x) { m.finish(m.linear(m.norm(m.norm(x)), m.matrix(Format::kF16, 30, 64))); }},
        {"gate", [](Model &m, ValueId x) { m.finish(m.binary(kGate, x, m.norm(x))); }},
        {"gate with itself", [](Model &m, ValueId x) { m.finish(m.binary(kGate, x, x)); }},
        {"add to itself",
         [](Model &m, ValueId x) {
             ValueId y = m.linear(x, m.matrix(Format::kF32, 64, 64));
             m.finish(m.binary(kAdd, y, y));
         }},
        {"add two linears of one input",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 40, 64)), b = m.linear(x, m.matrix(Format::kF32, 40, 64));
             m.finish(m.binary(kAdd, a, b));
         }},
        {"gate of linears with biases",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF16, 40, 64), true);
             ValueId b = m.linear(x, m.matrix(Format::kBF16, 40, 64), true);
             m.finish(m.binary(kGate, b, a));
         }},
        {"gate of linears with biases, the other way round",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF16, 40, 64), true);
             ValueId b = m.linear(x, m.matrix(Format::kF16, 40, 64), true);
             m.finish(m.binary(kGate, b, a));
         }},
        {"gate of linears of different inputs",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 40, 64));
             ValueId b = m.linear(m.norm(x), m.matrix(Format::kF32, 40, 64));
             m.finish(m.binary(kGate, a, b));
         }},
        {"mixed formats of one input",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 40, 64)), b = m.linear(x, m.matrix(Format::kQ8_0, 40, 64));
             ValueId d = m.linear(x, m.matrix(Format::kQ4_1, 40, 64));
             m.finish(m.binary(kAdd, m.binary(kAdd, a, b), d));
         }},
        {"mixed formats of a gate",
         [](Model &m, ValueId x) {
             ValueId n = m.norm(x);
             ValueId a = m.linear(n, m.matrix(Format::kQ5_0, 40, 64)), b = m.linear(n, m.matrix(Format::kQ4_1, 40, 64));
             m.finish(m.binary(kGate, a, b));
         }},
        {"mixed formats of a gate, one of which devices cut otherwise",
         [](Model &m, ValueId x) {
             ValueId n = m.norm(x);
             ValueId a = m.linear(n, m.matrix(Format::kQ8_0, 40, 64)), b = m.linear(n, m.matrix(Format::kQ4_1, 40, 64));
             m.finish(m.binary(kGate, b, a));
         }},
        {"residual later",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 64, 64)), b = m.norm(x, 2);
             m.finish(m.binary(kAdd, b, a));
         }},
        {"norm and residual",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 64, 64));
             m.finish(m.binary(kAdd, a, m.norm(a)));
         }},
        {"norm of an uneven row and residual",
         [](Model &m, ValueId x) {
             ValueId a = m.linear(x, m.matrix(Format::kF32, 61, 64)), b = m.linear(x, m.matrix(Format::kF32, 61, 64));
             m.finish(m.binary(kAdd, m.norm(b), a));
         }},
        {"norm added to itself",
         [](Model &m, ValueId x) {
             ValueId n = m.norm(x);
             m.finish(m.binary(kAdd, n, n));
         }},
        {"rows before norm and head",
         [](Model &m, ValueId x) {
             Op op;
             op.kind = OpKind::kOutputRows;
             op.in[0] = x;
             m.finish(m.linear(m.norm(m.push(op, 64)), m.matrix(Format::kF32, 77, 64)));
         }},
        {"rope of halves", [](Model &m, ValueId x) { m.finish(m.rope(x, 2, 32, 32, RopePairs::kHalves, false)); }},
        {"rope of part of a head",
         [](Model &m, ValueId x) { m.finish(m.rope(x, 4, 16, 10, RopePairs::kHalves, true)); }},
        {"rope interleaved",
         [](Model &m, ValueId x) { m.finish(m.rope(x, 2, 32, 30, RopePairs::kInterleaved, true)); }},
    };
    for (const Case &test : kCases) {
        const std::string name = el::format("{}order {}", c.prefix, test.name);
        if (!c.report.wanted(name)) continue;
        Model m(c.seed);
        test.build(m, m.embed(50, 64));
        const std::string_view kind = test.name;  // a gate has the errors of both products
        const double tolerance = !kind.starts_with("mixed") ? 1e-5 : kind.find("gate") == kind.npos ? 1.5e-2 : 3e-2;
        for (int n : {1, 2, 13})
            compare(c, el::format("{} tokens={}", name, n), m, {.threads = 2}, {tokens(n)}, tolerance);
    }
}

struct Shape {
    uint32_t width, ffn, heads, kv_heads, dim_k, dim_v, n_layers = 2;
};

ValueId layer(Model &m, ValueId x, const Shape &s, Format format, bool qk_norm, RopePairs pairs) {
    ValueId n = m.norm(x);
    ValueId q = m.linear(n, m.matrix(format, s.heads * s.dim_k, s.width));
    ValueId k = m.linear(n, m.matrix(format, s.kv_heads * s.dim_k, s.width), true);
    ValueId v = m.linear(n, m.matrix(format, s.kv_heads * s.dim_v, s.width));
    if (qk_norm) {
        q = m.norm(q, s.heads);
        k = m.norm(k, s.kv_heads);
    }
    q = m.rope(q, s.heads, s.dim_k, s.dim_k / 2 * 2, pairs, false);
    k = m.rope(k, s.kv_heads, s.dim_k, s.dim_k / 2 * 2, pairs, false);
    ValueId mixed = m.attend(q, k, v, {0, s.heads, s.kv_heads, s.dim_k, s.dim_v, 0.3f, 0});
    x = m.binary(OpKind::kAdd, x, m.linear(mixed, m.matrix(format, s.width, s.heads * s.dim_v)));
    n = m.norm(x);
    ValueId gate = m.linear(n, m.matrix(format, s.ffn, s.width)), up = m.linear(n, m.matrix(format, s.ffn, s.width));
    ValueId down = m.linear(m.binary(OpKind::kGate, gate, up), m.matrix(format, s.width, s.ffn));
    return m.binary(OpKind::kAdd, x, down);
}

Model transformer(uint32_t seed, const Shape &s, Format format, bool qk_norm, RopePairs pairs) {
    Model m(seed);
    ValueId x = m.embed(60, s.width);
    for (uint32_t i = 0; i < s.n_layers; i++) x = layer(m, x, s, format, qk_norm, pairs);
    Op rows;
    rows.kind = OpKind::kOutputRows;
    rows.in[0] = x;
    x = m.norm(m.push(rows, s.width));
    m.finish(m.linear(x, m.program.ops[0].weight[0]));
    return m;
}

void test_layers(Context &c) {
    for (Format format : formats(true)) {
        const std::string name = el::format("{}layers {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        const bool super = format_info(format).values > 32, floats = format_info(format).values == 1;
        const Shape s = super ? Shape{256, 512, 8, 4, 32, 32} : Shape{96, 160, 6, 2, 16, 16};
        Model m = transformer(c.seed, s, format, false, RopePairs::kInterleaved);
        compare(c, name, m, {.threads = 2}, conversation(), floats ? 1e-4 : 3e-2);
    }
    // Heads of many sizes, the caches' formats.
    for (uint32_t dim : {4u, 16u, 24u, 64u, 80u, 96u, 128u, 256u, 512u}) {
        const std::string name = el::format("{}heads of {}", c.prefix, dim);
        if (!c.report.wanted(name)) continue;
        const Shape s{32, 48, 3, 1, dim, dim == 80 ? 36 : dim};
        Model m = transformer(c.seed, s, Format::kF32, dim == 64, RopePairs::kHalves);
        for (Format k : kCacheFormats)
            for (Format v : kCacheFormats)
                compare(c, el::format("{} cache {} {}", name, format_info(k).name, format_info(v).name), m,
                        {.threads = 2, .cache_k = k, .cache_v = v}, conversation(), tolerance_of_cache(k, v, 2));
    }
}

// Rows that devices take 1024 columns at a time, the last time fewer.
void test_wide_layers(Context &c) {
    for (Format format : kCommon) {
        const std::string name = el::format("{}wide layers {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        const bool super = format_info(format).values > 32;
        const Shape s = super ? Shape{1280, 2304, 2, 1, 128, 128, 1} : Shape{1120, 2080, 3, 1, 32, 32, 1};
        static std::map<Format, Model> models;  // kept for the other instruction sets, as encoders are slow
        if (!models.count(format)) models.emplace(format, transformer(c.seed, s, format, true, RopePairs::kHalves));
        compare(c, name, models.at(format), {.threads = 2},
                {tokens(1), tokens(2), tokens(3), tokens(5), tokens(8), tokens(1)},
                std::max(1e-4, tolerance_of(format)));
    }
}

// So long a past that single tokens share a head among workers; many query heads for a kv head.
void test_long(Context &c) {
    const std::string name = c.prefix + "long";
    if (!c.report.wanted(name)) return;
    for (uint32_t heads : {1u, 3u, 40u}) {
        Model m = transformer(c.seed, {64, 64, heads, 1, 24, 24}, Format::kF32, false, RopePairs::kHalves);
        Tokens three = tokens(2, 0);
        three.sequence.push_back(1);
        compare(c, el::format("{} heads={}", name, heads), m,
                {.threads = 3, .cache_k = Format::kF32, .cache_v = Format::kF32, .max_rows = 500},
                {tokens(451), tokens(1), three, tokens(40, 1)}, 1e-4);
    }
}

void test_refusals(Context &c) {
    const std::string name = c.prefix + "refuses";
    if (!c.report.wanted(name)) return;
    auto refuses = [&](const char *what, Model &m, Setup setup) {
        bool refused = false;
        try {
            run(*c.tested, m, setup, {tokens(1)});
        } catch (const Error &error) {
            refused = error.status() == Status::kUnsupported;
        }
        c.report.check(el::format("{} {}", name, what), refused, "was not refused");
    };
    Model cache = transformer(c.seed, {64, 64, 2, 1, 32, 32}, Format::kF32, false, RopePairs::kHalves);
    refuses("keys in Q4_1", cache, {.cache_k = Format::kQ4_1});
    refuses("values in Q5_0", cache, {.cache_v = Format::kQ5_0});
    Model side(c.seed);
    ValueId x = side.embed(5, 64);
    side.finish(side.linear(x, side.matrix(Format::kF32, 3, 64)));
    side.program.ops[1].weight[0].side[0] = {SideRole::kTensorScale, 0};
    refuses("side tensors", side, {});
}

}  // namespace

void test_programs(Context &c) {
    test_linears(c);
    test_prompts(c);
    test_embeds(c);
    test_all_halves(c);
    test_ranges(c);
    test_orders(c);
    test_layers(c);
    if (c.report.wants_large()) test_wide_layers(c);
    test_long(c);
    test_refusals(c);
}

}  // namespace el::conformance
