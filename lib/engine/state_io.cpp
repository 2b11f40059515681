// Saved sequences in files and buffers.
#include "base/file_io.h"
#include "engine/state.h"

#include <cstring>

namespace el {
namespace {

class FileSink final : public StateSink {
  public:
    explicit FileSink(ReplacementFile &file) : file_(file) {}
    Status write(const std::byte *from, size_t n, Report &report) noexcept override {
        return file_.write(from, n, report);
    }

  private:
    ReplacementFile &file_;
};

class BufferSink final : public StateSink {
  public:
    explicit BufferSink(void *to) : to_(static_cast<std::byte *>(to)) {}
    Status write(const std::byte *from, size_t n, Report &) noexcept override {
        std::memcpy(to_, from, n);
        to_ += n;
        return Status::kOk;
    }

  private:
    std::byte *to_;
};

class FileSource final : public StateSource {
  public:
    explicit FileSource(InputFile &file) : file_(file) {}
    const char *name() const noexcept override { return file_.path(); }
    uint64_t size() const noexcept override { return file_.size(); }
    Status read(uint64_t offset, std::byte *to, size_t n, Report &report) noexcept override {
        return file_.read_at(offset, to, n, report);
    }

  private:
    InputFile &file_;
};

class BufferSource final : public StateSource {
  public:
    BufferSource(const void *from, size_t n) : from_(static_cast<const std::byte *>(from)), n_(n) {}
    const char *name() const noexcept override { return "the buffer"; }
    uint64_t size() const noexcept override { return n_; }
    Status read(uint64_t offset, std::byte *to, size_t n, Report &) noexcept override {
        if (n > 0) std::memcpy(to, from_ + offset, n);
        return Status::kOk;
    }

  private:
    const std::byte *from_;
    size_t n_;
};

}  // namespace

Status SequenceState::save_file(const char *path, Report &report) noexcept {
    ReplacementFile file(path);
    FileSink sink(file);
    if (check_savable(report) != Status::kOk || file.open(report) != Status::kOk || save(sink, report) != Status::kOk)
        return report.status;
    return file.commit(report);
}

Status SequenceState::save_buffer(void *buffer, size_t cap, size_t *needed, Report &report) noexcept {
    if (check_savable(report) != Status::kOk) return report.status;
    const uint64_t all = bytes();
    if (needed) *needed = static_cast<size_t>(all);
    if (cap < all)
        return report.set(Status::kBufferTooSmall, "sequence {} takes {} bytes; cap is {}", sequence_, all, cap);
    BufferSink sink(buffer);
    return save(sink, report);
}

Status SequenceState::restore_file(const char *path, Report &report) noexcept {
    InputFile file(path);
    FileSource source(file);
    if (file.open(report) != Status::kOk) return report.status;
    return restore(source, report);
}

Status SequenceState::restore_buffer(const void *buffer, size_t n, Report &report) noexcept {
    BufferSource source(buffer, n);
    return restore(source, report);
}

}  // namespace el
