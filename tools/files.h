// Files that commands read and write.
#pragma once
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

// All of a file; "-" is standard input. Throws Failure naming it.
std::string read_file(const std::string &path);

// Calls visit(line) for each line of the text, without its newline.
template <typename Visit> void for_each_line(std::string_view text, Visit &&visit) {
    while (!text.empty()) {
        const size_t end = text.find('\n');
        visit(text.substr(0, end));
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
}

// A file that appears when it is complete: written under another name, renamed by finish(), removed without it. What
// cannot be replaced (/dev/stdout, a pipe) is written directly.
class OutputFile {
  public:
    explicit OutputFile(const std::string &path);
    ~OutputFile();
    OutputFile(const OutputFile &) = delete;
    OutputFile &operator=(const OutputFile &) = delete;
    void write(const void *data, size_t n);
    void finish();

  private:
    [[noreturn]] void fail_to_write();
    std::string path_, replaced_path_, written_path_;
    std::FILE *file_ = nullptr;
};

// An array of float32 in NumPy's format (version 1.0 of its .npy files), written as it comes.
class NpyWriter {
  public:
    NpyWriter(const std::string &path, std::span<const uint64_t> shape);  // slowest dimension first
    void write(std::span<const float> values) { file_.write(values.data(), values.size_bytes()); }
    void finish() { file_.finish(); }

  private:
    OutputFile file_;
};

}  // namespace tool
