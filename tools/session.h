// A model that answers: one sequence whose cache is kept between answers as far as they begin alike.
#pragma once
#include <edgellm/edgellm.hpp>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

struct Answer {
    std::string text;
    edgellm_generate_result result;
};

// Takes sequence 0 back to its first tokens, or to none where it cannot go back that far: recurrent and windowed
// layers, and policies, have dropped what they saw then. Returns how many of them are left.
size_t go_back(edgellm::Context &context, size_t n_first);

class Session {
  public:
    Session(const edgellm::Model &model, const edgellm::ContextOptions &context,
            const edgellm::SamplerOptions &sampling)
        : context_(model, context), sampler_(model, sampling) {}

    // Reads the tokens, which are the whole conversation, and generates. Text goes to `show` as it comes. Ctrl-C stops
    // it. Throws edgellm::Error (EDGELLM_PROMPT_TOO_LONG: nothing has changed but the cache).
    Answer answer(std::span<const edgellm::Token> conversation, const edgellm::GenerateOptions &options,
                  const std::function<void(std::string_view)> &show);

    void reset() { sampler_.reset(); }  // for a new conversation
    int32_t context_tokens() const { return context_.info().context_tokens; }
    std::string timings() const;  // of all answers

  private:
    size_t keep_beginning(std::span<const edgellm::Token> conversation);

    edgellm::Context context_;
    edgellm::Sampler sampler_;
    std::vector<edgellm::Token> cached_;  // what the sequence holds
    int64_t n_prompt_ = 0, n_generated_ = 0, prompt_ns_ = 0, generate_ns_ = 0;
};

}  // namespace tool
