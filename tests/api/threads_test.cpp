// One model, many contexts on many threads, made and freed at random; meant to be run under the thread sanitizer, too.
#include <atomic>
#include <doctest/doctest.h>
#include <edgellm/edgellm.hpp>
#include <random>
#include <thread>

namespace {

std::vector<float> logits_of(edgellm::Context &context, const std::vector<edgellm::Token> &tokens) {
    context.sequence_remove(0);
    context.decode(tokens);
    std::span<const float> logits = context.logits();
    return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("contexts of one model come and go on many threads") {
    edgellm::Model model(TINY_MODEL, {.kernels = EDGELLM_KERNELS_REFERENCE});
    const std::vector<edgellm::Token> tokens = {10, 20, 30, 40, 50};
    edgellm::Context alone(model, {.context_tokens = 64, .n_threads = 1});
    const std::vector<float> wanted = logits_of(alone, tokens);
    std::atomic<int> wrong = 0, done = 0;
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            std::vector<edgellm::Context> contexts;
            for (int i = 0; i < 40; ++i) {
                if (contexts.size() < 3 && random() % 2)
                    contexts.emplace_back(
                        model, edgellm::ContextOptions{.context_tokens = 64, .n_threads = int32_t(1 + random() % 3)});
                else if (!contexts.empty() && random() % 3 == 0)
                    contexts.erase(contexts.begin() + std::ptrdiff_t(random() % contexts.size()));
                if (contexts.empty()) continue;
                wrong += logits_of(contexts[random() % contexts.size()], tokens) != wanted;
                ++done;
            }
        });
    for (std::thread &thread : threads) thread.join();
    CHECK(done > 20);
    CHECK(wrong == 0);
}

TEST_CASE("two threads on one context: one is refused, none waits") {
    edgellm::Model model(TINY_MODEL);
    edgellm::Context context(model, {.context_tokens = 128, .n_threads = 1});
    std::atomic<int> fed = 0, others = 0;
    auto work = [&] {
        for (int i = 0; i < 200; ++i) {
            const edgellm_token token = 5;
            edgellm_batch batch = EDGELLM_BATCH_INIT;
            batch.n_tokens = 1;
            batch.tokens = &token;
            const edgellm_status status = edgellm_context_decode(context.get(), &batch, nullptr, nullptr);
            if (status == EDGELLM_OK) ++fed;
            if (status != EDGELLM_BUSY && status != EDGELLM_OK && status != EDGELLM_CONTEXT_FULL) ++others;
        }
    };
    std::thread first(work), second(work);
    first.join();
    second.join();
    CHECK(others == 0);
    edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;
    REQUIRE(edgellm_sequence_get_info(context.get(), 0, &info) == EDGELLM_OK);
    CHECK(fed > 0);
    CHECK(info.n_tokens == fed);
}

TEST_CASE("a context is cancelled from another thread") {
    edgellm::Model model(TINY_MODEL, {.kernels = EDGELLM_KERNELS_REFERENCE});
    edgellm::Context context(model, {.context_tokens = 128, .n_threads = 2});
    std::atomic<bool> stop = false;
    std::thread canceller([&] {
        while (!stop) context.cancel();
    });
    int cancelled = 0;
    for (int i = 0; i < 50; ++i) {
        edgellm_token tokens[] = {1, 2, 3};
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = 3;
        batch.tokens = tokens;
        cancelled += edgellm_context_decode(context.get(), &batch, nullptr, nullptr) == EDGELLM_CANCELLED;
    }
    stop = true;
    canceller.join();
    CHECK(cancelled > 0);
}
