// DRY against a search of all pairs of positions.
#include "sample_helpers.h"
#include <map>

using namespace el;

namespace {

using Tokens = std::vector<int32_t>;

// How many tokens were accepted since a breaker ended.
size_t unbroken(const Tokens &accepted, const std::vector<Tokens> &breakers) {
    for (size_t since = 0; since < accepted.size(); ++since)
        for (const Tokens &breaker : breakers) {
            size_t end = accepted.size() - since;
            if (breaker.size() <= end && std::equal(breaker.begin(), breaker.end(),
                                                    accepted.begin() + ptrdiff_t(end) - ptrdiff_t(breaker.size())))
                return since;
        }
    return accepted.size();
}

// The penalty of each token that has one.
std::map<int32_t, double> penalties(const Tokens &accepted, const SamplerOptions &o) {
    size_t most = unbroken(accepted, o.dry_breakers);
    size_t n = std::min(accepted.size(), static_cast<size_t>(o.dry_penalty_last_n));
    Tokens window(accepted.end() - static_cast<ptrdiff_t>(n), accepted.end());
    std::map<int32_t, double> result;
    for (size_t end = 1; end < n; ++end) {  // window[end] follows the earlier one
        size_t length = 0;
        while (length < end && length < most && window[end - 1 - length] == window[n - 1 - length]) ++length;
        if (length < static_cast<size_t>(o.dry_allowed_length)) continue;
        Tokens alone = {window[end]};
        if (std::find(o.dry_breakers.begin(), o.dry_breakers.end(), alone) != o.dry_breakers.end()) continue;
        double exponent = static_cast<double>(length) - o.dry_allowed_length;
        double &penalty = result[window[end]];
        penalty = std::max(penalty, std::min(o.dry_multiplier * std::pow(double(o.dry_base), exponent), 3.4e38));
    }
    return result;
}

Tokens random_tokens(std::mt19937 &generator, size_t n, uint32_t alphabet) {
    Tokens tokens(n);
    for (int32_t &token : tokens) token = static_cast<int32_t>(generator() % alphabet);
    return tokens;
}

SamplerOptions random_options(std::mt19937 &generator) {
    SamplerOptions options;
    options.temperature = 0;
    options.dry_multiplier = 0.1f + static_cast<float>(generator() % 10) / 8;
    options.dry_base = 1 + static_cast<float>(generator() % 4) / 4;
    options.dry_allowed_length = static_cast<int32_t>(1 + generator() % 4);
    options.dry_penalty_last_n = static_cast<int32_t>(generator() % 80 + 1);
    for (uint32_t i = generator() % 4; i > 0; --i)
        options.dry_breakers.push_back(random_tokens(generator, 1 + generator() % 4, 4));
    return options;
}

}  // namespace

TEST_CASE("dry penalizes what continues a repetition") {
    SamplerOptions options = {.dry_multiplier = 0.8f, .dry_base = 2, .dry_allowed_length = 2};
    Logits logits(6, 1);
    // 1 2 3 and 4 2 3 end like the text: three and two tokens.
    auto result = apply("dry", options, logits, {1, 2, 3, 4, 2, 3, 5, 1, 2, 3});
    CHECK(result[4].logit == 1 - 0.8f * 2);
    CHECK(result[5].logit == 1 - 0.8f);
    for (size_t i = 0; i < 4; ++i) CHECK(result[i].logit == 1);
    options.dry_breakers = {{5, 1}};  // only 2 3 is left
    CHECK(apply("dry", options, logits, {1, 2, 3, 4, 2, 3, 5, 1, 2, 3})[4].logit == 1 - 0.8f);
    options.dry_breakers = {{5}};  // never penalized itself
    CHECK(apply("dry", options, logits, {1, 2, 3, 4, 2, 3, 5, 1, 2, 3})[5].logit == 1);
    options.dry_breakers = {{0, 1, 2, 3}, {3}};
    CHECK(apply("dry", options, logits, {1, 2, 3, 4, 2, 3, 5, 1, 2, 3})[4].logit == 1);
    CHECK(apply("dry", options, {kNan, -kInfinity}, {0, 0, 0})[0].logit == -kInfinity);
}

TEST_CASE("dry agrees with a search of all pairs") {
    std::mt19937 generator(1);
    int n_penalties = 0, n_breakers = 0;
    for (int round = 0; round < 3000; ++round) {
        SamplerOptions options = random_options(generator);
        uint32_t alphabet = 1 + generator() % 5;
        Tokens accepted = random_tokens(generator, generator() % 120, alphabet);
        if (accepted.size() > 9)  // periods
            for (size_t i = accepted.size() / 2; i < accepted.size(); ++i) accepted[i] = accepted[i - 1 - i % 4];
        auto expected = penalties(accepted, options);
        auto result = apply("dry", options, Logits(5, 0), accepted);
        for (size_t i = 0; i < 5; ++i) {
            double penalty = expected.count(int32_t(i)) ? expected[int32_t(i)] : 0;
            REQUIRE(result[i].logit == doctest::Approx(-penalty).epsilon(1e-6));
            n_penalties += penalty > 0;
        }
        n_breakers += unbroken(accepted, options.dry_breakers) < accepted.size();
    }
    CHECK(n_penalties > 1000);
    CHECK(n_breakers > 500);
}

