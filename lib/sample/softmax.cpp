#include "sample/softmax.h"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace el {
namespace {

// What gives log-probabilities: relative to the best logit, less the logarithm of their sum.
struct LogSoftmax {
    LogSoftmax(const float *logits, size_t n, float best) : best_(best) {
        if (best > kMinusInfinity)
            log_sum_ = std::log(sum_exp(n, best, [logits](size_t i) { return usable_logit(logits[i]); }));
    }
    float operator()(float logit) const {
        if (best_ == kMinusInfinity) return kMinusInfinity;
        return static_cast<float>(double(usable_logit(logit)) - best_ - log_sum_);
    }

  private:
    float best_;
    double log_sum_ = 0;
};

}  // namespace

float log_probability_of(const float *logits, size_t n, int32_t id) noexcept {
    float best = max_logit(n, [logits](size_t i) { return usable_logit(logits[i]); });
    return LogSoftmax(logits, n, best)(logits[id]);
}

size_t log_softmax_top(const float *logits, size_t n, size_t k, int32_t *ids, float *logprobs) noexcept {
    k = std::min(k, n);
    if (k == 0) return 0;
    auto better = [logits](int32_t a, int32_t b) {
        float x = usable_logit(logits[a]), y = usable_logit(logits[b]);
        return x > y || (x == y && a < b);
    };
    // A heap of the k best so far, the worst of them at its root.
    std::iota(ids, ids + k, 0);
    std::make_heap(ids, ids + k, better);
    float root = usable_logit(logits[ids[0]]);
    for (size_t i = k; i < n; ++i) {
        if (usable_logit(logits[i]) <= root) continue;  // of equals the earlier one stays
        std::pop_heap(ids, ids + k, better);
        ids[k - 1] = static_cast<int32_t>(i);
        std::push_heap(ids, ids + k, better);
        root = usable_logit(logits[ids[0]]);
    }
    std::sort_heap(ids, ids + k, better);
    if (!logprobs) return k;

    LogSoftmax log_softmax(logits, n, usable_logit(logits[ids[0]]));
    for (size_t i = 0; i < k; ++i) logprobs[i] = log_softmax(logits[ids[i]]);
    return k;
}

}  // namespace el
