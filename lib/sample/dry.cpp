#include "sample/dry.h"
#include "sample/stages.h"
#include <algorithm>
#include <cfloat>

namespace el {
namespace {

// By squaring, as only these roundings are the same everywhere; base >= 1.
double power(double base, uint32_t exponent) {
    double result = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

// For each i > 0 the number of tokens before back(i), itself included, that repeat at the end of the text: what is
// called the Z-function of the tokens read backwards (Gusfield 1997), in linear time. All of the last z.size() tokens.
void find_repetitions(const TokenHistory &history, std::span<uint64_t> z) {
    size_t left = 0, right = 0;  // the repetition that reaches the farthest back so far
    for (size_t i = 1; i < z.size(); ++i) {
        size_t length = i < right ? std::min<size_t>(right - i, z[i - left]) : 0;
        while (i + length < z.size() && history.back(length) == history.back(i + length)) ++length;
        z[i] = length;
        if (i + length > right) left = i, right = i + length;
    }
}

// Replaces the lengths by (token that follows, length) of those long enough, in order. Returns how many.
size_t find_continuations(const TokenHistory &history, std::span<uint64_t> z, uint64_t least, uint64_t most) {
    size_t n = 0;
    for (size_t i = 1; i < z.size(); ++i) {
        uint64_t length = std::min(z[i], most);
        if (length >= least) z[n++] = uint64_t(static_cast<uint32_t>(history.back(i - 1))) << 32 | length;
    }
    std::sort(z.begin(), z.begin() + static_cast<ptrdiff_t>(n));
    return n;
}

}  // namespace

DryBreakers::DryBreakers(const std::vector<std::vector<int32_t>> &sequences) : reversed_(sequences) {
    for (std::vector<int32_t> &sequence : reversed_) std::reverse(sequence.begin(), sequence.end());
    std::sort(reversed_.begin(), reversed_.end());
}

bool DryBreakers::is_breaker(int32_t token) const noexcept {
    auto at = std::lower_bound(reversed_.begin(), reversed_.end(), token,
                               [](const std::vector<int32_t> &s, int32_t wanted) { return s[0] < wanted; });
    return at != reversed_.end() && at->size() == 1 && (*at)[0] == token;  // the shortest come first
}

bool DryBreakers::end(const TokenHistory &history) const noexcept {
    auto first = reversed_.begin(), last = reversed_.end();
    // Those that agree with the last tokens so far are longer than i, or one of them would have been found.
    for (size_t i = 0; first != last && i < history.size(); ++i) {
        int32_t token = history.back(i);
        first = std::lower_bound(first, last, token,
                                 [i](const std::vector<int32_t> &s, int32_t wanted) { return s[i] < wanted; });
        last = std::upper_bound(first, last, token,
                                [i](int32_t wanted, const std::vector<int32_t> &s) { return wanted < s[i]; });
        if (first != last && first->size() == i + 1) return true;
    }
    return false;
}

void apply_dry(const StageInput &in, Candidates &candidates) noexcept {
    const SamplerOptions &o = in.options;
    size_t n = std::min(in.history.size(), static_cast<size_t>(o.dry_penalty_last_n));
    uint32_t least = static_cast<uint32_t>(o.dry_allowed_length);
    if (in.unbroken < least) return;
    std::span<uint64_t> found = in.scratch.first(n);
    find_repetitions(in.history, found);
    found = found.first(find_continuations(in.history, found, least, in.unbroken));
    for (size_t i = 0; i < found.size(); ++i) {
        if (i + 1 < found.size() && found[i + 1] >> 32 == found[i] >> 32) continue;  // the longest counts
        int32_t token = static_cast<int32_t>(found[i] >> 32);
        Candidate *c = find_candidate(candidates, token);
        if (!c || in.breakers.is_breaker(token)) continue;
        double penalty = o.dry_multiplier * power(o.dry_base, static_cast<uint32_t>(found[i]) - least);
        change_logit(*c, c->logit - static_cast<float>(std::min(penalty, double(FLT_MAX))));
    }
}

}  // namespace el
