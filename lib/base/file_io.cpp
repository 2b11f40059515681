#include "base/file_io.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace el {
namespace {

// strerror_r comes in two kinds: one returns the text, one fills the buffer.
[[maybe_unused]] const char *text_of(const char *text, const char *) { return text; }
[[maybe_unused]] const char *text_of(int failed, const char *buffer) { return failed ? "unknown error" : buffer; }

struct ErrnoText {
    explicit ErrnoText(int error) noexcept : text(text_of(strerror_r(error, buffer, sizeof buffer), buffer)) {}
    char buffer[96] = "";
    const char *text;
};

// Away from the standard streams' numbers, where others would read or write it if one of those was closed.
int above_standard_streams(int fd) {
    if (fd < 0 || fd > 2) return fd;
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3), error = errno;
    close(fd);
    errno = error;
    return moved;
}

template <typename Call> auto retried(Call call) {
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

}  // namespace

ShownPath::ShownPath(const char *path) noexcept {
    constexpr size_t kShown = 160;
    const size_t n = std::strlen(path);
    const char *dots = n > kShown ? "..." : "", *end = n > kShown ? path + n - kShown : path;
    format_into(text, sizeof text, "{}{}", fmt::make_format_args(dots, end));
}

// ---- reading

InputFile::~InputFile() {
    if (fd_ >= 0) close(fd_);
}

Status InputFile::open(Report &report) noexcept {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    fd_ = above_standard_streams(retried([&] { return ::open(path_, O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0)
        return report.set(Status::kIoError, "cannot open {}: {}", path(), ErrnoText(errno).text);
    if (!S_ISREG(info.st_mode)) return report.set(Status::kIoError, "{} is not a regular file", path());
    size_ = static_cast<uint64_t>(info.st_size);
    return Status::kOk;
}

Status InputFile::read_at(uint64_t offset, std::byte *to, size_t n, Report &report) noexcept {
    while (n > 0) {
        const ssize_t got = retried([&] { return pread(fd_, to, n, static_cast<off_t>(offset)); });
        if (got < 0)
            return report.set(Status::kIoError, "cannot read {} at offset {}: {}", path(), offset,
                              ErrnoText(errno).text);
        if (got == 0)
            return report.set(Status::kFileTruncated, "{} became shorter while it was read: it ends at offset {}",
                              path(), offset);
        to += got;
        offset += static_cast<uint64_t>(got);
        n -= static_cast<size_t>(got);
    }
    return Status::kOk;
}

// ---- replacing

ReplacementFile::~ReplacementFile() {
    if (fd_ >= 0) close(fd_);
    if (folder_ >= 0) close(folder_);
    if (exists_) unlink(temporary_);
}

Status ReplacementFile::failed(const char *what, int error, Report &report) const noexcept {
    return report.set(Status::kIoError, "cannot {} {}: {}", what, shown_.text, ErrnoText(error).text);
}

Status ReplacementFile::open(Report &report) noexcept {
    constexpr char kEnding[] = ".XXXXXX";
    const size_t n = std::strlen(path_);
    if (n + sizeof kEnding > sizeof temporary_) return failed("write", ENAMETOOLONG, report);
    struct stat info;
    if (lstat(path_, &info) == 0 && !S_ISREG(info.st_mode))
        return report.set(Status::kIoError, "{} is not a regular file, so it is not replaced", shown_.text);

    const char *slash = std::strrchr(path_, '/');
    const size_t folder = slash ? std::max<size_t>(size_t(slash - path_), 1) : 0;
    std::memcpy(temporary_, folder ? path_ : ".", folder ? folder : 1);
    temporary_[folder ? folder : 1] = '\0';
    folder_ = above_standard_streams(retried([&] { return ::open(temporary_, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (folder_ < 0) return failed("open the folder of", errno, report);

    std::memcpy(temporary_, path_, n);
    std::memcpy(temporary_ + n, kEnding, sizeof kEnding);
    const int fd = mkostemp(temporary_, O_CLOEXEC);
    if (fd < 0) return failed("write", errno, report);
    exists_ = true;
    fd_ = above_standard_streams(fd);
    return fd_ < 0 ? failed("write", errno, report) : Status::kOk;
}

Status ReplacementFile::write(const std::byte *from, size_t n, Report &report) noexcept {
    while (n > 0) {
        const ssize_t done = retried([&] { return ::write(fd_, from, n); });
        if (done < 0) return failed("write", errno, report);
        from += done;
        n -= static_cast<size_t>(done);
    }
    return Status::kOk;
}

// The content must be on the disk before the name points to it, and the name before anyone relies on it.
Status ReplacementFile::commit(Report &report) noexcept {
    if (retried([&] { return fsync(fd_); }) != 0) return failed("write", errno, report);
    if (close(std::exchange(fd_, -1)) != 0) return failed("write", errno, report);
    if (rename(temporary_, path_) != 0) return failed("replace", errno, report);
    exists_ = false;
    // Some file systems do not know how to sync a folder.
    if (retried([&] { return fsync(folder_); }) != 0 && errno != EINVAL && errno != ENOTSUP)
        return failed("sync the folder of", errno, report);
    return Status::kOk;
}

}  // namespace el
