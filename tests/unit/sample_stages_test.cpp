// Each stage against a straightforward implementation in double precision.
#include "sample/philox.h"
#include "sample_helpers.h"
#include <functional>
#include <set>

using namespace el;

TEST_CASE("bias and penalties") {
    Logits logits = {1, -2, 3, -4, 5};
    auto biased = apply("bias", {.logit_bias = {{1, 2.5f}, {4, -kInfinity}, {1, 1}}}, logits);
    CHECK(biased[1].logit == 1.5f);
    CHECK(biased[4].logit == -kInfinity);
    CHECK(biased[0].logit == 1);

    SamplerOptions options = {.repetition_penalty = 2, .frequency_penalty = 0.25f, .presence_penalty = 0.5f};
    auto result = apply("penalties", options, logits, {2, 3, 2, 2});
    REQUIRE(result.size() == 5);
    CHECK(result[0].logit == 1);
    CHECK(result[1].logit == -2);
    CHECK(result[2].logit == 3 / 2.0f - 3 * 0.25f - 0.5f);
    CHECK(result[3].logit == -4 * 2.0f - 0.25f - 0.5f);
    CHECK(result[4].logit == 5);
}

TEST_CASE("top_k keeps the k best, of equals the lowest ids") {
    for (size_t n : {1u, 2u, 7u, 100u, 1000u, 5000u})
        for (bool ties : {false, true}) {
            Logits logits = random_logits(n, 3, static_cast<uint32_t>(n), ties);
            if (n > 50) logits[11] = -kInfinity, logits[12] = kNan, logits[13] = -0.0f, logits[14] = 0.0f;
            Pairs pairs = sorted([&] {
                Logits usable = logits;
                for (float &x : usable) x = usable_logit(x);
                return usable;
            }());
            for (size_t k : {1u, 2u, 3u, 40u, 99u, 500u, 999u, 1000u, 4999u, 100000u}) {
                auto kept = ids_of(apply("top_k", {.top_k = static_cast<int32_t>(k)}, logits));
                REQUIRE(kept == ids_of(pairs, std::min(k, n)));
            }
        }
    CHECK(ids_of(apply("top_k", {.top_k = 2}, {0.0f, -0.0f, 0.0f})) == std::vector<int32_t>{0, 1});
    CHECK(ids_of(apply("top_k", {.top_k = 2}, {-0.0f, 0.0f, 0.0f})) == std::vector<int32_t>{0, 1});
}

TEST_CASE("top_p keeps the fewest best that reach p") {
    for (size_t n : {1u, 5u, 100u, 3000u})
        for (float deviation : {0.0f, 0.01f, 1.0f, 5.0f, 40.0f}) {
            Logits logits = random_logits(n, deviation, static_cast<uint32_t>(n));
            Pairs pairs = sorted(logits);
            std::vector<double> p = probabilities(pairs);
            for (float wanted : {0.0f, 0.0503f, 0.3007f, 0.9003f, 0.9507f, 0.99999f}) {
                size_t fewest = 1;
                for (double sum = p[0]; sum < wanted && fewest < n; ++fewest) sum += p[fewest];
                auto kept = ids_of(apply("top_p", {.top_p = wanted}, logits));
                // The last 1e-5 is a matter of rounding.
                if (wanted < 0.9999f) REQUIRE(kept == ids_of(pairs, fewest));
                double mass = 0;
                for (size_t i = 0; i < kept.size(); ++i) mass += p[i];
                REQUIRE(mass > wanted - 1e-6);
            }
        }
    CHECK(ids_of(apply("top_p", {.top_p = 0.5f}, {-kInfinity, -kInfinity, -kInfinity})).size() == 3);
    CHECK(ids_of(apply("top_p", {.top_p = 0.5f}, {-kInfinity, 1, -kInfinity, 1})) == std::vector<int32_t>{1});
}

