// Sampling by the best tokens gives what sampling by the whole row gives.
#include "best_helpers.h"
#include "sample_helpers.h"

using namespace el;

namespace {

// A row that counts how often all of it is asked for.
class Row {
  public:
    explicit Row(Logits logits) : logits_(std::move(logits)) {}
    int n_fetched = 0;

    // `sum_error`: of what is allowed.
    Status sample(Sampler &sampler, int32_t *token, double sum_error) {
        if (const size_t n = sampler.best_wanted()) {
            BestOfRow best(logits_.data(), logits_.size(), n);
            best.tokens.sum *= 1 + sum_error * BestTokens::kSumError;
            Status status = Status::kInternal;
            if (sampler.sample(best.tokens, token, status)) return status;
        }
        ++n_fetched;
        return sampler.sample(logits_.data(), token);
    }
    const float *data() const { return logits_.data(); }

  private:
    Logits logits_;
};

struct Chance {
    std::mt19937 engine;
    uint32_t below(uint32_t n) { return uint32_t(engine() % n); }
    bool one_in(uint32_t n) { return below(n) == 0; }
    template <typename T> T of(std::initializer_list<T> values) {
        return values.begin()[below(uint32_t(values.size()))];
    }
};

Logits any_logits(Chance &chance, size_t n) {
    std::normal_distribution<float> normal(chance.of({0.0f, 5.0f, -40.0f}), chance.of({0.5f, 2.0f, 6.0f}));
    const bool ties = chance.one_in(3), odd = chance.one_in(4), few = chance.one_in(12);
    Logits logits(n);
    for (float &x : logits) {
        x = normal(chance.engine);
        if (ties) x = std::round(x);
        if (odd && chance.one_in(20)) x = chance.of({kNan, -kInfinity, -0.0f, 0.0f});
        if (few && !chance.one_in(uint32_t(n) / 8)) x = -kInfinity;
    }
    if (odd && chance.one_in(4)) logits[chance.below(uint32_t(n))] = kInfinity;
    if (chance.one_in(300)) logits.assign(n, kNan);
    return logits;
}

SamplerOptions any_options(Chance &chance, size_t n_vocab) {
    SamplerOptions o;
    o.temperature = chance.of({0.0f, 0.0f, 0.7f, 1.0f, 1.5f});
    o.top_k = chance.of({0, 0, 1, 5, 40, 255, 256, 257, 100000});
    o.top_p = chance.of({1.0f, 1.0f, 0.95f, 0.5f, 0.0f, 0.999f});
    o.min_p = chance.of({0.0f, 0.0f, 0.05f, 0.3f, 1.0f, 1e-6f});
    if (chance.one_in(3)) {
        o.repetition_penalty = chance.of({1.0f, 1.3f, 0.8f, 3.0f});
        o.frequency_penalty = chance.of({0.0f, 0.5f, -0.5f});
        o.presence_penalty = chance.of({0.0f, 1.0f, -2.0f, 20.0f});
        o.penalty_last_n = chance.of({4, 64, 3000});
    }
    if (chance.one_in(8)) o.top_n_sigma = 1;
    if (chance.one_in(8)) o.typical_p = 0.8f;
    if (chance.one_in(8)) o.xtc_probability = 0.5f;
    if (chance.one_in(8)) o.dynatemp_range = 0.3f;
    if (chance.one_in(8)) o.mirostat_tau = 4;
    if (chance.one_in(5)) o.dry_multiplier = 1, o.dry_breakers = {{1}, {2, 3}};
    if (chance.one_in(4))
        for (int i = 0; i < 5; ++i)
            o.logit_bias.push_back(
                {int32_t(chance.below(uint32_t(n_vocab))), chance.of({1.0f, -3.0f, 30.0f, -kInfinity})});
    if (chance.one_in(3))
        for (const char *name : {"temperature", "penalties", "top_k", "min_p", "dry", "top_p", "xtc"})
            if (!chance.one_in(3))
                o.stages.insert(o.stages.begin() + chance.below(uint32_t(o.stages.size() + 1)), name);
    o.seed = chance.engine();
    return o;
}

}  // namespace

TEST_CASE("the best tokens give the token that the row gives, or say that they cannot") {
    Chance chance{std::mt19937(5)};
    int n_by_best = 0;
    for (int round = 0; round < 6000; ++round) {
        CAPTURE(round);
        const size_t n_vocab = chance.of<size_t>({32, 255, 256, 257, 300, 700, 1500});
        const SamplerOptions options = any_options(chance, n_vocab);
        Sampler by_row(n_vocab, options), by_best(n_vocab, options);
        for (uint32_t n = chance.of({0u, 3u, 80u}); n > 0; --n) {
            const auto token = int32_t(chance.below(chance.one_in(2) ? 6 : uint32_t(n_vocab)));
            by_row.accept(token);
            by_best.accept(token);
        }
        for (int step = 0; step < 3; ++step) {
            Row row(any_logits(chance, n_vocab));
            int32_t wanted = -1, got = -1;
            const Status status = by_row.sample(row.data(), &wanted);
            REQUIRE(row.sample(by_best, &got, chance.of({-0.9, 0.0, 0.9})) == status);
            REQUIRE(got == wanted);
            n_by_best += row.n_fetched == 0;
            if (status != Status::kOk) continue;
            by_row.accept(wanted);
            by_best.accept(wanted);
            REQUIRE(by_row.mirostat_mu() == by_best.mirostat_mu());
        }
    }
    CHECK(n_by_best > 9000);  // of 18000
}

