// The tokens of a vocabulary as the file lists them, checked: texts, kinds, and an index from text to id. Lives only
// while a vocabulary is built; the texts are views into the metadata.
#pragma once
#include "base/metadata.h"
#include "text/text_index.h"

namespace el {

// Numbered as in GGUF.
enum class TokenKind : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
};

struct TokenTable {
    // Throws kVocabularyInvalid, or kMetadataInvalid for an array of the wrong type, naming the key and the index.
    explicit TokenTable(const Metadata &metadata);

    int32_t size() const { return static_cast<int32_t>(texts.size()); }
    int32_t find(std::string_view text) const {
        return index.find(text, [this](int32_t id) { return texts[static_cast<size_t>(id)]; });
    }

    size_t memory_bytes() const {
        return texts.capacity() * sizeof texts[0] + kinds.capacity() * sizeof kinds[0] + index.memory_bytes();
    }

    std::vector<std::string_view> texts;  // [n_tokens], all different or empty
    std::vector<TokenKind> kinds;         // [n_tokens]
    TextIndex index;
};

// The bytes that each token really stands for, one after the other, and an index from bytes to token. Stays with the
// vocabulary.
class TokenBytes {
  public:
    TokenBytes() = default;
    TokenBytes(size_t n_tokens, size_t n_bytes) : index_(n_tokens) {
        ends_.reserve(n_tokens);
        pool_.reserve(n_bytes);
    }
    // The bytes of the next token. Throws kVocabularyInvalid past 4 GiB.
    void add(std::string_view bytes);
    // Lets `find` give this token. Of several with the same bytes the first one stays.
    void make_findable(int32_t id) {
        index_.insert((*this)[id], id, [this](int32_t other) { return (*this)[other]; });
    }
    int32_t find(std::string_view bytes) const {
        return index_.find(bytes, [this](int32_t id) { return (*this)[id]; });
    }
    int32_t size() const { return static_cast<int32_t>(ends_.size()); }
    std::string_view operator[](int32_t id) const {
        auto i = static_cast<size_t>(id);
        size_t begin = i == 0 ? 0 : ends_[i - 1];
        return {pool_.data() + begin, ends_[i] - begin};
    }
    size_t memory_bytes() const {
        return pool_.capacity() + ends_.capacity() * sizeof ends_[0] + index_.memory_bytes();
    }

  private:
    std::string pool_;
    std::vector<uint32_t> ends_;  // [n_tokens]
    TextIndex index_;
};

}  // namespace el