TEST_CASE("min_p keeps what is likely enough relative to the best") {
    Logits logits = random_logits(2000, 3, 5);
    Pairs pairs = sorted(logits);
    std::vector<double> p = probabilities(pairs);
    for (float wanted : {1e-6f, 0.0107f, 0.3f, 1.0f}) {
        size_t n = static_cast<size_t>(std::count_if(p.begin(), p.end(), [&](double x) { return x >= wanted * p[0]; }));
        CHECK(ids_of(apply("min_p", {.min_p = wanted}, logits)) == ids_of(pairs, n));
    }
}

TEST_CASE("temperature divides") {
    Logits logits = {1, 3, -2, -kInfinity};
    auto result = apply("temperature", {.temperature = 0.5f}, logits);
    CHECK(result[1].logit - result[0].logit == 4);
    CHECK(result[1].logit - result[2].logit == 10);
    CHECK(result[3].logit == -kInfinity);
    result = apply("temperature", {.temperature = 1e-40f}, {FLT_MAX, -FLT_MAX, FLT_MAX});
    CHECK(result[0].logit == 0);
    CHECK(result[1].logit == -kInfinity);
}

TEST_CASE("top_n_sigma keeps what is within n deviations of the best") {
    for (size_t n : {1u, 7u, 3000u})
        for (float sigmas : {0.11f, 1.03f, 2.5f, 1e9f}) {
            Logits logits = random_logits(n, 3, static_cast<uint32_t>(n));
            Logits banned = logits;  // what is impossible does not count
            banned.insert(banned.end(), {-kInfinity, kNan});
            Pairs pairs = sorted(logits);
            double mean = 0, variance = 0;
            for (float x : logits) mean += x / static_cast<double>(n);
            for (float x : logits) variance += (x - mean) * (x - mean) / static_cast<double>(n);
            double least = pairs[0].first - sigmas * std::sqrt(variance);
            size_t kept = 0;
            while (kept < n && pairs[kept].first >= least) ++kept;
            REQUIRE(ids_of(apply("top_n_sigma", {.top_n_sigma = sigmas}, logits)) == ids_of(pairs, kept));
            REQUIRE(ids_of(apply("top_n_sigma", {.top_n_sigma = sigmas}, banned)) == ids_of(pairs, kept));
        }
    CHECK(ids_of(apply("top_n_sigma", {.top_n_sigma = FLT_MAX}, {FLT_MAX, -FLT_MAX, 0})).size() == 3);
    CHECK(ids_of(apply("top_n_sigma", {.top_n_sigma = 1}, {kNan, kNan})).size() == 2);
}

TEST_CASE("typical_p keeps the fewest most typical that reach p") {
    for (size_t n : {1u, 5u, 100u, 3000u})
        for (float deviation : {0.5f, 2.0f, 6.0f}) {
            Logits logits = random_logits(n, deviation, static_cast<uint32_t>(n) + 1);
            Pairs pairs = sorted(logits), by_typicality;
            std::vector<double> p = probabilities(pairs);
            double entropy = 0;
            for (double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
            // The negative distance to the entropy in the place of the logit, the probability by id.
            std::vector<double> mass(n);
            for (size_t i = 0; i < n; ++i) {
                by_typicality.push_back({-std::fabs(-std::log(p[i]) - entropy), pairs[i].second});
                mass[static_cast<size_t>(pairs[i].second)] = p[i];
            }
            std::sort(by_typicality.begin(), by_typicality.end(), std::greater<>());
            for (float wanted : {0.0f, 0.2003f, 0.5007f, 0.9503f}) {
                size_t fewest = 0;
                for (double sum = 0; fewest == 0 || (sum < wanted && fewest < n); ++fewest)
                    sum += mass[static_cast<size_t>(by_typicality[fewest].second)];
                REQUIRE(ids_of(apply("typical_p", {.typical_p = wanted}, logits)) == ids_of(by_typicality, fewest));
            }
        }
    // The most likely need not be typical: ln 0.6, 0.3, 0.1 have an entropy of 0.898, surprises of 0.51, 1.20, 2.30.
    Logits logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f), -kInfinity};
    CHECK(ids_of(apply("typical_p", {.typical_p = 0.2f}, logits)) == std::vector<int32_t>{1});
    CHECK(ids_of(apply("typical_p", {.typical_p = 0.8f}, logits)) == std::vector<int32_t>{0, 1});
    CHECK(ids_of(apply("typical_p", {.typical_p = 0.5f}, {kNan, -kInfinity})).size() == 2);
}

