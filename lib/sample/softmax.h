// Exponentials and log-probabilities of logits.
#pragma once
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace el {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Logits may come from a broken model: afterwards they are finite or minus infinity, and so can be ordered.
inline float usable_logit(float x) {
    float number = x > kMinusInfinity ? x : kMinusInfinity;
    return number < FLT_MAX ? number : FLT_MAX;
}

// e^x for x <= 0, to 1e-7 relative; 0 below -87.7. Plain arithmetic without branches, so that loops over it vectorize
// and no C library has a say in which token is drawn: e^x = 2^n e^r, |r| <= ln(2)/2, e^r by its Taylor series.
inline float exp_negative(float x) {
    // The larger of x and -88: as integers, negative floats grow with their magnitude. (A comparison of floats becomes
    // a branch in gcc.)
    float bounded = std::bit_cast<float>(std::min(std::bit_cast<uint32_t>(x), std::bit_cast<uint32_t>(-88.0f)));
    int32_t n = static_cast<int32_t>(bounded * 1.44269504f - 0.5f);  // to nearest, as x is not positive
    float r = bounded - static_cast<float>(n) * 0.693359375f + static_cast<float>(n) * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * std::bit_cast<float>((n + 127) << 23);  // for n = -127 the factor is 0
}

// The largest of logit_at(0..n-1), minus infinity where there is none; what is not a number is passed over. These two
// loops keep several results, as one after the other would wait for the latency of each operation.
template <typename LogitAt> float max_logit(size_t n, LogitAt logit_at) noexcept {
    constexpr size_t kLanes = 16;
    float lanes[kLanes], most = kMinusInfinity;
    for (float &lane : lanes) lane = kMinusInfinity;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (size_t j = 0; j < kLanes; ++j) lanes[j] = logit_at(i + j) > lanes[j] ? logit_at(i + j) : lanes[j];
    for (; i < n; ++i) most = logit_at(i) > most ? logit_at(i) : most;
    for (float lane : lanes) most = lane > most ? lane : most;
    return most;
}

// The sum of e^(logit_at(i) - best), for usable logits and best > minus infinity, in an order that depends on n only.
template <typename LogitAt> double sum_exp(size_t n, float best, LogitAt logit_at) noexcept {
    constexpr size_t kBlock = 64, kLanes = 4;
    double lanes[kLanes] = {}, sum = 0;
    size_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
        float block[kBlock];
        for (size_t j = 0; j < kBlock; ++j) block[j] = exp_negative(logit_at(i + j) - best);
        for (size_t j = 0; j < kBlock; ++j) lanes[j % kLanes] += block[j];
    }
    for (; i < n; ++i) sum += exp_negative(logit_at(i) - best);
    for (double lane : lanes) sum += lane;
    return sum;
}

// The natural logarithm of the probability that softmax gives to token `id` of logits [n]; minus infinity where no
// logit is usable. Of the model's logits it is the same whatever a sampler does with them.
float log_probability_of(const float *logits, size_t n, int32_t id) noexcept;

// The k best tokens of logits [n], best first (of equals the lowest id), with their log-probabilities (logprobs may be
// null). Writes and returns min(k, n). Does not allocate. Where no logit is usable all log-probabilities are minus
// infinity.
size_t log_softmax_top(const float *logits, size_t n, size_t k, int32_t *ids, float *logprobs) noexcept;

}  // namespace el
