// The stages of sampling, as rows of data: a sampler runs those that its options enable.
#pragma once
#include "sample/candidates.h"
#include "sample/dry.h"
#include "sample/history.h"
#include "sample/options.h"
#include <cstdint>
#include <span>
#include <string_view>

namespace el {

struct StageInput {
    const SamplerOptions &options;
    const TokenHistory &history;
    std::span<uint64_t> scratch;  // as long as the longest window
    const DryBreakers &breakers;
    uint64_t unbroken;   // how many tokens have been accepted since the last of the breakers
    uint64_t position;   // of the random numbers
    double mirostat_mu;  // the largest surprise that Mirostat lets pass, in bits
};

// Which logits a stage needs to know.
enum class Scope : uint8_t {
    kEach,  // changes each by itself (and by the best), so that of two the larger one does not become the smaller
    kTopK,
    kTopP,
    kMinP,
    kAll,
};

struct Stage {
    const char *name;
    bool movable;  // whether its place can be chosen
    Scope (*scope)(const SamplerOptions &) noexcept;
    bool (*enabled)(const SamplerOptions &) noexcept;
    void (*apply)(const StageInput &, Candidates &) noexcept;
};

// The random numbers of one position.
constexpr uint32_t kDrawStream = 0, kXtcStream = 1;

// What min-p keeps.
float least_logit_of_min_p(const SamplerOptions &options, float best) noexcept;

// In the usual order: bias, penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, mirostat.
// The first and the last are not movable.
std::span<const Stage> all_stages() noexcept;

// A movable stage; null where there is none of this name.
const Stage *find_stage(std::string_view name) noexcept;

}  // namespace el