TEST_CASE("xtc drops the choices but the least likely, as often as asked") {
    Logits logits = random_logits(50, 2, 21);
    Pairs pairs = sorted(logits);
    std::vector<double> p = probabilities(pairs);
    for (float threshold : {0.0203f, 0.1f, 0.5f}) {
        size_t n = static_cast<size_t>(std::count_if(p.begin(), p.end(), [=](double x) { return x >= threshold; }));
        std::vector<int32_t> all = ids_of(pairs, 50), rest = all;
        for (size_t i = 0; i + 1 < n; ++i) rest.erase(std::find(rest.begin(), rest.end(), pairs[i].second));
        int dropped = 0;
        for (uint64_t position = 0; position < 1000; ++position) {
            SamplerOptions options = {.xtc_probability = 0.3f, .xtc_threshold = threshold, .seed = 5};
            bool drops = philox_uniform(5, position, kXtcStream) < 0.3f;
            dropped += drops;
            REQUIRE(ids_of(apply("xtc", options, logits, {}, position)) == (drops ? rest : all));
        }
        CHECK(dropped > 250);
        CHECK(dropped < 350);
    }
    SamplerOptions always = {.xtc_probability = 1, .xtc_threshold = 0.2f};
    CHECK(ids_of(apply("xtc", always, {1, 1, 1, -kInfinity})) == std::vector<int32_t>{2, 3});
    CHECK(ids_of(apply("xtc", always, {9, 1, 1})).size() == 3);
    CHECK(ids_of(apply("xtc", always, {kNan, kNan})).size() == 2);
    always.xtc_threshold = 0;  // what is impossible is no choice
    CHECK(ids_of(apply("xtc", always, {2, 1, -kInfinity})) == std::vector<int32_t>{1, 2});
}

TEST_CASE("the entropy sets a dynamic temperature") {
    for (float exponent : {0.0f, 0.5f, 1.0f, 3.0f})
        for (float range : {0.25f, 0.75f, 3.0f})
            for (float deviation : {0.3f, 2.0f, 5.0f}) {
                Logits logits = random_logits(40, deviation, 31);
                Pairs pairs = sorted(logits);
                double entropy = 0;
                for (double x : probabilities(pairs)) entropy -= x * std::log(x);
                double least = std::max(0.8 - range, 0.0), most = 0.8 + range;
                double expected = least + (most - least) * std::pow(entropy / std::log(40.0), exponent);
                logits.push_back(-kInfinity);
                auto result =
                    apply("temperature", {.temperature = 0.8f, .dynatemp_range = range, .dynatemp_exponent = exponent},
                          logits);
                for (size_t i = 0; i < 40; ++i)
                    REQUIRE(result[i].logit == doctest::Approx((logits[i] - pairs[0].first) / expected).epsilon(1e-5));
                REQUIRE(result[40].logit == -kInfinity);
            }
    SamplerOptions options = {.temperature = 1, .dynatemp_range = 0.5f};
    CHECK(apply("temperature", options, {0, 1000})[0].logit == doctest::Approx(-2000));  // certain: the least
    options.dynatemp_range = 1;                                                          // the least is 0
    CHECK(apply("temperature", options, {0, 1000})[0].logit == -kInfinity);
    CHECK(apply("temperature", options, {0, 1000})[1].logit == 0);
    CHECK(apply("temperature", options, {kNan, 3})[1].logit == 0);
}

