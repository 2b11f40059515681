// Sequences between steps: forks, gaps, shifts, windows, sinks, prefixes and trees, against plain runs.
#include "engine_helpers.h"

using namespace el;

namespace {

ContextOptions several(uint32_t sequences, uint32_t tokens = 0) {
    ContextOptions options = exact(64);
    options.max_sequences = sequences;
    options.context_tokens = tokens;
    return options;
}

// A row of the cache as it lies there.
std::vector<std::byte> row_of(Context &context, uint32_t sequence, uint32_t row) {
    std::vector<std::byte> bytes(context.memory().row_bytes(0));
    const int32_t slot = context.cache().slot(0, sequence, row);
    context.memory().read_rows(0, &slot, 1, bytes.data());
    return bytes;
}

// Logits after the last of some tokens of a sequence.
std::vector<float> feed(Context &context, int32_t sequence, const std::vector<int32_t> &tokens) {
    const size_t most = context.options().max_batch_tokens;
    for (size_t i = 0; i < tokens.size(); i += most) {
        Batch b;
        b.tokens = tokens.data() + i;
        b.n = std::min(most, tokens.size() - i);
        b.sequence = sequence;
        Report report;
        REQUIRE_MESSAGE(context.decode(b, report) == Status::kOk, report.text);
    }
    return {context.logits(0), context.logits(0) + context.model().n_vocab()};
}

std::vector<float> alone(std::shared_ptr<const Model> model, const std::vector<int32_t> &tokens,
                         Format cache = Format::kF32) {
    ContextOptions options = exact(64);
    options.cache_k = options.cache_v = cache;
    Context context(model, options);
    return feed(context, 0, tokens);
}

}  // namespace

TEST_CASE("a fork goes on like its origin, and each goes its own way") {
    for (const char *name : {"llama", "gemma3", "lfm2", "qwen35", "granite-hybrid", "gemma4"}) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(120);
        for (size_t n : {size_t(1), size_t(31), size_t(32), size_t(33), size_t(70)}) {
            CAPTURE(n);
            Context context(model, several(3));
            feed(context, 0, part(tokens, 0, n));
            Report report;
            REQUIRE(context.fork(0, 2, report) == Status::kOk);
            CHECK(context.length(2) == n);
            auto other = part(tokens, 0, n);
            other.insert(other.end(), {7, 8, 9});
            CHECK(feed(context, 2, {7, 8, 9}) == alone(model, other));
            CHECK(feed(context, 0, part(tokens, n, 120)) == alone(model, tokens));
            other.push_back(11);
            CHECK(feed(context, 2, {11}) == alone(model, other));
            context.clear(0);
            REQUIRE(context.fork(2, 0, report) == Status::kOk);
            other.push_back(12);
            CHECK(feed(context, 0, {12}) == alone(model, other));
        }
    }
}

TEST_CASE("a sequence cannot become a copy of itself") {
    Context context(load("llama"), several(2));
    Report report;
    CHECK(context.fork(1, 1, report) == Status::kInvalidArgument);
}

TEST_CASE("a recurrent model goes back by its last step") {
    for (const char *name : {"lfm2", "qwen35", "granite-hybrid"}) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(60);
        Context context(model, several(1));
        feed(context, 0, part(tokens, 0, 40));
        feed(context, 0, {1, 2, 3, 4, 5});
        Report report;
        CHECK(context.remove(0, 43, INT32_MAX, report) == Status::kUnsupported);
        REQUIRE(context.remove(0, 40, INT32_MAX, report) == Status::kOk);
        CHECK(context.length(0) == 40);
        CHECK(context.remove(0, 20, INT32_MAX, report) == Status::kUnsupported);
        CHECK(feed(context, 0, part(tokens, 40, 60)) == alone(model, tokens));
    }
}

TEST_CASE("windows forget pages and nothing else") {
    for (const char *name : {"gemma2", "gemma3", "olmo3", "gpt-oss", "gemma4"}) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(250, 3);
        Context whole(model, exact(256));
        auto wanted = all_logits(whole, tokens, 250);
        for (size_t batch : {size_t(1), size_t(7), size_t(32), size_t(64)}) {
            CAPTURE(batch);
            Context context(model, exact(uint32_t(batch)));
            CHECK(all_logits(context, tokens, batch) == wanted);
        }
    }
}

