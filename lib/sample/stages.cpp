#include "sample/stages.h"
#include "sample/softmax.h"
#include <algorithm>
#include <cmath>

namespace el {
namespace {

// Finite changes, however large, neither ban a token nor bring back a banned one.
void change_logit(Candidate &c, float logit) noexcept {
    if (c.logit > kMinusInfinity) c.logit = std::max(usable_logit(logit), -FLT_MAX);
}

void apply_bias(const StageInput &in, Candidates &candidates) noexcept {
    for (const LogitBias &bias : in.options.logit_bias) {
        Candidate *c = find_candidate(candidates, bias.id);
        if (!c) continue;
        if (bias.bias == kMinusInfinity)
            c->logit = kMinusInfinity;
        else
            change_logit(*c, c->logit + bias.bias);
    }
}

// Repetition as in CTRL (Keskar et al. 2019), with division for positive and multiplication for negative logits;
// frequency and presence as in OpenAI's interface.
void apply_penalties(const StageInput &in, Candidates &candidates) noexcept {
    const SamplerOptions &o = in.options;
    std::span<int32_t> tokens = in.scratch.first(in.window.size());
    std::copy(in.window.begin(), in.window.end(), tokens.begin());
    std::sort(tokens.begin(), tokens.end());
    for (size_t i = 0, next; i < tokens.size(); i = next) {
        for (next = i + 1; next < tokens.size() && tokens[next] == tokens[i];) ++next;
        Candidate *c = find_candidate(candidates, tokens[i]);
        if (!c) continue;
        float x = c->logit > 0 ? c->logit / o.repetition_penalty : c->logit * o.repetition_penalty;
        x -= static_cast<float>(next - i) * o.frequency_penalty + o.presence_penalty;
        change_logit(*c, x);
    }
}

void apply_top_k(const StageInput &in, Candidates &candidates) noexcept {
    keep_top_k(candidates, static_cast<size_t>(in.options.top_k));
}

// Nucleus sampling (Holtzman et al. 2019).
void apply_top_p(const StageInput &in, Candidates &candidates) noexcept {
    keep_top_p(candidates, static_cast<double>(in.options.top_p));
}

// Nguyen et al. 2024. A ratio of probabilities is a difference of logits.
void apply_min_p(const StageInput &in, Candidates &candidates) noexcept {
    keep_from(candidates, best_logit(candidates) + std::log(in.options.min_p));
}

void apply_temperature(const StageInput &in, Candidates &candidates) noexcept {
    float best = best_logit(candidates);  // subtracted, so that nothing overflows
    if (best == kMinusInfinity) return;
    for (Candidate &c : candidates) c.logit = (c.logit - best) / in.options.temperature;
}

using O = const SamplerOptions &;

bool has_penalties(O o) noexcept {
    return o.penalty_last_n > 0 && (o.repetition_penalty != 1 || o.frequency_penalty != 0 || o.presence_penalty != 0);
}

// The greedy choice is the best candidate, which no stage that only drops some takes away.
constexpr Stage kStages[] = {
    {"bias", [](O o) noexcept { return !o.logit_bias.empty(); }, apply_bias},
    {"penalties", has_penalties, apply_penalties},
    {"top_k", [](O o) noexcept { return o.temperature > 0 && o.top_k > 0; }, apply_top_k},
    {"top_p", [](O o) noexcept { return o.temperature > 0 && o.top_p < 1; }, apply_top_p},
    {"min_p", [](O o) noexcept { return o.temperature > 0 && o.min_p > 0; }, apply_min_p},
    {"temperature", [](O o) noexcept { return o.temperature > 0 && o.temperature != 1; }, apply_temperature},
};

}  // namespace

std::span<const Stage> all_stages() noexcept { return kStages; }

}  // namespace el
