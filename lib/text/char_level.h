// What vocabularies that work on characters share (SentencePiece's, and BPE ones made from them): their alphabet, in
// which U+2581 stands for a space and "<0xXX>" for a byte, and text as units of one character.
#pragma once
#include "text/merge.h"
#include "text/token_model.h"
#include <array>
#include <bitset>
#include <memory>
#include <string>

namespace el {

// Replaces `out` by the bytes that the text of a token stands for.
void char_level_decode(std::string_view text, std::string &out);

// What a token "<0xXX>" stands for; -1 for any other text.
int byte_token_value(std::string_view text);

class CharUnits {
  public:
    explicit CharUnits(const ModelInput &input);

    // Cuts `text` where no token can cross and merges each piece by `Merge rule(left, right, joined_text)`. What is
    // left goes to `emit(text, id)`; an id of -1 is a character that is no token.
    template <typename Rule, typename Emit>
    void encode(std::string_view text, const Rule &rule, const Emit &emit) const {
        Merger merger;
        for (size_t begin = 0, end; begin < text.size(); begin = end) {
            end = piece_end(text, begin);
            std::string_view piece = text.substr(begin, end - begin);
            fill(piece, merger.units);
            auto n_bytes = static_cast<uint32_t>(piece.size());
            merger.run(n_bytes, [&](const Unit &left, const Unit &right, uint32_t right_end) {
                return rule(left, right, piece.substr(left.begin, right_end - left.begin));
            });
            for (size_t i = 0; i < merger.units.size(); ++i) {
                const Unit &unit = merger.units[i];
                uint32_t unit_end = i + 1 < merger.units.size() ? merger.units[i + 1].begin : n_bytes;
                emit(piece.substr(unit.begin, unit_end - unit.begin), unit.id);
            }
        }
    }

    // Appends what stands for a unit: its token; the tokens of its bytes; or the unknown token.
    void append(std::string_view text, int32_t id, std::vector<int32_t> &out) const;

  private:
    size_t piece_end(std::string_view text, size_t begin) const;
    void fill(std::string_view piece, std::vector<Unit> &units) const;

    const TokenBytes &bytes_;
    int32_t unk_;
    std::array<int32_t, 256> byte_tokens_;  // -1: none
    std::bitset<65536> neighbours_;         // [first << 8 | second]: some token has these bytes side by side
};

}  // namespace el
