#include "base/format.h"

#include <fmt/format.h>

namespace el {

void format_into(char *text, size_t bytes, fmt::string_view format, fmt::format_args args) {
    *fmt::vformat_to_n(text, bytes - 1, format, args).out = '\0';
}

}  // namespace el
