#include "engine/top.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace el {

size_t find_top(const float *logits, size_t n, size_t k, int32_t *tokens, float *logprobs) noexcept {
    auto logit = [logits](size_t i) {
        return std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
    };
    auto likelier = [&](int32_t a, int32_t b) {
        float x = logit(static_cast<size_t>(a)), y = logit(static_cast<size_t>(b));
        return x != y ? x > y : a < b;
    };
    // The caller's array is a heap whose front is the least likely one kept.
    size_t count = 0;
    for (size_t i = 0; i < n && k > 0; ++i) {
        auto token = static_cast<int32_t>(i);
        if (count == k) {
            if (!likelier(token, tokens[0])) continue;
            std::pop_heap(tokens, tokens + count--, likelier);
        }
        tokens[count++] = token;
        std::push_heap(tokens, tokens + count, likelier);
    }
    std::sort_heap(tokens, tokens + count, likelier);
    if (!logprobs || count == 0) return count;
    double best = logit(static_cast<size_t>(tokens[0])), sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(logit(i) - best);
    double log_sum = best + std::log(sum);
    for (size_t i = 0; i < count; ++i)
        logprobs[i] = static_cast<float>(logit(static_cast<size_t>(tokens[i])) - log_sum);
    return count;
}

}  // namespace el
