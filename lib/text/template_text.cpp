#include "text/template_text.h"

#include <cstring>

namespace el {

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
        if (length > 1 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) continue;
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

uint32_t to_upper(uint32_t code) {
    if (code < 0x80) return code >= 'a' && code <= 'z' ? code - 32 : code;
    if (code == 0xB5) return 0x39C;
    if (code == 0xFF) return 0x178;
    if (code >= 0xE0 && code <= 0xFE) return code == 0xF7 ? code : code - 32;
    if (code == 0x131) return 'I';
    if (code == 0x17F) return 'S';
    // Latin Extended: pairs, the upper one first; even in most places, odd in two.
    if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17E)) return code % 2 == 0 ? code - 1 : code;
    if ((code >= 0x100 && code <= 0x177 && code != 0x138 && code != 0x149) || (code >= 0x1E00 && code <= 0x1E95) ||
        (code >= 0x1EA0 && code <= 0x1EFF))
        return code % 2 ? code - 1 : code;
    if (code == 0x3AC) return 0x386;
    if (code >= 0x3AD && code <= 0x3AF) return code - 37;
    if (code == 0x3C2) return 0x3A3;
    if (code >= 0x3B1 && code <= 0x3CB) return code - 32;
    if (code == 0x3CC) return 0x38C;
    if (code == 0x3CD || code == 0x3CE) return code - 63;
    if (code >= 0x430 && code <= 0x44F) return code - 32;
    if (code >= 0x450 && code <= 0x45F) return code - 80;
    if ((code >= 0x460 && code <= 0x481) || (code >= 0x48A && code <= 0x4BF) || (code >= 0x4D0 && code <= 0x52F))
        return code % 2 ? code - 1 : code;
    if (code >= 0x561 && code <= 0x586) return code - 48;
    return code;
}

uint32_t to_lower(uint32_t code) {
    if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
    if (code >= 0xC0 && code <= 0xDE) return code == 0xD7 ? code : code + 32;
    if (code == 0x178) return 0xFF;
    if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17E)) return code % 2 ? code + 1 : code;
    if ((code >= 0x100 && code <= 0x177 && code != 0x130 && code != 0x138 && code != 0x149) ||
        (code >= 0x1E00 && code <= 0x1E95) || (code >= 0x1EA0 && code <= 0x1EFF))
        return code % 2 ? code : code + 1;
    if (code == 0x386) return 0x3AC;
    if (code >= 0x388 && code <= 0x38A) return code + 37;
    if (code == 0x38C) return 0x3CC;
    if (code == 0x38E || code == 0x38F) return code + 63;
    if (code >= 0x391 && code <= 0x3AB && code != 0x3A2) return code + 32;
    if (code >= 0x410 && code <= 0x42F) return code + 32;
    if (code >= 0x400 && code <= 0x40F) return code + 80;
    if ((code >= 0x460 && code <= 0x481) || (code >= 0x48A && code <= 0x4BF) || (code >= 0x4D0 && code <= 0x52F))
        return code % 2 ? code : code + 1;
    if (code >= 0x531 && code <= 0x556) return code + 48;
    return code;
}

bool is_upper(uint32_t code) { return to_lower(code) != code; }
bool is_lower(uint32_t code) { return to_upper(code) != code || code == 0xDF; }

static void append_upper(std::string &out, uint32_t code, const char *sharp_s = "SS") {
    if (code == 0xDF)
        out += sharp_s;  // the one common letter whose capital is two
    else
        append_utf8(out, to_upper(code));
}

// change(out, code, follows a letter)
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
            change(out, code, after_letter);
        after_letter = is_upper(code) || is_lower(code);
    }
    return out;
}

std::string upper_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool) { append_upper(out, code); });
}
std::string lower_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool) { append_utf8(out, to_lower(code)); });
}
std::string capitalize_text(std::string_view text) {
    size_t first = text.empty() ? 0 : byte_offset(text, 1);
    return title_text(text.substr(0, first)) + lower_text(text.substr(first));
}
std::string title_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool after_letter) {
        after_letter ? append_utf8(out, to_lower(code)) : append_upper(out, code, "Ss");
    });
}
std::string swapcase_text(std::string_view text) {
    return map_letters(text, [](std::string &out, uint32_t code, bool) {
        is_upper(code) ? append_utf8(out, to_lower(code)) : append_upper(out, code);
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
