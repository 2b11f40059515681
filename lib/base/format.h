// Formatting into a buffer of fixed size. It is compiled once, so that files that make errors or messages compile fast.
#pragma once
#include <cstddef>
#include <fmt/core.h>

namespace el {

// Never allocates for text and numbers; a text that is too long is cut. The result is valid UTF-8 (other bytes become
// '?') and ends with 0.
void format_into(char *text, size_t bytes, fmt::string_view format, fmt::format_args args);

}  // namespace el