TEST_CASE("mirostat drops what surprises more than mu") {
    Logits logits = random_logits(2000, 2, 41);
    Pairs pairs = sorted(logits);
    std::vector<double> p = probabilities(pairs);
    for (double mu : {-3.0, 0.0, 4.003, 8.5, 11.77, 1000.0}) {
        size_t n = 0;
        while (n < p.size() && -std::log2(p[n]) <= mu) ++n;
        auto kept = ids_of(apply("mirostat", {.mirostat_tau = 1}, logits, {}, 0, mu));
        CHECK(kept == ids_of(pairs, std::max<size_t>(n, 1)));
    }
    CHECK(ids_of(apply("mirostat", {.mirostat_tau = 1}, {kNan, kNan}, {}, 0, 3)).size() == 2);
}

TEST_CASE("mirostat steers the surprise to tau") {
    // Distributions that differ from step to step; mu and the surprise are followed in double precision.
    std::vector<Logits> steps;
    for (uint32_t i = 0; i < 16; ++i) steps.push_back(random_logits(500, 1 + static_cast<float>(i % 4), i));
    for (float tau : {1.0f, 3.0f}) {
        Sampler sampler(500, {.temperature = 1, .mirostat_tau = tau, .mirostat_eta = 0.1f, .seed = 1});
        double mu = 2 * tau, late = 0;
        for (int i = 0; i < 2000; ++i) {
            const Logits &logits = steps[static_cast<size_t>(i % 16)];
            int32_t token = sample(sampler, logits);
            REQUIRE(sample(sampler, logits) == token);
            Pairs pairs = sorted(logits);
            std::vector<double> p = probabilities(pairs);
            double kept = 0, chosen = 0;
            for (size_t j = 0; j < p.size(); ++j) {
                if (j > 0 && -std::log2(p[j]) > mu) break;
                kept += p[j];
                if (pairs[j].second == token) chosen = p[j];
            }
            REQUIRE(chosen > 0);
            double surprise = -std::log2(chosen / kept);
            mu -= 0.1 * (surprise - tau);
            REQUIRE(sampler.accept(token) == Status::kOk);
            REQUIRE(sampler.mirostat_mu() == doctest::Approx(mu).epsilon(1e-4));
            if (i >= 1000) late += surprise / 1000;
        }
        CHECK(late == doctest::Approx(tau).epsilon(0.05));
    }
}

TEST_CASE("mirostat takes the place of what drops tokens, and learns only from what was drawn") {
    Logits logits = random_logits(500, 1, 3);
    SamplerOptions options = {.temperature = 1, .top_k = 1, .mirostat_tau = 5, .mirostat_eta = 0.5f};
    Sampler a(500, options), b(500, options);
    std::vector<int32_t> first = text(a, logits, 100);
    CHECK(std::set<int32_t>(first.begin(), first.end()).size() > 20);
    double mu = a.mirostat_mu();
    int32_t token = sample(a, logits);
    CHECK(b.copy_from(a) == Status::kOk);
    CHECK(a.accept(token == 0) == Status::kOk);  // another token
    CHECK(a.mirostat_mu() == mu);
    CHECK(b.accept(token) == Status::kOk);
    CHECK(b.mirostat_mu() != mu);
    double learned = b.mirostat_mu();
    CHECK(b.accept(token) == Status::kOk);  // not drawn again
    CHECK(b.mirostat_mu() == learned);
    CHECK(a.copy_from(b) == Status::kOk);
    CHECK(text(a, logits, 50) == text(b, logits, 50));
    a.reset();
    CHECK(a.mirostat_mu() == 10);
    CHECK(text(a, logits, 100) == first);
}

