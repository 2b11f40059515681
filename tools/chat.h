// A conversation with someone who types.
#pragma once
#include "session.h"

namespace tool {

struct ChatOptions {
    std::string system;  // empty: none
    bool raw = false;    // plain text that goes on, no chat template
    edgellm::GenerateOptions generate;
};

// Until the input ends or someone says /quit.
void chat(const edgellm::Model &model, Session &session, const ChatOptions &options);

}  // namespace tool
