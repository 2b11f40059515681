#include "text/text_stream.h"
#include "base/utf8.h"
#include <algorithm>

namespace el {

// The text of the held bytes and `bytes`: its length, and the text itself where `out` is not NULL. What ends inside a
// character goes to `rest`.
size_t TextStream::convert(std::string_view bytes, char *out, char rest[kMaxHeld], size_t &n_rest) const {
    size_t total = n_held_ + bytes.size(), length = 0;
    n_rest = 0;
    for (size_t at = 0; at < total;) {
        char next[4];
        size_t n = std::min(sizeof next, total - at);
        for (size_t i = 0; i < n; ++i) next[i] = at + i < n_held_ ? held_[at + i] : bytes[at + i - n_held_];
        Utf8Char c = utf8_decode(next, n);
        if (c.state == Utf8State::kPartial) {
            n_rest = n;
            std::memcpy(rest, next, n);
            break;
        }
        std::string_view text = c.state == Utf8State::kValid ? std::string_view(next, c.length) : kReplacementUtf8;
        if (out) std::memcpy(out + length, text.data(), text.size());
        length += text.size();
        at += c.length;
    }
    return length;
}

Status TextStream::push(int32_t token, char *buf, size_t cap, size_t &needed) noexcept {
    needed = 0;
    if (!vocabulary_->has(token)) return Status::kInvalidArgument;
    if (skip_special_ && vocabulary_->is_special(token)) return Status::kOk;
    std::string_view bytes = vocabulary_->token_bytes(token);
    char rest[kMaxHeld];
    size_t n_rest;
    needed = convert(bytes, nullptr, rest, n_rest);
    if (needed > cap) return Status::kBufferTooSmall;
    convert(bytes, buf, rest, n_rest);
    std::memcpy(held_, rest, n_rest);
    n_held_ = n_rest;
    return Status::kOk;
}

Status TextStream::flush(char *buf, size_t cap, size_t &needed) noexcept {
    needed = n_held_ > 0 ? kReplacementUtf8.size() : 0;
    if (needed > cap) return Status::kBufferTooSmall;
    if (needed > 0) std::memcpy(buf, kReplacementUtf8.data(), needed);
    n_held_ = 0;
    return Status::kOk;
}

}  // namespace el
