// The best tokens of a row of logits, in place of the row: what a device hands over where that is enough.
#pragma once
#include <cstddef>
#include <cstdint>

namespace el {

constexpr size_t kMaxBest = 256;

// Logits count as samplers see them: what is not a number is minus infinity, plus infinity the largest number.
struct BestTokens {
    const int32_t *ids = nullptr;   // [n], the largest logit first, of equal ones the lowest id
    const float *logits = nullptr;  // [n], all above minus infinity
    size_t n = 0;
    bool all = false;  // all others are at minus infinity
    double sum = 0;    // of e^(logit - logits[0]) over the whole row, to kSumError relative

    static constexpr double kSumError = 1e-5;
};

}  // namespace el
