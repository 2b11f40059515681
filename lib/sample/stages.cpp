#include "sample/stages.h"
#include "sample/philox.h"
#include "sample/softmax.h"
#include <algorithm>
#include <cmath>

namespace el {
namespace {

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
    size_t n = std::min(in.history.size(), static_cast<size_t>(o.penalty_last_n));
    std::span<uint64_t> tokens = in.scratch.first(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<uint64_t>(in.history.back(i));
    std::sort(tokens.begin(), tokens.end());
    for (size_t i = 0, next; i < tokens.size(); i = next) {
        for (next = i + 1; next < tokens.size() && tokens[next] == tokens[i];) ++next;
        Candidate *c = find_candidate(candidates, static_cast<int32_t>(tokens[i]));
        if (!c) continue;
        float x = c->logit > 0 ? c->logit / o.repetition_penalty : c->logit * o.repetition_penalty;
        x -= static_cast<float>(next - i) * o.frequency_penalty + o.presence_penalty;
        change_logit(*c, x);
    }
}

// Tang et al. 2024, "Top-n-sigma: not all logits are you need": the deviation is that of the logits that are possible.
void apply_top_n_sigma(const StageInput &in, Candidates &candidates) noexcept {
    double sum = 0, n = 0, squares = 0;
    for (Candidate c : candidates)
        if (c.logit > kMinusInfinity) sum += c.logit, ++n;
    if (n == 0) return;
    for (Candidate c : candidates)
        if (c.logit > kMinusInfinity) squares += (c.logit - sum / n) * (c.logit - sum / n);
    double least = best_logit(candidates) - in.options.top_n_sigma * std::sqrt(squares / n);
    keep_from(candidates, static_cast<float>(std::max(least, double(-FLT_MAX))));
}

void apply_top_k(const StageInput &in, Candidates &candidates) noexcept {
    keep_top_k(candidates, static_cast<size_t>(in.options.top_k));
}

// Locally typical sampling (Meister et al. 2022).
void apply_typical_p(const StageInput &in, Candidates &candidates) noexcept {
    keep_typical(candidates, static_cast<double>(in.options.typical_p));
}

// Nucleus sampling (Holtzman et al. 2019).
void apply_top_p(const StageInput &in, Candidates &candidates) noexcept {
    keep_top_p(candidates, static_cast<double>(in.options.top_p));
}

// Nguyen et al. 2024. A ratio of probabilities is a difference of logits.
void apply_min_p(const StageInput &in, Candidates &candidates) noexcept {
    keep_from(candidates, least_logit_of_min_p(in.options, best_logit(candidates)));
}

// Exclude top choices (p-e-w 2024, pull request 6335 of text-generation-webui).
void apply_xtc(const StageInput &in, Candidates &candidates) noexcept {
    const SamplerOptions &o = in.options;
    float best = best_logit(candidates);
    if (best == kMinusInfinity || philox_uniform(o.seed, in.position, kXtcStream) >= o.xtc_probability) return;
    double least = best + std::log(o.xtc_threshold * total_weight(candidates, best));
    float enough = static_cast<float>(std::max(least, double(-FLT_MAX)));
    auto is_choice = [=](Candidate c) { return c.logit >= enough; };
    Candidate worst = {-1, best};  // of the choices; of equals the highest id
    for (Candidate c : candidates)
        if (is_choice(c) && c.logit <= worst.logit) worst = c;
    Candidate *end = std::remove_if(candidates.begin(), candidates.end(),
                                    [=](Candidate c) { return is_choice(c) && c.id != worst.id; });
    candidates.n = static_cast<size_t>(end - candidates.begin());
}

// Entropy sets the temperature (Zhu et al. 2023, "Hot or cold? Adaptive temperature sampling"), by the formula in use:
// from temperature - range to + range with (entropy / its possible maximum) ^ exponent.
float dynamic_temperature(const SamplerOptions &o, const Candidates &candidates, float best) noexcept {
    auto n = std::count_if(candidates.begin(), candidates.end(), [](Candidate c) { return c.logit > kMinusInfinity; });
    if (n < 2) return o.temperature;
    Weight weight = weigh(candidates, best);
    double entropy = std::log(weight.total) - weight.mean;
    double relative = std::clamp(entropy / std::log(static_cast<double>(n)), 0.0, 1.0);
    double least = std::max(double(o.temperature) - o.dynatemp_range, 0.0);
    double most = double(o.temperature) + o.dynatemp_range;
    double temperature = least + (most - least) * std::pow(relative, o.dynatemp_exponent);
    return static_cast<float>(std::clamp(temperature, double(FLT_MIN), double(FLT_MAX)));
}

void apply_temperature(const StageInput &in, Candidates &candidates) noexcept {
    const SamplerOptions &o = in.options;
    float best = best_logit(candidates);  // subtracted, so that nothing overflows
    if (best == kMinusInfinity) return;
    float temperature = o.dynatemp_range > 0 ? dynamic_temperature(o, candidates, best) : o.temperature;
    for (Candidate &c : candidates) c.logit = (c.logit - best) / temperature;
}

// Mirostat 2 (Basu et al. 2021, algorithm 2): drops what surprises more than mu, which Sampler::accept adapts.
void apply_mirostat(const StageInput &in, Candidates &candidates) noexcept {
    constexpr double kLn2 = 0.693147180559945309;
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return;
    double least = best + std::log(total_weight(candidates, best)) - in.mirostat_mu * kLn2;
    keep_from(candidates, static_cast<float>(std::clamp(least, double(-FLT_MAX), double(best))));
}

using O = const SamplerOptions &;

bool has_penalties(O o) noexcept {
    return o.penalty_last_n > 0 && (o.repetition_penalty != 1 || o.frequency_penalty != 0 || o.presence_penalty != 0);
}

bool has_dry(O o) noexcept { return o.dry_penalty_last_n > 0 && o.dry_multiplier > 0; }

// Greedy is the best logit after bias and penalties. Mirostat takes the place of what else drops tokens.
bool drops(O o) noexcept { return o.temperature > 0 && o.mirostat_tau == 0; }

bool has_temperature(O o) noexcept { return o.temperature > 0 && (o.temperature != 1 || o.dynatemp_range > 0); }

template <Scope kScope> Scope always(O) noexcept { return kScope; }
Scope temperature_scope(O o) noexcept { return o.dynatemp_range > 0 ? Scope::kAll : Scope::kEach; }

constexpr Stage kStages[] = {
    {"bias", false, always<Scope::kEach>, [](O o) noexcept { return !o.logit_bias.empty(); }, apply_bias},
    {"penalties", true, always<Scope::kEach>, has_penalties, apply_penalties},
    {"dry", true, always<Scope::kEach>, has_dry, apply_dry},
    {"top_n_sigma", true, always<Scope::kAll>, [](O o) noexcept { return drops(o) && o.top_n_sigma > 0; },
     apply_top_n_sigma},
    {"top_k", true, always<Scope::kTopK>, [](O o) noexcept { return drops(o) && o.top_k > 0; }, apply_top_k},
    {"typical_p", true, always<Scope::kAll>, [](O o) noexcept { return drops(o) && o.typical_p < 1; }, apply_typical_p},
    {"top_p", true, always<Scope::kTopP>, [](O o) noexcept { return drops(o) && o.top_p < 1; }, apply_top_p},
    {"min_p", true, always<Scope::kMinP>, [](O o) noexcept { return drops(o) && o.min_p > 0; }, apply_min_p},
    {"xtc", true, always<Scope::kAll>,
     [](O o) noexcept { return drops(o) && o.xtc_probability > 0 && o.xtc_threshold <= 0.5f; }, apply_xtc},
    {"temperature", true, temperature_scope, has_temperature, apply_temperature},
    {"mirostat", false, always<Scope::kAll>, [](O o) noexcept { return o.temperature > 0 && o.mirostat_tau > 0; },
     apply_mirostat},
};

}  // namespace

float least_logit_of_min_p(O o, float best) noexcept { return best + std::log(o.min_p); }

std::span<const Stage> all_stages() noexcept { return kStages; }

const Stage *find_stage(std::string_view name) noexcept {
    for (const Stage &stage : kStages)
        if (stage.movable && name == stage.name) return &stage;
    return nullptr;
}

}  // namespace el