TEST_CASE("windowed layers keep a window, not a context") {
    auto model = load("gemma3");
    Context small(model, exact(16)), large(model, exact(256));
    CHECK(small.memory_bytes() < large.memory_bytes());
    feed(small, 0, random_tokens(200));
    uint32_t windowed = 0;
    for (uint32_t g = 0; g < model->program().cache_groups.size(); ++g) {
        const uint32_t window = model->program().cache_groups[g].window;
        const uint32_t rows = small.cache().n_pages(g, 0) * kPageTokens;
        if (window) {
            CHECK(rows <= window + kWindowSlack + 16 + 2 * kPageTokens);
            ++windowed;
        } else {
            CHECK(rows >= 200);
        }
    }
    CHECK(windowed == 1);
    Report report;
    CHECK(small.remove(0, 20, INT32_MAX, report) == Status::kUnsupported);  // long forgotten
    CHECK(std::string(report.text).find("windowed layers") != std::string::npos);
    REQUIRE(small.remove(0, 190, INT32_MAX, report) == Status::kOk);
    CHECK(feed(small, 0, part(random_tokens(200), 190, 200)) == alone(model, random_tokens(200)));
}

TEST_CASE("tokens in the middle can be removed, and the others moved up") {
    auto model = load("llama");
    auto tokens = random_tokens(100);
    Report report;
    Context context(model, several(2));
    feed(context, 0, tokens);
    REQUIRE(context.fork(0, 1, report) == Status::kOk);
    REQUIRE(context.remove(0, 20, 57, report) == Status::kOk);
    CHECK(context.length(0) == 63);
    CHECK(context.next_position(0) == 100);
    CHECK(context.cache().position(0, 19) == 19);
    CHECK(context.cache().position(0, 20) == 57);
    for (uint32_t row = 0; row < 63; ++row)
        CHECK(row_of(context, 0, row) == row_of(context, 1, row < 20 ? row : row + 37));
    CHECK(context.shift(0, 57, INT32_MAX, -38, report) == Status::kInvalidArgument);  // into the others
    REQUIRE(context.shift(0, 57, INT32_MAX, -37, report) == Status::kOk);
    CHECK(context.next_position(0) == 63);
    CHECK(context.cache().position(0, 62) == 62);
    // Of one layer's keys and values only the last token's own path is left to compare: a model of one layer would be
    // exact; here the deeper rows have seen what is gone, so only the origin's rows must be untouched.
    auto longer = tokens;
    longer.push_back(5);
    CHECK(feed(context, 1, {5}) == alone(model, longer));
    feed(context, 0, {5});
    CHECK(context.length(0) == 64);
}

TEST_CASE("a gap is not closed where windows have dropped what would be seen again") {
    auto model = load("gemma3");
    Context context(model, exact(8));
    auto tokens = random_tokens(200);
    Report report;
    feed(context, 0, part(tokens, 0, 60));
    REQUIRE(context.remove(0, 5, 30, report) == Status::kOk);
    feed(context, 0, part(tokens, 60, 200));
    CHECK(context.shift(0, 30, INT32_MAX, -25, report) == Status::kUnsupported);
    CHECK(std::string(report.text).find("dropped already") != std::string::npos);
    CHECK(context.shift(0, 30, INT32_MAX, 5, report) == Status::kOk);
    CHECK(context.shift(0, 0, INT32_MAX, 3, report) == Status::kOk);
}

TEST_CASE("a shift leaves forks alone, where windows have dropped pages, too") {
    auto model = load("gemma3");
    ContextOptions options = exact(8);
    options.max_sequences = 2;
    for (int32_t begin : {0, 30, 150}) {
        CAPTURE(begin);
        Context context(model, options);
        auto tokens = random_tokens(200);
        Report report;
        feed(context, 0, part(tokens, 0, 190));
        REQUIRE(context.fork(0, 1, report) == Status::kOk);
        REQUIRE(context.shift(0, begin, INT32_MAX, 7, report) == Status::kOk);
        CHECK(feed(context, 1, part(tokens, 190, 200)) == alone(model, tokens));
    }
}

