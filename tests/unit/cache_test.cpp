// Random use of the page cache against a simple model of it: every row of every sequence must lie where its content was
// written, whatever is shared, dropped, copied or evicted.
#include "cache/cache.h"

#include <doctest/doctest.h>
#include <optional>
#include <random>

using namespace el;

namespace {

struct Row {
    int32_t token, position;
    int64_t content;  // what its keys and values stand for: the same text before it, or a number of its own
    bool operator==(const Row &) const = default;
};

// A cache, what its pages hold, and the rows that each sequence should have.
class Model {
  public:
    static constexpr uint32_t kSequences = 4, kRows = 5 * kPageTokens, kStep = 40;

    Model(std::vector<CacheGroup> groups, Eviction eviction, bool reuse)
        : groups_(std::move(groups)), limits_{kSequences, kRows, kStep, eviction, reuse} {
        std::vector<uint32_t> n_pages;
        for (const CacheGroup &g : groups_) n_pages.push_back(pages_per_sequence(g, limits_) * kSequences);
        ArenaSizer sizer;
        Cache sized(groups_, limits_, n_pages, sizer);
        arena_ = Arena(sizer.bytes());
        cache.emplace(groups_, limits_, n_pages, arena_);
        CHECK(arena_.used() == arena_.bytes());
        for (uint32_t n : n_pages) memory_.emplace_back(size_t(n) * kPageTokens, -1);
    }

    std::optional<Cache> cache;
    std::vector<Row> rows[kSequences];

    void append(uint32_t s, const std::vector<int32_t> &tokens, bool fail = false) {
        CacheEdits edits;
        while (limits_.eviction != Eviction::kNone && rows[s].size() + tokens.size() > kRows) {
            REQUIRE(cache->evict(s, edits));
            apply(edits);
            plain_[s] = false;
            const size_t begin = limits_.eviction == Eviction::kSinks ? kPageTokens : 0;
            rows[s].erase(rows[s].begin() + std::ptrdiff_t(begin),
                          rows[s].begin() + std::ptrdiff_t(begin + kPageTokens));
            for (size_t i = 0; i < begin; ++i) rows[s][i].position += int32_t(kPageTokens);
        }
        const bool fits = rows[s].size() + tokens.size() <= kRows;
        CHECK(cache->room(s) == kRows - rows[s].size());
        REQUIRE(cache->reserve(s, uint32_t(tokens.size()), edits) == fits);
        if (!fits) return;
        apply(edits);
        const int32_t next = cache->next_position(s);
        std::vector<Row> added;
        for (size_t i = 0; i < tokens.size(); ++i) {
            const uint32_t row = uint32_t(rows[s].size() + i);
            const int64_t before = !added.empty() ? added.back().content : row > 0 ? rows[s].back().content : 0;
            const int64_t content = plain_[s] ? next_content(before, tokens[i]) : --made_;
            added.push_back({tokens[i], next + int32_t(i), content});
            cache->set_row(s, row, tokens[i], added.back().position);
            for (uint32_t g = 0; g < groups_.size(); ++g) memory_[g][size_t(cache->slot(g, s, row))] = content;
        }
        if (fail) return;
        cache->commit(s, uint32_t(tokens.size()), next + int32_t(tokens.size()));
        rows[s].insert(rows[s].end(), added.begin(), added.end());
    }

    void truncate(uint32_t s, uint32_t n) {
        if (!cache->can_truncate(s, n)) return;
        cache->truncate(s, n);
        rows[s].resize(n);
        if (n == 0) plain_[s] = true;
    }

    void fork(uint32_t from, uint32_t to) {
        cache->truncate(to, 0);
        cache->fork(from, to);
        rows[to] = rows[from];
        plain_[to] = plain_[from];
    }

    void remove(uint32_t s, uint32_t begin, uint32_t end) {
        CacheEdits edits;
        if (!cache->whole(s) || !cache->make_private(s, begin, edits)) return;
        apply(edits);
        for (uint32_t g = 0; g < groups_.size(); ++g)
            for (uint32_t row = end; row < rows[s].size(); ++row) at(g, s, row - (end - begin)) = at(g, s, row);
        cache->close_gap(s, begin, end);
        plain_[s] = false;
        rows[s].erase(rows[s].begin() + begin, rows[s].begin() + end);
    }

