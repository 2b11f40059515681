#include "sample/options.h"
#include "base/status.h"
#include <cmath>
#include <limits>

namespace el {
namespace {

void check_range(const char *field, double value, double least, double most) {
    if (!(value >= least && value <= most))  // also not a number
        fail(Status::kInvalidArgument, "{} is {}; it must be from {} to {}", field, value, least, most);
}

}  // namespace

void check_options(const SamplerOptions &options, size_t n_vocab) {
    constexpr float kMost = std::numeric_limits<float>::max();
    constexpr int32_t kMostInt = std::numeric_limits<int32_t>::max();
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
    for (const LogitBias &bias : options.logit_bias) {
        if (bias.id < 0 || static_cast<size_t>(bias.id) >= n_vocab)
            fail(Status::kInvalidArgument, "logit_bias names token {}; the vocabulary has {} tokens", bias.id, n_vocab);
        if (std::isnan(bias.bias) || bias.bias > kMost)
            fail(Status::kInvalidArgument, "logit_bias of token {} is {}; it must be finite, or minus infinity",
                 bias.id, bias.bias);
    }
}

}  // namespace el
