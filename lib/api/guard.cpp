#include "api/guard.h"

#include <new>

namespace el {
namespace {

constinit thread_local char error_text[Error::kTextBytes] = "";

// Structs grow by a few members, so a larger size is no size but an uninitialized member.
constexpr uint32_t kMaxStructBytes = 4096;

}  // namespace

const char *last_error() noexcept { return error_text; }

edgellm_status set_error(Status status, std::string_view text) noexcept {
    copy_text(error_text, text);
    return static_cast<edgellm_status>(status);
}

edgellm_status report_exception() noexcept {
    try {
        throw;
    } catch (const Error &error) {
        return set_error(error.status(), std::string_view(error.what()));
    } catch (const std::bad_alloc &) {
        return set_error(Status::kOutOfMemory, std::string_view("out of memory"));
    } catch (const std::exception &error) {
        return set_error(Status::kInternal, "unexpected: {}", error.what());
    } catch (...) {
        return set_error(Status::kInternal, std::string_view("unexpected exception"));
    }
}

void check_struct_size(uint32_t size, size_t known, const char *name) {
    if (size < sizeof size || size > kMaxStructBytes)
        fail(Status::kInvalidArgument, "{}.struct_size is {}, not {}; initialize with the EDGELLM_..._INIT macro", name,
             size, known);
}

void check_unknown_bytes(const void *given, uint32_t size, size_t known, const char *name) {
    const char *bytes = static_cast<const char *>(given);
    for (size_t i = known; i < size; ++i)
        if (bytes[i])
            fail(Status::kUnsupported,
                 "{} has a member set (at byte {}) that this library does not know; it is version {}", name, i,
                 edgellm_version_string());
}

edgellm_status write_text(std::string_view text, char *buf, size_t cap, size_t *needed) noexcept {
    if (needed) *needed = text.size();
    if (cap <= text.size())
        return set_error(Status::kBufferTooSmall, "the text has {} bytes and a NUL; cap is {}", text.size(), cap);
    if (!buf) return set_error(Status::kInvalidArgument, "buf is NULL, but cap is {}", cap);
    std::memcpy(buf, text.data(), text.size());
    buf[text.size()] = '\0';
    return EDGELLM_OK;
}

edgellm_status write_tokens(const int32_t *tokens, size_t n, edgellm_token *out, size_t cap, size_t *needed) noexcept {
    if (needed) *needed = n;
    if (cap < n) return set_error(Status::kBufferTooSmall, "there are {} tokens; cap is {}", n, cap);
    if (n && !out) return set_error(Status::kInvalidArgument, "tokens is NULL, but cap is {}", cap);
    if (n) std::memcpy(out, tokens, n * sizeof *tokens);
    return EDGELLM_OK;
}

}  // namespace el
