// The engine on tiny models: batches, sequences, atomic steps, cancel, budgets.
#include "engine_helpers.h"

#include <atomic>
#include <thread>

using namespace el;

TEST_CASE("sequences do not see each other") {
    auto model = load("llama");
    auto tokens = read_npy<int32_t>(kGolden + "llama.tokens.npy");
    Context alone(model, exact());
    auto wanted = all_logits(alone, tokens, 48);
    ContextOptions options = exact();
    options.max_sequences = 3;
    Context context(model, options);
    Report report;
    for (size_t i = 0; i + 1 < 40; i += 2) {  // sequence 2 gets the tokens, 0 and 1 others in between
        REQUIRE(decode(context, {5, tokens[i], 9, tokens[i + 1]}, {0, 2, 1, 2}, report) == Status::kOk);
        const float *row = context.logits(0);
        CHECK(std::equal(row, row + 128, wanted.begin() + (i + 1) * 128));
    }
    CHECK(context.length(0) == 20);
    CHECK(context.length(2) == 40);
}

TEST_CASE("going back and on again gives the same as going straight") {
    auto model = load("llama");
    auto tokens = read_npy<int32_t>(kGolden + "llama.tokens.npy");
    Context context(model, exact());
    auto wanted = all_logits(context, tokens, 48);
    Report report;
    REQUIRE(context.remove(0, 33, 48, report) == Status::kOk);
    auto again = all_logits(context, {tokens.begin() + 33, tokens.end()}, 4);
    CHECK(std::equal(again.begin(), again.end(), wanted.begin() + 33 * 128));
}

TEST_CASE("a step that fails changes nothing") {
    auto model = load("llama");
    ContextOptions options = exact(16);
    options.context_tokens = 40;
    options.max_sequences = 2;
    Context context(model, options);
    Report report;
    REQUIRE(decode(context, {1, 2, 3}, {0, 0, 1}, report) == Status::kOk);
    CHECK(decode(context, {1, 128}, {0, 0}, report) == Status::kInvalidArgument);
    CHECK(std::string(report.text).find("token 1 of the batch is 128") != std::string::npos);
    CHECK(decode(context, {1, 1}, {0, 2}, report) == Status::kInvalidArgument);
    CHECK(decode(context, {1, -1}, {0, 0}, report) == Status::kInvalidArgument);
    CHECK(decode(context, {}, {}, report) == Status::kInvalidArgument);
    CHECK(decode(context, std::vector<int32_t>(17, 1), std::vector<int32_t>(17, 0), report) ==
          Status::kInvalidArgument);
    for (int i = 0; i < 2; ++i)
        REQUIRE(decode(context, std::vector<int32_t>(16, 1), std::vector<int32_t>(16, 0), report) == Status::kOk);
    CHECK(decode(context, std::vector<int32_t>(7, 1), std::vector<int32_t>(7, 0), report) == Status::kContextFull);
    CHECK(context.length(0) == 34);
    CHECK(context.length(1) == 1);
    context.cancel();
    CHECK(decode(context, {1}, {0}, report) == Status::kCancelled);
    CHECK(context.n_outputs() == 0);
    CHECK(context.length(0) == 34);
    CHECK(decode(context, std::vector<int32_t>(6, 1), std::vector<int32_t>(6, 0), report) == Status::kOk);
}

TEST_CASE("impossible context options are refused by name") {
    auto model = load("llama");
    auto message = [&](auto change) {
        ContextOptions options;
        change(options);
        try {
            Context context(model, options);
        } catch (const Error &e) {
            return std::string(e.what());
        }
        return std::string();
    };
    CHECK(message([](auto &o) { o.context_tokens = 257; }).find("context_tokens is 257") == 0);
    CHECK(message([](auto &o) { o.max_sequences = 0; }).find("max_sequences is 0") == 0);
    CHECK(message([](auto &o) { o.max_batch_tokens = 0; }).find("max_batch_tokens is 0") == 0);
    CHECK(message([](auto &o) { o.cache_k = Format::kQ4_1; }).find("cache_k is Q4_1; choose") == 0);
    CHECK(message([](auto &o) { o.threads.threads = -1; }).find("threads") != std::string::npos);
}

