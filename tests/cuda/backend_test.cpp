// The backend over the module, as the engine sees it: what the C ABI does not show.
#include "life.h"

#include "backend/backend.h"

#include <doctest/doctest.h>

using namespace el;

TEST_CASE("the memory of any number of cache groups is told") {
    constexpr uint32_t kGroups = 100;
    fake_cuda();
    Program program;
    program.values = {{32, Rows::kOutputs}};
    program.logits = 0;
    program.vocab = 32;
    ExecutableLimits limits;
    limits.step.max_tokens = limits.step.max_outputs = limits.step.max_sequences = 1;
    limits.step.max_pages = limits.step.context = 4;
    limits.step.n_groups = kGroups;
    limits.n_pages.assign(kGroups, 4);
    for (uint32_t g = 0; g < kGroups; ++g) {
        program.cache_groups.push_back({.n_kv_heads = g + 1, .head_dim_k = 64, .head_dim_v = 64});
        program.cache_layers.push_back({g, 0});
    }
    const auto regions = create_cuda_backend()->memory(program, limits, 1);
    REQUIRE(regions.size() > kGroups);
    for (uint32_t g = 0; g < kGroups; ++g) {
        CHECK(regions[g].cache_group == int32_t(g));
        CHECK(regions[g].bytes == 2 * 4 * kPageTokens * (g + 1) * 64 * sizeof(uint16_t));  // K and V, F16
    }
    CHECK(regions.back().name == "pinned best tokens");
}
