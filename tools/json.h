// JSON that commands print.
#pragma once
#include "output.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace tool {

using Json = nlohmann::ordered_json;

// Text that is no UTF-8 is repaired with U+FFFD. What some readers take for the end of a line is escaped.
inline std::string json_text(const Json &json, int indent = -1) {
    std::string text = json.dump(indent, ' ', false, Json::error_handler_t::replace);
    constexpr std::pair<std::string_view, const char *> kLineEnds[] = {
        {"\u0085", "\\u0085"}, {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"}};
    for (auto [character, escape] : kLineEnds)
        for (size_t at = 0; (at = text.find(character, at)) != text.npos;) text.replace(at, character.size(), escape);
    return text;
}

// Discarded if it is no JSON; a NUL would pass for its end.
inline Json parse_json_line(std::string_view line) {
    return line.find('\0') == line.npos ? Json::parse(line, nullptr, false) : Json(Json::value_t::discarded);
}

inline void put_json(const Json &json) { put(json_text(json, 2) + "\n"); }

}  // namespace tool
