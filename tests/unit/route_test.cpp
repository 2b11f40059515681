// The kernel of cuda/ops/route.cu on emulated blocks.
#include "emulation/late.h"

#include "device.h"
#include "ops.h"
#include "random_values.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <numeric>
#include <random>
#include <vector>

namespace {

using namespace el;

void check(const RouteArgs &args, const std::vector<float> &logits, const std::vector<int32_t> &sequence_of = {}) {
    const size_t n = logits.size() / args.n_experts, used = args.n_used;
    std::vector<float> out(n * 2 * used + 1, 77);
    std::vector<float> late_logits = logits;
    {
        emulation::Late late;
        late.add(late_logits);
        cuda::route(args, late_logits.data(), sequence_of.empty() ? nullptr : sequence_of.data(), out.data(), int(n),
                    true, nullptr);
    }
    CHECK(out.back() == 77);
    for (size_t row = 0; row < n; ++row) {
        const size_t from = !sequence_of.empty() && sequence_of[row] < 0 ? 0 : row;
        const float *x = logits.data() + from * args.n_experts, *got = out.data() + row * 2 * used;
        std::vector<uint32_t> order(args.n_experts);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](uint32_t a, uint32_t b) { return x[a] > x[b] || (x[a] == x[a] && x[b] != x[b]); });
        double sum = 0, chosen = 0;
        for (float one : std::vector<float>(x, x + args.n_experts)) sum += std::exp(double(one) - x[order[0]]);
        auto share = [&](size_t i) { return std::exp(double(x[order[i]]) - x[order[0]]) / sum; };
        for (size_t i = 0; i < used; ++i) chosen += share(i);
        for (size_t i = 0; i < used; ++i) {
            CHECK(got[i] == float(order[i]));
            const double wanted = share(i) * args.scale / (args.normalize ? chosen : 1);
            if (sum == sum) CHECK(got[used + i] == doctest::Approx(wanted).epsilon(1e-5));
        }
    }
}

}  // namespace

TEST_CASE("the largest logits, and their shares") {
    std::mt19937 random(5);
    RandomNormal normal(0, 2);
    for (uint32_t n_experts : {1u, 3u, 32u, 60u, 128u, 512u})
        for (uint32_t n_used : {1u, 2u, 4u, 8u, 40u})
            for (bool normalize : {false, true}) {
                if (n_used > n_experts) continue;
                std::vector<float> logits(5 * n_experts);
                for (float &x : logits) x = normal(random);
                check({n_experts, n_used, normalize, 1.5f}, logits);
                check({n_experts, n_used, normalize, 1.5f}, logits, {0, 2, 1, -1, -1});
            }
}

TEST_CASE("the first of equals; what is no number loses") {
    std::vector<float> logits(70, 1.0f);
    logits[40] = 3, logits[69] = 3, logits[5] = -0.0f, logits[6] = 0.0f;
    check({70, 6, true, 1}, logits);
    check({70, 70, false, 1}, logits);
    logits[0] = logits[40] = NAN;
    logits[1] = -INFINITY;
    check({70, 3, false, 1}, logits);
    check({70, 70, false, 1}, logits);
}