TEST_CASE("a sampler keeps what dry needs, and copies and resets it") {
    std::mt19937 generator(2);
    for (int round = 0; round < 60; ++round) {
        SamplerOptions options = random_options(generator);
        options.penalty_last_n = static_cast<int32_t>(generator() % 3 * 50);
        Sampler sampler(5, options), copy(5, options);
        for (int again = 0; again < 2; ++again) {
            Tokens accepted;
            for (int i = 0; i < 150; ++i) {
                Logits logits = random_logits(5, 0.7f, static_cast<uint32_t>(round * 1000 + i % 40));
                auto expected = penalties(accepted, options);
                int32_t best = 0;
                auto after = [&](int32_t id) { return logits[size_t(id)] - expected[id]; };
                for (int32_t id = 1; id < 5; ++id)
                    if (after(id) > after(best)) best = id;
                REQUIRE(sample(sampler, logits) == best);
                if (i % 10 == 9) {
                    REQUIRE(copy.copy_from(sampler) == Status::kOk);
                    REQUIRE(sample(copy, logits) == best);
                }
                accepted.push_back(generator() % 4 ? best : static_cast<int32_t>(generator() % 5));
                REQUIRE(sampler.accept(accepted.back()) == Status::kOk);
            }
            sampler.reset();
        }
    }
}

TEST_CASE("breakers may be longer than the window, and are forgotten by a reset") {
    SamplerOptions options = {
        .temperature = 0, .penalty_last_n = 0, .dry_multiplier = 1, .dry_allowed_length = 1, .dry_penalty_last_n = 3};
    Tokens accepted = {0, 1, 0, 1};
    Sampler without(3, options);
    options.dry_breakers = {accepted};
    Sampler with(3, options);
    for (Sampler *sampler : {&without, &with})
        for (int32_t token : accepted) CHECK(sampler->accept(token) == Status::kOk);
    CHECK(sample(without, {1, 0, 0.5f}) == 2);  // after 1 came 0
    CHECK(sample(with, {1, 0, 0.5f}) == 0);
    with.reset();
    for (int32_t token : {1, 2, 0, 1}) CHECK(with.accept(token) == Status::kOk);
    CHECK(sample(with, {0, 0.5f, 1}) == 2);
    for (int32_t token : {0, 0}) CHECK(with.accept(token) == Status::kOk);
    CHECK(sample(with, {1, 0, 0.5f}) == 2);
    with.reset();
    for (int32_t token : {2, 2, 2, 2}) CHECK(with.accept(token) == Status::kOk);
    CHECK(sample(with, {0, 0.5f, 1}) == 1);
}

TEST_CASE("dry takes linear time, whatever the text") {
    // All pairs would be 10^12 comparisons.
    constexpr size_t kTokens = SamplerOptions::kMaxWindow;
    SamplerOptions options = {.dry_multiplier = 1, .dry_penalty_last_n = SamplerOptions::kMaxWindow};
    CHECK(apply("dry", options, {0, 0}, Tokens(kTokens, 1))[1].logit == -FLT_MAX);
    Tokens late(kTokens, 0);
    for (size_t i = 0; i < kTokens; i += 1024) late[i] = 1;
    options.dry_base = 1;
    auto result = apply("dry", options, {0, 0}, late);
    CHECK(result[0].logit == -1);
    CHECK(result[1].logit == -1);
}

TEST_CASE("breakers are found among many") {
    std::vector<Tokens> sequences;
    for (int32_t i = 0; i < 60000; ++i) sequences.push_back({i, 7, 7, 7});
    sequences.push_back({60001});
    DryBreakers breakers(sequences);
    TokenHistory history(4);
    for (int32_t token : {60000, 7, 7, 7}) history.push(token);
    CHECK(!breakers.end(history));
    for (int32_t token : {59999, 7, 7}) history.push(token);
    CHECK(!breakers.end(history));
    history.push(7);
    CHECK(breakers.end(history));
    history.push(60001);
    CHECK(breakers.end(history));
    CHECK(breakers.is_breaker(60001));
    CHECK(!breakers.is_breaker(60000));
    CHECK(!breakers.is_breaker(7));
    CHECK(!DryBreakers().end(history));
    CHECK(!DryBreakers().is_breaker(0));
}
