// Stands in for line_reader_libedit.cpp where there is no libedit.
#include "line_reader.h"
#include "output.h"

namespace tool {
namespace {

class PromptingReader : public LineReader {
  public:
    explicit PromptingReader(const char *prompt) : prompt_(prompt) {}
    Result read(std::string &line) override {
        note_text(prompt_);
        Result result = lines_->read(line);
        if (result != Result::kLine) note("");
        return result;
    }

  private:
    const char *prompt_;
    std::unique_ptr<LineReader> lines_ = make_plain_reader();
};

}  // namespace

std::unique_ptr<LineReader> make_terminal_reader(const char *prompt) {
    return std::make_unique<PromptingReader>(prompt);
}

}  // namespace tool
