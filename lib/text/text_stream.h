// Turns tokens into text as they come: whole UTF-8 characters only, so that what a caller gets is always valid.
#pragma once
#include "base/status.h"
#include "text/vocab.h"

namespace el {

class TextStream {
  public:
    // `vocabulary` must outlive this. With `skip_special`, control tokens give no text.
    explicit TextStream(const Vocabulary &vocabulary, bool skip_special = true)
        : vocabulary_(&vocabulary), skip_special_(skip_special) {}

    // Writes the text that `token` completes to buf[0, cap) and its length to `needed`; no zero is added. The bytes of
    // an unfinished character wait for the next token; bytes that can never become one come out as U+FFFD. Returns
    // kOk, kBufferTooSmall (nothing was consumed, `needed` says the size), or kInvalidArgument for an id that does not
    // exist. Allocates nothing.
    Status push(int32_t token, char *buf, size_t cap, size_t &needed) noexcept;

    // Ends the text: an unfinished character comes out as U+FFFD. As push, and the stream can be used again.
    Status flush(char *buf, size_t cap, size_t &needed) noexcept;

    void reset() { n_held_ = 0; }

    // A buffer of this size is never too small.
    static size_t max_bytes(const Vocabulary &vocabulary) { return 3 * (vocabulary.max_token_bytes() + kMaxHeld); }

  private:
    static constexpr size_t kMaxHeld = 3;  // of a four-byte character
    size_t convert(std::string_view bytes, char *out, char rest[kMaxHeld], size_t &n_rest) const;

    const Vocabulary *vocabulary_;
    bool skip_special_;
    char held_[kMaxHeld];
    size_t n_held_ = 0;
};

}  // namespace el
