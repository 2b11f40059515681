// A model's vocabulary: text to token ids and back. Immutable, so threads may share it.
#pragma once
#include "base/log.h"
#include "base/metadata.h"
#include "text/special_tokens.h"
#include "text/token_model.h"
#include "text/token_table.h"
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace el {

struct TokenizeFlags {
    bool add_special = false;    // BOS first and EOS last, where the model wants them
    bool parse_special = false;  // control tokens in the text are tokens; without it they are text
};

struct DetokenizeFlags {
    bool skip_special = false;  // leave control tokens out
};

class Vocabulary {
  public:
    // NULL if the file has no vocabulary (tokenizer.ggml.model is "none" or missing). Throws kVocabularyInvalid or
    // kMetadataInvalid, naming key and index, and kUnsupported for another kind of vocabulary.
    static std::unique_ptr<Vocabulary> from_metadata(const Metadata &metadata, const Log &log);

    int32_t size() const { return bytes_.size(); }
    bool has(int32_t id) const { return id >= 0 && id < size(); }

    // These want an id that the vocabulary has.
    TokenKind kind(int32_t id) const { return kinds_[static_cast<size_t>(id)]; }
    std::string_view token_bytes(int32_t id) const { return bytes_[id]; }  // what it stands for; any bytes
    // Tokens that steer a model and are no text: skipped by DetokenizeFlags::skip_special.
    bool is_special(int32_t id) const { return kind(id) == TokenKind::kControl || kind(id) == TokenKind::kUnknown; }

    bool is_end_of_turn(int32_t id) const;       // generation stops here; false for an id that does not exist
    int32_t find(std::string_view bytes) const;  // the token that stands for these bytes, special ones first; or -1

    // -1 where the model has none.
    int32_t bos() const { return ids_.bos; }
    int32_t eos() const { return ids_.eos; }
    int32_t eot() const { return ids_.eot; }
    int32_t unk() const { return ids_.unk; }
    int32_t pad() const { return ids_.pad; }
    bool add_bos() const { return add_bos_; }
    bool add_eos() const { return add_eos_; }
    const std::string &chat_template() const { return chat_template_; }  // empty: none
    size_t max_token_bytes() const { return max_token_bytes_; }
    // For the memory plan: what it takes, and what only its construction took.
    size_t memory_bytes() const;
    size_t construction_bytes() const { return construction_bytes_; }

    // Appends the ids of `text`, which may be any bytes.
    void tokenize(std::string_view text, TokenizeFlags flags, std::vector<int32_t> &out) const;

    // Appends the bytes of the tokens. Where tokenize puts a space before a text that is none of it (at the beginning
    // and after special tokens), that is left out. Throws kInvalidArgument for an id that does not exist.
    void detokenize(std::span<const int32_t> tokens, DetokenizeFlags flags, std::string &out) const;

  private:
    struct SpecialIds {
        int32_t bos = -1, eos = -1, eot = -1, eom = -1, unk = -1, pad = -1;
    };
    // As the file says and as well-known names say.
    Vocabulary(const Metadata &metadata, const Log &log);
    void read_bytes(const Metadata &metadata, const TokenTable &table, bool characters);
    void read_special_ids(const Metadata &metadata, const TokenTable &table);
    void name_ends_of_turn(TokenTable &table);
    void read_flags(const Metadata &metadata);
    void find_stripping(const Metadata &metadata, const TokenTable &table);
    std::vector<int32_t> ids_of_kinds(std::initializer_list<TokenKind> kinds) const;

    TokenBytes bytes_;
    std::vector<TokenKind> kinds_;                       // [size]
    std::unique_ptr<const SpecialTokens> user_defined_;  // matched in any text
    std::unique_ptr<const SpecialTokens> all_special_;   // matched with parse_special
    std::unique_ptr<const TokenModel> model_;
    SpecialIds ids_;
    std::vector<int32_t> ends_of_turn_;  // a handful
    std::vector<bool> strips_;           // [size], or empty: the spaces after this token are left out
    bool add_bos_ = false, add_eos_ = false;
    size_t max_token_bytes_ = 0, construction_bytes_ = 0;
    std::string chat_template_;
};

}  // namespace el
