#include "text/template_text.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <locale.h>
#include <string>
#include <utility>

namespace el {

bool read_float(std::string_view text, double &out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (end != text.data() + text.size() || error == std::errc::invalid_argument) return false;
    if (error == std::errc::result_out_of_range) {
        static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
        out = strtod_l(std::string(text).c_str(), nullptr, plain);
    }
    return true;
}

uint32_t next_code_point(std::string_view text, size_t &at) {
    auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    uint32_t first = byte(at++);
    if (first < 0xC2 || first > 0xF4) return first;
    size_t more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    if (more > text.size() - at) return first;
    uint32_t code = first & (0x3F >> more);
    for (size_t i = 0; i < more; ++i) {
        if ((byte(at + i) & 0xC0) != 0x80) return first;
        code = code << 6 | (byte(at + i) & 0x3F);
    }
    static constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return first;
    at += more;
    return code;
}

uint32_t previous_code_point(std::string_view text, size_t &at) {
    for (size_t length = 1; length <= 4 && length <= at; ++length) {
        size_t start = at - length, end = start;
        if ((static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) continue;
        uint32_t code = next_code_point(text, end);
        if (end != at) continue;
        at = start;
        return code;
    }
    return static_cast<uint8_t>(text[--at]);
}

void append_utf8(std::string &out, uint32_t code) {
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    if (code < 0x80) {
        out += static_cast<char>(code);
        return;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(kLead[more] | code >> (6 * more));
    while (more-- > 0) out += static_cast<char>(0x80 | ((code >> (6 * more)) & 0x3F));
}

bool is_valid_utf8(std::string_view text, size_t &bad_at) {
    for (size_t at = 0; at < text.size();) {
        bad_at = at;
        if (next_code_point(text, at) >= 0x80 && at == bad_at + 1) return false;
    }
    return true;
}

size_t count_code_points(std::string_view text) {
    size_t count = 0;
    for (size_t at = 0; at < text.size(); ++count) next_code_point(text, at);
    return count;
}

size_t byte_offset(std::string_view text, size_t code_points) {
    size_t at = 0;
    while (at < text.size() && code_points-- > 0) next_code_point(text, at);
    return at;
}

bool is_space(uint32_t code) {
    if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x1F);
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_printable(uint32_t code) {
    if (code < 0x7F) return code >= 0x20;
    if (code <= 0xA0 || code == 0xAD) return false;
    if (is_space(code) || (code >= 0x200B && code <= 0x200F) || (code >= 0x202A && code <= 0x202E)) return false;
    if ((code >= 0x2060 && code <= 0x206F) || (code >= 0xD800 && code <= 0xF8FF)) return false;
    return code != 0xFEFF && (code & 0xFFFE) != 0xFFFE && code < 0xE0000;
}

bool is_digit(uint32_t code) { return code >= '0' && code <= '9'; }

bool is_letter(uint32_t code) {
    if (code < 0x80) return (code | 32) >= 'a' && (code | 32) <= 'z';
    if (code < 0x100)
        return code == 0xAA || code == 0xB5 || code == 0xBA || (code >= 0xC0 && code != 0xD7 && code != 0xF7);
    if ((code >= 0x2000 && code < 0x2C00) || (code >= 0x3000 && code < 0x3005) || (code >= 0x1F000 && code < 0x20000))
        return false;
    return is_printable(code) && !(code >= 0xFF00 && code < 0xFF21) && !(code >= 0xFE00 && code < 0xFE70);
}

// A letter that looks like two, the first one large, is neither.
bool is_upper(uint32_t code) { return code == 0x130 || (to_lower(code) != code && to_upper(code) == code); }
bool is_lower(uint32_t code) { return code == 0xDF || (to_upper(code) != code && to_lower(code) == code); }
static bool is_cased(uint32_t code) { return to_upper(code) != to_lower(code) || code == 0x130 || code == 0xDF; }

static void append_upper(std::string &out, uint32_t code) {
    if (code == 0xDF)
        out += "SS";  // the one common letter whose capital is two
    else
        append_utf8(out, to_upper(code));
}

static void append_title(std::string &out, uint32_t code) {
    if (code == 0xDF)
        out += "Ss";
    else
        append_utf8(out, to_title(code));
}

// `rest` is the text behind the letter.
static void append_lower(std::string &out, uint32_t code, bool after_letter, std::string_view rest) {
    size_t at = 0;
    if (code == 0x130)
        out += "i\u0307";
    else if (code == 0x3A3 && after_letter && (rest.empty() || !is_cased(next_code_point(rest, at))))
        append_utf8(out, 0x3C2);  // sigma at the end of a word
    else
        append_utf8(out, to_lower(code));
}

// change(out, code, follows a letter, the rest)
template <typename Change> static std::string map_letters(std::string_view text, Change change) {
    std::string out;
    out.reserve(text.size());
    bool after_letter = false;
    for (size_t at = 0; at < text.size();) {
        size_t start = at;
        uint32_t code = next_code_point(text, at);
        if (at == start + 1 && code >= 0x80)
            out += text[start];
        else
            change(out, code, after_letter, text.substr(at));
        after_letter = is_cased(code);
    }
    return out;
}

std::string upper_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool, std::string_view) { append_upper(out, code); });
}
std::string lower_text(std::string_view text) { return map_letters(text, append_lower); }
std::string capitalize_text(std::string_view text) {
    bool first = true;
    return map_letters(text, [&](std::string &out, uint32_t code, bool after_letter, std::string_view rest) {
        std::exchange(first, false) ? append_title(out, code) : append_lower(out, code, after_letter, rest);
    });
}
std::string title_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool after_letter, std::string_view rest) {
        after_letter ? append_lower(out, code, true, rest) : append_title(out, code);
    });
}
std::string swapcase_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool after_letter, std::string_view rest) {
        if (is_upper(code))
            append_lower(out, code, after_letter, rest);
        else if (is_lower(code))
            append_upper(out, code);
        else
            append_utf8(out, code);
    });
}

