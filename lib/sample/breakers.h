// The texts that no repetition reaches over, as sequences of tokens for DRY.
#pragma once
#include "text/vocab.h"
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace el {

constexpr size_t kMaxBreakerTexts = 32, kMaxBreakerBytes = 64;

// newline : " *
std::span<const std::string_view> usual_breakers() noexcept;

// Where a token contains a text, or some tokens end with its beginning and go on with its rest, that is a breaker. No
// sequence comes twice. Throws kLimitExceeded, or kInvalidArgument for an empty text.
std::vector<std::vector<int32_t>> breaker_sequences(const Vocabulary &vocabulary,
                                                    std::span<const std::string_view> texts);

}  // namespace el