TEST_CASE("generate without a vocabulary: lengths, reasons and the cache agree") {
    auto model = load("llama");
    Context context(model, exact(7));
    SamplerOptions greedy;
    greedy.temperature = 0;
    Sampler sampler(model->n_vocab(), greedy);
    std::vector<int32_t> prompt(20, 3);
    std::vector<int32_t> seen;
    GenerateOptions options;
    options.max_tokens = 5;
    options.user = &seen;
    options.callback = [](void *user, const TokenEvent &e) {
        auto &tokens = *static_cast<std::vector<int32_t> *>(user);
        tokens.push_back(e.token);
        return int32_t(tokens.size() == 8);
    };
    GenerateResult result;
    Report report;
    REQUIRE(generate(context, 0, sampler, prompt, options, result, report) == Status::kOk);
    CHECK(result.reason == StopReason::kLength);
    CHECK(result.n_prompt == 20);
    CHECK(result.n_generated == 5);
    CHECK(context.length(0) == 24);
    options.max_tokens = 0;
    REQUIRE(generate(context, 0, sampler, {&seen.back(), 1}, options, result, report) == Status::kOk);
    CHECK(result.reason == StopReason::kCallback);
    CHECK(result.n_generated == 3);
    REQUIRE(generate(context, 0, sampler, {&seen.back(), 1}, options, result, report) == Status::kOk);
    CHECK(result.reason == StopReason::kContextFull);
    CHECK(context.length(0) == 256);
    CHECK(generate(context, 0, sampler, prompt, options, result, report) == Status::kPromptTooLong);
    CHECK(context.remove(0, 0, 256, report) == Status::kOk);
    context.cancel();
    CHECK(generate(context, 0, sampler, prompt, options, result, report) == Status::kCancelled);
    CHECK(result.reason == StopReason::kCancelled);
    CHECK(generate(context, 0, sampler, prompt, options, result, report) == Status::kOk);

    CHECK(context.remove(0, 0, 256, report) == Status::kOk);
    options.max_tokens = 1;  // a cancel in the last callback ends this request, not the next
    options.user = &context;
    options.callback = [](void *user, const TokenEvent &) {
        static_cast<Context *>(user)->cancel();
        return 0;
    };
    CHECK(generate(context, 0, sampler, prompt, options, result, report) == Status::kCancelled);
    CHECK(result.reason == StopReason::kCancelled);
    CHECK(decode(context, {1}, {0}, report) == Status::kOk);
}

TEST_CASE("contexts made at the same time share a budget") {
    use_backends();
    ModelOptions options;
    auto small = Model::load(kGolden + "llama.gguf", options);
    uint64_t weights = resident_bytes(small->plan().regions), context = 0;
    ContextOptions wanted;
    wanted.context_tokens = 64;
    wanted.threads.threads = 1;
    for (const PlannedRegion &region : plan_context(small->plan(), wanted).regions) context += region.bytes;
    options.budget_bytes = std::max(weights + 2 * context + context / 2, peak_bytes(small->plan().regions));
    auto model = Model::load(kGolden + "llama.gguf", options);
    const uint64_t fitting = (options.budget_bytes - weights) / context;
    for (int round = 0; round < 20; ++round) {
        std::atomic<uint64_t> made = 0;
        std::vector<std::unique_ptr<Context>> contexts(fitting + 3);
        std::vector<std::thread> threads;
        for (auto &mine : contexts)
            threads.emplace_back([&] {
                try {
                    mine = std::make_unique<Context>(model, wanted);
                    ++made;
                } catch (const Error &) {
                }
            });
        for (std::thread &thread : threads) thread.join();
        CHECK(made == fitting);
    }
}