template <typename Match> static std::string_view strip_matching(std::string_view text, StripSides sides, Match match) {
    size_t begin = 0, end = text.size();
    while ((sides & kStripLeft) && begin < end) {
        size_t at = begin;
        if (!match(next_code_point(text, at))) break;
        begin = at;
    }
    while ((sides & kStripRight) && end > begin) {
        size_t at = end;
        if (!match(previous_code_point(text, at))) break;
        end = at;
    }
    return text.substr(begin, end - begin);
}

std::string_view strip_text(std::string_view text, StripSides sides) { return strip_matching(text, sides, is_space); }

std::string_view strip_text(std::string_view text, std::string_view code_points, StripSides sides) {
    return strip_matching(text, sides, [&](uint32_t code) {
        for (size_t at = 0; at < code_points.size();)
            if (next_code_point(code_points, at) == code) return true;
        return false;
    });
}

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
    if (from > text.size()) return std::string_view::npos;
    if (needle.empty()) return from;
    const void *found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
    return found ? static_cast<size_t>(static_cast<const char *>(found) - text.data()) : std::string_view::npos;
}

std::string replace_text(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
    std::string out;
    size_t at = 0;
    while (count != 0) {
        size_t found = find_text(text, from, at);
        if (found == std::string_view::npos) break;
        out.append(text, at, found - at);
        out += to;
        at = found;
        if (count > 0) --count;
        if (!from.empty()) {
            at += from.size();
        } else if (at < text.size()) {  // between all code points
            next_code_point(text, at);
            out.append(text, found, at - found);
        } else {
            return out;
        }
    }
    return out.append(text, at);
}

size_t count_text(std::string_view text, std::string_view needle) {
    if (needle.empty()) return count_code_points(text) + 1;
    size_t count = 0;
    for (size_t at = 0; (at = find_text(text, needle, at)) != std::string_view::npos; at += needle.size()) ++count;
    return count;
}

static bool ends_line(uint32_t code) {
    return (code >= '\n' && code <= '\r') || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
           code == 0x2029;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string_view> lines;
    for (size_t begin = 0, at = 0; at < text.size();) {
        size_t end = at;
        uint32_t code = next_code_point(text, at);
        if (!ends_line(code)) {
            if (at == text.size()) lines.push_back(text.substr(begin));
            continue;
        }
        if (code == '\r' && at < text.size() && text[at] == '\n') ++at;
        lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
        begin = at;
    }
    return lines;
}

}  // namespace el
