// Finds tokens that are matched in the text itself, before any pattern or merge: control and user-defined ones.
#pragma once
#include "text/token_table.h"
#include <array>

namespace el {

class SpecialTokens {
  public:
    // A longer token is never looked for: the search looks at no more than this many bytes from each place on.
    static constexpr size_t kMaxBytes = 256;

    struct Match {
        size_t begin = 0, end = 0;  // in the text
        int32_t id = -1;            // -1: no match; then both are the end of the text
    };

    // The tokens in `ids` may come in any order. `bytes` must outlive this.
    SpecialTokens(const TokenBytes &bytes, std::vector<int32_t> ids);

    // The first match at or after `from`: leftmost, and of those that begin there the longest.
    Match next(std::string_view text, size_t from) const;

    // The token that is `text` as a whole, or -1.
    int32_t find(std::string_view text) const;

    size_t n_overlong() const;  // tokens that `next` never gives
    size_t memory_bytes() const { return sizeof *this + items_.capacity() * sizeof(Item); }

  private:
    struct Item {
        std::string_view text;
        int32_t id;
    };
    Match longest_at(std::string_view text, size_t at) const;
    std::vector<Item> items_;            // sorted by text: a trie whose nodes are ranges
    std::array<uint32_t, 257> first_{};  // items that begin with byte b: [first_[b], first_[b + 1])
};

}  // namespace el