TEST_CASE("the whole row is never fetched for greedy and for chains that begin with a top-k of 256 or less") {
    Chance chance{std::mt19937(6)};
    for (int round = 0; round < 1000; ++round) {
        CAPTURE(round);
        const size_t n_vocab = chance.of<size_t>({32, 257, 2000});
        SamplerOptions options = {.top_k = int32_t(1 + chance.below(256)),
                                  .xtc_probability = chance.of({0.0f, 0.5f}),
                                  .dynatemp_range = chance.of({0.0f, 0.5f}),
                                  .seed = chance.engine()};
        if (chance.one_in(2)) options.temperature = 0;
        if (chance.one_in(2)) options.stages = {"top_k", "penalties", "typical_p", "temperature"};
        Sampler sampler(n_vocab, options);
        for (int step = 0; step < 4; ++step) {
            Row row(any_logits(chance, n_vocab));
            int32_t token = -1;
            if (row.sample(sampler, &token, 0) == Status::kOk) sampler.accept(token);
            REQUIRE(row.n_fetched == 0);
        }
    }
}

TEST_CASE("penalties and bias, min-p and top-p rarely need the whole row where some tokens are likely") {
    const SamplerOptions chains[] = {
        {.temperature = 0, .repetition_penalty = 1.1f, .logit_bias = {{3, 2}}},
        {.repetition_penalty = 1.1f},
        {.top_k = 0, .top_p = 1, .min_p = 0.05f},
        {.top_k = 0, .top_p = 0.9f, .min_p = 0},
        {.top_k = 0, .top_p = 1, .min_p = 0.05f, .stages = {"temperature", "min_p"}},
        {.dry_multiplier = 0.8f},
    };
    for (const SamplerOptions &options : chains) {
        Sampler sampler(2000, options);
        int n_fetched = 0;
        for (uint32_t i = 0; i < 200; ++i) {
            Row row(random_logits(2000, 4, i));
            int32_t token = -1;
            REQUIRE(row.sample(sampler, &token, 0) == Status::kOk);
            sampler.accept(token);
            n_fetched += row.n_fetched;
        }
        CAPTURE(&options - chains);
        CHECK(n_fetched < 10);
    }
    // What no candidates can tell is not asked for.
    CHECK(Sampler(2000, {.top_k = 0, .top_p = 1, .min_p = 0}).best_wanted() == 0);
    CHECK(Sampler(2000, {.mirostat_tau = 3}).best_wanted() == 0);
    CHECK(Sampler(2000, {.top_k = 257, .top_p = 1, .min_p = 0}).best_wanted() == 0);
    CHECK(Sampler(2000, {.temperature = 0}).best_wanted() == 1);
    CHECK(Sampler(2000, {}).best_wanted() == 40);
    Sampler penalties(2000, {.temperature = 0, .repetition_penalty = 1.1f});
    CHECK(penalties.best_wanted() == 64);
    for (int i = 0; i < 64; ++i) penalties.accept(i);
    CHECK(penalties.best_wanted() == 128);
    CHECK(Sampler(200, {.mirostat_tau = 3}).best_wanted() == 200);
}

TEST_CASE("where tokens that are not among the best could be equal to these, the row decides") {
    const Logits even(300, 1);
    Logits peak = even, pair(300, -80);
    peak[290] = 2;
    pair[7] = pair[8] = 1;
    const struct {
        SamplerOptions options;
        const Logits &logits;
    } cases[] = {
        {{.temperature = 0, .logit_bias = {{260, 2}, {290, 1}}}, peak},  // 260 reaches 290 and comes before it
        {{.top_k = 256, .logit_bias = {{290, -1}}}, peak},               // 290 falls behind 255
        {{.top_k = 0, .top_p = 1, .min_p = 1}, even},
        {{.top_k = 0, .top_p = 0.5f}, pair},
    };
    for (const auto &one : cases) {
        const auto &[options, logits] = one;
        CAPTURE(one.options.top_k);
        Sampler sampler(300, options);
        REQUIRE(sampler.best_wanted() >= 64);
        const BestOfRow best(logits.data(), 300, 256);
        int32_t token = -1;
        Status status = Status::kOk;
        CHECK_FALSE(sampler.sample(best.tokens, &token, status));
        CHECK(token == -1);
    }
}
