#include "line_reader.h"
#include "interrupt.h"
#include "output.h"

#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace tool {
namespace {

class PlainReader : public LineReader {
  public:
    Result read(std::string &line) override {
        while (true) {
            if (size_t end = pending_.find('\n'); end != pending_.npos) {
                line = pending_.substr(0, end);
                pending_.erase(0, end + 1);
                return Result::kLine;
            }
            char bytes[4096];
            ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
            if (n < 0 && errno != EINTR) fail("cannot read standard input: {}", std::strerror(errno));
            if (interrupted()) return Result::kInterrupted;
            if (n > 0) pending_.append(bytes, static_cast<size_t>(n));
            if (n == 0) return take_rest(line);
        }
    }

  private:
    Result take_rest(std::string &line) {
        line.swap(pending_);
        pending_.clear();
        return line.empty() ? Result::kEnd : Result::kLine;
    }

    std::string pending_;
};

}  // namespace

std::unique_ptr<LineReader> make_plain_reader() { return std::make_unique<PlainReader>(); }

}  // namespace tool
