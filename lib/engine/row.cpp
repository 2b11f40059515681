#include "engine/row.h"
#include "sample/softmax.h"

#include <algorithm>
#include <cmath>

namespace el {
namespace {

float log_probability(const BestTokens &best, size_t i) {
    return static_cast<float>(double(best.logits[i]) - double(best.logits[0]) - std::log(best.sum));
}

}  // namespace

Status sample_row(const Context &context, uint32_t row, Sampler &sampler, int32_t *token) noexcept {
    BestTokens best;
    Status status = Status::kOk;
    if (sampler.best_wanted() && context.best(row, sampler.best_wanted(), best) && sampler.sample(best, token, status))
        return status;
    return sampler.sample(context.logits(row), token);
}

float log_probability_of_row(const Context &context, uint32_t row, int32_t token, size_t n_best) noexcept {
    BestTokens best;
    if (context.best(row, std::clamp<size_t>(n_best, 1, kMaxBest), best)) {
        const int32_t *end = best.ids + best.n, *found = std::find(best.ids, end, token);
        if (found != end) return log_probability(best, size_t(found - best.ids));
    }
    return log_probability_of(context.logits(row), context.model().n_vocab(), token);
}

size_t log_softmax_top_of_row(const Context &context, uint32_t row, size_t k, int32_t *ids, float *logprobs) noexcept {
    const size_t n_vocab = context.model().n_vocab();
    k = std::min(k, n_vocab);
    BestTokens best;
    if (k == 0 || k > kMaxBest || !context.best(row, k, best) || best.n < k)
        return log_softmax_top(context.logits(row), n_vocab, k, ids, logprobs);
    std::copy_n(best.ids, k, ids);
    for (size_t i = 0; logprobs && i < k; ++i) logprobs[i] = log_probability(best, i);
    return k;
}

}  // namespace el
