#include "sample/candidates.h"
#include "sample/softmax.h"
#include <algorithm>
#include <bit>
#include <cmath>

namespace el {
namespace {

// Larger is better: the logit, then the lower id.
uint64_t rank_of(Candidate c) {
    uint32_t bits = std::bit_cast<uint32_t>(c.logit + 0.0f);  // no negative zero
    bits ^= bits >> 31 ? 0xFFFFFFFFu : 0x80000000u;           // float order as integer order
    return uint64_t(bits) << 32 | static_cast<uint32_t>(~c.id);
}

// Keeps the fewest candidates of highest rank whose masses reach `need` (> 0): radix selection. The rank of the last
// one to keep is found from its leading bits down, from a histogram of the masses of those that agree in the bits known
// so far. Bounded for any input, while selection by pivots can be driven to quadratic time.
template <typename Rank, typename Mass>
void keep_best(Candidates &candidates, double need, Rank rank_of, Mass mass) noexcept {
    constexpr int kBits = 8;
    struct Bin {
        double mass;
        size_t n;
    };
    uint64_t last = 0;
    for (int shift = 64 - kBits; shift >= 0; shift -= kBits) {
        Bin bins[1 << kBits] = {};
        for (Candidate c : candidates) {
            uint64_t rank = rank_of(c);
            if ((rank ^ last) >> shift >> kBits) continue;
            Bin &bin = bins[rank >> shift & ((1 << kBits) - 1)];
            bin.mass += mass(c);
            ++bin.n;
        }
        size_t at = (1 << kBits) - 1;
        for (; at > 0 && need > bins[at].mass; --at) need -= bins[at].mass;
        last |= uint64_t(at) << shift;
        size_t kept = 0;
        for (Candidate c : candidates) {
            candidates.data[kept] = c;
            kept += rank_of(c) >= last;
        }
        candidates.n = kept;
        if (bins[at].n <= 1) return;
    }
}

}  // namespace

void load_candidates(Candidates &candidates, const float *logits, size_t n) noexcept {
    candidates.n = n;
    for (size_t i = 0; i < n; ++i) candidates.data[i] = {static_cast<int32_t>(i), usable_logit(logits[i])};
}

Candidate *find_candidate(const Candidates &candidates, int32_t id) noexcept {
    Candidate *found = std::lower_bound(candidates.begin(), candidates.end(), id,
                                        [](const Candidate &c, int32_t wanted) { return c.id < wanted; });
    return found != candidates.end() && found->id == id ? found : nullptr;
}

float best_logit(const Candidates &candidates) noexcept {
    return max_logit(candidates.n, [&](size_t i) { return candidates.data[i].logit; });
}

void change_logit(Candidate &c, float logit) noexcept {
    if (c.logit > kMinusInfinity) c.logit = std::max(usable_logit(logit), -FLT_MAX);
}

double total_weight(const Candidates &candidates, float best) noexcept {
    return sum_exp(candidates.n, best, [&](size_t i) { return candidates.data[i].logit; });
}

Weight weigh(const Candidates &candidates, float best) noexcept {
    constexpr size_t kBlock = 64, kLanes = 4;  // several sums, as in sum_exp
    double totals[kLanes] = {}, products[kLanes] = {};
    for (size_t i = 0; i < candidates.n; i += kBlock) {
        size_t n = std::min(kBlock, candidates.n - i);
        float x[kBlock], w[kBlock];
        for (size_t j = 0; j < n; ++j) x[j] = std::max(candidates.data[i + j].logit - best, -88.0f);  // w is 0 there
        for (size_t j = 0; j < n; ++j) w[j] = exp_negative(x[j]);
        for (size_t j = 0; j < n; ++j) totals[j % kLanes] += w[j];
        for (size_t j = 0; j < n; ++j) products[j % kLanes] += double(w[j]) * x[j];
    }
    double total = 0, product = 0;
    for (size_t j = 0; j < kLanes; ++j) total += totals[j], product += products[j];
    return {total, product / total};
}

void keep_from(Candidates &candidates, float least_logit) noexcept {
    size_t kept = 0;
    for (Candidate c : candidates) {
        candidates.data[kept] = c;  // without a branch, as half of the guesses could be wrong
        kept += c.logit >= least_logit;
    }
    candidates.n = kept;
}

void keep_top_k(Candidates &candidates, size_t k) noexcept {
    if (k == 0 || k >= candidates.n) return;
    // Cut into k parts, each of which has a candidate that reaches the least of their maxima: so do k candidates, and
    // the rest cannot be among the k best.
    size_t part = candidates.n / k;
    float least = FLT_MAX;
    for (size_t i = 0; i < k; ++i) least = std::min(least, best_logit({candidates.data + i * part, part}));
    keep_from(candidates, least);
    keep_best(candidates, static_cast<double>(k), rank_of, [](Candidate) { return 1.0; });
}

void keep_top_p(Candidates &candidates, double p) noexcept {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return;
    double total = total_weight(candidates, best);
    // Were all n of a mass below total * (1 - p) / n, they would not reach what may be left out: the nucleus needs none
    // of these. (The factor is for rounding.)
    double least = 0.999 * total * (1 - p) / static_cast<double>(candidates.n);
    keep_from(candidates, best + static_cast<float>(std::log(std::min(least, 1.0))));
    keep_best(candidates, std::max(p * total, DBL_MIN), rank_of,
              [best](Candidate c) { return static_cast<double>(exp_negative(c.logit - best)); });
}

void keep_typical(Candidates &candidates, double p) noexcept {
    float best = best_logit(candidates);
    if (best == kMinusInfinity) return;
    Weight weight = weigh(candidates, best);
    float mean = static_cast<float>(weight.mean);
    // The entropy is the mean of the surprise, so a surprise differs from it as a logit from the mean logit.
    auto typicality = [=](Candidate c) {
        uint32_t deviation =
            std::bit_cast<uint32_t>(std::fabs(c.logit - best - mean));  // positive: in order as integer
        return uint64_t(~deviation) << 32 | static_cast<uint32_t>(~c.id);
    };
    keep_best(candidates, std::max(p * weight.total, DBL_MIN), typicality,
              [best](Candidate c) { return static_cast<double>(exp_negative(c.logit - best)); });
}

}  // namespace el