    // As a context does it: keys of the rows turn where they lie.
    void shift(uint32_t s, uint32_t begin, uint32_t end, int32_t delta) {
        const int32_t least = begin > 0 ? rows[s][begin - 1].position + 1 : 0;
        if (end < rows[s].size()) delta = std::min(delta, rows[s][end].position - rows[s][end - 1].position - 1);
        delta = std::max(delta, least - rows[s][begin].position);
        if (delta < 0 && begin > 0 && !cache->whole(s)) return;
        if (limits_.eviction == Eviction::kSinks && begin < kPageTokens && cache->saved(s).evicted > 0) return;
        CacheEdits edits;
        if (delta == 0 || !cache->make_private(s, begin, edits)) return;
        apply(edits);
        for (uint32_t g = 0; g < groups_.size(); ++g)
            for (uint32_t row = std::max(begin, cache->first_row(g, s)); row < end; ++row)
                at(g, s, row) = turned(at(g, s, row), delta);
        cache->shift(s, begin, end, delta);
        plain_[s] = false;
        for (uint32_t row = begin; row < end; ++row) {
            rows[s][row].content = turned(rows[s][row].content, delta);
            rows[s][row].position += delta;
        }
        ++n_shifted;
    }

    // `to` is written anew from what `from` would save.
    void save_and_restore(uint32_t from, uint32_t to) {
        const SavedSequence saved = cache->saved(from);
        std::vector<SavedGroup> saved_groups;
        std::vector<int32_t> positions;
        std::vector<std::vector<int64_t>> contents(groups_.size()), spares(groups_.size());
        for (const Row &row : rows[from]) positions.push_back(row.position);
        for (uint32_t g = 0; g < groups_.size(); ++g) {
            saved_groups.push_back(cache->saved_group(g, from));
            for (uint32_t row = saved_groups[g].first_row; row < saved.n_rows; ++row)
                contents[g].push_back(at(g, from, row));
            if (saved_groups[g].spare) spares[g] = page(g, cache->spare_page(g, from));
        }
        REQUIRE(cache->can_restore(saved, saved_groups, positions.data()));
        REQUIRE(cache->restore(to, saved, saved_groups));
        const std::vector<Row> origin = rows[from];
        for (uint32_t row = 0; row < saved.n_rows; ++row) cache->set_row(to, row, origin[row].token, positions[row]);
        for (uint32_t g = 0; g < groups_.size(); ++g) {
            for (uint32_t row = saved_groups[g].first_row; row < saved.n_rows; ++row)
                at(g, to, row) = contents[g][row - saved_groups[g].first_row];
            std::copy(spares[g].begin(), spares[g].end(),
                      memory_[g].begin() + std::max(cache->spare_page(g, to), 0) * int32_t(kPageTokens));
        }
        rows[to] = origin;
        plain_[to] = plain_[from];
    }

    void adopt(uint32_t s, const std::vector<int32_t> &tokens) {
        const uint32_t n = cache->adopt(s, tokens);
        CHECK(n % kPageTokens == 0);
        CHECK(n < tokens.size());
        n_adopted += n;
        int64_t content = 0;
        for (uint32_t row = 0; row < n; ++row) {
            content = next_content(content, tokens[row]);
            rows[s].push_back({tokens[row], int32_t(row), content});
        }
    }

    void check() {
        for (uint32_t s = 0; s < kSequences; ++s) {
            REQUIRE(cache->length(s) == rows[s].size());
            for (uint32_t row = 0; row < rows[s].size(); ++row) {
                const Row &wanted = rows[s][row];
                REQUIRE(cache->token(s, row) == wanted.token);
                REQUIRE(cache->position(s, row) == wanted.position);
                for (uint32_t g = 0; g < groups_.size(); ++g) {
                    const bool visible =
                        !groups_[g].window || wanted.position > cache->next_position(s) - int32_t(groups_[g].window);
                    if (visible) REQUIRE(row >= cache->first_row(g, s));
                    if (row >= cache->first_row(g, s)) REQUIRE(at(g, s, row) == wanted.content);
                }
            }
            for (uint32_t g = 0; g < groups_.size(); ++g) {
                REQUIRE(cache->n_pages(g, s) <= pages_per_sequence(groups_[g], limits_));
                uint32_t seen = cache->first_visible(g, s, cache->next_position(s), cache->length(s));
                if (seen > 0 && groups_[g].window && seen > cache->first_row(g, s))
                    REQUIRE(cache->position(s, seen - 1) <= cache->next_position(s) - int32_t(groups_[g].window));
            }
        }
    }

