// What commands print: results go to standard output, everything else to standard error.
#pragma once
#include "base/format.h"
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tool {

// Exit status 1: the command failed.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};
// Exit status 2: the command line makes no sense.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <typename... Args> [[noreturn]] void fail(fmt::format_string<Args...> format, Args &&...args) {
    throw Failure(el::format(format, std::forward<Args>(args)...));
}

// Adds to standard output; flush() brings it there. Both throw Failure if it cannot be written.
void put(std::string_view text);
void flush();

// Writes to standard error; a failure there is nobody's.
void note_text(std::string_view text);
template <typename... Args> void note(fmt::format_string<Args...> format, Args &&...args) {
    note_text(el::format(format, std::forward<Args>(args)...) + "\n");
}

// The text on one line, with control characters shown as escapes: names in files are not trusted.
std::string printable(std::string_view text, bool keep_lines = false);

std::string bytes_text(double bytes);  // "1.2 GB"

// How far a long task is, on standard error: a line that is renewed on a terminal, else a line every ten seconds.
class Progress {
  public:
    Progress(std::string what, uint64_t total);
    ~Progress();
    Progress(const Progress &) = delete;
    Progress &operator=(const Progress &) = delete;
    void at(uint64_t done);

  private:
    using Clock = std::chrono::steady_clock;
    std::string what_;
    uint64_t total_;
    bool terminal_;
    bool shown_ = false;
    Clock::time_point next_;
};

}  // namespace tool
