// DRY: a penalty for the tokens that would continue a repetition, growing with its length (p-e-w 2024, "Don't Repeat
// Yourself", pull request 5677 of text-generation-webui).
#pragma once
#include "sample/history.h"
#include <cstdint>
#include <vector>

namespace el {

struct Candidates;
struct StageInput;

// Sequences of tokens that no repetition reaches over.
class DryBreakers {
  public:
    DryBreakers() = default;
    explicit DryBreakers(const std::vector<std::vector<int32_t>> &sequences);  // none of them empty

    // Is this token alone one of them?
    bool is_breaker(int32_t token) const noexcept;

    // Do the accepted tokens end with one of them?
    bool end(const TokenHistory &history) const noexcept;

  private:
    std::vector<std::vector<int32_t>> reversed_;  // each from its last token to its first; in order
};

void apply_dry(const StageInput &in, Candidates &candidates) noexcept;

}  // namespace el
