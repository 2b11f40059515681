#include "text/byte_level.h"
#include "base/utf8.h"
#include <array>

namespace el {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
    std::array<uint16_t, 256> chars{};
    std::array<int16_t, 0x144> bytes{};  // by character; -1: not of the alphabet

    constexpr Alphabet() {
        for (int16_t &b : bytes) b = -1;
        uint16_t next = 0x100;
        for (unsigned b = 0; b < 256; ++b) {
            chars[b] = stands_for_itself(b) ? static_cast<uint16_t>(b) : next++;
            bytes[chars[b]] = static_cast<int16_t>(b);
        }
    }
};
constexpr Alphabet kAlphabet;

}  // namespace

char32_t byte_level_char(uint8_t byte) { return kAlphabet.chars[byte]; }

bool byte_level_decode(std::string_view text, std::string &out) {
    out.clear();
    while (!text.empty()) {
        Utf8Char c = utf8_decode(text.data(), text.size());
        if (c.state != Utf8State::kValid || c.code >= kAlphabet.bytes.size() || kAlphabet.bytes[c.code] < 0)
            return false;
        out.push_back(static_cast<char>(kAlphabet.bytes[c.code]));
        text.remove_prefix(c.length);
    }
    return true;
}

void byte_level_encode(std::string_view bytes, std::string &out) {
    for (char b : bytes) utf8_append(out, byte_level_char(static_cast<uint8_t>(b)));
}

}  // namespace el
