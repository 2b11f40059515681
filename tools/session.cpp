#include "session.h"
#include "interrupt.h"
#include "output.h"

#include <algorithm>

namespace tool {

size_t go_back(edgellm::Context &context, size_t n_first) try {
    context.sequence_remove(0, static_cast<int32_t>(n_first));
    if (static_cast<size_t>(context.sequence_length()) == n_first) return n_first;
    context.sequence_remove(0);  // a policy has dropped some of them
    return 0;
} catch (const edgellm::Error &error) {
    if (error.status() != EDGELLM_UNSUPPORTED) throw;
    context.sequence_remove(0);
    return 0;
}

// How many tokens of the conversation are in the cache. The last one never counts: its logits are wanted.
size_t Session::keep_beginning(std::span<const edgellm::Token> conversation) {
    const size_t most = std::min(cached_.size(), conversation.size() - 1);
    const auto same =
        std::mismatch(cached_.begin(), cached_.begin() + static_cast<ptrdiff_t>(most), conversation.begin());
    cached_.resize(go_back(context_, static_cast<size_t>(same.first - cached_.begin())));
    return cached_.size();
}

Answer Session::answer(std::span<const edgellm::Token> conversation, const edgellm::GenerateOptions &options,
                       const std::function<void(std::string_view)> &show) {
    if (conversation.empty()) fail("the prompt is empty: there is nothing to go on from");
    const size_t kept = keep_beginning(conversation);
    Answer answer;
    std::vector<edgellm::Token> tokens(conversation.begin(), conversation.end());
    {
        CancelOnInterrupt cancel(context_);
        auto generate = [&] {
            return context_.generate(
                sampler_, conversation.subspan(kept),
                [&](const edgellm::TokenEvent &event) {
                    if (event.token != EDGELLM_NO_TOKEN) tokens.push_back(event.token);
                    answer.text += event.text;
                    show(event.text);
                },
                options);
        };
        answer.result = generate();
        // A Ctrl-C that came after the last step of an answer is still waiting in the context.
        if (answer.result.stop_reason == EDGELLM_STOP_CANCELLED && !interrupted()) answer.result = generate();
    }
    // The last token is usually not in the cache, and after a stop parts of the prompt may not be.
    tokens.resize(std::min(tokens.size(), static_cast<size_t>(context_.sequence_length())));
    cached_ = std::move(tokens);
    n_prompt_ += answer.result.n_prompt_tokens;
    n_generated_ += answer.result.n_generated;
    prompt_ns_ += answer.result.prompt_ns;
    generate_ns_ += answer.result.generate_ns;
    return answer;
}

std::string Session::timings() const {
    auto rate = [](int64_t tokens, int64_t ns) { return ns > 0 ? double(tokens) * 1e9 / double(ns) : 0.0; };
    return el::format("prompt: {} tokens, {:.1f} tokens/s; answer: {} tokens, {:.1f} tokens/s", n_prompt_,
                      rate(n_prompt_, prompt_ns_), n_generated_, rate(n_generated_, generate_ns_));
}

}  // namespace tool
