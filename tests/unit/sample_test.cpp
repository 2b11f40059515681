#include "sample/philox.h"
#include "sample_helpers.h"
#include <new>
#include <set>

static long n_allocations = 0;
// Where only one of a pair is inlined, gcc takes them for mismatched.
[[gnu::noinline]] void *operator new(size_t n) {
    ++n_allocations;
    if (void *p = std::malloc(n ? n : 1)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, size_t) noexcept { std::free(p); }

using namespace el;

TEST_CASE("philox gives the published numbers") {
    // The known answers of the Random123 distribution.
    CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
          PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
    double least = 1, most = 0;
    for (uint64_t i = 0; i < 10000; ++i) {
        double u = philox_uniform(7, i);
        least = std::min(least, u);
        most = std::max(most, u);
    }
    CHECK(least >= 0);
    CHECK(least < 0.001);
    CHECK(most < 1);
    CHECK(most > 0.999);
    CHECK(philox_uniform(1, uint64_t(1) << 32) != philox_uniform(1, 0));
    CHECK(philox_uniform(uint64_t(1) << 32, 0) != philox_uniform(0, 0));
    CHECK(philox_uniform(1, 0, 1) != philox_uniform(1, 0));
}

TEST_CASE("exp_negative agrees with the C library") {
    double worst = 0;
    for (float x = 0; x > -87.3f; x -= 0.01f)
        worst = std::max(worst, std::fabs(exp_negative(x) / std::exp(double(x)) - 1));
    CHECK(worst < 2e-7);
    CHECK(exp_negative(0) == 1);
    CHECK(exp_negative(-0.0f) == 1);
    CHECK(exp_negative(-88.5f) == 0);
    CHECK(exp_negative(-kInfinity) == 0);
}

TEST_CASE("greedy takes the best, of equals the lowest id, with and without stages") {
    Sampler plain(40, {.temperature = 0}), biased(40, {.temperature = 0, .logit_bias = {{0, 0}}});
    for (Sampler *sampler : {&plain, &biased}) {
        Logits logits(40, 1);
        CHECK(sample(*sampler, logits) == 0);
        logits[39] = logits[17] = logits[23] = 2;
        CHECK(sample(*sampler, logits) == 17);
        logits[3] = kNan;
        logits[20] = kInfinity;
        logits[21] = -kInfinity;
        CHECK(sample(*sampler, logits) == 20);
    }
    Sampler banned(3, {.temperature = 0, .logit_bias = {{2, -kInfinity}}});
    CHECK(sample(banned, {0, 1, 2}) == 1);
}

TEST_CASE("the window of the penalties slides") {
    Sampler sampler(4, {.temperature = 0, .presence_penalty = 10, .penalty_last_n = 2});
    Logits logits = {4, 3, 2, 1};
    // Each chosen token is out for two steps.
    CHECK(text(sampler, logits, 7) == std::vector<int32_t>{0, 1, 2, 0, 1, 2, 0});
    sampler.reset();
    CHECK(sampler.position() == 0);
    CHECK(sample(sampler, logits) == 0);
    Sampler without(4, {.temperature = 0, .presence_penalty = 10, .penalty_last_n = 0});
    CHECK(text(without, logits, 3) == std::vector<int32_t>{0, 0, 0});
}

TEST_CASE("same seed, same text; sampling again changes nothing") {
    Logits logits = random_logits(500, 2, 3);
    SamplerOptions options = {.temperature = 1, .seed = 42};
    Sampler a(500, options), b(500, options), c(500, {.temperature = 1, .seed = 43});
    std::vector<int32_t> first = text(a, logits, 50);
    CHECK(std::set<int32_t>(first.begin(), first.end()).size() > 5);
    std::vector<int32_t> second;
    for (int i = 0; i < 50; ++i) {
        int32_t token = sample(b, logits);
        CHECK(sample(b, logits) == token);
        second.push_back(token);
        CHECK(b.accept(token) == Status::kOk);
    }
    CHECK(first == second);
    CHECK(text(c, logits, 50) != first);
    a.reset();
    CHECK(text(a, logits, 50) == first);
}

TEST_CASE("a copy goes on as the original") {
    Logits logits = random_logits(100, 2, 4);
    SamplerOptions options = {.repetition_penalty = 1.5f, .frequency_penalty = 0.3f, .penalty_last_n = 8, .seed = 1};
    Sampler a(100, options);
    options.seed = 2;
    Sampler b(100, options);
    text(a, logits, 13);
    text(b, logits, 3);
    CHECK(b.copy_from(a) == Status::kOk);
    CHECK(b.position() == 13);
    CHECK(text(b, logits, 30) == text(a, logits, 30));

    Sampler other_size(101, options);
    CHECK(other_size.copy_from(a) == Status::kInvalidArgument);
    options.top_k = 3;
    Sampler other_options(100, options);
    CHECK(other_options.copy_from(a) == Status::kInvalidArgument);
    CHECK(other_options.options().seed == 2);
}

TEST_CASE("tokens are drawn by their probabilities") {
    // Chi-squared against the softmax at this temperature; the seeds are fixed, so the outcome is too.
    constexpr size_t kVocabulary = 16;
    constexpr int kDraws = 40000;
    Logits logits = random_logits(kVocabulary, 1, 9);
    Logits scaled = logits;
    for (float &x : scaled) x /= 1.5f;
    Pairs pairs = sorted(scaled);
    std::vector<double> p = probabilities(pairs);
    for (uint64_t seed : {0u, 1u, 12345u}) {
        Sampler sampler(kVocabulary, {.temperature = 1.5f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed});
        std::vector<int> counts(kVocabulary);
        for (int32_t token : text(sampler, logits, kDraws)) ++counts[static_cast<size_t>(token)];
        double chi_squared = 0;
        for (size_t i = 0; i < kVocabulary; ++i) {
            double expected = p[i] * kDraws, difference = counts[static_cast<size_t>(pairs[i].second)] - expected;
            chi_squared += difference * difference / expected;
        }
        CHECK(chi_squared < 37.7);  // exceeded with probability 0.001 at 15 degrees of freedom
        CHECK(chi_squared > 2.5);   // by chance almost never so close
    }
}

TEST_CASE("stages combine: only what all of them keep is drawn") {
    Logits logits = random_logits(300, 1.5f, 6);
    Pairs pairs = sorted(logits);
    auto kept = ids_of(pairs, 5);
    Sampler sampler(300, {.temperature = 3, .top_k = 5, .top_p = 1, .seed = 3});
    std::set<int32_t> seen;
    for (int32_t token : text(sampler, logits, 500)) seen.insert(token);
    CHECK(std::vector<int32_t>(seen.begin(), seen.end()) == kept);
}

TEST_CASE("logits that are not numbers never give a token that does not exist") {
    std::vector<SamplerOptions> cases = {
        {.temperature = 0},
        {.temperature = 0, .logit_bias = {{1, 1e38f}}},
        {.temperature = 1, .top_k = 0, .top_p = 1},
        {.temperature = 1e-30f, .top_k = 3, .top_p = 0.5f, .min_p = 0.1f, .repetition_penalty = 1e-30f},
        {.temperature = FLT_MAX, .top_p = 0, .frequency_penalty = FLT_MAX, .presence_penalty = FLT_MAX},
        {.frequency_penalty = -FLT_MAX, .presence_penalty = -FLT_MAX},
        {.temperature = 1, .top_k = 0, .top_p = 1, .top_n_sigma = 1, .typical_p = 0.5f},
        {.top_k = 0, .top_p = 1, .top_n_sigma = FLT_MAX, .typical_p = 0, .xtc_probability = 1, .xtc_threshold = 0},
        {.temperature = 1e-40f, .top_k = 0, .top_p = 1, .typical_p = 0.9f, .dynatemp_range = FLT_MAX},
        {.temperature = FLT_MAX, .top_k = 0, .dynatemp_range = FLT_MAX, .dynatemp_exponent = FLT_MAX},
        {.dry_multiplier = FLT_MAX, .dry_base = FLT_MAX, .dry_allowed_length = 1, .dry_breakers = {{1}, {2, 3}}},
        {.mirostat_tau = FLT_MAX, .mirostat_eta = FLT_MAX},
        {.dynatemp_range = 1, .mirostat_tau = 1e-30f, .mirostat_eta = FLT_MAX},
        {.mirostat_tau = 3, .stages = {"temperature", "penalties"}},
    };
    std::mt19937 generator(1);
    constexpr float kOdd[] = {kNan, kInfinity, -kInfinity, FLT_MAX, -FLT_MAX, 0, 1, 1e-42f};
    for (const SamplerOptions &options : cases) {
        Sampler sampler(20, options);
        for (int round = 0; round < 500; ++round) {
            Logits logits(20);
            for (float &x : logits) x = kOdd[generator() % 8];
            int32_t token = -1;
            Status status = sampler.sample(logits.data(), &token);
            if (status == Status::kOk) {
                REQUIRE(token >= 0);
                REQUIRE(token < 20);
                float chosen = logits[static_cast<size_t>(token)];
                REQUIRE(!std::isnan(chosen));
                REQUIRE(chosen != -kInfinity);
                CHECK(sampler.accept(token) == Status::kOk);
            }
        }
        for (float x : {kNan, -kInfinity}) {
            int32_t token = 7;
            CHECK(sampler.sample(Logits(20, x).data(), &token) == Status::kLogitsInvalid);
            CHECK(token == 7);
        }
        CHECK(sample(sampler, Logits(20, kInfinity)) >= 0);
        CHECK(sampler.accept(-1) == Status::kInvalidArgument);
        CHECK(sampler.accept(20) == Status::kInvalidArgument);
    }
}

TEST_CASE("nothing allocates after creation") {
    Logits logits = random_logits(1000, 2, 8);
    SamplerOptions options = {.min_p = 0.01f,
                              .repetition_penalty = 1.1f,
                              .top_n_sigma = 3,
                              .typical_p = 0.9f,
                              .xtc_probability = 0.5f,
                              .dynatemp_range = 0.5f,
                              .dry_multiplier = 1,
                              .dry_breakers = {{1}, {2, 3}},
                              .stages = {"dry", "xtc", "typical_p", "top_n_sigma", "temperature"},
                              .logit_bias = {{5, 1}}};
    Sampler sampler(1000, options), copy(1000, options);
    Sampler mirostat(1000, {.mirostat_tau = 3});
    bool fine = true;
    int32_t ids[10];
    float logprobs[10];
    long before = n_allocations;
    for (int i = 0; i < 100; ++i) {
        int32_t token;
        fine = fine && sampler.sample(logits.data(), &token) == Status::kOk && sampler.accept(token) == Status::kOk &&
               copy.copy_from(sampler) == Status::kOk && mirostat.sample(logits.data(), &token) == Status::kOk &&
               mirostat.accept(token) == Status::kOk;
    }
    sampler.reset();
    log_softmax_top(logits.data(), logits.size(), 10, ids, logprobs);
    logprobs[0] = log_probability_of(logits.data(), logits.size(), 3);
    long after = n_allocations;
    CHECK(after == before);
    CHECK(fine);
}

TEST_CASE("log_softmax_top") {
    for (bool ties : {false, true}) {
        Logits logits = random_logits(700, 4, 2, ties);
        Pairs pairs = sorted(logits);
        std::vector<double> p = probabilities(pairs);
        for (size_t k : {0u, 1u, 5u, 700u, 1000u}) {
            std::vector<int32_t> ids(k, -1);
            std::vector<float> logprobs(k);
            REQUIRE(log_softmax_top(logits.data(), 700, k, ids.data(), logprobs.data()) == std::min<size_t>(k, 700));
            for (size_t i = 0; i < std::min<size_t>(k, 700); ++i) {
                REQUIRE(ids[i] == pairs[i].second);
                REQUIRE(logprobs[i] == doctest::Approx(std::log(p[i])).epsilon(1e-6));
                REQUIRE(log_probability_of(logits.data(), 700, ids[i]) == logprobs[i]);
            }
        }
    }
    int32_t ids[4];
    float logprobs[4];
    Logits odd = {kNan, kInfinity, 3, -kInfinity};
    CHECK(log_softmax_top(odd.data(), 4, 4, ids, logprobs) == 4);
    CHECK(ids[0] == 1);
    CHECK(ids[1] == 2);
    CHECK(logprobs[0] == 0);
    CHECK(logprobs[3] == -kInfinity);
    CHECK(log_probability_of(odd.data(), 4, 1) == 0);
    CHECK(log_probability_of(odd.data(), 4, 0) == -kInfinity);
    CHECK(log_softmax_top(odd.data(), 4, 2, ids, nullptr) == 2);
    CHECK(ids[1] == 2);
    Logits infinite = {1, kInfinity, kInfinity};
    CHECK(log_softmax_top(infinite.data(), 3, 1, ids, logprobs) == 1);
    CHECK(ids[0] == 1);
    CHECK(logprobs[0] == doctest::Approx(-std::log(2.0)));
    Logits none(4, kNan);
    CHECK(log_softmax_top(none.data(), 4, 2, ids, logprobs) == 2);
    CHECK(logprobs[0] == -kInfinity);
    CHECK(log_probability_of(none.data(), 4, 0) == -kInfinity);
}

TEST_CASE("options are checked, and the message names the field") {
    auto names = [](const std::string &message, const char *field) { return message.find(field) == 0; };
    CHECK(error_of({}) == "");
    CHECK(names(error_of({.temperature = -1}), "temperature"));
    CHECK(names(error_of({.temperature = kNan}), "temperature"));
    CHECK(names(error_of({.temperature = kInfinity}), "temperature"));
    CHECK(names(error_of({.top_k = -1}), "top_k"));
    CHECK(names(error_of({.top_p = 1.5f}), "top_p"));
    CHECK(names(error_of({.top_p = kNan}), "top_p"));
    CHECK(names(error_of({.min_p = -0.1f}), "min_p"));
    CHECK(names(error_of({.repetition_penalty = 0}), "repetition_penalty"));
    CHECK(names(error_of({.frequency_penalty = kInfinity}), "frequency_penalty"));
    CHECK(names(error_of({.presence_penalty = kNan}), "presence_penalty"));
    CHECK(names(error_of({.penalty_last_n = -1}), "penalty_last_n"));
    CHECK(names(error_of({.penalty_last_n = SamplerOptions::kMaxWindow + 1}), "penalty_last_n"));
    CHECK(names(error_of({.top_n_sigma = -1}), "top_n_sigma"));
    CHECK(names(error_of({.top_n_sigma = kInfinity}), "top_n_sigma"));
    CHECK(names(error_of({.typical_p = 1.01f}), "typical_p"));
    CHECK(names(error_of({.xtc_probability = kNan}), "xtc_probability"));
    CHECK(names(error_of({.xtc_threshold = -0.1f}), "xtc_threshold"));
    CHECK(names(error_of({.dynatemp_range = -1}), "dynatemp_range"));
    CHECK(names(error_of({.dynatemp_exponent = -1}), "dynatemp_exponent"));
    CHECK(names(error_of({.dry_multiplier = -1}), "dry_multiplier"));
    CHECK(names(error_of({.dry_base = 0.9f}), "dry_base"));
    CHECK(names(error_of({.dry_base = kNan}), "dry_base"));
    CHECK(names(error_of({.dry_allowed_length = 0}), "dry_allowed_length"));
    CHECK(names(error_of({.dry_penalty_last_n = -1}), "dry_penalty_last_n"));
    CHECK(names(error_of({.dry_penalty_last_n = SamplerOptions::kMaxWindow + 1}), "dry_penalty_last_n"));
    CHECK(names(error_of({.dry_breakers = {{1}, {}}}), "dry_breakers: sequence 1"));
    CHECK(names(error_of({.dry_breakers = {{1, 10}}}), "dry_breakers: sequence 0"));
    CHECK(names(error_of({.dry_breakers = {{-1}}}), "dry_breakers"));
    CHECK(names(error_of({.dry_breakers = {std::vector<int32_t>(65)}}), "dry_breakers"));
    CHECK(names(error_of({.dry_breakers = std::vector<std::vector<int32_t>>((1 << 20) + 1)}), "dry_breakers"));
    CHECK(names(error_of({.mirostat_tau = kInfinity}), "mirostat_tau"));
    CHECK(names(error_of({.mirostat_eta = -1}), "mirostat_eta"));
    CHECK(names(error_of({.stages = {"top_k", "top_q"}}), "stages names \"top_q\"; there are penalties, dry, "));
    CHECK(names(error_of({.stages = {"bias"}}), "stages names \"bias\""));
    CHECK(names(error_of({.stages = {"mirostat"}}), "stages names \"mirostat\""));
    CHECK(names(error_of({.stages = {""}}), "stages names \"\""));
    CHECK(names(error_of({.stages = {"top_k", "dry", "top_k"}}), "stages names top_k twice"));
    CHECK(names(error_of({.stages = {std::string(100000, '\xff')}}), "stages"));
    CHECK(names(error_of({.logit_bias = {{10, 1}}}), "logit_bias"));
    CHECK(names(error_of({.logit_bias = {{-1, 1}}}), "logit_bias"));
    CHECK(names(error_of({.logit_bias = {{1, kNan}}}), "logit_bias"));
    CHECK(names(error_of({.logit_bias = {{1, kInfinity}}}), "logit_bias"));
    CHECK(error_of({.logit_bias = {{9, -kInfinity}}}) == "");
    CHECK(names(error_of({}, 0), "a vocabulary of 0 tokens"));
}
