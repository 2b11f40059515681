// From chat messages to the text of a prompt.
#pragma once
#include "base/log.h"
#include "text/template.h"
#include "text/value.h"
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

namespace el {

class Vocabulary;

struct ChatContext {
    std::string bos_token, eos_token;  // as text
    bool has_chatml_tokens = false;    // the vocabulary has <|im_start|> and <|im_end|>
    bool add_bos = false;              // without a template, bos_token goes first: templates write it themselves
    std::optional<std::tm> now;        // for templates that show the date; the local time if not given
    Log log;
    TemplateLimits limits;
};

// `messages` is an array of objects with a "role" and mostly a "content", which is text or an array of parts with a
// "type". `variables` is an object of further variables for the template, or undefined; it may replace the defaults of
// tools and documents (none), add_generation_prompt (true), bos_token and eos_token. Without a template (NULL) the
// messages are written as ChatML if the vocabulary has its tokens, otherwise as plain lines, and the log says so.
// Parts that are all text become one string, a line each, where a template takes strings alone: one that fails on a
// part or prints it as data, tried with a message of one part, but writes a string.
// Throws kInvalidText for messages of another shape, naming the index, and what Template::render throws.
std::string render_chat(const Template *chat_template, const Value &messages, const Value &variables,
                        const ChatContext &context);

// The same from JSON, with the template and the tokens of a vocabulary. `variables` may be empty.
std::string render_chat(const Vocabulary &vocabulary, std::string_view messages, std::string_view variables,
                        const Log &log = {});

// The same from variables as chat_variables() makes them.
std::string render_chat(const Vocabulary &vocabulary, const Value &variables, const RenderOptions &options,
                        const Log &log);

// All variables that a template gets: a dict, which may be changed before rendering. `vocabulary` may be NULL.
Value chat_variables(const Vocabulary *vocabulary, std::string_view messages, std::string_view variables);

}  // namespace el
