#include "sample/options.h"
#include "base/status.h"
#include "sample/stages.h"
#include <algorithm>
#include <cmath>
#include <limits>

namespace el {
namespace {

constexpr float kMost = std::numeric_limits<float>::max();
constexpr int32_t kMostInt = std::numeric_limits<int32_t>::max();

void check_range(const char *field, double value, double least, double most) {
    if (!(value >= least && value <= most))  // also not a number
        fail(Status::kInvalidArgument, "{} is {}; it must be from {} to {}", field, value, least, most);
}

void check_logit_bias(const SamplerOptions &options, size_t n_vocab) {
    for (const LogitBias &bias : options.logit_bias) {
        if (bias.id < 0 || static_cast<size_t>(bias.id) >= n_vocab)
            fail(Status::kInvalidArgument, "logit_bias names token {}; the vocabulary has {} tokens", bias.id, n_vocab);
        if (std::isnan(bias.bias) || bias.bias > kMost)
            fail(Status::kInvalidArgument, "logit_bias of token {} is {}; it must be finite, or minus infinity",
                 bias.id, bias.bias);
    }
}

void check_breakers(const SamplerOptions &options, size_t n_vocab) {
    if (options.dry_breakers.size() > SamplerOptions::kMaxBreakers)
        fail(Status::kInvalidArgument, "dry_breakers are {} sequences; at most {}", options.dry_breakers.size(),
             SamplerOptions::kMaxBreakers);
    for (size_t i = 0; i < options.dry_breakers.size(); ++i) {
        const std::vector<int32_t> &breaker = options.dry_breakers[i];
        if (breaker.empty() || breaker.size() > SamplerOptions::kMaxBreakerTokens)
            fail(Status::kInvalidArgument, "dry_breakers: sequence {} has {} tokens; it must have from 1 to {}", i,
                 breaker.size(), SamplerOptions::kMaxBreakerTokens);
        for (int32_t token : breaker)
            if (token < 0 || static_cast<size_t>(token) >= n_vocab)
                fail(Status::kInvalidArgument, "dry_breakers: sequence {} names token {}; the vocabulary has {} tokens",
                     i, token, n_vocab);
    }
}

void check_stages(const SamplerOptions &options) {
    std::vector<const Stage *> seen;
    for (const std::string &name : options.stages) {
        const Stage *stage = find_stage(name);
        if (!stage) {
            std::string known;
            for (const Stage &s : all_stages())
                if (s.movable) known += known.empty() ? s.name : std::string(", ") + s.name;
            fail(Status::kInvalidArgument, "stages names \"{:.64}\"; there are {}", name, known);
        }
        if (std::find(seen.begin(), seen.end(), stage) != seen.end())
            fail(Status::kInvalidArgument, "stages names {} twice", stage->name);
        seen.push_back(stage);
    }
}

}  // namespace

void check_options(const SamplerOptions &options, size_t n_vocab) {
    if (n_vocab == 0 || n_vocab > static_cast<size_t>(kMostInt))
        fail(Status::kInvalidArgument, "a vocabulary of {} tokens cannot be sampled from", n_vocab);
    check_range("temperature", options.temperature, 0, kMost);
    check_range("top_k", options.top_k, 0, kMostInt);
    check_range("top_p", options.top_p, 0, 1);
    check_range("min_p", options.min_p, 0, 1);
    check_range("repetition_penalty", options.repetition_penalty, std::numeric_limits<float>::min(), kMost);
    check_range("frequency_penalty", options.frequency_penalty, -kMost, kMost);
    check_range("presence_penalty", options.presence_penalty, -kMost, kMost);
    check_range("penalty_last_n", options.penalty_last_n, 0, SamplerOptions::kMaxWindow);
    check_range("top_n_sigma", options.top_n_sigma, 0, kMost);
    check_range("typical_p", options.typical_p, 0, 1);
    check_range("xtc_probability", options.xtc_probability, 0, 1);
    check_range("xtc_threshold", options.xtc_threshold, 0, 1);
    check_range("dynatemp_range", options.dynatemp_range, 0, kMost);
    check_range("dynatemp_exponent", options.dynatemp_exponent, 0, kMost);
    check_range("dry_multiplier", options.dry_multiplier, 0, kMost);
    check_range("dry_base", options.dry_base, 1, kMost);
    check_range("dry_allowed_length", options.dry_allowed_length, 1, SamplerOptions::kMaxWindow);
    check_range("dry_penalty_last_n", options.dry_penalty_last_n, 0, SamplerOptions::kMaxWindow);
    check_range("mirostat_tau", options.mirostat_tau, 0, kMost);
    check_range("mirostat_eta", options.mirostat_eta, 0, kMost);
    check_breakers(options, n_vocab);
    check_stages(options);
    check_logit_bias(options, n_vocab);
}

}  // namespace el
