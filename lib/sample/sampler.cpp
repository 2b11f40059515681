#include "sample/sampler.h"
#include "sample/philox.h"
#include "sample/softmax.h"
#include <algorithm>
#include <cmath>

namespace el {
namespace {

// The best of logits [n], of equals the lowest id; -1 where none is possible.
int32_t best_token(const float *logits, size_t n) {
    float best = max_logit(n, [logits](size_t i) { return logits[i]; });
    if (best == kMinusInfinity) return -1;
    return static_cast<int32_t>(std::find(logits, logits + n, best) - logits);
}

int32_t best_token_of(const Candidates &candidates) {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return -1;
    return std::find_if(candidates.begin(), candidates.end(), [best](Candidate c) { return c.logit == best; })->id;
}

// The stages that the options enable. Those that cannot be moved stay at both ends.
std::vector<const Stage *> stages_of(const SamplerOptions &options) {
    std::span<const Stage> all = all_stages();
    std::vector<const Stage *> stages = {&all.front()};
    for (const std::string &name : options.stages) stages.push_back(find_stage(name));
    if (options.stages.empty())
        for (const Stage &stage : all)
            if (stage.movable) stages.push_back(&stage);
    stages.push_back(&all.back());
    stages.erase(std::remove_if(stages.begin(), stages.end(), [&](auto *stage) { return !stage->enabled(options); }),
                 stages.end());
    return stages;
}

}  // namespace

Sampler::Sampler(size_t n_vocab, const SamplerOptions &options) : n_vocab_(n_vocab), options_(options) {
    check_options(options, n_vocab);
    stages_ = stages_of(options);
    count_wanted();
    storage_.resize(std::max(n_vocab, kMostKnown));
    bool has_dry = find_stage("dry")->enabled(options);
    looks_back_ = has_dry || find_stage("penalties")->enabled(options);
    size_t window = static_cast<size_t>(std::max(options.penalty_last_n, has_dry ? options.dry_penalty_last_n : 0));
    scratch_.resize(window);
    if (has_dry) {
        breakers_ = DryBreakers(options.dry_breakers);
        for (const std::vector<int32_t> &breaker : options.dry_breakers) window = std::max(window, breaker.size());
    }
    history_ = TokenHistory(window);
    reset();
}

// `uniform` in [0, 1). Overwrites logits by weights.
Sampler::Choice Sampler::draw(const Candidates &candidates, double uniform) noexcept {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return {};
    for (Candidate &c : candidates) c.logit = exp_negative(c.logit - best);
    double total = 0, sum = 0;
    for (Candidate c : candidates) total += c.logit;
    Choice choice;
    for (Candidate c : candidates) {
        if (c.logit == 0) continue;
        choice = {c.id, c.logit / total};
        sum += c.logit;
        if (sum > uniform * total) break;
    }
    return choice;
}

Status Sampler::sample(const float *logits, int32_t *token) noexcept {
    if (options_.temperature == 0 && stages_.empty()) return settle({best_token(logits, n_vocab_)}, token);
    Candidates candidates = {storage_.data(), 0};
    load_candidates(candidates, logits, n_vocab_);
    return choose(candidates, stages_, token);
}

Status Sampler::choose(Candidates candidates, std::span<const Stage *const> stages, int32_t *token) noexcept {
    for (const Stage *stage : stages) stage->apply(input(), candidates);
    if (options_.temperature == 0) return settle({best_token_of(candidates)}, token);
    return settle(draw(candidates, philox_uniform(options_.seed, position_, kDrawStream)), token);
}

Status Sampler::settle(Choice choice, int32_t *token) noexcept {
    if (choice.token < 0) return Status::kLogitsInvalid;
    last_ = choice;
    *token = choice.token;
    return Status::kOk;
}

Status Sampler::accept(int32_t token) noexcept {
    if (token < 0 || static_cast<size_t>(token) >= n_vocab()) return Status::kInvalidArgument;
    history_.push(token);
    ++position_;
    if (breakers_.end(history_)) broken_at_ = position_;
    if (options_.mirostat_tau > 0 && token == last_.token)
        mirostat_mu_ -= options_.mirostat_eta * (-std::log2(last_.probability) - options_.mirostat_tau);
    last_ = {};
    return Status::kOk;
}

void Sampler::reset() noexcept {
    history_.clear();
    position_ = broken_at_ = 0;
    mirostat_mu_ = 2.0 * options_.mirostat_tau;  // as the paper begins
    last_ = {};
}

Status Sampler::copy_from(const Sampler &other) noexcept {
    uint64_t own_seed = options_.seed;
    options_.seed = other.options_.seed;  // the one option that may differ
    if (n_vocab() != other.n_vocab() || options_ != other.options_) {
        options_.seed = own_seed;
        return Status::kInvalidArgument;
    }
    history_.copy_from(other.history_);
    position_ = other.position_;
    broken_at_ = other.broken_at_;
    mirostat_mu_ = other.mirostat_mu_;
    last_ = other.last_;
    return Status::kOk;
}

}  // namespace el
