// The tokens that may still be drawn, and the ways to shorten their list.
//
// Candidates always stand in the order of their ids, so that the outcome depends on which are left, never on how they
// were found. Nothing here sorts: what a stage keeps is found by histograms, in a bounded number of passes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace el {

struct Candidate {
    int32_t id;
    float logit;  // finite or minus infinity
};

struct Candidates {
    Candidate *data;  // [n], ascending ids
    size_t n;

    Candidate *begin() const { return data; }
    Candidate *end() const { return data + n; }
};

void load_candidates(Candidates &candidates, const float *logits, size_t n) noexcept;

// The candidate of a token, or null where it has been dropped.
Candidate *find_candidate(const Candidates &candidates, int32_t id) noexcept;

float best_logit(const Candidates &candidates) noexcept;

// Finite changes, however large, neither ban a token nor bring back a banned one.
void change_logit(Candidate &c, float logit) noexcept;

// The sum of all e^(logit - best).
double total_weight(const Candidates &candidates, float best) noexcept;

struct Weight {
    double total;
    double mean;  // of logit - best, by these weights; the entropy is ln(total) - mean
};
Weight weigh(const Candidates &candidates, float best) noexcept;  // best > minus infinity

// Each keeps at least one, and of equal logits those of lower ids.
void keep_from(Candidates &candidates, float least_logit) noexcept;  // least_logit <= best_logit
void keep_top_k(Candidates &candidates, size_t k) noexcept;
void keep_top_p(Candidates &candidates, double p) noexcept;

// Keeps the fewest that reach p, those first whose surprise is nearest to the entropy.
void keep_typical(Candidates &candidates, double p) noexcept;

}  // namespace el
