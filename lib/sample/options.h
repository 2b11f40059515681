// What a sampler is asked to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace el {

struct LogitBias {
    int32_t id;
    float bias;  // added to the logit; minus infinity bans the token
    bool operator==(const LogitBias &) const = default;
};

struct SamplerOptions {
    float temperature = 0.8f;         // 0: the best token, no chance involved
    int32_t top_k = 40;               // keep the k best; 0: off
    float top_p = 0.95f;              // keep the fewest best whose probabilities reach this sum; 1: off
    float min_p = 0.0f;               // keep those at least this likely, relative to the best; 0: off
    float repetition_penalty = 1.0f;  // divides positive and multiplies negative logits of tokens in the window; 1: off
    float frequency_penalty = 0.0f;   // subtracted once for each occurrence in the window
    float presence_penalty = 0.0f;    // subtracted once for a token that is in the window
    int32_t penalty_last_n = 64;      // the window: how many accepted tokens the penalties look back; 0: none
    std::vector<LogitBias> logit_bias = {};
    uint64_t seed = 0;
    bool operator==(const SamplerOptions &) const = default;

    static constexpr int32_t kMaxWindow = 1 << 20;
};

// Throws Error kInvalidArgument, which names the field.
void check_options(const SamplerOptions &options, size_t n_vocab);

}  // namespace el
