// Byte-level byte-pair encoding: a piece of text begins as one token per byte; then the pair of neighbours that comes
// first in the list of merges becomes one token, again and again.
#pragma once
#include "base/log.h"
#include "text/pretokenizer.h"
#include "text/token_model.h"
#include "text/token_table.h"
#include <array>

namespace el {

// The list of merges as a hash from pairs of tokens.
class MergeTable {
  public:
    static constexpr uint32_t kNone = UINT32_MAX;
    struct Merge {
        uint64_t pair;   // left id << 32 | right id
        uint32_t rank;   // its place in the list; kNone: a free slot
        int32_t merged;  // token id
    };

    MergeTable() = default;
    explicit MergeTable(size_t max_count) : seed_(hash_seed(this)), slots_(hash_capacity(max_count), {0, kNone, -1}) {}

    static uint64_t pair_of(int32_t left, int32_t right) {
        return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    }
    // The slot's rank is kNone if the pair does not merge.
    const Merge &find(int32_t left, int32_t right) const { return slots_[locate(pair_of(left, right))]; }
    // Of a pair that comes twice, the first one counts.
    void insert(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
        Merge &slot = slots_[locate(pair_of(left, right))];
        if (slot.rank == kNone) slot = {pair_of(left, right), rank, merged};
    }

  private:
    size_t locate(uint64_t pair) const {
        size_t mask = slots_.size() - 1, i = hash_mix(pair ^ seed_, 0x9E3779B97F4A7C15u) & mask;
        while (slots_[i].rank != kNone && slots_[i].pair != pair) i = (i + 1) & mask;
        return i;
    }
    uint64_t seed_ = 0;
    std::vector<Merge> slots_;
};

class BpeModel : public TokenModel {
  public:
    // `bytes` must outlive this. Throws kVocabularyInvalid naming key and index.
    BpeModel(const Metadata &metadata, const TokenTable &table, const TokenBytes &bytes, const Log &log);

    // A byte that has no token of its own is left out: nothing in the vocabulary stands for it.
    void encode(std::string_view text, std::vector<int32_t> &out) const override;
    bool adds_bos() const override { return row_.add_bos; }

  private:
    struct Scratch;
    void read_merges(const Metadata &metadata, const TokenTable &table);
    void encode_piece(std::string_view piece, Scratch &scratch, std::vector<int32_t> &out) const;
    void merge_short(std::string_view piece, std::vector<int32_t> &out) const;
    void merge_long(std::string_view piece, Scratch &scratch, std::vector<int32_t> &out) const;

    const TokenBytes &bytes_;
    std::array<int32_t, 256> byte_tokens_;  // -1: none
    MergeTable merges_;
    const PreTokenizerRow &row_;
    PreTokenizer pre_tokenizer_;
};

}  // namespace el