TEST_CASE("a shift of everything changes nothing but positions") {
    for (const char *name : {"llama", "phi3", "phi4-mini", "smollm3", "llama-yarn", "gemma3"}) {  // rope is relative
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(50);
        Report report;
        Context context(model, several(1));
        feed(context, 0, tokens);
        REQUIRE(context.shift(0, 0, INT32_MAX, 100, report) == Status::kOk);
        CHECK(context.next_position(0) == 150);
        CHECK(context.shift(0, 100, INT32_MAX, -101, report) == Status::kInvalidArgument);
        auto longer = tokens;
        longer.push_back(9);
        CHECK(relative_error(feed(context, 0, {9}), alone(model, longer)) < 1e-4);
        REQUIRE(context.shift(0, 0, INT32_MAX, -100, report) == Status::kOk);
        longer.push_back(10);
        CHECK(relative_error(feed(context, 0, {10}), alone(model, longer)) < 1e-4);
    }
    Report report;
    ContextOptions bytes = several(1), nibbles = several(1);
    bytes.cache_k = Format::kQ8_0;
    nibbles.cache_k = Format::kQ4_0;
    Context hunyuan(load("hunyuan-dense"), several(1)), lfm2(load("lfm2"), several(1)), q8_0(load("llama"), bytes),
        q4_0(load("llama"), nibbles);
    for (Context *context : {&hunyuan, &lfm2, &q8_0, &q4_0}) {
        feed(*context, 0, {1, 2, 3});
        CHECK(context->shift(0, 0, INT32_MAX, 5, report) == Status::kUnsupported);
    }
    CHECK(std::string(report.text).find("Q4_0") != std::string::npos);
    bytes.cache_k = Format::kF16;  // values have no positions
    bytes.cache_v = Format::kQ4_0;
    Context values(load("llama"), bytes);
    feed(values, 0, {1, 2, 3});
    CHECK(values.shift(0, 0, INT32_MAX, 5, report) == Status::kOk);
}

TEST_CASE("a prompt that begins like an earlier one takes over its pages") {
    for (const char *name : {"llama", "gemma3", "gpt-oss"}) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(150);
        Context context(model, several(2));
        feed(context, 0, tokens);
        auto other = part(tokens, 0, 101);
        other.insert(other.end(), {1, 2, 3});
        CHECK(context.reuse_prefix(0, other) == 0);  // not empty
        const uint32_t reused = context.reuse_prefix(1, other);
        if (std::string(name) == "llama") CHECK(reused == 96);
        CHECK(feed(context, 1, part(other, reused, other.size())) == alone(model, other));
        context.clear(0);
        context.clear(1);
        const uint32_t again = context.reuse_prefix(0, tokens);  // nobody uses them now; they are there still
        CHECK(again >= 96);
        CHECK(again % kPageTokens == 0);
        CHECK(again < tokens.size());
        CHECK(feed(context, 0, part(tokens, again, 150)) == alone(model, tokens));
    }
    Context recurrent(load("lfm2"), several(2));
    feed(recurrent, 0, random_tokens(100));
    CHECK(recurrent.reuse_prefix(1, random_tokens(100)) == 0);
}

TEST_CASE("pages kept for later prompts go when they are needed") {
    auto model = load("llama");
    Context context(model, several(2, 128));
    for (uint32_t round = 0; round < 20; ++round) {
        auto tokens = random_tokens(128, round);
        context.clear(round % 2);
        CHECK(context.room(round % 2) == 128);
        CHECK(feed(context, int32_t(round % 2), tokens) == alone(model, tokens));
    }
}

TEST_CASE("with sinks, text goes on for ever") {
    for (const char *name : {"llama", "gemma3", "phi3"}) {
        CAPTURE(name);
        auto model = load(name);
        ContextOptions options = several(1, 128);
        options.eviction = Eviction::kSinks;
        Context context(model, options);
        auto tokens = random_tokens(700);
        for (size_t i = 0; i < tokens.size(); i += 7) feed(context, 0, part(tokens, i, i + 7));
        CHECK(context.length(0) <= 128);
        CHECK(context.next_position(0) == 700);
        CHECK(context.cache().token(0, 5) == tokens[5]);
        CHECK(context.cache().token(0, 32) != tokens[32]);
        const uint32_t evicted = 700 - context.length(0);
        CHECK(context.cache().position(0, 5) == int32_t(5 + evicted));  // as near to the others as ever
        CHECK(context.cache().position(0, 32) == int32_t(32 + evicted));
    }
}

TEST_CASE("the policy alone moves sinks") {
    ContextOptions options = several(1, 128);
    options.eviction = Eviction::kSinks;
    Context context(load("llama"), options);
    Report report;
    feed(context, 0, random_tokens(100));
    CHECK(context.shift(0, 0, INT32_MAX, 5, report) == Status::kOk);
    feed(context, 0, random_tokens(100));
    const int32_t begin = context.cache().position(0, 32);
    CHECK(context.shift(0, 0, INT32_MAX, -5, report) == Status::kUnsupported);
    CHECK(context.shift(0, begin, INT32_MAX, 5, report) == Status::kOk);
    CHECK_THROWS_WITH_AS(Context(load("hunyuan-dense"), options), doctest::Contains("sinks"), Error);
}

