// The kernels of cuda/ops/recurrent.cu on emulated blocks, against the reference backend's functions: steps as they are
// captured, with fewer tokens and sequences than they have room for.
#include "emulation/late.h"

#include "backend/reference/ops.h"
#include "device.h"
#include "ops.h"
#include "random_values.h"

#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <random>
#include <vector>

namespace {

using namespace el;

std::vector<float> random_floats(size_t n, float scale = 1) {
    static std::mt19937 random(3);
    return el::random_floats(random, n, scale);
}

constexpr int32_t kMost = 8, kSlots = 2 * kMost;  // tokens and sequences; slots of state

// What a step says of sequences; those whose state_after is -1 are not there.
struct Sequences {
    std::vector<int32_t> of_token, first, before, after;

    Step step() {
        REQUIRE(first.size() == after.size());
        REQUIRE(before.size() == after.size());
        Step s;
        s.limits.max_tokens = s.limits.max_sequences = kMost;
        s.n_tokens = int32_t(of_token.size());
        s.n_sequences = int32_t(after.size());
        s.sequence_of = of_token.data();
        s.first_token = first.data();
        s.state_before = before.data();
        s.state_after = after.data();
        return s;
    }
};

// An op as its kernel does it, and as the reference does it for a sequence.
struct Case {
    size_t floats, width;  // of a slot, of a row of the result
    std::function<void(const cuda::StateCall &call)> kernel;
    std::function<void(const reference::SequenceTokens &tokens, reference::StateSlots state, float *out)> expected;
};

size_t n_different(const std::vector<float> &a, const std::vector<float> &b) {
    size_t n = 0;
    for (size_t i = 0; i < a.size(); ++i) n += !(std::fabs(a[i] - b[i]) <= 1e-5f);
    return n;
}

void check(const Case &c, Sequences sequences, cuda::StateCall call) {
    std::vector<float> state = random_floats(kSlots * c.floats + 1), expected_state = state;  // never NULL
    std::vector<float> out(kMost * c.width, 77), expected(out);
    call.step = sequences.step();
    call.state = state.data();
    call.floats = c.floats;
    call.out = out.data();
    {
        emulation::Late late;
        late.add(state);
        c.kernel(call);
    }
    for (int32_t s = 0; s < call.step.n_sequences; ++s) {
        const int32_t before = sequences.before[size_t(s)], after = sequences.after[size_t(s)];
        if (after < 0) continue;
        auto slot = [&](int32_t i) { return expected_state.data() + size_t(i) * c.floats; };
        c.expected({call.step, s}, {before < 0 ? nullptr : slot(before), slot(after)}, expected.data());
    }
    CHECK(n_different(out, expected) == 0);  // nothing for tokens of no sequence
    CHECK(n_different(state, expected_state) == 0);
}

// Several tokens of a sequence, in turns; one that begins, one without a token; more room than is needed.
const Sequences kSteps[] = {
    {{0}, {0}, {3}, {4}},
    {{0, 1, 0, 2, 1, -1, -1, -1},
     {0, 1, 3, 8, 0, 0, 0, 0},
     {3, -1, 9, 12, -1, -1, -1, -1},
     {4, 0, 8, 13, -1, -1, -1, -1}},
    {{0, 0, 0, -1}, {0, 5, -1, 0}, {-1, -1, -1, -1}, {15, -1, -1, -1}},
    {{7, 6, 5, 4, 3, 2, 1, 0}, {7, 6, 5, 4, 3, 2, 1, 0}, {0, 2, 4, 6, 8, 10, 12, 14}, {1, 3, 5, 7, 9, 11, 13, 15}},
};

}  // namespace

TEST_CASE("short convolutions of several sequences") {
    for (uint32_t kernel : {1u, 2u, 4u})
        for (uint32_t channels : {5u, 150u}) {
            const ShortConvArgs args{0, kernel, ActivationKind::kSilu};
            const auto x = random_floats(kMost * channels), weight = random_floats(kernel * channels),
                       bias = random_floats(channels);
            const Case c{(kernel - 1) * channels, channels,
                         [&](const cuda::StateCall &call) { cuda::short_conv(args, call, channels, true, nullptr); },
                         [&](const auto &tokens, reference::StateSlots state, float *out) {
                             for (uint32_t i = 0; i < channels; ++i)
                                 reference::short_conv(args,
                                                       {x.data(), weight.data() + i * kernel, bias.data(), channels, i},
                                                       tokens, state, out);
                         }};
            for (const Sequences &step : kSteps)
                check(c, step, {{}, nullptr, 0, {x.data()}, {weight.data(), bias.data()}, nullptr});
        }
}

TEST_CASE("delta rules of several sequences") {
    for (const DeltaRuleArgs &args : {DeltaRuleArgs{0, 2, 4, 16, 20, 1e-6f}, {0, 1, 2, 30, 150, 1e-3f}}) {
        const uint32_t heads = args.n_v_heads, in = 2 * args.n_k_heads * args.dim_k + heads * args.dim_v;
        const auto qkv = random_floats(kMost * in), decay = random_floats(kMost * heads),
                   strength = random_floats(kMost * heads), bias = random_floats(heads);
        const std::vector<float> rate(heads, -0.5f);
        std::vector<float> scratch(2 * args.dim_k + args.dim_v);
        const size_t head = size_t(args.dim_k) * args.dim_v;
        const Case c{
            heads * head, heads * args.dim_v,
            [&](const cuda::StateCall &call) { cuda::delta_rule(args, call, true, nullptr); },
            [&](const auto &tokens, reference::StateSlots state, float *out) {
                for (uint32_t h = 0; h < heads; ++h)
                    reference::delta_rule(
                        args, {qkv.data(), decay.data(), strength.data(), rate.data(), bias.data(), scratch.data()}, h,
                        tokens, {state.before ? state.before + h * head : nullptr, state.after + h * head}, out);
            }};
        for (const Sequences &step : kSteps)
            check(c, step,
                  {{}, nullptr, 0, {qkv.data(), decay.data(), strength.data()}, {rate.data(), bias.data()}, nullptr});
    }
}

TEST_CASE("selective scans of several sequences") {
    for (const SelectiveScanArgs &args : {SelectiveScanArgs{0, 4, 10, 2, 20}, {0, 2, 3, 1, 70}}) {
        const uint32_t heads = args.n_heads, in = heads * args.head_dim + 2 * args.n_groups * args.state_dim;
        const auto xbc = random_floats(kMost * in), dt = random_floats(kMost * heads), skip = random_floats(heads),
                   bias = random_floats(heads);
        const std::vector<float> rate(heads, -0.5f);
        const size_t head = size_t(args.head_dim) * args.state_dim;
        const Case c{heads * head, heads * args.head_dim,
                     [&](const cuda::StateCall &call) { cuda::selective_scan(args, call, true, nullptr); },
                     [&](const auto &tokens, reference::StateSlots state, float *out) {
                         for (uint32_t h = 0; h < heads; ++h)
                             reference::selective_scan(
                                 args, {xbc.data(), dt.data(), rate.data(), skip.data(), bias.data()}, h, tokens,
                                 {state.before ? state.before + h * head : nullptr, state.after + h * head}, out);
                     }};
        for (const Sequences &step : kSteps)
            check(c, step, {{}, nullptr, 0, {xbc.data(), dt.data()}, {rate.data(), skip.data(), bias.data()}, nullptr});
    }
}
