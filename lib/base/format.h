// Formatting, compiled once: files that make errors or messages compile fast.
#pragma once
#include <cstddef>
#include <fmt/core.h>
#include <string>

namespace el {

// Never allocates for text and numbers; a text that is too long is cut. The result is valid UTF-8 (other bytes become
// '?') and ends with 0.
void format_into(char *text, size_t bytes, fmt::string_view format, fmt::format_args args);

void append_formatted(std::string &text, fmt::string_view format, fmt::format_args args);

template <typename... Args> void append_format(std::string &text, fmt::format_string<Args...> format, Args &&...args) {
    append_formatted(text, format, fmt::make_format_args(args...));
}

template <typename... Args> std::string format(fmt::format_string<Args...> format, Args &&...args) {
    std::string text;
    append_formatted(text, format, fmt::make_format_args(args...));
    return text;
}

}  // namespace el
