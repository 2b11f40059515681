// Lines from whoever talks to the program.
#pragma once
#include <memory>
#include <string>

namespace tool {

class LineReader {
  public:
    enum class Result { kLine, kInterrupted, kEnd };

    virtual ~LineReader() = default;
    virtual Result read(std::string &line) = 0;  // without the newline
};

std::unique_ptr<LineReader> make_plain_reader();  // standard input as it is
// A person at a terminal: a prompt, and editing and a history where libedit is there. Prompts go to standard error.
std::unique_ptr<LineReader> make_terminal_reader(const char *prompt);

}  // namespace tool
