// SentencePiece-style BPE: a text begins as one unit per character; then the two neighbours whose joined text is the
// token of the highest score become it, again and again.
#pragma once
#include "text/char_level.h"

namespace el {

class SpmModel : public TokenModel {
  public:
    // Throws kVocabularyInvalid naming key and index.
    explicit SpmModel(const ModelInput &input);

    void encode(std::string_view text, std::vector<int32_t> &out) const override;
    bool adds_bos() const override { return true; }
    bool adds_space() const override { return add_space_prefix_; }
    size_t memory_bytes() const override {
        return sizeof *this + ranks_.capacity() * sizeof ranks_[0] + unused_.capacity() / 8;
    }

  private:
    struct Splits;
    std::string normalize(std::string_view text) const;
    void append_parts(std::string_view text, const Splits &splits, std::vector<int32_t> &out) const;

    const TokenBytes &bytes_;
    CharUnits chars_;
    size_t max_token_bytes_ = 0;
    std::vector<uint32_t> ranks_;  // [n_tokens], the lowest for the highest score
    std::vector<bool> unused_;     // [n_tokens], or empty if none is
    bool add_space_prefix_ = true, remove_extra_spaces_ = false;
};

}  // namespace el
