// Text that goes on and on through the policy `sinks`: after 20,000 tokens the cache is what it was after hundreds.
#include "engine_helpers.h"

using namespace el;

namespace {

constexpr uint32_t kTokens = 20'000, kContext = 128, kStep = 4;

// Beginnings differ, then the text repeats itself with every page.
int32_t token_at(uint32_t i) { return int32_t((i < kPageTokens ? i * 29 + 5 : i % kPageTokens * 37 + 11) % 128); }

std::vector<float> feed(Context &context, uint32_t begin) {
    std::vector<int32_t> tokens;
    for (uint32_t i = 0; i < kStep; ++i) tokens.push_back(token_at(begin + i));
    Report report;
    REQUIRE_MESSAGE(decode(context, tokens, std::vector<int32_t>(kStep, 0), report) == Status::kOk, report.text);
    return {context.logits(0), context.logits(0) + context.model().n_vocab()};
}

// With its keys turned by so many positions more.
std::vector<std::byte> first_page(Context &context, int32_t turn) {
    CacheMemory &memory = context.memory();
    std::vector<std::byte> bytes(memory.row_bytes(0) * kPageTokens);
    int32_t slots[kPageTokens];
    for (uint32_t row = 0; row < kPageTokens; ++row) slots[row] = context.cache().slot(0, 0, row);
    if (turn) memory.turn_keys(0, slots, kPageTokens, turn);
    memory.read_rows(0, slots, kPageTokens, bytes.data());
    return bytes;
}

}  // namespace

TEST_CASE("20,000 tokens go through sinks, and nothing grows or drifts") {
    const std::pair<Format, double> formats[] = {
        {Format::kF32, 1e-5}, {Format::kF16, 1e-3}, {Format::kQ8_0, 1e-2}, {Format::kQ4_0, 1e-1}};
    for (const auto &[cache_k, error] : formats) {
        const Format format = cache_k;
        CAPTURE(int(format));
        ContextOptions options = exact(kStep, 1);
        options.context_tokens = kContext;
        options.eviction = Eviction::kSinks;
        options.cache_k = format;
        auto model = load("llama", false);
        Context context(model, options), fresh(model, options);
        std::vector<float> early, late;
        for (uint32_t i = 0; i < kTokens; i += kStep) {
            late = feed(context, i);
            if (i < kPageTokens) feed(fresh, i);
            if (i < 1000 && (kTokens - kStep - i) % kPageTokens == 0) early = late;
            // What a step reads: no more rows and pages than at first.
            CHECK(context.length(0) <= kContext);
            CHECK(context.cache().n_pages(0, 0) <= kContext / kPageTokens);
        }
        CHECK(context.next_position(0) == int32_t(kTokens));
        CHECK(relative_error(late, early) < error);
        // Turned six hundred times, the first page is as if it had been turned once.
        const int32_t turned = context.next_position(0) - int32_t(context.length(0));
        CHECK(turned > 600 * int32_t(kPageTokens));
        CHECK(first_page(context, 0) == first_page(fresh, turned));
    }
}
