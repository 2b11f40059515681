// The border: no exception passes it, every failure leaves a sentence, and structs of other sizes are understood.
#pragma once
#include "base/report.h"
#include "base/status.h"
#include <edgellm/edgellm.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace el {

const char *last_error() noexcept;

// Keeps the sentence for edgellm_last_error() of this thread and returns the status. Allocates nothing.
edgellm_status set_error(Status status, std::string_view text) noexcept;

template <typename... Args>
edgellm_status set_error(Status status, fmt::format_string<Args...> format, Args &&...args) noexcept {
    char text[Error::kTextBytes];
    format_into(text, sizeof text, format, fmt::make_format_args(args...));
    return set_error(status, std::string_view(text));
}

inline edgellm_status finish(const Report &report) noexcept {
    return report.status == Status::kOk ? edgellm_status(EDGELLM_OK)
                                        : set_error(report.status, std::string_view(report.text));
}

edgellm_status report_exception() noexcept;  // the one being handled

// Runs the body of an API function, which returns nothing or a status after set_error().
template <typename Fn> edgellm_status guard(Fn &&fn) noexcept {
    try {
        if constexpr (std::is_void_v<std::invoke_result_t<Fn &>>)
            return fn(), edgellm_status(EDGELLM_OK);
        else
            return fn();
    } catch (...) {
        return report_exception();
    }
}

// ---- arguments: each throws kInvalidArgument, or kUnsupported, naming what is wrong

inline void need(const void *pointer, const char *name) {
    if (!pointer) fail(Status::kInvalidArgument, "{} is NULL", name);
}

inline void check_flags(uint32_t flags, uint32_t known, const char *name) {
    if (flags & ~known) fail(Status::kUnsupported, "{} has bits that this library does not know: {:#x}", name, flags);
}

// `size` of a struct that the caller says is `known` bytes or so long.
void check_struct_size(uint32_t size, size_t known, const char *name);
// Bytes that this library does not know must be zero.
void check_unknown_bytes(const void *given, uint32_t size, size_t known, const char *name);

// Options of an older caller are shorter: what is missing has the default. NULL: all defaults.
template <typename T> T read_struct(const T *given, const T &defaults, const char *name) {
    T value = defaults;
    if (!given) return value;
    uint32_t size = given->struct_size;
    check_struct_size(size, sizeof(T), name);
    check_unknown_bytes(given, size, sizeof(T), name);
    std::memcpy(static_cast<void *>(&value), given, std::min<size_t>(size, sizeof(T)));
    return value;
}

template <typename T> void check_out(const T *out, const char *name) {
    if (out) check_struct_size(out->struct_size, sizeof(T), name);
}

// After check_out(). No byte behind the caller's struct_size is written; those that this library does not know get 0.
template <typename T> void write_struct(T *out, const T &value) noexcept {
    if (!out) return;
    uint32_t size = out->struct_size;
    std::memcpy(static_cast<void *>(out), &value, std::min<size_t>(size, sizeof(T)));
    out->struct_size = size;
    if (size > sizeof(T)) std::memset(reinterpret_cast<char *>(out) + sizeof(T), 0, size - sizeof(T));
}

// ---- results in the caller's buffers: text gets a NUL, tokens do not

edgellm_status write_text(std::string_view text, char *buf, size_t cap, size_t *needed) noexcept;
edgellm_status write_tokens(const int32_t *tokens, size_t n, edgellm_token *out, size_t cap, size_t *needed) noexcept;

// Text for a char array in a struct, shortened if need be.
template <size_t N> void copy_text(char (&to)[N], std::string_view text) noexcept {
    format_into(to, N, "{}", fmt::make_format_args(text));
}

}  // namespace el
