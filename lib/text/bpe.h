// Byte-pair encoding: a piece of text begins as one unit per byte, or per character; then the pair of neighbours that
// comes first in the list of merges becomes one token, again and again.
#pragma once
#include "text/char_level.h"
#include "text/pretokenizer.h"

namespace el {

// The list of merges as a hash from pairs of tokens.
class MergeTable {
  public:
    MergeTable() = default;
    explicit MergeTable(size_t max_count) : seed_(hash_seed(this)), slots_(hash_capacity(max_count)) {}

    // Its rank is the place in the list; kNoMerge if the pair is not there.
    Merge find(int32_t left, int32_t right) const { return slots_[locate(pair_of(left, right))].merge; }
    void prefetch(int32_t left, int32_t right) const { __builtin_prefetch(&slots_[home(pair_of(left, right))]); }
    // Of a pair that comes twice, the first one counts.
    void insert(int32_t left, int32_t right, Merge merge) {
        Slot &slot = slots_[locate(pair_of(left, right))];
        if (slot.merge.rank == kNoMerge) slot = {pair_of(left, right), merge};
    }
    size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

  private:
    struct Slot {
        uint64_t pair = 0;
        Merge merge;  // of rank kNoMerge: free
    };
    static uint64_t pair_of(int32_t left, int32_t right) {
        return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    }
    size_t home(uint64_t pair) const { return hash_mix(pair ^ seed_, 0x9E3779B97F4A7C15u) & (slots_.size() - 1); }
    size_t locate(uint64_t pair) const {
        size_t mask = slots_.size() - 1, i = home(pair);
        while (slots_[i].merge.rank != kNoMerge && slots_[i].pair != pair) i = (i + 1) & mask;
        return i;
    }
    uint64_t seed_ = 0;
    std::vector<Slot> slots_;
};

class BpeModel : public TokenModel {
  public:
    // Throws kVocabularyInvalid naming key and index.
    BpeModel(const ModelInput &input, const PreTokenizerRow &row);

    // A byte that has no token of its own is left out, unless the vocabulary has a token for what it does not know.
    void encode(std::string_view text, std::vector<int32_t> &out) const override;
    bool adds_bos() const override { return row_.add_bos; }
    size_t memory_bytes() const override {
        return sizeof *this + (chars_ ? sizeof *chars_ : 0) + merges_.memory_bytes() + pre_tokenizer_.memory_bytes();
    }

  private:
    struct Line;
    void read_merges(const ModelInput &input);
    void find_tokens(const ModelInput &input, uint32_t number, int32_t last, Line &line) const;
    void encode_characters(std::string_view piece, std::vector<int32_t> &out) const;
    void encode_bytes(std::string_view piece, Merger &merger, std::vector<int32_t> &out) const;

    const TokenBytes &bytes_;
    std::unique_ptr<const CharUnits> chars_;  // NULL: units are bytes
    std::array<int32_t, 256> byte_tokens_;    // -1: none
    MergeTable merges_;
    const PreTokenizerRow &row_;
    PreTokenizer pre_tokenizer_;
};

}  // namespace el