TEST_CASE("the order of the stages can be set") {
    Logits logits = random_logits(200, 1.5f, 51);
    auto seen = [&](const SamplerOptions &options) {
        Sampler sampler(200, options);
        std::vector<int32_t> tokens = text(sampler, logits, 3000);
        std::set<int32_t> different(tokens.begin(), tokens.end());
        return std::vector<int32_t>(different.begin(), different.end());
    };
    auto nucleus = [&](float temperature) {
        Logits scaled = logits;
        for (float &x : scaled) x /= temperature;
        return ids_of(apply("top_p", {.top_p = 0.3f}, scaled));
    };
    SamplerOptions options = {.temperature = 3, .top_k = 2, .top_p = 0.3f, .stages = {"temperature", "top_p"}};
    CHECK(seen(options) == nucleus(3));
    options.stages = {"top_p", "temperature"};
    CHECK(seen(options) == nucleus(1));
    CHECK(nucleus(1).size() > 2);
    CHECK(nucleus(3).size() > nucleus(1).size());
    options.stages = {"top_k"};
    CHECK(seen(options) == ids_of(sorted(logits), 2));
    // What cannot be moved is always there.
    options.logit_bias = {{sorted(logits)[0].second, -kInfinity}};
    CHECK(seen(options) != ids_of(sorted(logits), 2));

    options = {.seed = 9};
    Sampler usual(200, options);
    for (const Stage &stage : all_stages())
        if (stage.movable) options.stages.push_back(stage.name);
    Sampler listed(200, options);
    CHECK(text(usual, logits, 200) == text(listed, logits, 200));
    options.stages = {"top_k", "top_p", "temperature"};
    Sampler other(200, options);
    CHECK(other.copy_from(listed) == Status::kInvalidArgument);
}

TEST_CASE("what is off changes nothing") {
    Logits logits = random_logits(300, 2, 61);
    Sampler plain(300, {.seed = 4});
    std::vector<int32_t> expected = text(plain, logits, 300);
    std::vector<SamplerOptions> cases = {
        {.top_n_sigma = 0, .typical_p = 1, .seed = 4},
        {.top_n_sigma = FLT_MAX, .seed = 4},
        {.xtc_probability = 0, .xtc_threshold = 0.01f, .seed = 4},
        {.xtc_probability = 1, .xtc_threshold = 0.51f, .seed = 4},
        {.dynatemp_range = 0, .dynatemp_exponent = 3, .seed = 4},
        {.dry_multiplier = 0, .dry_base = 4, .dry_allowed_length = 1, .seed = 4},
        {.dry_multiplier = 9, .dry_allowed_length = 1, .dry_penalty_last_n = 0, .seed = 4},
        {.dry_multiplier = 9, .dry_allowed_length = 1000, .seed = 4},
        {.mirostat_tau = 0, .mirostat_eta = 9, .seed = 4},
    };
    for (const SamplerOptions &options : cases) {
        Sampler sampler(300, options);
        CHECK(text(sampler, logits, 300) == expected);
    }
}

TEST_CASE("stages draw by the distribution they leave") {
    // Chi-squared, of half of the draws each with and without the first choice.
    Logits logits = {2.0f, 1.5f, 1.2f, 0.4f, 0.1f, -0.5f, -3.0f, -9.0f};
    SamplerOptions options = {.temperature = 2,
                              .top_k = 7,
                              .top_p = 1,
                              .min_p = 0,
                              .xtc_probability = 0.5f,
                              .xtc_threshold = 0.2f,
                              .seed = 77};
    constexpr int kDraws = 40000, kPossible = 7;
    std::vector<double> p = probabilities(sorted(logits));
    REQUIRE(p[1] > 0.2);  // there are two choices
    REQUIRE(p[2] < 0.2);
    double expected[kPossible] = {}, with = 0, without = 0;
    for (int i = 0; i < kPossible; ++i) with += std::exp(logits[static_cast<size_t>(i)] / 2);
    without = with - std::exp(logits[0] / 2);
    for (int i = 0; i < kPossible; ++i) {
        double weight = std::exp(logits[static_cast<size_t>(i)] / 2);
        expected[i] = kDraws * (weight / with + (i > 0 ? weight / without : 0)) / 2;
    }
    Sampler sampler(8, options);
    int counts[8] = {};
    for (int32_t token : text(sampler, logits, kDraws)) ++counts[token];
    CHECK(counts[7] == 0);
    double chi_squared = 0;
    for (int i = 0; i < kPossible; ++i)
        chi_squared += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
    CHECK(chi_squared < 22.5);  // exceeded with probability 0.001 at 6 degrees of freedom
    CHECK(chi_squared > 0.3);
}
