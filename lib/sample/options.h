// What a sampler is asked to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace el {

struct LogitBias {
    int32_t id;
    float bias;  // added to the logit; minus infinity bans the token
    bool operator==(const LogitBias &) const = default;
};

struct SamplerOptions {
    float temperature = 0.8f;         // 0: the best token after bias and penalties, no chance involved
    int32_t top_k = 40;               // keep the k best; 0: off
    float top_p = 0.95f;              // keep the fewest best whose probabilities reach this sum; 1: off
    float min_p = 0.05f;              // keep those at least this likely, relative to the best; 0: off
    float repetition_penalty = 1.0f;  // divides positive and multiplies negative logits of tokens in the window; 1: off
    float frequency_penalty = 0.0f;   // subtracted once for each occurrence in the window
    float presence_penalty = 0.0f;    // subtracted once for a token that is in the window
    int32_t penalty_last_n = 64;      // the window: how many accepted tokens the penalties look back; 0: none

    float top_n_sigma = 0.0f;      // keep logits within so many standard deviations of the best; 0: off
    float typical_p = 1.0f;        // keep the fewest most typical ones whose probabilities reach this sum; 1: off
    float xtc_probability = 0.0f;  // how often all but the least of the tokens above the threshold are dropped; 0: off
    float xtc_threshold = 0.1f;    // a probability; above 0.5: off
    float dynatemp_range = 0.0f;   // the entropy moves the temperature by up to this, both ways; 0: off
    float dynatemp_exponent = 1.0f;  // of the relative entropy; above 1: high temperatures become rarer

    float dry_multiplier = 0.0f;        // subtracted from the logit of a token that continues a repetition; 0: off
    float dry_base = 1.75f;             // multiplies it for each token that the repetition is longer than allowed
    int32_t dry_allowed_length = 2;     // from this length on repetitions count
    int32_t dry_penalty_last_n = 1024;  // how many accepted tokens it looks back; 0: none
    std::vector<std::vector<int32_t>> dry_breakers = {};  // sequences of tokens that repetitions do not reach over

    float mirostat_tau = 0.0f;  // the surprise to steer for, in bits, instead of dropping tokens by the above; 0: off
    float mirostat_eta = 0.1f;  // how fast

    std::vector<std::string> stages = {};  // those that run, in this order; empty: all, in the usual order
    std::vector<LogitBias> logit_bias = {};
    uint64_t seed = 0;
    bool operator==(const SamplerOptions &) const = default;

    static constexpr int32_t kMaxWindow = 1 << 20;
    static constexpr size_t kMaxBreakers = 1 << 20, kMaxBreakerTokens = 64;
};

// Throws Error kInvalidArgument, which names the field.
void check_options(const SamplerOptions &options, size_t n_vocab);

}  // namespace el