    uint64_t n_adopted = 0, n_shifted = 0;

  private:
    static int64_t next_content(int64_t before, int32_t token) {  // never negative
        return int64_t((uint64_t(before) * 1000003 + uint64_t(token) + 1) & 0x3fffffffffff);
    }
    static int64_t turned(int64_t content, int32_t delta) { return next_content(content, delta) ^ int64_t(1) << 60; }
    int64_t &at(uint32_t g, uint32_t s, uint32_t row) { return memory_[g][size_t(cache->slot(g, s, row))]; }
    std::vector<int64_t> page(uint32_t g, int32_t page) const {
        auto begin = memory_[g].begin() + page * int32_t(kPageTokens);
        return {begin, begin + int32_t(kPageTokens)};
    }
    void apply(const CacheEdits &edits) {
        for (uint32_t i = 0; i < edits.n_copies; ++i) {
            const CacheEdits::Copy &copy = edits.copies[i];
            std::vector<int64_t> &memory = memory_[copy.group];
            std::copy_n(memory.begin() + copy.from * int32_t(kPageTokens), kPageTokens,
                        memory.begin() + copy.to * int32_t(kPageTokens));
        }
    }

    std::vector<CacheGroup> groups_;
    CacheLimits limits_;
    Arena arena_;
    std::vector<std::vector<int64_t>> memory_;  // per group, per slot
    int64_t made_ = INT64_MIN / 2;
    bool plain_[kSequences] = {true, true, true, true};
};

CacheGroup group(uint32_t window) {
    CacheGroup g;
    g.window = window;
    return g;
}

void use_at_random(Model &model, uint32_t seed, int n) {
    std::mt19937 random(seed);
    auto below = [&](size_t limit) { return uint32_t(random() % std::max<size_t>(limit, 1)); };
    // Few different texts, so that beginnings are shared.
    auto text = [&](size_t begin, size_t count, uint32_t which) {
        std::vector<int32_t> tokens;
        for (size_t i = begin; i < begin + count; ++i) tokens.push_back(int32_t(i < 70 ? 0 : which));
        return tokens;
    };
    for (int i = 0; i < n; ++i) {
        const uint32_t s = below(Model::kSequences), which = below(3);
        const uint32_t length = uint32_t(model.rows[s].size());
        switch (below(12)) {
        case 0:
            model.truncate(s, below(4) ? below(length + 1) : 0);
            break;
        case 1:
            model.fork(s, (s + 1 + below(Model::kSequences - 1)) % Model::kSequences);
            break;
        case 2:
            if (length > 2) {
                const uint32_t begin = below(length - 1), end = begin + 1 + below(length - begin - 1);
                if (end < length) model.remove(s, begin, end);
            }
            break;
        case 5:
            if (length > 0) {
                const uint32_t begin = below(3) ? below(length) : 0, end = begin + 1 + below(length - begin);
                model.shift(s, begin, below(2) ? end : length, int32_t(below(200)) - 100);
            }
            break;
        case 4:
            model.save_and_restore(s, (s + below(Model::kSequences)) % Model::kSequences);
            break;
        case 3:
            model.truncate(s, 0);
            if (below(2)) model.append(s, text(0, 1 + below(Model::kStep), which), true);
            model.adopt(s, text(0, 1 + below(Model::kRows), which));
            break;
        default:
            model.append(s, text(length, 1 + below(Model::kStep), which), below(8) == 0);
        }
        model.check();
    }
}

}  // namespace

TEST_CASE("rows lie where they were written, for every policy") {
    for (Eviction eviction : {Eviction::kNone, Eviction::kWindow, Eviction::kSinks})
        for (uint32_t window : {0u, 1u, 16u, 40u, 100u, 1000u})
            for (bool reuse : {false, true}) {
                CAPTURE(int(eviction));
                CAPTURE(window);
                CAPTURE(reuse);
                std::vector<CacheGroup> groups{group(0)};
                if (window) groups = {group(window), group(0)};
                Model model(groups, eviction, reuse);
                use_at_random(model, window + 7, 1500);
                if (reuse && !window) CHECK(model.n_adopted > 0);
                CHECK(model.n_shifted > 10);
            }
}

