// Mixtures of experts, compared with the reference backend.
#include "model_parts.h"

namespace el::conformance {
namespace {

ValueId route(Model &m, ValueId x, const Experts &e) {
    Op op = unary(OpKind::kRoute, dense(m, x, e.n));
    op.route = {e.n, e.used, e.normalize, 1.3f};
    return m.push(op, 2 * e.used);
}

ValueId experts(Model &m, ValueId x, ValueId route, Format format, uint32_t rows, const Experts &e, bool own_input) {
    const uint32_t cols = width(m, x) / (own_input ? e.used : 1);
    Op op = unary(OpKind::kExpertLinear, x);
    op.in[1] = route;
    op.weight[0] = m.matrix(format, e.n * rows, cols);
    if (e.bias) op.weight[1] = m.vector(e.n * rows, 0);
    op.expert = {e.n, e.used, own_input};
    return m.push(op, e.used * rows);
}

ValueId scaled(Model &m, ValueId parts, ValueId route, const Experts &e, bool bias) {
    Op op = unary(OpKind::kExpertScale, parts);
    op.in[1] = route;
    op.weight[0] = m.vector(e.n, 1.0f);
    if (bias) op.weight[1] = m.vector(e.n * (width(m, parts) / e.used), 0.1f);
    return m.push(op, width(m, parts));
}

ValueId combine(Model &m, ValueId parts, ValueId route, uint32_t rows) {
    Op op = unary(OpKind::kCombine, parts);
    op.in[1] = route;
    return m.push(op, rows);
}

}  // namespace

ValueId mixture(Model &m, ValueId x, Format format, const Experts &e, ActivationKind activation) {
    const uint32_t n = width(m, x);
    ValueId y = norm(m, x, NormKind::kRms, {}), r = route(m, y, e);
    ValueId a = experts(m, y, r, format, e.ffn, e, false), b = experts(m, y, r, format, e.ffn, e, false);
    return combine(m, experts(m, gate(m, activation, a, b), r, format, n, e, true), r, n);
}

namespace {

// As many tokens as 33 reach experts with every size of group; several sequences do not matter here.
void compare_experts(Context &c, const std::string &name, const Model &m, double tolerance) {
    for (int n : {1, 2, 7, 33})
        compare(c, el::format("{} tokens={}", name, n), m, {.threads = n == 7 ? 3 : 1 + n % 2}, {tokens(n)}, tolerance);
}

void test_mixtures(Context &c) {
    for (Format format : formats(true)) {
        const std::string name = el::format("{}experts {}", c.prefix, format_info(format).name);
        if (!c.report.wanted(name)) continue;
        const bool super = format_info(format).values == 256;
        Model m(c.seed);
        ValueId x = m.embed(50, super ? 256 : 64);
        m.finish(add(m, x, mixture(m, x, format, {8, 2, super ? 256u : 128u, true}, ActivationKind::kSilu)));
        compare_experts(c, name, m, format_info(format).values > 1 ? 2e-2 : 1e-5);
    }
    for (const Experts &e : {Experts{4, 1, 40}, {4, 4, 40, true, false}, {32, 8, 24}, {5, 3, 21, true}, {6, 2, 7}}) {
        const std::string name = el::format("{}experts n={} used={} ffn={}", c.prefix, e.n, e.used, e.ffn);
        if (!c.report.wanted(name)) continue;
        for (uint32_t n : {64u, 50u}) {  // rows of an expert may end within a panel
            Model m(c.seed);
            ValueId x = m.embed(50, n);
            m.finish(add(m, x, mixture(m, x, Format::kF32, e, ActivationKind::kClampedSwiglu)));
            compare_experts(c, el::format("{} width={}", name, n), m, 1e-5);
        }
    }
}

// Few tokens with experts in common, some or all, which are then read once; rows of several slots.
void test_shared_experts(Context &c) {
    for (Format format : {Format::kQ4_K, Format::kQ8_0})
        for (const Experts &e : {Experts{6, 6, 256, true}, {12, 3, 256}}) {
            const std::string name = el::format("{}experts shared {} n={}", c.prefix, format_info(format).name, e.n);
            if (!c.report.wanted(name)) continue;
            Model m(c.seed);
            ValueId x = m.embed(50, 1280);
            m.finish(add(m, x, mixture(m, x, format, e, ActivationKind::kSilu)));
            for (int n = 1; n <= 8; n++)
                compare(c, el::format("{} tokens={}", name, n), m, {.threads = 2}, {tokens(n)}, 2e-2);
        }
}

// So many rows that the rings through which large chips' warps read them are filled again.
void test_long_experts(Context &c) {
    const std::string name = c.prefix + "experts rows=8192";
    if (!c.report.wanted(name) || !c.report.wants_large()) return;
    const Experts e = {5, 4, 8192, true};
    Model m(c.seed);
    ValueId x = m.embed(50, 256), r = route(m, x, e);
    m.finish(combine(m, experts(m, x, r, Format::kQ4_K, e.ffn, e, false), r, e.ffn));
    for (int n : {1, 4}) compare(c, el::format("{} tokens={}", name, n), m, {.threads = 2}, {tokens(n)}, 2e-2);
}

// Many tokens for each expert; one that none has chosen; rows that end within a tile.
void test_expert_prompts(Context &c) {
    for (Format format : {Format::kQ4_K, Format::kQ8_0, Format::kF16, Format::kIQ3_S, Format::kMXFP4, Format::kNVFP4})
        for (const Experts &e : {Experts{3, 2, 102, true}, {40, 1, 102}}) {
            const std::string name = el::format("{}experts prompt {} n={}", c.prefix, format_info(format).name, e.n);
            if (!c.report.wanted(name)) continue;
            Model m(c.seed);
            ValueId x = m.embed(50, 512), r = route(m, x, e);
            m.finish(combine(m, experts(m, x, r, format, e.ffn, e, false), r, e.ffn));
            for (const char *route : c.prompt_routes) {
                const PromptRoute chosen(route);
                compare(c, name + chosen.name(), m, {.threads = 2}, {tokens(200)}, tolerance_of(format));
            }
        }
}

// What is fused in a mixture, op by op and in other orders.
void test_expert_orders(Context &c) {
    struct Case {
        const char *name;
        void (*build)(Model &, ValueId x, ValueId r, const Experts &e);
    };
    static const Case kCases[] = {
        {"route", [](Model &m, ValueId, ValueId r, const Experts &) { m.finish(r); }},
        {"one input", [](Model &m, ValueId x, ValueId r,
                         const Experts &e) { m.finish(experts(m, x, r, Format::kF32, 30, e, false)); }},
        {"own inputs",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             m.finish(experts(m, dense(m, x, e.used * 20), r, Format::kF16, 30, e, true));
         }},
        {"combine",
         [](Model &m, ValueId x, ValueId r, const Experts &) { m.finish(combine(m, dense(m, x, 3 * 20), r, 20)); }},
        {"combine, factor and residual",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             ValueId y = combine(m, experts(m, x, r, Format::kF32, 64, e, false), r, 64);
             m.finish(add(m, scale(m, y, 0.2f), x));
         }},
        {"scale of each",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             m.finish(combine(m, scaled(m, experts(m, x, r, Format::kF32, 64, e, false), r, e, false), r, 64));
         }},
        {"scale and bias of each",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             m.finish(scaled(m, experts(m, x, r, Format::kF32, 30, e, false), r, e, true));
         }},
        {"activation, then combine and soft cap",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             ValueId y = gate(m, ActivationKind::kReluSquared, experts(m, x, r, Format::kF32, 64, e, false));
             m.finish(soft_cap(m, combine(m, y, r, 64), 0.5f));
         }},
        {"residual of the parts",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             ValueId y = dense(m, x, e.used * 30);
             m.finish(add(m, y, experts(m, x, r, Format::kF32, 30, e, false)));
         }},
        {"two routes",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             ValueId other = route(m, norm(m, x, NormKind::kLayer, {}), e);
             ValueId y = combine(m, experts(m, x, r, Format::kF32, 64, e, false), r, 64);
             m.finish(add(m, y, combine(m, experts(m, x, other, Format::kF32, 64, e, false), other, 64)));
         }},
        {"shared expert",
         [](Model &m, ValueId x, ValueId r, const Experts &e) {
             ValueId y = combine(m, experts(m, x, r, Format::kF32, 64, e, false), r, 64);
             ValueId shared = dense(m, gate(m, ActivationKind::kSilu, dense(m, x, 48), dense(m, x, 48)), 64);
             shared = gate(m, ActivationKind::kSigmoid, dense(m, x, 1), shared);
             m.finish(add(m, x, add(m, y, shared)));
         }},
    };
    for (const Case &test : kCases) {
        const std::string name = el::format("{}experts {}", c.prefix, test.name);
        if (!c.report.wanted(name)) continue;
        const Experts e{7, 3, 0, true};
        Model m(c.seed);
        ValueId x = m.embed(50, 64);
        test.build(m, x, route(m, x, e), e);
        compare_experts(c, name, m, 1e-5);
    }
    const std::string name = c.prefix + "experts of output rows";
    if (!c.report.wanted(name)) return;
    Model m(c.seed);
    ValueId x = m.push(unary(OpKind::kOutputRows, m.embed(50, 64)), 64);
    m.finish(mixture(m, x, Format::kF32, {8, 2, 32}, ActivationKind::kSilu));
    compare_experts(c, name, m, 1e-5);
}

}  // namespace

void test_experts(Context &c) {
    test_mixtures(c);
    test_shared_experts(c);
    test_long_experts(c);
    test_expert_prompts(c);
    test_expert_orders(c);
}

}  // namespace el::conformance
