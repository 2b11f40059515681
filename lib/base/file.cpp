#include "base/file.h"

#include "base/status.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <limits>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace el {

std::string errno_text(int error) { return std::generic_category().message(error); }

std::string shorten_path(const std::string &path) {
    constexpr size_t kShown = 160;
    return path.size() <= kShown ? path : "..." + path.substr(path.size() - kShown);
}

std::string replaceable_file(const std::string &path) {
    auto of_system = [](std::string_view name) { return name.starts_with("/dev/") || name.starts_with("/proc/"); };
    std::string file = path;
    struct stat info, folder_info;
    if (lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
        char next[PATH_MAX];
        const ssize_t n = readlink(path.c_str(), next, sizeof next);
        char *real = realpath(path.c_str(), nullptr);
        file = real && n > 0 && !of_system({next, size_t(n)}) ? real : "";
        std::free(real);
    }
    if (file.empty() || of_system(path)) return "";
    const size_t slash = file.rfind('/');
    const std::string folder = slash == file.npos ? "." : file.substr(0, std::max<size_t>(slash, 1));
    if (stat(folder.c_str(), &folder_info) != 0 || access(folder.c_str(), W_OK | X_OK) != 0) return "";
    if (lstat(file.c_str(), &info) != 0) return file;
    return S_ISREG(info.st_mode) && info.st_dev == folder_info.st_dev ? file : "";
}

FileMapping::FileMapping(FileMapping &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

FileMapping &FileMapping::operator=(FileMapping &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

FileMapping::~FileMapping() {
    if (data_) munmap(const_cast<std::byte *>(data_), size_);
}

File File::open(const std::string &path) {
    int fd;
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    do fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        int error = errno;
        fail(Status::kIoError, "cannot open {}: {}", shorten_path(path), errno_text(error));
    }
    File guard;
    guard.fd_ = fd;
    if (fd < 3) {  // in the place of a closed standard stream, where others would read it
        guard.fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        int error = errno;
        ::close(fd);
        if (guard.fd_ < 0) fail(Status::kIoError, "cannot open {}: {}", shorten_path(path), errno_text(error));
    }
    std::string copy = path;
    return from_fd(std::exchange(guard.fd_, -1), std::move(copy));
}

File File::from_fd(int fd, std::string path) {
    File file;
    file.fd_ = fd;
    file.path_ = std::move(path);
    file.shown_path_ = shorten_path(file.path_);
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int error = errno;
        fail(Status::kIoError, "cannot open {}: {}", file.shown_path_, errno_text(error));
    }
    if (S_ISDIR(info.st_mode)) fail(Status::kIoError, "{} is a directory, not a file", file.shown_path_);
    if (!S_ISREG(info.st_mode)) fail(Status::kIoError, "{} is not a regular file", file.shown_path_);
    file.size_ = static_cast<uint64_t>(info.st_size);
    return file;
}

File::File(File &&other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(std::exchange(other.size_, 0)), path_(std::move(other.path_)),
      shown_path_(std::move(other.shown_path_)) {}

File &File::operator=(File &&other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    path_.swap(other.path_);
    shown_path_.swap(other.shown_path_);
    return *this;
}

File::~File() {
    if (fd_ >= 0) close(fd_);
}

void File::read_at(uint64_t offset, void *to, size_t n) const {
    constexpr size_t kLargestRead = size_t{1} << 30;  // Linux reads less than 2 GiB at once
    if (offset > size_ || n > size_ - offset)
        fail(Status::kFileTruncated, "{} is truncated: {} bytes at offset {} are needed, the file has {} in all",
             shown_path_, n, offset, size_);
    char *at = static_cast<char *>(to);
    while (n > 0) {
        ssize_t got = pread(fd_, at, std::min(n, kLargestRead), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            int error = errno;
            fail(Status::kIoError, "cannot read {} at offset {}: {}", shown_path_, offset, errno_text(error));
        }
        if (got == 0)
            fail(Status::kFileTruncated, "{} became shorter while it was read: it ends at offset {}", shown_path_,
                 offset);
        at += got;
        offset += static_cast<uint64_t>(got);
        n -= static_cast<size_t>(got);
    }
}

FileMapping File::map() const {
    if (size_ == 0) return {};  // the system refuses empty mappings
    if (size_ > std::numeric_limits<size_t>::max())
        fail(Status::kIoError, "cannot map {}: {} bytes do not fit the address space", shown_path_, size_);
    void *data = mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, fd_, 0);
    if (data == MAP_FAILED) {
        int error = errno;
        fail(Status::kIoError, "cannot map {}: {}", shown_path_, errno_text(error));
    }
    return {static_cast<const std::byte *>(data), static_cast<size_t>(size_)};
}

void File::drop_cache(uint64_t offset, uint64_t n) const noexcept {
    // Only advice: where it fails, nothing is lost.
    if (n > 0) (void)posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(n), POSIX_FADV_DONTNEED);
}

}  // namespace el
