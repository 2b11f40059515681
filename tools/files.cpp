#include "files.h"
#include "interrupt.h"
#include "output.h"

#include "base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace tool {

std::string read_file(const std::string &path) {
    const bool standard_input = path == "-";
    int fd = standard_input ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const char *shown = standard_input ? "standard input" : path.c_str();
    if (fd < 0) fail("cannot open {}: {}", shown, std::strerror(errno));
    std::unique_ptr<int, void (*)(int *)> closer(&fd, [](int *open_fd) {
        if (*open_fd != STDIN_FILENO) close(*open_fd);
    });
    std::string text;
    for (size_t size = 0;; text.resize(size)) {
        text.resize(size + std::max<size_t>(size / 2, 1 << 16));
        ssize_t n = read(fd, text.data() + size, text.size() - size);
        check_interrupt();
        if (n < 0 && errno != EINTR) fail("cannot read {}: {}", shown, std::strerror(errno));
        if (n > 0) size += static_cast<size_t>(n);
        if (n == 0) return text.resize(size), text;
    }
}

OutputFile::OutputFile(const std::string &path)
    : path_(path), replaced_path_(el::replaceable_file(path)), written_path_(path) {
    struct stat info;
    if (path.empty()) fail("the name of the output file is empty");
    if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) fail("cannot create {}: it is a directory", path);
    if (!replaced_path_.empty()) written_path_ = el::format("{}.part-{}", replaced_path_, getpid());
    file_ = std::fopen(written_path_.c_str(), "wbe");
    if (!file_) fail("cannot create {}: {}", path, std::strerror(errno));
    if (!replaced_path_.empty() && stat(replaced_path_.c_str(), &info) == 0)
        fchmod(fileno(file_), info.st_mode & 07777);
}

OutputFile::~OutputFile() {
    if (!file_) return;
    std::fclose(file_);
    if (!replaced_path_.empty()) unlink(written_path_.c_str());
}

void OutputFile::write(const void *data, size_t n) {
    if (std::fwrite(data, 1, n, file_) != n) fail_to_write();
}

void OutputFile::finish() {
    if (std::fflush(file_) != 0) fail_to_write();
    if (!replaced_path_.empty() && std::rename(written_path_.c_str(), replaced_path_.c_str()) != 0) fail_to_write();
    if (std::fclose(std::exchange(file_, nullptr)) != 0) fail_to_write();
}

void OutputFile::fail_to_write() { fail("cannot write {}: {}", path_, std::strerror(errno)); }

NpyWriter::NpyWriter(const std::string &path, std::span<const uint64_t> shape) : file_(path) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (uint64_t n : shape) header += el::format("{}, ", n);
    header += "), }";
    constexpr size_t kPrefixBytes = 10, kAlignment = 64;  // the header ends with a newline at a multiple of 64 bytes
    header.append((kAlignment - (kPrefixBytes + header.size() + 1) % kAlignment) % kAlignment, ' ');
    header += '\n';
    const std::string prefix("\x93NUMPY\x01\x00", 8);
    const char length[2] = {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
    file_.write(prefix.data(), prefix.size());
    file_.write(length, sizeof length);
    file_.write(header.data(), header.size());
}

}  // namespace tool
