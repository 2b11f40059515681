#define FMT_HEADER_ONLY  // here alone: what formats is compiled into the library, once
#include "base/format.h"

#include "base/utf8.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace el {

void format_into(char *text, size_t bytes, fmt::string_view format, fmt::format_args args) {
    auto result = fmt::vformat_to_n(text, bytes - 1, format, args);
    size_t n = std::min(result.size, bytes - 1);
    // Names out of files may be any bytes, and the cut may go through a character.
    for (size_t i = 0; i < n;) {
        i += utf8_valid_prefix({text + i, n - i});
        if (i == n) break;
        if (result.size > n && utf8_decode(text + i, n - i).state == Utf8State::kPartial)
            n = i;
        else
            text[i++] = '?';
    }
    text[n] = '\0';
}

void append_formatted(std::string &text, fmt::string_view format, fmt::format_args args) {
    fmt::vformat_to(std::back_inserter(text), format, args);
}

}  // namespace el
