// UTF-8: decode, encode, check, and replace what is invalid. Follows the Unicode standard's table of well-formed
// sequences, so overlong forms and surrogates are invalid, and an invalid stretch is cut into "maximal subparts".
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace el {

constexpr char32_t kReplacement = 0xFFFD;
constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

enum class Utf8State : uint8_t {
    kValid,    // a whole character
    kInvalid,  // bytes that no continuation can make valid; one U+FFFD stands for them
    kPartial,  // the text ends inside a character that is valid so far
};

struct Utf8Char {
    char32_t code;   // kReplacement unless valid
    uint8_t length;  // bytes, at least 1
    Utf8State state;
};

// Reads one character of the `n` > 0 bytes at `p`.
inline Utf8Char utf8_decode(const char *p, size_t n) {
    auto byte = [p](size_t i) { return static_cast<uint8_t>(p[i]); };
    uint8_t first = byte(0);
    if (first < 0x80) return {first, 1, Utf8State::kValid};
    uint8_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (first < 0xC2 || first > 0xF4) return {kReplacement, 1, Utf8State::kInvalid};
    // The second byte's range is narrower after these four, which keeps out overlong forms, surrogates and > U+10FFFF.
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    char32_t code = first & (0x7Fu >> length);
    for (uint8_t i = 1; i < length; ++i) {
        if (i == n) return {kReplacement, i, Utf8State::kPartial};
        if (byte(i) < low || byte(i) > high) return {kReplacement, i, Utf8State::kInvalid};
        code = code << 6 | (byte(i) & 0x3Fu);
        low = 0x80, high = 0xBF;
    }
    return {code, length, Utf8State::kValid};
}

// Bytes up to the first character that is not whole and valid; the size of `text` if there is none.
inline size_t utf8_valid_prefix(std::string_view text) {
    size_t i = 0;
    while (i < text.size()) {
        uint64_t eight;
        if (text.size() - i >= sizeof eight) {
            std::memcpy(&eight, text.data() + i, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        Utf8Char c = utf8_decode(text.data() + i, text.size() - i);
        if (c.state != Utf8State::kValid) return i;
        i += c.length;
    }
    return i;
}

inline bool utf8_is_valid(std::string_view text) { return utf8_valid_prefix(text) == text.size(); }

// Writes `code` (at most U+10FFFF, no surrogate) and returns its length.
inline size_t utf8_encode(char32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = static_cast<char>(code);
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; --i, code >>= 6) out[i] = static_cast<char>(0x80 | (code & 0x3F));
    out[0] = static_cast<char>((0xF00u >> length) | code);
    return length;
}

inline void utf8_append(std::string &out, char32_t code) {
    char bytes[4];
    out.append(bytes, utf8_encode(code, bytes));
}

inline std::string utf8_replace_invalid(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        size_t valid = utf8_valid_prefix(text);
        out.append(text.substr(0, valid));
        text.remove_prefix(valid);
        if (text.empty()) break;
        out.append(kReplacementUtf8);
        text.remove_prefix(utf8_decode(text.data(), text.size()).length);
    }
    return out;
}

// The beginning of `text` in a form that is safe to put into a message.
inline std::string utf8_excerpt(std::string_view text, size_t max_bytes = 60) {
    std::string out = utf8_replace_invalid(text.substr(0, max_bytes));
    if (text.size() > max_bytes) out += "...";
    return out;
}

}  // namespace el
