// A chat in the terminal: chat MODEL.gguf. Ctrl-C stops an answer, Ctrl-D ends the program.
#include <edgellm/edgellm.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>

namespace {

using edgellm::Token;

edgellm::Context *answering = nullptr;  // what Ctrl-C cancels

void on_interrupt(int) {
    if (answering) answering->cancel();  // safe in a signal handler
}

struct Chat {
    edgellm::Model &model;
    edgellm::Context &context;
    edgellm::Sampler &sampler;
    std::vector<edgellm::ChatMessage> messages = {};
    std::vector<Token> tokens = {};  // what the sequence holds

    void say(const std::string &text) {
        messages.push_back({"user", text});
        std::vector<Token> conversation = model.tokenize(model.render_chat(messages), EDGELLM_TOKENIZE_CHAT);

        // The cache still knows the beginning: only what differs from it is worked off. Recurrent models, and windowed
        // ones after some tokens, cannot go back to where it begins to differ: they read it all again.
        auto same = std::mismatch(tokens.begin(), tokens.end(), conversation.begin(), conversation.end() - 1).first;
        auto n_same = static_cast<int32_t>(same - tokens.begin());
        try {
            context.sequence_remove(0, n_same);
        } catch (const edgellm::Error &error) {
            if (error.status() != EDGELLM_UNSUPPORTED) throw;
            context.sequence_remove(0);
            n_same = 0;
        }
        tokens = conversation;

        std::string answer;
        auto show = [&](const edgellm::TokenEvent &event) {
            std::cout << event.text << std::flush;
            answer += event.text;
            if (event.token != EDGELLM_NO_TOKEN) tokens.push_back(event.token);
        };
        answering = &context;
        auto result = context.generate(sampler, std::span(conversation).subspan(static_cast<size_t>(n_same)), show);
        answering = nullptr;
        tokens.resize(static_cast<size_t>(result.n_tokens));
        messages.push_back({"assistant", answer});
        std::cout << (result.stop_reason == EDGELLM_STOP_CONTEXT_FULL ? "\n(the context is full)\n" : "\n");
    }
};

int run(const char *path) {
    edgellm::Model model(path);
    edgellm::Context context(model, {.context_tokens = std::min(model.info().trained_context_tokens, 4096)});
    edgellm::Sampler sampler(model);
    Chat chat{model, context, sampler};
    std::signal(SIGINT, on_interrupt);
    for (std::string line; std::cout << "> " << std::flush && std::getline(std::cin, line);)
        if (!line.empty()) chat.say(line);
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) return std::cerr << "usage: " << argv[0] << " MODEL.gguf\n", 2;
    try {
        return run(argv[1]);
    } catch (const edgellm::Error &error) {
        return std::cerr << error.what() << '\n', EXIT_FAILURE;
    }
}
