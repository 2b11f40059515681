#include "model/gguf_writer.h"

#include "base/file.h"
#include "base/status.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace el {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

template <typename T> void append_raw(std::string &to, T value) {
    to.append(reinterpret_cast<const char *>(&value), sizeof value);
}

void append_string(std::string &to, std::string_view s) {
    append_raw<uint64_t>(to, s.size());
    to += s;
}

}  // namespace

GgufWriter::GgufWriter(std::string path, uint32_t version) : path_(std::move(path)), version_(version) {
    buffer_.reserve(kBufferBytes);
    replaced_path_ = replaceable_file(path_);
    written_path_ = replaced_path_.empty() ? path_ : format("{}.part-{}", replaced_path_, getpid());
    fd_ = ::open(written_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) {
        int error = errno;
        fail(Status::kIoError, "cannot create {}: {}", shorten_path(path_), errno_text(error));
    }
    struct stat info;
    if (!replaced_path_.empty() && stat(replaced_path_.c_str(), &info) == 0) fchmod(fd_, info.st_mode & 07777);
}

GgufWriter::~GgufWriter() {
    if (fd_ < 0) return;
    close(fd_);
    if (!replaced_path_.empty()) unlink(written_path_.c_str());
}

void GgufWriter::begin_value(std::string_view key, MetaType type) {
    ++n_keys_;
    append_string(metadata_, key);
    append_raw(metadata_, static_cast<uint32_t>(type));
}

void GgufWriter::begin_array(std::string_view key, MetaType element, uint64_t count) {
    begin_value(key, MetaType::kArray);
    append_raw(metadata_, static_cast<uint32_t>(element));
    append_raw(metadata_, count);
}

void GgufWriter::set(std::string_view key, std::string_view value) {
    begin_value(key, MetaType::kString);
    append_string(metadata_, value);
}

void GgufWriter::set_array(std::string_view key, std::span<const std::string> values) {
    begin_array(key, MetaType::kString, values.size());
    for (const std::string &s : values) append_string(metadata_, s);
}

void GgufWriter::set_alignment(uint32_t alignment) {
    if (alignment == 0 || alignment % 8 != 0 || !tensor_bytes_.empty())
        fail(Status::kInternal, "an alignment of {} bytes cannot be set here", alignment);
    set("general.alignment", alignment);
    alignment_ = alignment;
}

uint64_t GgufWriter::add_tensor(std::string_view name, Format format, std::span<const uint64_t> shape) {
    const FormatInfo &info = format_info(format);
    const bool empty = shape.empty() || std::find(shape.begin(), shape.end(), 0) != shape.end();
    if (data_begun_ || empty || shape.size() > 4 || shape[0] % info.values != 0)
        fail(Status::kInternal, "tensor '{:.128}' cannot be added: wrong shape, or data has begun", name);
    append_string(infos_, name);
    append_raw(infos_, static_cast<uint32_t>(shape.size()));
    uint64_t bytes = shape[0] / info.values * info.bytes;
    for (uint64_t n : shape) append_raw(infos_, n);
    for (uint64_t n : shape.subspan(1)) bytes *= n;
    append_raw(infos_, static_cast<uint32_t>(format));
    append_raw(infos_, data_bytes_);
    tensor_bytes_.push_back(bytes);
    data_bytes_ += (bytes + alignment_ - 1) / alignment_ * alignment_;
    return bytes;
}

void GgufWriter::begin_data() {
    if (data_begun_) fail(Status::kInternal, "the data of {} has begun already", shorten_path(path_));
    data_begun_ = true;
    std::string start = "GGUF";
    append_raw(start, version_);
    append_raw<uint64_t>(start, tensor_bytes_.size());
    append_raw(start, n_keys_);
    for (const std::string *part : {&start, &metadata_, &infos_}) put(part->data(), part->size());
    put_padding();
    if (!tensor_bytes_.empty()) current_left_ = tensor_bytes_[0];
}

void GgufWriter::write(const void *data, size_t n) {
    const char *at = static_cast<const char *>(data);
    while (n > 0) {
        const size_t now = static_cast<size_t>(std::min<uint64_t>(n, current_left_));
        if (now == 0) fail(Status::kInternal, "more data than the tensors of {} have", shorten_path(path_));
        put(at, now);
        at += now;
        n -= now;
        current_left_ -= now;
        if (current_left_ > 0) continue;
        put_padding();
        if (++current_ < tensor_bytes_.size()) current_left_ = tensor_bytes_[current_];
    }
}

void GgufWriter::finish() {
    if (!data_begun_ || current_ != tensor_bytes_.size())
        fail(Status::kInternal, "{} cannot be finished: the data of {} tensors is missing", shorten_path(path_),
             tensor_bytes_.size() - current_);
    flush(buffer_.data(), buffer_.size());
    buffer_.clear();
    const bool closed = close(std::exchange(fd_, -1)) == 0, replaces = !replaced_path_.empty();
    if (!closed || (replaces && rename(written_path_.c_str(), replaced_path_.c_str()) != 0)) {
        int error = errno;
        if (replaces) unlink(written_path_.c_str());
        fail(Status::kIoError, "cannot write {}: {}", shorten_path(path_), errno_text(error));
    }
}

void GgufWriter::put_padding() {
    static constexpr char kZeros[256] = {};
    for (uint64_t left = (alignment_ - written_ % alignment_) % alignment_; left > 0;) {
        const size_t now = static_cast<size_t>(std::min<uint64_t>(left, sizeof kZeros));
        put(kZeros, now);
        left -= now;
    }
}

void GgufWriter::put(const void *data, size_t n) {
    const char *from = static_cast<const char *>(data);
    written_ += n;
    if (buffer_.size() + n > kBufferBytes) {
        flush(buffer_.data(), buffer_.size());
        buffer_.clear();
    }
    if (n > kBufferBytes) return flush(from, n);
    buffer_.append(from, n);
}

void GgufWriter::flush(const char *data, size_t n) {
    while (n > 0) {
        ssize_t done = ::write(fd_, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            int error = errno;
            fail(Status::kIoError, "cannot write {}: {}", shorten_path(path_), errno_text(error));
        }
        data += done;
        n -= static_cast<size_t>(done);
    }
}

}  // namespace el
