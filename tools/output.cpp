#include "output.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace tool {
namespace {

constexpr size_t kBufferBytes = 1 << 16;
std::string buffer;

}  // namespace

void put(std::string_view text) {
    buffer += text;
    if (buffer.size() >= kBufferBytes) flush();
}

void flush() {
    std::string text;
    text.swap(buffer);  // what could not be written is not tried again
    for (size_t done = 0; done < text.size();) {
        ssize_t n = write(STDOUT_FILENO, text.data() + done, text.size() - done);
        if (n >= 0) {
            done += static_cast<size_t>(n);
        } else if (errno == EAGAIN) {
            pollfd wait{STDOUT_FILENO, POLLOUT, 0};
            poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            fail("cannot write to standard output: {}", std::strerror(errno));
        }
    }
}

void note_text(std::string_view text) {
    while (!text.empty()) {
        ssize_t n = write(STDERR_FILENO, text.data(), text.size());
        if (n < 0 && errno != EINTR) return;
        if (n > 0) text.remove_prefix(static_cast<size_t>(n));
    }
}

std::string printable(std::string_view text, bool keep_lines) {
    std::string out;
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (keep_lines && (c == '\n' || c == '\t'))
            out += c;
        else if (c == '\n')
            out += "\\n";
        else if (c == '\t')
            out += "\\t";
        else if (byte < 0x20 || byte == 0x7f)
            out += el::format("\\x{:02x}", byte);
        else
            out += c;
    }
    return out;
}

std::string bytes_text(double bytes) {
    static constexpr std::array<const char *, 5> kUnits{"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (; bytes >= 1000 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
    return el::format("{:.{}f} {}", bytes, unit ? 2 : 0, kUnits[unit]);
}

Progress::Progress(std::string what, uint64_t total)
    : what_(std::move(what)), total_(total), terminal_(isatty(STDERR_FILENO)),
      next_(Clock::now() + std::chrono::milliseconds(terminal_ ? 500 : 10'000)) {}

Progress::~Progress() {
    if (shown_ && terminal_) note_text("\r\x1b[K");
}

void Progress::at(uint64_t done) {
    auto now = Clock::now();
    if (now < next_ || total_ == 0) return;
    next_ = now + std::chrono::milliseconds(terminal_ ? 100 : 10'000);
    shown_ = true;
    double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total_);
    note_text(el::format("{}{}: {:.0f} %{}", terminal_ ? "\r" : "", what_, percent, terminal_ ? "\x1b[K" : "\n"));
}

}  // namespace tool
