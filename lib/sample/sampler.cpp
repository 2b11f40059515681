#include "sample/sampler.h"
#include "sample/philox.h"
#include "sample/softmax.h"
#include <algorithm>

namespace el {
namespace {

// The best of logits [n], of equals the lowest id; -1 where none is possible.
int32_t best_token(const float *logits, size_t n) {
    float best = max_logit(n, [logits](size_t i) { return logits[i]; });
    if (best == kMinusInfinity) return -1;
    return static_cast<int32_t>(std::find(logits, logits + n, best) - logits);
}

int32_t best_token(const Candidates &candidates) {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return -1;
    return std::find_if(candidates.begin(), candidates.end(), [best](Candidate c) { return c.logit == best; })->id;
}

// Draws by probability: `uniform` in [0, 1). Overwrites logits by weights.
int32_t draw_token(const Candidates &candidates, double uniform) {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return -1;
    for (Candidate &c : candidates) c.logit = exp_negative(c.logit - best);
    double total = 0, sum = 0;
    for (Candidate c : candidates) total += c.logit;
    int32_t token = -1;
    for (Candidate c : candidates) {
        if (c.logit == 0) continue;
        token = c.id;
        sum += c.logit;
        if (sum > uniform * total) break;
    }
    return token;
}

}  // namespace

Sampler::Sampler(size_t n_vocab, const SamplerOptions &options) : options_(options) {
    check_options(options, n_vocab);
    for (const Stage &stage : all_stages())
        if (stage.enabled(options)) stages_.push_back(&stage);
    storage_.resize(n_vocab);
    window_.resize(static_cast<size_t>(options.penalty_last_n));
    scratch_.resize(window_.size());
}

Status Sampler::sample(const float *logits, int32_t *token) noexcept {
    bool greedy = options_.temperature == 0;
    int32_t chosen;
    if (greedy && stages_.empty()) {
        chosen = best_token(logits, n_vocab());
    } else {
        Candidates candidates = {storage_.data(), 0};
        load_candidates(candidates, logits, n_vocab());
        size_t n_window = static_cast<size_t>(std::min<uint64_t>(position_, window_.size()));
        StageInput input = {options_, {window_.data(), n_window}, scratch_};
        for (const Stage *stage : stages_) stage->apply(input, candidates);
        chosen = greedy ? best_token(candidates) : draw_token(candidates, philox_uniform(options_.seed, position_));
    }
    if (chosen < 0) return Status::kInvalidArgument;
    *token = chosen;
    return Status::kOk;
}

Status Sampler::accept(int32_t token) noexcept {
    if (token < 0 || static_cast<size_t>(token) >= n_vocab()) return Status::kInvalidArgument;
    if (!window_.empty()) window_[position_ % window_.size()] = token;
    ++position_;
    return Status::kOk;
}

void Sampler::reset() noexcept { position_ = 0; }

Status Sampler::copy_from(const Sampler &other) noexcept {
    uint64_t own_seed = options_.seed;
    options_.seed = other.options_.seed;  // the one option that may differ
    if (n_vocab() != other.n_vocab() || options_ != other.options_) {
        options_.seed = own_seed;
        return Status::kInvalidArgument;
    }
    std::copy(other.window_.begin(), other.window_.end(), window_.begin());
    position_ = other.position_;
    return Status::kOk;
}

}  // namespace el
