// What an output row of the last step tells: by its best tokens where the backend hands them over and they are enough,
// otherwise by all of it.
#pragma once
#include "engine/context.h"
#include "sample/sampler.h"

namespace el {

Status sample_row(const Context &context, uint32_t row, Sampler &sampler, int32_t *token) noexcept;

// See log_probability_of(). Sought among the `n_best` best tokens first.
float log_probability_of_row(const Context &context, uint32_t row, int32_t token, size_t n_best) noexcept;

// See log_softmax_top().
size_t log_softmax_top_of_row(const Context &context, uint32_t row, size_t k, int32_t *ids, float *logprobs) noexcept;

}  // namespace el
