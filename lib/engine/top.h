// The likeliest tokens and their probabilities, for callers that look at logits themselves.
#pragma once
#include <cstddef>
#include <cstdint>

namespace el {

// Writes the min(k, n) likeliest of logits [n], likeliest first and of equal ones the lower id first, and the natural
// logarithms of their probabilities (logprobs may be NULL). Returns how many. What is not a number counts as minus
// infinity. Allocates nothing.
size_t find_top(const float *logits, size_t n, size_t k, int32_t *tokens, float *logprobs) noexcept;

}  // namespace el
