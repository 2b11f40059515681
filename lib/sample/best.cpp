// Sampling by the best tokens of a row, where they decide as the whole row would: the same candidates come to the draw.
//
// All other tokens have at most the logit of the last of the best. As stages of Scope::kEach keep the order of two
// logits, what they make of that logit for such a token bounds what they would make of its own. So those that they may
// change come along as guesses, with one for all the others.
#include "sample/sampler.h"
#include "sample/softmax.h"
#include <algorithm>
#include <bit>
#include <cmath>

namespace el {
namespace {

constexpr int32_t kOthers = std::numeric_limits<int32_t>::max();

class BestIds {
  public:
    explicit BestIds(const BestTokens &best) : n_(best.n) {
        std::copy_n(best.ids, n_, ids_);
        std::sort(ids_, ids_ + n_);
    }
    bool has(Candidate c) const { return std::binary_search(ids_, ids_ + n_, c.id); }

  private:
    size_t n_;
    int32_t ids_[kMaxBest];
};

struct Bounds {
    float best = kMinusInfinity;  // of the known ones
    float rest = kMinusInfinity;  // none of the others is above it
};

Bounds bounds_of(const Candidates &known, const BestIds &ids) {
    Bounds bounds;
    for (Candidate c : known) {
        float &bound = ids.has(c) ? bounds.best : bounds.rest;
        bound = std::max(bound, c.logit);
    }
    return bounds;
}

void drop_guesses(Candidates &known, const BestIds &ids) {
    Candidate *end = std::remove_if(known.begin(), known.end(), [&](Candidate c) { return !ids.has(c); });
    known.n = static_cast<size_t>(end - known.begin());
}

float worst_logit(const Candidates &candidates) {
    float worst = FLT_MAX;
    for (Candidate c : candidates) worst = std::min(worst, c.logit);
    return worst;
}

// How many tokens reach p; 0 where the error of the sum leaves that open.
size_t nucleus_size(const BestTokens &best, double p) {
    if (std::fabs(best.logits[0]) > 8192) return 0;  // keep_top_p() itself loses bits then
    const double need = std::max(p * best.sum, DBL_MIN), slack = BestTokens::kSumError * need;
    double reached = 0;
    for (size_t i = 0; i < best.n; ++i) {
        reached += static_cast<double>(exp_negative(best.logits[i] - best.logits[0]));
        if (reached >= need - slack) return reached >= need + slack ? i + 1 : 0;
    }
    return 0;
}

}  // namespace

void Sampler::count_wanted() noexcept {
    best_wanted_ = n_vocab_ <= kMaxBest ? n_vocab_ : options_.temperature > 0 ? 0 : 1;
    if (n_vocab_ <= kMaxBest) return;
    for (const Stage *stage : stages_) {
        const Scope scope = stage->scope(options_);
        if (scope == Scope::kEach) {
            changes_first_ = true;
            continue;
        }
        const auto k = static_cast<size_t>(options_.top_k);
        best_wanted_ = kMaxBest;
        if (scope == Scope::kAll || (scope == Scope::kTopP && changes_first_)) best_wanted_ = 0;
        if (scope == Scope::kTopK) best_wanted_ = k > kMaxBest ? 0 : k;
        return;
    }
}

size_t Sampler::best_wanted() const noexcept {
    if (best_wanted_ == 0 || !changes_first_) return best_wanted_;
    if (n_guesses() > kMostGuesses) return 0;
    // As many more as may fall behind others; rounded, as what is asked for is found soonest if it is as much as
    // before.
    return std::min(kMaxBest, std::bit_ceil(std::max(best_wanted_ + n_guesses(), kMaxBest / 4)));
}

// The best tokens and the guesses, by id.
bool Sampler::gather(const BestTokens &best, Candidates &known) noexcept {
    if (n_guesses() > kMostGuesses) return false;  // they would cost as much as the row
    const float most = best.logits[best.n - 1];
    for (size_t i = 0; i < best.n; ++i) known.data[known.n++] = {best.ids[i], best.logits[i]};
    for (const LogitBias &bias : options_.logit_bias) known.data[known.n++] = {bias.id, most};
    if (looks_back_)
        for (size_t i = 0; i < history_.size(); ++i) known.data[known.n++] = {history_.back(i), most};
    // A known logit comes before a guess for the same token, or is equal to it.
    std::sort(known.begin(), known.end(),
              [](Candidate a, Candidate b) { return a.id != b.id ? a.id < b.id : a.logit > b.logit; });
    Candidate *end = std::unique(known.begin(), known.end(), [](Candidate a, Candidate b) { return a.id == b.id; });
    *end++ = {kOthers, most};
    known.n = static_cast<size_t>(end - known.begin());
    return true;
}

// Whether the known tokens suffice: then `stages` are those to run on them.
bool Sampler::decide(const BestTokens &best, Candidates &known, std::span<const Stage *const> &stages) noexcept {
    if (best_wanted_ == 0 || best.n < best_wanted_ || !gather(best, known)) return false;
    const BestIds ids(best);
    bool changed = false;
    for (;; stages = stages.subspan(1)) {
        const Bounds bounds = bounds_of(known, ids);
        if (bounds.best < bounds.rest) return false;
        const Scope scope = stages.empty() ? Scope::kAll : stages.front()->scope(options_);
        if (!stages.empty() && scope == Scope::kEach) {
            stages.front()->apply(input(), known);
            changed = true;
            continue;
        }
        drop_guesses(known, ids);
        if (stages.empty()) return options_.temperature == 0 && (!changed || bounds.best > bounds.rest);
        if (scope == Scope::kTopK) {
            const auto k = static_cast<size_t>(options_.top_k);
            if (k > known.n) return false;
            keep_top_k(known, k);
            return !changed || worst_logit(known) > bounds.rest;
        }
        if (scope == Scope::kMinP) return least_logit_of_min_p(options_, bounds.best) > bounds.rest;
        if (scope != Scope::kTopP || changed) return false;
        const size_t n = nucleus_size(best, static_cast<double>(options_.top_p));
        keep_top_k(known, n);
        stages = stages.subspan(1);
        return n > 0;
    }
}

bool Sampler::sample(const BestTokens &best, int32_t *token, Status &status) noexcept {
    Candidates known = {storage_.data(), 0};
    std::span<const Stage *const> stages = stages_;
    if (best.all) {  // so the row is known
        for (; known.n < n_vocab_; ++known.n) known.data[known.n] = {static_cast<int32_t>(known.n), kMinusInfinity};
        for (size_t i = 0; i < best.n; ++i) known.data[best.ids[i]].logit = best.logits[i];
    } else if (options_.temperature == 0 && stages.empty() && best.n > 0) {
        known.data[known.n++] = {best.ids[0], best.logits[0]};
    } else if (!decide(best, known, stages)) {
        return false;
    }
    status = choose(known, stages, token);
    return true;
}

}  // namespace el
