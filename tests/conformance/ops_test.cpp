// Ops beyond those of a plain transformer, compared with the reference backend: norms, gates, factors, recurrent state,
// windows, sinks and soft caps.
#include "model_parts.h"

namespace el::conformance {
namespace {

constexpr auto kActivations = {ActivationKind::kNone,        ActivationKind::kSilu,    ActivationKind::kGelu,
                               ActivationKind::kReluSquared, ActivationKind::kSigmoid, ActivationKind::kClampedSwiglu};

// ---- rows: ops alone, and where linears take them in

void test_norms(Context &c) {
    for (NormKind kind : {NormKind::kRms, NormKind::kLayer})
        for (const NormParts &p : {NormParts{},
                                   {1, false, false},
                                   {1, true, true},
                                   {1, false, true},
                                   {4, true, true},
                                   {4, true, true, true},

                                   {4, false, false}}) {
            const std::string name = el::format("{}op norm {} groups={} {}{}{}", c.prefix, int(kind), p.groups,
                                                p.weight, p.bias, p.whole_row);
            if (!c.report.wanted(name)) continue;
            Model alone(c.seed), fused(c.seed);
            alone.finish(norm(alone, alone.embed(50, 64), kind, p));
            ValueId x = norm(fused, fused.embed(50, 64), kind, p);
            fused.finish(dense(fused, x, 40));
            for (int n : {1, 13}) {
                compare(c, el::format("{} tokens={}", name, n), alone, {.threads = 2}, {tokens(n)}, 1e-5);
                compare(c, el::format("{} fused tokens={}", name, n), fused, {.threads = 2}, {tokens(n)}, 1e-5);
            }
        }
}

void test_gates(Context &c) {
    for (ActivationKind a : kActivations)
        for (int form = 0; form < 6; form++) {
            const std::string name = el::format("{}op gate {} form={}", c.prefix, activation_name(a), form);
            if (!c.report.wanted(name)) continue;
            Model m(c.seed);
            ValueId x = m.embed(50, 64), y = norm(m, x, NormKind::kRms, {});
            if (form == 0) m.finish(gate(m, a, x, y));
            if (form == 1) m.finish(gate(m, a, x));
            if (form == 2) m.finish(gate(m, a, dense(m, y, 1), x));
            if (form == 3) m.finish(gate(m, a, dense(m, y, 40, true), dense(m, y, 40, true)));
            if (form == 4) m.finish(gate(m, a, dense(m, y, 40, true)));
            if (form == 5) m.finish(add(m, x, scale(m, dense(m, gate(m, a, dense(m, y, 70)), 64), 0.3f)));
            for (int n : {1, 13}) compare(c, el::format("{} tokens={}", name, n), m, {.threads = 2}, {tokens(n)}, 1e-5);
        }
}

void test_factors(Context &c) {
    struct Case {
        const char *name;
        void (*build)(Model &, ValueId x);
    };
    static const Case kCases[] = {
        {"scale", [](Model &m, ValueId x) { m.finish(scale(m, x, 0.4f)); }},
        {"scale by a weight", [](Model &m, ValueId x) { m.finish(scale(m, x, 0.4f, 0, true)); }},
        {"scale by position", [](Model &m, ValueId x) { m.finish(scale(m, x, 0.4f, 3, true)); }},
        {"scale of a linear by position", [](Model &m, ValueId x) { m.finish(scale(m, dense(m, x, 40), 0.4f, 3)); }},
        {"residual of a factor by a weight",
         [](Model &m, ValueId x) { m.finish(add(m, scale(m, dense(m, x, 64, true), 2.0f, 0, true), x)); }},
        {"soft cap", [](Model &m, ValueId x) { m.finish(soft_cap(m, x, 0.7f)); }},
        {"soft cap of a linear", [](Model &m, ValueId x) { m.finish(soft_cap(m, dense(m, x, 90, true), 0.7f)); }},
        {"factor, soft cap and residual",
         [](Model &m, ValueId x) { m.finish(add(m, soft_cap(m, scale(m, dense(m, x, 64), 3.0f), 0.7f), x)); }},
        {"soft cap, then factor",
         [](Model &m, ValueId x) { m.finish(scale(m, soft_cap(m, dense(m, x, 64), 0.7f), 3.0f)); }},
        {"capped output rows",
         [](Model &m, ValueId x) {
             ValueId rows = m.push(unary(OpKind::kOutputRows, x), 64);
             m.finish(soft_cap(m, scale(m, dense(m, norm(m, rows, NormKind::kLayer, {}), 77), 0.2f), 0.7f));
         }},
        {"slice", [](Model &m, ValueId x) { m.finish(slice(m, x, 1, 5, 20)); }},
        {"slice in groups", [](Model &m, ValueId x) { m.finish(slice(m, dense(m, x, 72), 4, 3, 9)); }},
        {"gated slices of a linear",
         [](Model &m, ValueId x) {
             ValueId y = dense(m, x, 128);
             ValueId a = gate(m, ActivationKind::kSigmoid, slice(m, y, 2, 32, 32), slice(m, y, 2, 0, 32));
             m.finish(add(m, x, dense(m, a, 64)));
         }},
        {"norm between linear and residual",
         [](Model &m, ValueId x) {
             ValueId y = norm(m, dense(m, norm(m, x, NormKind::kRms, {}), 64), NormKind::kRms, {});
             x = add(m, x, y);
             m.finish(add(m, x, dense(m, norm(m, x, NormKind::kRms, {}), 64)));
         }},
        {"residual that only a row op made",
         [](Model &m, ValueId x) {
             ValueId y = add(m, dense(m, x, 64), scale(m, x, 2.0f));
             ValueId z = scale(m, y, 0.5f);
             m.finish(add(m, z, dense(m, norm(m, z, NormKind::kRms, {}), 64)));
         }},
    };
    for (const Case &test : kCases) {
        const std::string name = el::format("{}op {}", c.prefix, test.name);
        if (!c.report.wanted(name)) continue;
        Model m(c.seed);
        test.build(m, m.embed(50, 64));
        for (int n : {1, 2, 13})
            compare(c, el::format("{} tokens={}", name, n), m, {.threads = 2}, {tokens(n), tokens(1), tokens(3, 1)},
                    1e-5);
    }
}

// ---- recurrent state

}  // namespace

ValueId short_conv(Model &m, ValueId x, uint32_t kernel, bool bias, ActivationKind activation) {
    const uint32_t channels = width(m, x);
    Op op = unary(OpKind::kShortConv, x);
    op.weight[0] = m.add_tensor(Format::kF32, channels, kernel, kUseVector, 0.5f);
    if (bias) op.weight[1] = m.vector(channels, 0);
    op.short_conv = {uint32_t(m.program.state_layers.size()), kernel, activation};
    m.program.state_layers.push_back({size_t(kernel - 1) * channels});
    return m.push(op, channels);
}

ValueId delta_rule(Model &m, ValueId x, DeltaRuleArgs args) {
    Op op = unary(OpKind::kDeltaRule, dense(m, x, 2 * args.n_k_heads * args.dim_k + args.n_v_heads * args.dim_v));
    op.in[1] = dense(m, x, args.n_v_heads);
    op.in[2] = dense(m, x, args.n_v_heads);
    op.weight[0] = m.vector(args.n_v_heads, -0.5f);
    op.weight[1] = m.vector(args.n_v_heads, 0.2f);
    args.state = uint32_t(m.program.state_layers.size());
    op.delta_rule = args;
    m.program.state_layers.push_back({size_t(args.n_v_heads) * args.dim_k * args.dim_v});
    return m.push(op, args.n_v_heads * args.dim_v);
}

ValueId selective_scan(Model &m, ValueId x, SelectiveScanArgs args) {
    Op op =
        unary(OpKind::kSelectiveScan, dense(m, x, args.n_heads * args.head_dim + 2 * args.n_groups * args.state_dim));
    op.in[1] = dense(m, x, args.n_heads);
    op.weight[0] = m.vector(args.n_heads, -0.5f);
    op.weight[1] = m.vector(args.n_heads, 1.0f);
    op.weight[2] = m.vector(args.n_heads, 0.2f);
    args.state = uint32_t(m.program.state_layers.size());
    op.selective_scan = args;
    m.program.state_layers.push_back({size_t(args.n_heads) * args.head_dim * args.state_dim});
    return m.push(op, args.n_heads * args.head_dim);
}

namespace {

// One batch, chunks, token by token; tokens of several sequences in turns.
void compare_recurrent(Context &c, const std::string &name, const Model &m) {
    if (!c.report.wanted(name)) return;
    const Setup setup{.isa = c.isa, .threads = 2};
    const std::vector<Tokens> chunks = {tokens(7), tokens(7), tokens(1), tokens(5)};
    const std::vector<Tokens> singles(20, tokens(1));
    Tokens turns;
    turns.sequence = {0, 1, 0, 2, 1, 0, 0, 2, 1};
    compare(c, name + " batch", m, setup, {tokens(20)}, 1e-5);
    compare(c, name + " turns", m, setup, {turns, tokens(1, 1), turns, tokens(4, 2), tokens(1)}, 1e-5);
    std::vector<Tokens> few;  // as few as devices prepare steps for, of sequences that come and go
    for (const std::vector<int> &some : std::vector<std::vector<int>>{{2},
                                                                      {0, 1},
                                                                      {1, 1, 0},
                                                                      {2, 0, 0, 1, 2},
                                                                      {0},
                                                                      {1, 2, 0, 0, 1, 1, 2},
                                                                      {1},
                                                                      {0, 1, 2, 2, 2, 2, 2, 2},
                                                                      {1, 2}})
        few.push_back({.sequence = some, .every = false});
    compare(c, name + " few", m, setup, few, 1e-5);
    const std::vector<float> batch = flat(run(*c.tested, m, setup, {tokens(20)}));
    c.report.compare(name + " chunks", batch, flat(run(*c.tested, m, setup, chunks)), 1e-5);
    c.report.compare(name + " single tokens", batch, flat(run(*c.tested, m, setup, singles)), 1e-5);
}

void test_recurrent(Context &c) {
    for (uint32_t kernel : {1u, 2u, 3u, 4u, 9u})
        for (uint32_t channels : {5u, 64u, 140u})
            for (bool silu : {false, true}) {
                Model m(c.seed);
                m.finish(short_conv(m, m.embed(50, channels), kernel, silu,
                                    silu ? ActivationKind::kSilu : ActivationKind::kNone));
                compare_recurrent(c, el::format("{}conv kernel={} channels={} {}", c.prefix, kernel, channels, silu),
                                  m);
            }
    for (const DeltaRuleArgs &a : {DeltaRuleArgs{0, 2, 2, 32, 32, 1e-6f},
                                   {0, 2, 4, 16, 20, 1e-6f},
                                   {0, 1, 2, 30, 150, 1e-3f},
                                   {0, 1, 1, 128, 128, 1e-6f}}) {
        Model m(c.seed);
        m.finish(delta_rule(m, m.embed(50, 48), a));
        compare_recurrent(c, el::format("{}delta {} of {} x {}", c.prefix, a.n_v_heads, a.dim_k, a.dim_v), m);
    }
    for (const SelectiveScanArgs &a :
         {SelectiveScanArgs{0, 4, 16, 1, 32}, {0, 4, 10, 2, 20}, {0, 3, 64, 3, 128}, {0, 2, 3, 1, 5}}) {
        Model m(c.seed);
        m.finish(selective_scan(m, m.embed(50, 48), a));
        compare_recurrent(c, el::format("{}scan {} of {} x {}", c.prefix, a.n_heads, a.head_dim, a.state_dim), m);
    }
    Model m(c.seed);
    ValueId x = m.embed(50, 48);
    for (int layer = 0; layer < 2; layer++) {
        ValueId n = norm(m, x, NormKind::kRms, {}), y = dense(m, n, 3 * 48);
        ValueId conv = short_conv(m, gate(m, ActivationKind::kNone, slice(m, y, 1, 0, 48), slice(m, y, 1, 96, 48)), 3,
                                  false, ActivationKind::kNone);
        x = add(m, x, dense(m, gate(m, ActivationKind::kNone, slice(m, y, 1, 48, 48), conv), 48));
        ValueId delta = delta_rule(m, norm(m, x, NormKind::kRms, {}), {0, 2, 4, 16, 16, 1e-6f});
        ValueId z = dense(m, x, 64);
        x = add(m, x, dense(m, gate(m, ActivationKind::kSilu, z, norm(m, delta, NormKind::kRms, {4})), 48));
        x = add(m, x, dense(m, selective_scan(m, norm(m, x, NormKind::kRms, {}), {0, 4, 16, 1, 32}), 48));
    }
    m.finish(x);
    compare_recurrent(c, c.prefix + "recurrent layers", m);
}

// ---- attention

void test_attention(Context &c) {
    for (uint32_t window : {0u, 1u, 20u, 32u, 70u})
        for (int parts = 0; parts < 4; parts++) {
            const bool sinks = parts & 1, cap = parts & 2;
            const std::string name =
                el::format("{}attention window={} {}{}", c.prefix, window, sinks ? "sinks " : "", cap ? "cap" : "");
            if (!c.report.wanted(name)) continue;
            for (uint32_t heads : {1u, 6u}) {
                const AttentionArgs a{0, heads * 2, 2, 24, 20, 0.3f, cap ? 1.5f : 0.0f};
                Model m(c.seed);
                ValueId x = m.embed(50, 48), q = dense(m, x, a.n_heads * 24), k = dense(m, x, 48);
                ValueId y = m.attend(q, k, dense(m, x, 40), a);
                if (sinks) m.program.ops.back().weight[0] = m.vector(a.n_heads, 1.0f);
                m.finish(add(m, x, dense(m, y, 48)));
                m.program.cache_groups[0].window = window;
                const Setup exact{.threads = 3, .cache_k = Format::kF32, .cache_v = Format::kF32};
                compare(c, el::format("{} heads={}", name, heads), m, exact, conversation(), 1e-5);
                for (auto [k, v] : {std::pair(Format::kQ8_0, Format::kQ4_0), {Format::kQ4_0, Format::kQ8_0}})
                    compare(c, el::format("{} heads={} {} {}", name, heads, format_info(k).name, format_info(v).name),
                            m, {.threads = 3, .cache_k = k, .cache_v = v}, conversation(), tolerance_of_cache(k, v, 1));
                Setup deep = exact;
                deep.max_rows = 300;
                if (heads == 1)
                    compare(c, name + " long", m, deep, {tokens(280), tokens(1), tokens(2), tokens(1)}, 1e-5);
            }
        }
}

// Beyond the original context other frequency factors apply.
void test_long_rope(Context &c) {
    const std::string name = c.prefix + "op rope of a long context";
    if (!c.report.wanted(name)) return;
    Model m(c.seed);
    m.finish(m.rope(m.embed(50, 64), 2, 32, 32, RopePairs::kHalves, true));
    Op &op = m.program.ops[1];
    op.rope.original_context = 100;
    op.weight[1] = m.add_tensor(Format::kF32, 1, 16, kUseVector, 0.1f, 4.0f);
    std::vector<float> results[2];
    for (uint32_t rows : {64u, 128u}) {
        const Setup setup{.isa = c.isa, .threads = 2, .max_rows = rows};
        compare(c, el::format("{} {}", name, rows), m, setup, {tokens(30)}, 1e-5);
        results[rows == 128] = flat(run(*c.tested, m, setup, {tokens(30)}));
    }
    c.report.check(name + " differs", results[0] != results[1], "the factors made no difference");
}

}  // namespace

void test_ops(Context &c) {
    test_norms(c);
    test_gates(c);
    test_factors(c);
    test_recurrent(c);
    test_attention(c);
    test_long_rope(c);
}

}  // namespace el::conformance
