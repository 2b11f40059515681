// Random use of the page cache against a simple model of it: who owns which page.
#include "cache/cache.h"

#include <doctest/doctest.h>
#include <random>
#include <set>
#include <vector>

using namespace el;

TEST_CASE("pages are owned once, given back, and never lost") {
    const std::vector<CacheGroup> groups(2);
    const uint32_t n_pages[] = {10, 12};  // fewer than all sequences could fill
    const CacheLimits limits{4, 5, n_pages};
    ArenaSizer sizer;
    Cache sized(groups, limits, sizer);
    Arena arena(sizer.bytes());
    Cache cache(groups, limits, arena);
    CHECK(cache.max_tokens() == 5 * kPageTokens);
    CHECK(arena.used() == arena.bytes());

    std::mt19937 random(1);
    std::vector<uint32_t> length(4, 0), pages(4, 0);
    auto pages_for = [](uint32_t n) { return (n + kPageTokens - 1) / kPageTokens; };
    for (int i = 0; i < 20000; ++i) {
        const uint32_t s = random() % 4;
        const uint32_t used = pages[0] + pages[1] + pages[2] + pages[3];
        REQUIRE(cache.room(s) == std::min(5u, pages[s] + 10 - used) * kPageTokens - length[s]);
        if (random() % 3) {
            const uint32_t n = length[s] + 1 + random() % 40;
            const bool fits = pages_for(n) <= 5 && (pages_for(n) <= pages[s] || pages_for(n) - pages[s] <= 10 - used);
            REQUIRE(cache.reserve(s, n) == fits);
            if (!fits) continue;
            pages[s] = std::max(pages[s], pages_for(n));
            if (random() % 4 == 0) continue;  // a step that failed: nothing is committed
            cache.commit(s, length[s] = n, int32_t(n));
        } else {
            length[s] = length[s] ? random() % length[s] : 0;
            cache.truncate(s, length[s], int32_t(length[s]));
            pages[s] = pages_for(length[s]);
        }
        for (uint32_t g = 0; g < 2; ++g) {
            std::set<int32_t> seen;
            for (uint32_t q = 0; q < 4; ++q)
                for (uint32_t row = 0; row < pages[q] * kPageTokens; row += kPageTokens) {
                    const int32_t slot = cache.slot(g, q, row);
                    REQUIRE(slot >= 0);
                    REQUIRE(slot < int32_t(n_pages[g] * kPageTokens));
                    REQUIRE(slot % int32_t(kPageTokens) == 0);
                    REQUIRE(seen.insert(slot).second);
                }
        }
        REQUIRE(cache.length(s) == length[s]);
        REQUIRE(cache.next_position(s) == int32_t(length[s]));
    }
}
