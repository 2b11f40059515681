// Reading files: positioned reads that either deliver everything or throw, and an optional read-only mapping.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace el {

// A read-only view of a whole file. If the file is made shorter while it is mapped, reading the lost part raises
// SIGBUS.
class FileMapping {
  public:
    FileMapping() = default;
    FileMapping(FileMapping &&other) noexcept;
    FileMapping &operator=(FileMapping &&other) noexcept;
    ~FileMapping();
    std::span<const std::byte> bytes() const { return {data_, size_}; }

  private:
    friend class File;
    FileMapping(const std::byte *data, size_t size) : data_(data), size_(size) {}
    const std::byte *data_ = nullptr;
    size_t size_ = 0;
};

// A regular file, open for reading. read_at() may be called by several threads at once.
class File {
  public:
    // Throws kIoError with the path and the system's reason; directories, pipes and devices are refused.
    static File open(const std::string &path);
    // Takes the descriptor, also when it throws.
    static File from_fd(int fd, std::string path);

    File() = default;
    File(File &&other) noexcept;
    File &operator=(File &&other) noexcept;
    ~File();

    bool is_open() const { return fd_ >= 0; }
    uint64_t size() const { return size_; }  // when it was opened
    const std::string &path() const { return path_; }
    // The path as messages show it: a long one keeps its end, so that the rest of the sentence still fits.
    const std::string &shown_path() const { return shown_path_; }

    // Reads exactly `n` bytes. Throws kFileTruncated when the file ends before, kIoError when the system fails.
    void read_at(uint64_t offset, void *to, size_t n) const;
    FileMapping map() const;
    // Tells the system that these cached bytes are not needed again: they are in their final place now.
    void drop_cache(uint64_t offset, uint64_t n) const noexcept;

  private:
    int fd_ = -1;
    uint64_t size_ = 0;
    std::string path_, shown_path_;
};

// The regular file, there or not, that a file written to `path` can take the place of, by being renamed to it: `path`,
// or what a link leads to. "" for what can only be written itself: devices, pipes, what lies in /dev and /proc or where
// no file can be made, and files that are mounted.
std::string replaceable_file(const std::string &path);

// `path` cut to its last 160 bytes, if it is longer.
std::string shorten_path(const std::string &path);

// What errno says, in words.
std::string errno_text(int error);

}  // namespace el
