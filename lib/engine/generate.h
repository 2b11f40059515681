// The whole loop: prompt, sample, text, stop.
#pragma once
#include "engine/context.h"
#include "sample/sampler.h"

#include <span>
#include <string_view>

namespace el {

enum class StopReason : int32_t {
    kNone = 0,
    kEndOfTurn = 1,
    kLength = 2,
    kStopString = 3,
    kCallback = 4,
    kCancelled = 5,
    kContextFull = 6,
    kDeadline = 7,
};

struct TokenEvent {
    int32_t token;  // -1 in a last call that only brings the rest of the text
    int32_t n_generated;
    std::string_view text = {};  // whole UTF-8; a NUL follows it

    // What GenerateOptions asks for; 0 and empty otherwise and in a last call.
    float logprob = 0;
    std::span<const int32_t> top_tokens = {};  // [n_top], the likeliest first
    std::span<const float> top_logprobs = {};  // [n_top]
};

constexpr uint32_t kMaxTop = 32;

struct GenerateOptions {
    uint32_t max_tokens = 0;  // 0: as many as there is room for
    std::span<const std::string_view> stop_strings;
    bool ignore_end = false;
    bool logprobs = false;    // of each token, by the model's logits
    uint32_t n_top = 0;       // the same, and that of so many likeliest tokens
    int64_t deadline_ns = 0;  // of now_ns(): no step begins after it; 0: none
    int32_t (*callback)(void *user, const TokenEvent &event) = nullptr;  // non-zero stops
    void *user = nullptr;
};

struct GenerateResult {
    StopReason reason = StopReason::kNone;
    int32_t stop_string = -1;
    int32_t n_prompt = 0;     // worked off
    int32_t n_reused = 0;     // of these, taken over from earlier prompts
    int32_t n_generated = 0;  // without an end-of-turn token that stopped it
    int64_t prompt_ns = 0, generate_ns = 0;
};

// Appends the prompt to the sequence and generates. Allocates nothing. The last generated token is not in the cache.
Status generate(Context &context, uint32_t sequence, Sampler &sampler, std::span<const int32_t> prompt,
                const GenerateOptions &options, GenerateResult &result, Report &report) noexcept;

}  // namespace el
