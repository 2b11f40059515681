// Turns logits into a token.
#pragma once
#include "base/best_tokens.h"
#include "base/status.h"
#include "sample/options.h"
#include "sample/stages.h"
#include <cstddef>
#include <cstdint>
#include <vector>

namespace el {

// Used by one thread at a time. All memory is taken by the constructor; afterwards nothing allocates or throws.
class Sampler {
  public:
    // Throws Error kInvalidArgument, naming the field.
    Sampler(size_t n_vocab, const SamplerOptions &options);

    // Chooses a token by logits [n_vocab]; does not accept it: called again, it chooses the same. Logits that are not
    // numbers count as minus infinity. kLogitsInvalid: no token is possible (all minus infinity, by a broken model
    // or by logit_bias); *token is then left as it was.
    Status sample(const float *logits, int32_t *token) noexcept;

    // The same by the best tokens of the row, best_wanted() of them or more; false where they do not tell which token
    // the whole row would give. Of best_wanted() 0 that is known in advance.
    bool sample(const BestTokens &best, int32_t *token, Status &status) noexcept;
    size_t best_wanted() const noexcept;

    // Adds a token to what the penalties look at and moves on in the random numbers: those of a sample depend on the
    // seed and on how many tokens have been accepted, on nothing else. Mirostat learns from a token only if it is the
    // one last sampled. kInvalidArgument: no such token.
    Status accept(int32_t token) noexcept;

    // As if just created.
    void reset() noexcept;

    // Takes over what the other has accepted, and its seed. kInvalidArgument: created with other options or another
    // vocabulary size.
    Status copy_from(const Sampler &other) noexcept;

    size_t n_vocab() const noexcept { return n_vocab_; }
    const SamplerOptions &options() const noexcept { return options_; }
    uint64_t position() const noexcept { return position_; }      // how many tokens have been accepted
    double mirostat_mu() const noexcept { return mirostat_mu_; }  // the largest surprise that it lets pass, in bits

  private:
    // For sampling by the best tokens: more than so many others that a stage may change are not looked at.
    static constexpr size_t kMostGuesses = 2048, kMostKnown = kMaxBest + kMostGuesses + 1;

    struct Choice {
        int32_t token = -1;
        double probability = 1;  // among what the stages left
    };
    static Choice draw(const Candidates &candidates, double uniform) noexcept;
    StageInput input() noexcept {
        return {options_, history_, scratch_, breakers_, position_ - broken_at_, position_, mirostat_mu_};
    }
    Status choose(Candidates candidates, std::span<const Stage *const> stages, int32_t *token) noexcept;
    Status settle(Choice choice, int32_t *token) noexcept;
    void count_wanted() noexcept;
    size_t n_guesses() const noexcept { return options_.logit_bias.size() + (looks_back_ ? history_.size() : 0); }
    bool gather(const BestTokens &best, Candidates &known) noexcept;
    bool decide(const BestTokens &best, Candidates &known, std::span<const Stage *const> &stages) noexcept;

    size_t n_vocab_;
    SamplerOptions options_;
    std::vector<const Stage *> stages_;
    DryBreakers breakers_;
    size_t best_wanted_ = 0;          // where no logit is changed before the best are told apart from the others
    bool changes_first_ = false;      // otherwise
    bool looks_back_ = false;         // whether a stage changes the logits of accepted tokens
    std::vector<Candidate> storage_;  // [n_vocab, and some best and guessed ones], of one call of sample
    std::vector<uint64_t> scratch_;   // [the longest window], of one stage
    TokenHistory history_;
    uint64_t position_ = 0;
    uint64_t broken_at_ = 0;  // the position after the last breaker
    double mirostat_mu_ = 0;
    Choice last_;  // chosen and not yet accepted
};

}  // namespace el
