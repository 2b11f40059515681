#include "text/char_level.h"
#include "base/utf8.h"

namespace el {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

size_t neighbours_index(char first, char second) {
    return static_cast<size_t>(static_cast<uint8_t>(first)) << 8 | static_cast<uint8_t>(second);
}

size_t char_length(std::string_view text) {
    Utf8Char c = utf8_decode(text.data(), text.size());
    return c.state == Utf8State::kValid ? c.length : 1;
}

}  // namespace

void char_level_decode(std::string_view text, std::string &out) {
    out.clear();
    for (size_t mark; (mark = text.find(kSpaceMark)) != std::string_view::npos;) {
        out.append(text.substr(0, mark)).push_back(' ');
        text.remove_prefix(mark + kSpaceMark.size());
    }
    out.append(text);
}

int byte_token_value(std::string_view text) {
    if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
    int value = 0;
    for (char c : text.substr(3, 2)) {
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

CharUnits::CharUnits(const ModelInput &input) : bytes_(input.bytes), unk_(input.unk) {
    for (size_t b = 0; b < byte_tokens_.size(); ++b) {
        char byte = static_cast<char>(b);
        byte_tokens_[b] = bytes_.find({&byte, 1});
    }
    for (int32_t id = 0; id < input.table.size(); ++id) {
        TokenKind kind = input.table.kinds[static_cast<size_t>(id)];
        if (kind != TokenKind::kNormal && kind != TokenKind::kUnused) continue;  // merging never makes one
        std::string_view token = bytes_[id];
        for (size_t i = 1; i < token.size(); ++i) neighbours_.set(neighbours_index(token[i - 1], token[i]));
    }
}

// The end of the longest stretch from `begin` on that no token can cross.
size_t CharUnits::piece_end(std::string_view text, size_t begin) const {
    size_t end = begin;
    do {
        end += char_length(text.substr(end));
    } while (end < text.size() && neighbours_[neighbours_index(text[end - 1], text[end])]);
    return end;
}

// Replaces `units` by the characters of `piece`; an invalid byte is one of its own.
void CharUnits::fill(std::string_view piece, std::vector<Unit> &units) const {
    units.clear();
    for (size_t at = 0; at < piece.size();) {
        size_t length = char_length(piece.substr(at));
        int32_t id =
            length == 1 ? byte_tokens_[static_cast<uint8_t>(piece[at])] : bytes_.find(piece.substr(at, length));
        units.push_back({id, static_cast<uint32_t>(at)});
        at += length;
    }
}

void CharUnits::append(std::string_view text, int32_t id, std::vector<int32_t> &out) const {
    if (id >= 0) return out.push_back(id);
    bool all_known = true;
    for (char byte : text) all_known = all_known && byte_tokens_[static_cast<uint8_t>(byte)] >= 0;
    if (all_known) {
        for (char byte : text) out.push_back(byte_tokens_[static_cast<uint8_t>(byte)]);
    } else if (unk_ >= 0) {
        out.push_back(unk_);
    }
}

}  // namespace el
