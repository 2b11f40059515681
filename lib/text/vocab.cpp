#include "text/vocab.h"
#include "base/status.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include <algorithm>
#include <array>

namespace el {
namespace {

// A kind of vocabulary.
struct ModelRow {
    std::string_view name;  // of tokenizer.ggml.model
    // Puts what a token's text stands for into `bytes`; false if the text is not in the file's alphabet, but literal.
    bool (*decode)(std::string_view text, std::string &bytes);
    std::unique_ptr<TokenModel> (*make)(const Metadata &, const TokenTable &, const TokenBytes &, const Log &);
};

constexpr ModelRow kModels[] = {
    {"gpt2", byte_level_decode,
     [](const Metadata &metadata, const TokenTable &table, const TokenBytes &bytes, const Log &log)
         -> std::unique_ptr<TokenModel> { return std::make_unique<BpeModel>(metadata, table, bytes, log); }},
};

const ModelRow &find_model(const Metadata &metadata) {
    constexpr const char *key = "tokenizer.ggml.model";
    std::string_view name = metadata.get_string(key).value_or("");
    for (const ModelRow &row : kModels) {
        if (row.name == name) return row;
    }
    fail(Status::kUnsupported, "{}: {} is '{}', a kind of vocabulary that this version does not know",
         metadata.source(), key, utf8_excerpt(name));
}

// Tokens that end a turn under any key, by the names that chat models give them.
constexpr std::string_view kEndOfTurnNames[] = {
    "<|im_end|>", "<|eot_id|>",      "<end_of_turn>", "<|end|>",       "<|eom_id|>",
    "<|eot|>",    "<|end_of_turn|>", "<EOT>",         "<|endoftext|>", "<|end_of_text|>",
};
constexpr size_t kTurnNames = 8;  // the first ones end a turn, the others a text

}  // namespace

std::unique_ptr<Vocabulary> Vocabulary::from_metadata(const Metadata &metadata, const Log &log) {
    auto model = metadata.get_string("tokenizer.ggml.model");
    if (!model || *model == "none") return nullptr;
    return std::unique_ptr<Vocabulary>(new Vocabulary(metadata, log));
}

Vocabulary::Vocabulary(const Metadata &metadata, const Log &log) {
    const ModelRow &row = find_model(metadata);
    TokenTable table(metadata);
    kinds_ = table.kinds;
    read_special_ids(metadata, table);
    name_ends_of_turn(table);
    read_bytes(table, row.decode);
    user_defined_ = std::make_unique<SpecialTokens>(bytes_, ids_of_kinds({TokenKind::kUserDefined}));
    all_special_ = std::make_unique<SpecialTokens>(
        bytes_, ids_of_kinds({TokenKind::kUserDefined, TokenKind::kControl, TokenKind::kUnknown}));
    if (size_t n = all_special_->n_overlong(); n > 0) {
        log(LogLevel::kWarning, "{}: {} special tokens are longer than {} bytes and will not be found in text",
            metadata.source(), n, SpecialTokens::kMaxBytes);
    }
    model_ = row.make(metadata, table, bytes_, log);
    read_flags(metadata);
    chat_template_ = metadata.get_string("tokenizer.chat_template").value_or("");
}

void Vocabulary::read_bytes(const TokenTable &table, bool (*decode)(std::string_view, std::string &)) {
    size_t text_bytes = 0;
    for (std::string_view text : table.texts) text_bytes += text.size();
    bytes_ = TokenBytes(table.texts.size(), text_bytes);
    std::string decoded;
    std::vector<int32_t> literal;  // findable where no other token stands for the same bytes
    for (int32_t id = 0; id < table.size(); ++id) {
        std::string_view text = table.texts[static_cast<size_t>(id)];
        bool is_text = kind(id) != TokenKind::kUserDefined && !is_special(id);
        bool in_alphabet = is_text && decode(text, decoded);
        bytes_.add(in_alphabet ? decoded : text);
        max_token_bytes_ = std::max(max_token_bytes_, bytes_[id].size());
        if (is_special(id) || kind(id) == TokenKind::kUnused) continue;
        if (in_alphabet)
            bytes_.make_findable(id);
        else
            literal.push_back(id);
    }
    for (int32_t id : literal) bytes_.make_findable(id);
}

void Vocabulary::read_special_ids(const Metadata &metadata, const TokenTable &table) {
    const std::pair<const char *, int32_t *> keys[] = {
        {"tokenizer.ggml.bos_token_id", &ids_.bos},     {"tokenizer.ggml.eos_token_id", &ids_.eos},
        {"tokenizer.ggml.eot_token_id", &ids_.eot},     {"tokenizer.ggml.eom_token_id", &ids_.eom},
        {"tokenizer.ggml.unknown_token_id", &ids_.unk}, {"tokenizer.ggml.padding_token_id", &ids_.pad},
    };
    for (auto [key, id] : keys) {
        auto value = metadata.get_uint(key);
        if (!value) continue;
        if (*value >= static_cast<uint64_t>(table.size())) {
            fail(Status::kVocabularyInvalid, "{}: {} is {}, but the vocabulary has {} tokens", metadata.source(), key,
                 *value, table.size());
        }
        *id = static_cast<int32_t>(*value);
    }
}

void Vocabulary::name_ends_of_turn(const TokenTable &table) {
    auto add = [this](int32_t id) {
        if (id >= 0 && !is_end_of_turn(id)) ends_of_turn_.push_back(id);
    };
    for (int32_t id : {ids_.eos, ids_.eot, ids_.eom}) add(id);
    for (size_t i = 0; i < std::size(kEndOfTurnNames); ++i) {
        int32_t id = table.find(kEndOfTurnNames[i]);
        if (id < 0) continue;
        add(id);
        if (ids_.eot < 0 && i < kTurnNames) ids_.eot = id;
        // Some files list it as text, and then any user's message could end the turn.
        kinds_[static_cast<size_t>(id)] = TokenKind::kControl;
    }
}

void Vocabulary::read_flags(const Metadata &metadata) {
    struct Flag {
        const char *key, *id_key;
        bool *flag, fallback;
        int32_t id;
    };
    const Flag flags[] = {
        {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", &add_bos_, model_->adds_bos(), ids_.bos},
        {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", &add_eos_, false, ids_.eos},
    };
    for (const Flag &f : flags) {
        *f.flag = metadata.get_bool(f.key).value_or(f.fallback && f.id >= 0);
        if (*f.flag && f.id < 0) {
            fail(Status::kVocabularyInvalid, "{}: {} is true, but {} is missing", metadata.source(), f.key, f.id_key);
        }
    }
}

std::vector<int32_t> Vocabulary::ids_of_kinds(std::initializer_list<TokenKind> kinds) const {
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < size(); ++id) {
        if (std::find(kinds.begin(), kinds.end(), kind(id)) != kinds.end()) ids.push_back(id);
    }
    return ids;
}

bool Vocabulary::is_end_of_turn(int32_t id) const {
    return std::find(ends_of_turn_.begin(), ends_of_turn_.end(), id) != ends_of_turn_.end();
}

int32_t Vocabulary::find(std::string_view bytes) const {
    int32_t id = all_special_->find(bytes);
    return id >= 0 ? id : bytes_.find(bytes);
}

void Vocabulary::tokenize(std::string_view text, TokenizeFlags flags, std::vector<int32_t> &out) const {
    if (flags.add_special && add_bos_) out.push_back(ids_.bos);
    const SpecialTokens &special = flags.parse_special ? *all_special_ : *user_defined_;
    for (size_t at = 0; at < text.size();) {
        SpecialTokens::Match match = special.next(text, at);
        if (match.begin > at) model_->encode(text.substr(at, match.begin - at), out);
        if (match.id >= 0) out.push_back(match.id);
        at = match.end;
    }
    if (flags.add_special && add_eos_) out.push_back(ids_.eos);
}

void Vocabulary::detokenize(std::span<const int32_t> tokens, DetokenizeFlags flags, std::string &out) const {
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (!has(tokens[i])) {
            fail(Status::kInvalidArgument, "token {} at position {} does not exist; the vocabulary has {}", tokens[i],
                 i, size());
        }
        if (flags.skip_special && is_special(tokens[i])) continue;
        out.append(bytes_[tokens[i]]);
    }
}

}  // namespace el
