// Files for calls that allocate nothing: reading one, and replacing one so that whatever happens there is either the
// old or the new content. What goes wrong is a kIoError that names the path.
#pragma once
#include "base/report.h"

#include <climits>
#include <cstddef>
#include <cstdint>

namespace el {

// The end of a path, short enough for a sentence around it.
struct ShownPath {
    explicit ShownPath(const char *path) noexcept;
    char text[168];
};

// A regular file, open for reading.
class InputFile {
  public:
    explicit InputFile(const char *path) noexcept : path_(path), shown_(path) {}
    InputFile(const InputFile &) = delete;
    InputFile &operator=(const InputFile &) = delete;
    ~InputFile();

    Status open(Report &report) noexcept;
    uint64_t size() const noexcept { return size_; }  // when it was opened
    const char *path() const noexcept { return shown_.text; }
    // Exactly n bytes; kFileTruncated when it has become shorter.
    Status read_at(uint64_t offset, std::byte *to, size_t n, Report &report) noexcept;

  private:
    const char *path_;
    ShownPath shown_;
    int fd_ = -1;
    uint64_t size_ = 0;
};

// A temporary file beside `path`, which takes its place in commit(), when all of it is on the disk. Without commit() it
// goes again. Its owner alone can read it.
class ReplacementFile {
  public:
    explicit ReplacementFile(const char *path) noexcept : path_(path), shown_(path) {}
    ReplacementFile(const ReplacementFile &) = delete;
    ReplacementFile &operator=(const ReplacementFile &) = delete;
    ~ReplacementFile();

    Status open(Report &report) noexcept;
    Status write(const std::byte *from, size_t n, Report &report) noexcept;
    Status commit(Report &report) noexcept;

  private:
    Status failed(const char *what, int error, Report &report) const noexcept;

    const char *path_;
    ShownPath shown_;
    int fd_ = -1, folder_ = -1;
    char temporary_[PATH_MAX];
    bool exists_ = false;  // the temporary file
};

}  // namespace el