// No more pages than the plan counts for one sequence, whatever the window and the steps.
TEST_CASE("with sinks, one sequence never lacks a page") {
    for (uint32_t window : {1u, 16u, 128u, 250u, 400u})
        for (uint32_t step : {1u, 64u, 256u}) {
            CAPTURE(window);
            CAPTURE(step);
            const std::vector<CacheGroup> groups{group(window), group(0)};
            const CacheLimits limits{1, 512, step, Eviction::kSinks, true};
            const uint32_t n_pages[] = {pages_per_sequence(groups[0], limits), pages_per_sequence(groups[1], limits)};
            ArenaSizer sizer;
            Cache sized(groups, limits, n_pages, sizer);
            Arena arena(sizer.bytes());
            Cache cache(groups, limits, n_pages, arena);
            std::mt19937 random(window + step);
            CacheEdits edits;
            for (int i = 0, position = 0; i < 500; ++i) {
                const uint32_t n = random() % 3 ? step : 1 + uint32_t(random() % step);
                while (cache.length(0) + n > limits.max_rows) REQUIRE(cache.evict(0, edits));
                REQUIRE(cache.reserve(0, n, edits));
                for (uint32_t row = cache.length(0); row < cache.length(0) + n; ++row)
                    cache.set_row(0, row, int32_t(random() % 100), position++);
                cache.commit(0, n, position);
            }
        }
}

TEST_CASE("windowed layers do not bound how much of a prompt is kept") {
    const std::vector<CacheGroup> groups{group(16), group(0)};
    const CacheLimits limits{1, 512, 32, Eviction::kNone, true};
    const uint32_t n_pages[] = {pages_per_sequence(groups[0], limits), pages_per_sequence(groups[1], limits)};
    REQUIRE(n_pages[0] < 8);
    ArenaSizer sizer;
    Cache sized(groups, limits, n_pages, sizer);
    Arena arena(sizer.bytes());
    Cache cache(groups, limits, n_pages, arena);
    std::vector<int32_t> tokens(320);
    CacheEdits edits;
    for (int32_t row = 0; row < 320; row += 32) {
        REQUIRE(cache.reserve(0, 32, edits));
        for (int32_t i = row; i < row + 32; ++i) cache.set_row(0, uint32_t(i), tokens[size_t(i)] = i % 7, i);
        cache.commit(0, 32, row + 32);
    }
    cache.truncate(0, 0);
    CHECK(cache.adopt(0, tokens) == 288);
}

TEST_CASE("what is kept for later prompts leaves a full sequence its room") {
    const std::vector<CacheGroup> groups{group(0)};
    const CacheLimits limits{1, 128, 128, Eviction::kNone, true};
    const uint32_t n_pages[] = {4};
    ArenaSizer sizer;
    Cache sized(groups, limits, n_pages, sizer);
    Arena arena(sizer.bytes());
    Cache cache(groups, limits, n_pages, arena);
    CacheEdits edits;
    auto fill = [&] {
        const uint32_t begin = cache.length(0);
        REQUIRE(cache.reserve(0, 128 - begin, edits));
        for (uint32_t row = begin; row < 128; ++row) cache.set_row(0, row, int32_t(begin), int32_t(row));
        cache.commit(0, 128 - begin, 128);
    };
    for (uint32_t n : {0u, 127u, 97u, 61u, 1u}) {
        CAPTURE(n);
        cache.truncate(0, n);
        CHECK(cache.room(0) == 128 - n);
        fill();
    }
    CHECK(cache.make_private(0, 0, edits));
    CHECK(edits.n_copies == 0);
    cache.close_gap(0, 32, 64);
    CHECK(cache.room(0) == 32);
}

TEST_CASE("a state to go back to moves with the rows that are given up") {
    const std::vector<CacheGroup> groups{group(0)};
    Model model(groups, Eviction::kWindow, false);
    CacheEdits edits;
    model.append(0, std::vector<int32_t>(40));
    model.append(0, std::vector<int32_t>(40));
    CHECK(model.cache->rows_of_former_state(0) == 40);
    REQUIRE(model.cache->evict(0, edits));
    CHECK(model.cache->rows_of_former_state(0) == 8);
    REQUIRE(model.cache->evict(0, edits));
    CHECK(model.cache->rows_of_former_state(0) == -1);
}

