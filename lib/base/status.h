// Statuses and the one exception of the library.
#pragma once
#include "base/format.h"

#include <cstdint>
#include <exception>
#include <utility>

namespace el {

// The numbers are those of edgellm_status in the C header (api/ checks that they agree).
enum class Status : int32_t {
    kOk = 0,
    kInvalidArgument = 1,       // a caller's argument or option makes no sense
    kBufferTooSmall = 2,        // the caller's buffer is too small; nothing was consumed
    kOutOfMemory = 3,           // an allocation failed
    kIoError = 4,               // a file cannot be opened, read or written
    kNotAModelFile = 5,         // the file is no GGUF
    kFileTruncated = 6,         // the file ends before its content does
    kFileCorrupt = 7,           // counts, offsets or types in the file contradict each other
    kMetadataInvalid = 8,       // a metadata key is missing, has the wrong type or an impossible value
    kTensorInvalid = 9,         // a tensor is missing, has the wrong shape or lies outside the file
    kUnknownFormat = 10,        // a tensor's block format is not known
    kUnknownArchitecture = 11,  // the architecture has no row in the table
    kVocabularyInvalid = 12,    // the vocabulary contradicts itself
    kNoVocabulary = 13,         // the model has none and the call needs one
    kNoWeights = 14,            // the file has none and the call needs them
    kPromptTooLong = 15,        // more tokens than the context holds
    kContextFull = 16,          // the context has no room for one more token
    kInvalidText = 17,          // JSON that does not parse, or invalid UTF-8 where UTF-8 is required
    kTemplateFailed = 18,       // a chat template does not parse or fails while it renders
    kLimitExceeded = 19,        // a bound on untrusted work was reached (steps, output, recursion)
    kUnsupported = 20,          // a field, option or feature that this build does not implement
    kNotFound = 21,             // no such key, tensor, sequence or index
    kBusy = 22,                 // another call is using the context
    kCancelled = 23,
    kDeadlineExceeded = 24,
    kDeviceLost = 25,
    kInternal = 26,       // a bug of the library
    kLogitsInvalid = 27,  // no token is possible
    kStateMismatch = 28,  // a saved sequence belongs to another model, cache format or policy
};

// Thrown only in cold paths (load, create, text); caught by the guard in api/. Its text has a fixed size, so that
// making one never allocates.
class Error : public std::exception {
  public:
    static constexpr size_t kTextBytes = 512;
    template <typename... Args> Error(Status status, fmt::format_string<Args...> format, Args &&...args)
        : status_(status) {
        format_into(text_, kTextBytes, format, fmt::make_format_args(args...));
    }
    Status status() const noexcept { return status_; }
    const char *what() const noexcept override { return text_; }

  private:
    Status status_;
    char text_[kTextBytes];
};

// Throws an Error. The sentence says what is wrong, names the file, tensor or key, and what to do where that helps.
template <typename... Args> [[noreturn]] void fail(Status status, fmt::format_string<Args...> format, Args &&...args) {
    throw Error(status, format, std::forward<Args>(args)...);
}

}  // namespace el
