// The stages of sampling, as rows of data: a sampler runs those that its options enable, in the order of the table.
#pragma once
#include "sample/candidates.h"
#include "sample/options.h"
#include <span>

namespace el {

struct StageInput {
    const SamplerOptions &options;
    std::span<const int32_t> window;  // the accepted tokens that penalties look at, in any order
    std::span<int32_t> scratch;       // as long as the window can become
};

struct Stage {
    const char *name;
    bool (*enabled)(const SamplerOptions &) noexcept;
    void (*apply)(const StageInput &, Candidates &) noexcept;
};

// In the usual order: bias, penalties, top_k, top_p, min_p, temperature.
std::span<const Stage> all_stages() noexcept;

}  // namespace el
