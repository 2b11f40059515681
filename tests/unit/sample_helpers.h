// What the tests of samplers share: random logits, and straightforward sorting and softmax in double precision.
#pragma once
#include "base/status.h"
#include "sample/sampler.h"
#include "sample/softmax.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace el {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Logits = std::vector<float>;
using Pairs = std::vector<std::pair<double, int32_t>>;  // logit, id

inline Logits random_logits(size_t n, float deviation, uint32_t seed, bool with_ties = false) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0, deviation);
    Logits logits(n);
    for (float &x : logits) x = with_ties ? std::round(normal(generator)) : normal(generator);
    return logits;
}

inline Pairs sorted(const Logits &logits) {
    Pairs pairs;
    for (size_t i = 0; i < logits.size(); ++i) pairs.push_back({logits[i], static_cast<int32_t>(i)});
    std::sort(pairs.begin(), pairs.end(),
              [](auto &a, auto &b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
    return pairs;
}

inline std::vector<double> probabilities(const Pairs &pairs) {
    std::vector<double> p;
    double sum = 0;
    for (auto &pair : pairs) p.push_back(std::exp(pair.first - pairs[0].first)), sum += p.back();
    for (double &x : p) x /= sum;
    return p;
}

inline std::vector<int32_t> ids_of(const Pairs &pairs, size_t n) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < n; ++i) ids.push_back(pairs[i].second);
    std::sort(ids.begin(), ids.end());
    return ids;
}

inline const Stage &stage(const std::string &name) {
    for (const Stage &stage : all_stages())
        if (name == stage.name) return stage;
    FAIL("no stage " << name);
    std::abort();
}

// What one stage leaves: ids and logits. `accepted` fills the window of the penalties.
inline std::vector<Candidate> apply(const std::string &name, const SamplerOptions &options, const Logits &logits,
                                    const std::vector<int32_t> &accepted = {}, uint64_t position = 0,
                                    double mirostat_mu = 0) {
    std::vector<Candidate> storage(logits.size());
    std::vector<uint64_t> scratch(accepted.size());
    TokenHistory history(accepted.size());
    DryBreakers breakers(options.dry_breakers);
    uint64_t unbroken = 0;
    for (int32_t token : accepted) {
        history.push(token);
        unbroken = breakers.end(history) ? 0 : unbroken + 1;
    }
    Candidates candidates = {storage.data(), 0};
    load_candidates(candidates, logits.data(), logits.size());
    CHECK(stage(name).enabled(options));
    stage(name).apply({options, history, scratch, breakers, unbroken, position, mirostat_mu}, candidates);
    storage.resize(candidates.n);
    return storage;
}

inline std::vector<int32_t> ids_of(const std::vector<Candidate> &candidates) {
    std::vector<int32_t> ids;
    for (Candidate c : candidates) ids.push_back(c.id);
    return ids;
}

inline int32_t sample(Sampler &sampler, const Logits &logits) {
    int32_t token = -1;
    CHECK(sampler.sample(logits.data(), &token) == Status::kOk);
    return token;
}

inline std::vector<int32_t> text(Sampler &sampler, const Logits &logits, int n) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < n; ++i) {
        tokens.push_back(sample(sampler, logits));
        CHECK(sampler.accept(tokens.back()) == Status::kOk);
    }
    return tokens;
}

inline std::string error_of(const SamplerOptions &options, size_t n_vocab = 10) {
    try {
        Sampler sampler(n_vocab, options);
        return "";
    } catch (const Error &error) {
        CHECK(error.status() == Status::kInvalidArgument);
        return error.what();
    }
}

}  // namespace el