TEST_CASE("no shift leads beyond the largest position") {
    Context context(load("llama"), several(1));
    Report report;
    feed(context, 0, random_tokens(10));
    REQUIRE(context.shift(0, 5, INT32_MAX, 95, report) == Status::kOk);
    REQUIRE(context.remove(0, 100, INT32_MAX, report) == Status::kOk);
    REQUIRE(context.next_position(0) == 100);
    CHECK(context.shift(0, 0, INT32_MAX, INT32_MAX - 99, report) == Status::kInvalidArgument);
    CHECK(context.shift(0, 0, INT32_MAX, INT32_MAX - 100, report) == Status::kOk);
    CHECK(context.next_position(0) == INT32_MAX);
    CHECK(context.room(0) == 0);
}

TEST_CASE("a generation ends at the largest position, whatever the policy") {
    auto model = load("llama");
    for (Eviction eviction : {Eviction::kNone, Eviction::kWindow, Eviction::kSinks}) {
        CAPTURE(int(eviction));
        ContextOptions options = several(1, 128);
        options.eviction = eviction;
        Context context(model, options);
        Sampler sampler(model->n_vocab(), {});
        Report report;
        feed(context, 0, {1, 2, 3});
        REQUIRE(context.shift(0, 0, INT32_MAX, INT32_MAX - 8, report) == Status::kOk);
        GenerateOptions how;
        how.ignore_end = true;
        GenerateResult result;
        CHECK(generate(context, 0, sampler, std::vector<int32_t>{4}, how, result, report) == Status::kOk);
        CHECK(result.reason == StopReason::kContextFull);
        CHECK(context.next_position(0) == INT32_MAX);
        CHECK(result.n_generated == 5);
    }
}

// With one layer, what a token sees is the embedding of each row alone, so the cache can be rebuilt from its tokens.
TEST_CASE("with sinks, a token sees the first page and the last ones") {
    auto model = load("llama");
    for (Eviction eviction : {Eviction::kSinks, Eviction::kWindow}) {
        ContextOptions options = several(1, 128);
        options.eviction = eviction;
        Context context(model, options);
        auto tokens = random_tokens(300);
        for (int32_t token : tokens) feed(context, 0, {token});
        // The last row's keys of the first layer, as they would be had the rows been fed at their positions.
        std::vector<int32_t> kept;
        for (uint32_t row = 0; row < context.length(0); ++row) kept.push_back(context.cache().token(0, row));
        Context plain(model, several(1, 256));
        feed(plain, 0, kept);
        Report report;
        REQUIRE(plain.shift(0, 0, INT32_MAX, context.cache().position(0, 0), report) == Status::kOk);
        const size_t bytes = sizeof(float) * 2 * 16;  // K and V of the first layer: 2 heads of 16
        for (uint32_t row : {0u, 5u, 31u, 32u, 60u, context.length(0) - 1}) {
            const auto got = row_of(context, 0, row), wanted = row_of(plain, 0, row);
            std::vector<float> x(bytes / 4), y(bytes / 4);
            memcpy(x.data(), got.data(), bytes);
            memcpy(y.data(), wanted.data(), bytes);
            CHECK(relative_error(x, y) < 1e-4);
        }
    }
}

TEST_CASE("quantized keys of the first page can be turned again and again") {
    auto model = load("llama");
    auto tokens = random_tokens(400);
    auto last = [&](Format format, bool fast) {
        ContextOptions options = several(1, 128);
        options.eviction = Eviction::kSinks;
        options.cache_k = format;
        Context context(fast ? load("llama", false) : model, options);
        feed(context, 0, part(tokens, 0, 100));
        for (size_t i = 100; i < tokens.size(); i += 5) feed(context, 0, part(tokens, i, i + 5));
        CHECK(context.next_position(0) == 400);
        return feed(context, 0, {7});
    };
    const auto wanted = last(Format::kF32, false);
    for (bool fast : {false, true}) {
        CHECK(relative_error(last(Format::kQ8_0, fast), wanted) < 1e-2);
        CHECK(relative_error(last(Format::kQ4_0, fast), wanted) < 1e-1);
    }
}