TEST_CASE("a window can be shifted back again and again") {
    Model model({group(0)}, Eviction::kWindow, false);
    for (int i = 0; i < 20; ++i) {
        model.append(0, std::vector<int32_t>(Model::kStep));
        model.shift(0, 0, uint32_t(model.rows[0].size()), -1000);
        REQUIRE(model.rows[0][0].position == 0);
        model.check();
    }
    CHECK(!model.cache->whole(0));
    CHECK(model.cache->saved(0).evicted == int32_t(kPageTokens));
}

TEST_CASE("all pages come back") {
    for (uint32_t window : {0u, 20u}) {
        const std::vector<CacheGroup> groups{group(window)};
        Model model(groups, Eviction::kNone, true);
        const uint32_t all = model.cache->n_available(0);
        use_at_random(model, 3, 2000);
        for (uint32_t s = 0; s < Model::kSequences; ++s) model.truncate(s, 0);
        CHECK(model.cache->n_available(0) == all);
    }
}

TEST_CASE("what no sequence can be is not restored") {
    const std::vector<CacheGroup> full{group(0)}, windowed{group(40), group(0)};
    Model plain(full, Eviction::kNone, true), window(windowed, Eviction::kNone, true),
        sinks(full, Eviction::kSinks, false);
    std::vector<int32_t> positions(2 * Model::kRows);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i);
    auto possible = [&](Model &model, SavedSequence saved, std::vector<SavedGroup> groups) {
        return model.cache->can_restore(saved, groups, positions.data());
    };
    const SavedSequence good{100, 100, 0, true, false}, turned{100, 200, 96, false, false};
    CHECK(possible(plain, good, {{}}));
    CHECK(possible(plain, {100, 200, 0, false, false}, {{}}));
    CHECK(possible(plain, {}, {{}}));
    CHECK(!possible(plain, {Model::kRows + 1, 200, 0, false, false}, {{}}));
    CHECK(!possible(plain, {100, 101, 0, true, false}, {{}}));
    CHECK(!possible(plain, {100, 99, 0, false, false}, {{}}));
    CHECK(!possible(plain, {100, 100, 32, true, false}, {{}}));
    CHECK(!possible(plain, {100, 200, 31, false, false}, {{}}));
    CHECK(!possible(plain, {100, 200, -32, false, false}, {{}}));
    CHECK(!possible(plain, {0, -1, 0, false, false}, {{}}));
    CHECK(!possible(plain, good, {{32, false}}));
    CHECK(!possible(plain, good, {{0, true}}));
    CHECK(possible(window, good, {{32, false}, {}}));
    CHECK(!possible(window, good, {{33, false}, {}}));
    CHECK(!possible(window, good, {{128, false}, {}}));
    CHECK(!possible(sinks, turned, {{0, true}}));  // the first page has moved with the others
    for (int32_t &position : positions) position += 96;
    CHECK(possible(sinks, turned, {{0, true}}));
    CHECK(!possible(sinks, turned, {{0, false}}));
    CHECK(!possible(sinks, {31, 200, 96, false, false}, {{0, true}}));
    CHECK(!possible(sinks, {100, INT32_MAX, INT32_MAX - 31, false, false}, {{0, true}}));
    for (int32_t &position : positions) position -= 96;
    positions[7] = 6;
    CHECK(!possible(plain, {100, 200, 0, false, false}, {{}}));
    positions[7] = 8;
    CHECK(!possible(plain, {8, 10, 0, true, false}, {{}}));
}

TEST_CASE("the state of a failed step is not the state") {
    const std::vector<CacheGroup> groups{group(0)};
    Model model(groups, Eviction::kNone, false);
    CHECK(model.cache->state_before(2) == -1);
    const int32_t first = model.cache->state_after(2);
    CHECK(first == int32_t(2 * Cache::kStateSlots));
    model.append(2, {1, 2, 3}, true);
    CHECK(model.cache->state_before(2) == -1);
    model.append(2, {1, 2, 3});
    CHECK(model.cache->state_before(2) == first);
    CHECK(model.cache->state_after(2) == first + 1);
    CHECK(model.cache->rows_of_former_state(2) == -1);
    model.append(2, {4});
    CHECK(model.cache->state_before(2) == first + 1);
    CHECK(model.cache->rows_of_former_state(2) == 3);
    model.cache->return_to_former_state(2);
    CHECK(model.cache->state_before(2) == first);
    CHECK(model.cache->length(2) == 3);
    CHECK(model.cache->rows_of_former_state(2) == -1);
    model.cache->truncate(2, 0);
    CHECK(model.cache->state_before(2) == -1);
}
