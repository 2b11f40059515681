// The alphabet in which byte-level BPE files write bytes: one printable character per byte (GPT-2's table). Bytes that
// are printable in Latin-1 stand for themselves, the others take U+0100, U+0101, ... in order.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace el {

char32_t byte_level_char(uint8_t byte);

// Replaces `out` by the bytes that `text` stands for; false if a character is not of the alphabet.
bool byte_level_decode(std::string_view text, std::string &out);

// Appends `bytes` in the alphabet.
void byte_level_encode(std::string_view bytes, std::string &out);

}  // namespace el
