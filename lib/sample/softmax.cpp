#include "sample/softmax.h"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace el {

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

    float best = usable_logit(logits[ids[0]]);
    auto usable = [logits](size_t i) { return usable_logit(logits[i]); };
    double log_sum = best > kMinusInfinity ? std::log(sum_exp(n, best, usable)) : 0;
    for (size_t i = 0; i < k; ++i) {
        double relative = double(usable_logit(logits[ids[i]])) - best;
        logprobs[i] = best > kMinusInfinity ? static_cast<float>(relative - log_sum) : kMinusInfinity;
    }
    return k;
}

}  // namespace el
