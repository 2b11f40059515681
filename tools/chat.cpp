#include "chat.h"
#include "interrupt.h"
#include "line_reader.h"
#include "output.h"

#include <unistd.h>

namespace tool {
namespace {

constexpr const char *kHelp = "/clear begins a new conversation, /quit (or Ctrl-D) leaves, Ctrl-C stops an answer.";

class Chat {
  public:
    Chat(const edgellm::Model &model, Session &session, const ChatOptions &options)
        : model_(model), session_(session), options_(options) {
        clear();
    }

    void run() {
        if (person_) talk_with_person(), note("{}", kHelp);
        auto reader = person_ ? make_terminal_reader("> ") : make_plain_reader();
        for (std::string line; true;) {
            auto result = reader->read(line);
            if (asked_to_end() || (interrupted() && !person_)) check_interrupt();
            forget_interrupt();
            if (result == LineReader::Result::kEnd || (result == LineReader::Result::kLine && line == "/quit")) return;
            if (result == LineReader::Result::kLine && !line.empty()) obey_or_answer(line);
        }
    }

  private:
    void obey_or_answer(const std::string &line) {
        if (line == "/help")
            note("{}", kHelp);
        else if (line == "/clear")
            clear();
        else
            answer(line);
    }

    void clear() {
        text_.clear();
        messages_.clear();
        session_.reset();
        if (!options_.system.empty()) messages_.push_back({"system", options_.system});
    }

    std::vector<edgellm::Token> conversation() const {
        return options_.raw ? model_.tokenize(text_)
                            : model_.tokenize(model_.render_chat(messages_), EDGELLM_TOKENIZE_CHAT);
    }

    void answer(const std::string &line) {
        const size_t n_messages = messages_.size(), n_text = text_.size();
        messages_.push_back({"user", line});
        text_ += line;
        try {
            Answer answer = session_.answer(conversation(), options_.generate, [](std::string_view text) {
                put(text);
                flush();
            });
            put("\n");
            flush();
            messages_.push_back({"assistant", answer.text});
            text_ += answer.text + "\n";
            after(answer.result.stop_reason);
        } catch (const edgellm::Error &error) {
            if (!person_) throw;
            note("{}", printable(error.what()));
            if (error.status() == EDGELLM_PROMPT_TOO_LONG)
                note("/clear begins a new conversation; the option -c gives more room.");
            messages_.resize(n_messages);  // as if the line had not been said
            text_.resize(n_text);
        }
    }

    void after(edgellm_stop_reason reason) {
        if (reason == EDGELLM_STOP_CONTEXT_FULL)
            note("The context of {} tokens is full: /clear begins a new conversation, the option -c gives more room.",
                 session_.context_tokens());
        if (reason != EDGELLM_STOP_CANCELLED) return;
        if (asked_to_end() || !person_) check_interrupt();
        note("(stopped)");
        forget_interrupt();
    }

    const edgellm::Model &model_;
    Session &session_;
    const ChatOptions &options_;
    const bool person_ = isatty(STDIN_FILENO);
    std::vector<edgellm::ChatMessage> messages_;
    std::string text_;  // with --raw
};

}  // namespace

void chat(const edgellm::Model &model, Session &session, const ChatOptions &options) {
    Chat(model, session, options).run();
}

}  // namespace tool