TEST_CASE("formats that no cache can have are refused") {
    for (Format format : {Format::kBF16, Format::kQ4_1, Format::kQ6_K, Format::kIQ2_S}) {
        ContextOptions k = several(1), v = several(1);
        k.cache_k = v.cache_v = format;
        for (const ContextOptions &options : {k, v})
            CHECK_THROWS_WITH_AS(Context(load("llama"), options), doctest::Contains(format_info(format).name), Error);
    }
}

TEST_CASE("each branch of a tree of drafts sees its own past") {
    for (std::string name :
         {"llama", "gemma2", "gpt-oss", "fast llama", "fast gemma2", "fast gpt-oss", "fast nibbles"}) {
        CAPTURE(name);
        const bool fast = name[0] == 'f';
        const Format cache = name == "fast nibbles" ? Format::kQ4_0 : Format::kF32;
        auto model = load(cache == Format::kQ4_0 ? "llama" : fast ? name.substr(5) : name, !fast);
        auto tokens = random_tokens(45);
        ContextOptions options = several(2);
        options.cache_k = options.cache_v = cache;
        Context context(model, options);
        feed(context, 0, tokens);
        // 1 has the children 2 (then 3) and 4 (then 5); 6 stands beside 1.
        const int32_t drafts[] = {1, 2, 3, 4, 5, 6}, parents[] = {-1, 0, 1, 0, 3, -1};
        const uint8_t outputs[] = {1, 1, 1, 1, 1, 1};
        Batch b;
        b.tokens = drafts;
        b.parents = parents;
        b.outputs = outputs;
        b.n = 6;
        Report report;
        REQUIRE_MESSAGE(context.decode(b, report) == Status::kOk, report.text);
        for (int32_t i = 0; i < 6; ++i) {
            std::vector<int32_t> path;
            for (int32_t p = i; p >= 0; p = parents[p]) path.insert(path.begin(), drafts[p]);
            auto text = tokens;
            text.insert(text.end(), path.begin(), path.end());
            const float *row = context.logits(uint32_t(i));
            const std::vector<float> got(row, row + model->n_vocab()), wanted = alone(model, text, cache);
            if (fast)  // a wrong mask is off by tenths
                CHECK(relative_error(got, wanted) < (cache == Format::kQ4_0 ? 3e-2 : 1e-2));
            else
                CHECK(got == wanted);
        }
        Batch more;
        more.tokens = drafts;
        more.n = 1;
        CHECK(context.decode(more, report) == Status::kUnsupported);
        CHECK(std::string(report.text).find("tree of drafts") != std::string::npos);
        CHECK(context.remove(0, 46, INT32_MAX, report) == Status::kUnsupported);
        REQUIRE(context.remove(0, 45, INT32_MAX, report) == Status::kOk);
        auto longer = tokens;
        longer.push_back(1);
        CHECK(relative_error(feed(context, 0, {1}), alone(model, longer, cache)) < (fast ? 3e-2 : 1e-12));
        const int32_t wrong[] = {1, -1};
        b.parents = wrong;
        b.n = 2;
        CHECK(context.decode(b, report) == Status::kInvalidArgument);
    }
    Context recurrent(load("lfm2"), several(1));
    const int32_t drafts[] = {1, 2}, parents[] = {-1, -1};
    Batch b;
    b.tokens = drafts;
    b.parents = parents;
    b.n = 2;
    Report report;
    CHECK(recurrent.decode(b, report) == Status::kUnsupported);
}

TEST_CASE("a tree of drafts deeper than a window is refused") {
    Context context(load("gemma2"), several(1));  // its windows are of 16 tokens
    std::vector<int32_t> drafts(20, 5), parents;
    for (int32_t i = 0; i < 20; ++i) parents.push_back(i - 1);
    Batch b;
    b.tokens = drafts.data();
    b.parents = parents.data();
    b.n = 20;
    Report report;
    CHECK(context.decode(b, report) == Status::kUnsupported);
    CHECK(std::string(report.text).find("window of 16") != std::string::npos);
    b.n = 16;
    CHECK(context.decode(b, report) == Status::kOk);
}

TEST_CASE("a deadline that has passed stops before the step") {
    Context context(load("llama"), several(1));
    const int32_t token = 1;
    Batch b;
    b.tokens = &token;
    b.n = 1;
    b.deadline_ns = now_ns() - 1;
    Report report;
    CHECK(context.decode(b, report) == Status::kDeadlineExceeded);
    CHECK(context.length(0) == 0);
    b.deadline_ns = now_ns() + 60'000'000'000;
    CHECK(context.decode(b, report) == Status::kOk);
}
