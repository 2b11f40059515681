#include "text/vocab.h"
#include "base/status.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/spm.h"
#include <algorithm>
#include <array>

namespace el {
namespace {

// A kind of vocabulary.
struct ModelRow {
    std::string_view name;  // of tokenizer.ggml.model
    bool always_bos;        // whatever the file says: many say false by mistake
    bool characters;  // tokens are written in characters and may be bytes "<0xXX>"; otherwise in the byte alphabet
    int32_t bos, eos, unk;  // where the file does not say; -1: none
    std::unique_ptr<TokenModel> (*make)(const ModelInput &);
};

std::unique_ptr<TokenModel> make_bpe(const ModelInput &input) {
    return std::make_unique<BpeModel>(input, choose_pre_tokenizer(input.metadata, input.log));
}

std::unique_ptr<TokenModel> make_gemma4(const ModelInput &input) {
    return std::make_unique<BpeModel>(input, *find_pre_tokenizer("gemma4"));
}

std::unique_ptr<TokenModel> make_spm(const ModelInput &input) { return std::make_unique<SpmModel>(input); }

constexpr ModelRow kModels[] = {
    {"gpt2", false, false, -1, -1, -1, make_bpe},
    {"gpt2", false, true, -1, -1, -1, make_bpe},  // where the pre-tokenizer says so
    {"llama", false, true, 1, 2, 0, make_spm},
    {"gemma4", true, true, -1, -1, -1, make_gemma4},
};

const ModelRow &find_model(const Metadata &metadata) {
    constexpr const char *key = "tokenizer.ggml.model";
    std::string_view name = metadata.get_string(key).value_or("");
    const PreTokenizerRow *pre = find_pre_tokenizer(metadata.get_string("tokenizer.ggml.pre").value_or(""));
    bool characters = name != "gpt2" || (pre && pre->characters);
    // Some files name the kind by its pre-tokenizer.
    if (name == "gpt2" && characters && pre->add_bos) name = "gemma4";
    for (const ModelRow &row : kModels) {
        if (row.name == name && row.characters == characters) return row;
    }
    fail(Status::kUnsupported, "{}: {} is '{}', a kind of vocabulary that this version does not know",
         metadata.source(), key, utf8_excerpt(name));
}

// What a token is for, by the names that models give them. Some files list such tokens as text, and then any user's
// message could end the turn; so they are control tokens in any case.
enum class Role {
    kTurnEnd,
    kTextEnd,
    kTag,  // kTextEnd where the file says that it steers the model, as it may be a tag of HTML
    kCodePart,
};
struct NamedRole {
    std::string_view name;
    Role role;
};
constexpr NamedRole kRoles[] = {
    {"<|im_end|>", Role::kTurnEnd},
    {"<|eot_id|>", Role::kTurnEnd},
    {"<end_of_turn>", Role::kTurnEnd},
    {"<turn|>", Role::kTurnEnd},
    {"<|end|>", Role::kTurnEnd},
    {"<|eot|>", Role::kTurnEnd},
    {"<|end_of_turn|>", Role::kTurnEnd},
    {"[|endofturn|]", Role::kTurnEnd},
    {"<EOT>", Role::kTurnEnd},
    {"_<EOT>", Role::kTurnEnd},
    {"[EOT]", Role::kTurnEnd},
    {"<end_of_utterance>", Role::kTurnEnd},
    {"<|eom_id|>", Role::kTurnEnd},
    {"<|return|>", Role::kTurnEnd},
    {"<|call|>", Role::kTurnEnd},
    {"<|calls|>", Role::kTurnEnd},
    {"<|flush|>", Role::kTurnEnd},
    {"<|tool_response>", Role::kTurnEnd},
    {"[e~[", Role::kTurnEnd},
    {"<|endoftext|>", Role::kTextEnd},
    {"<|end_of_text|>", Role::kTextEnd},
    {"<\uFF5Cend\u2581of\u2581sentence\uFF5C>", Role::kTextEnd},
    {"</s>", Role::kTag},
    {"<eos>", Role::kTag},
    {"[EOS]", Role::kTag},
    // Between the files of a repository.
    {"<|fim_pad|>", Role::kTextEnd},
    {"<fim-pad>", Role::kTextEnd},
    {"<fim_pad>", Role::kTextEnd},
    {"<|fim_repo|>", Role::kTextEnd},
    {"<|repo_name|>", Role::kTextEnd},
    {"<fim-repo>", Role::kTextEnd},
    {"<reponame>", Role::kTextEnd},
    {"<|file_sep|>", Role::kTextEnd},
    // Around the place in code that is to be filled in.
    {"<|fim_prefix|>", Role::kCodePart},
    {"<|fim_suffix|>", Role::kCodePart},
    {"<|fim_middle|>", Role::kCodePart},
    {"<fim-prefix>", Role::kCodePart},
    {"<fim-suffix>", Role::kCodePart},
    {"<fim-middle>", Role::kCodePart},
    {"<fim_prefix>", Role::kCodePart},
    {"<fim_suffix>", Role::kCodePart},
    {"<fim_middle>", Role::kCodePart},
    {"<\uFF5Cfim\u2581begin\uFF5C>", Role::kCodePart},
    {"<\uFF5Cfim\u2581hole\uFF5C>", Role::kCodePart},
    {"<\uFF5Cfim\u2581end\uFF5C>", Role::kCodePart},
};

// "<|end|>" ends only a message of a turn where others end the turn.
bool ends_a_message(const TokenTable &table, std::string_view name) {
    auto has = [&](std::string_view other) { return table.find(other) >= 0; };
    return name == "<|end|>" && ((has("<|return|>") && has("<|call|>")) || (has("<|flush|>") && has("<|calls|>")));
}

}  // namespace

std::unique_ptr<Vocabulary> Vocabulary::from_metadata(const Metadata &metadata, const Log &log) {
    auto model = metadata.get_string("tokenizer.ggml.model");
    if (!model || *model == "none") return nullptr;
    return std::unique_ptr<Vocabulary>(new Vocabulary(metadata, log));
}

Vocabulary::Vocabulary(const Metadata &metadata, const Log &log) {
    const ModelRow &row = find_model(metadata);
    TokenTable table(metadata);
    construction_bytes_ = table.memory_bytes();
    ids_ = {.bos = row.bos, .eos = row.eos, .unk = row.unk};
    read_special_ids(metadata, table);
    name_ends_of_turn(table);
    kinds_ = table.kinds;
    read_bytes(metadata, table, row.characters);
    user_defined_ = std::make_unique<SpecialTokens>(bytes_, ids_of_kinds({TokenKind::kUserDefined}));
    all_special_ = std::make_unique<SpecialTokens>(
        bytes_, ids_of_kinds({TokenKind::kUserDefined, TokenKind::kControl, TokenKind::kUnknown}));
    if (size_t n = all_special_->n_overlong(); n > 0) {
        log(LogLevel::kWarning, "{}: {} special tokens are longer than {} bytes and will not be found in text",
            metadata.source(), n, SpecialTokens::kMaxBytes);
    }
    model_ = row.make({metadata, table, bytes_, ids_.unk, log});
    read_flags(metadata);
    if (row.always_bos && ids_.bos >= 0) add_bos_ = true;
    find_stripping(metadata, table);
    chat_template_ = metadata.get_string("tokenizer.chat_template").value_or("");
}

void Vocabulary::read_bytes(const Metadata &metadata, const TokenTable &table, bool characters) {
    size_t text_bytes = 0;
    for (std::string_view text : table.texts) text_bytes += text.size();
    bytes_ = TokenBytes(table.texts.size(), text_bytes);
    // Files that do not tell types of tokens have bytes, too.
    const bool types_bytes = std::find(kinds_.begin(), kinds_.end(), TokenKind::kByte) != kinds_.end() ||
                             table.find("<0x00>") < 0 || table.find("<0xFF>") < 0;
    std::string decoded;
    std::vector<int32_t> second;  // findable where no other token stands for the same bytes
    for (int32_t id = 0; id < table.size(); ++id) {
        std::string_view text = table.texts[static_cast<size_t>(id)];
        const bool user_defined = kind(id) == TokenKind::kUserDefined;
        bool literal = user_defined || is_special(id), first = !literal;
        const bool is_byte = kind(id) == TokenKind::kByte ||
                             (!types_bytes && kind(id) == TokenKind::kNormal && byte_token_value(text) >= 0);
        if (characters && is_byte) {
            int value = byte_token_value(text);
            if (value < 0) {
                fail(Status::kVocabularyInvalid,
                     "{}: tokenizer.ggml.tokens[{}] is of the type byte, but is '{}', not <0xXX>", metadata.source(),
                     id, utf8_excerpt(text));
            }
            decoded.assign(1, static_cast<char>(value));
            first = false;
        } else if (characters) {
            char_level_decode(text, decoded);
            first = first && kind(id) != TokenKind::kUnused;
            // Older files write user-defined spaces as they write all others.
            const bool spaces = decoded.find_first_not_of(' ') == std::string::npos;
            literal = literal && !(user_defined && spaces);
        } else {
            first = first && byte_level_decode(text, decoded);
            literal = !first;
        }
        bytes_.add(literal ? text : decoded);
        max_token_bytes_ = std::max(max_token_bytes_, bytes_[id].size());
        if (is_special(id) || (kind(id) == TokenKind::kUnused && !characters)) continue;
        if (first)
            bytes_.make_findable(id);
        else
            second.push_back(id);
    }
    for (int32_t id : second) bytes_.make_findable(id);
}

void Vocabulary::read_special_ids(const Metadata &metadata, const TokenTable &table) {
    const std::pair<const char *, int32_t *> keys[] = {
        {"tokenizer.ggml.bos_token_id", &ids_.bos},     {"tokenizer.ggml.eos_token_id", &ids_.eos},
        {"tokenizer.ggml.eot_token_id", &ids_.eot},     {"tokenizer.ggml.eom_token_id", &ids_.eom},
        {"tokenizer.ggml.unknown_token_id", &ids_.unk}, {"tokenizer.ggml.padding_token_id", &ids_.pad},
    };
    for (auto [key, id] : keys) {
        auto value = metadata.get_uint(key);
        if (!value && *id >= table.size()) *id = -1;  // what is usual does not fit
        if (!value) continue;
        if (*value >= static_cast<uint64_t>(table.size())) {
            fail(Status::kVocabularyInvalid, "{}: {} is {}, but the vocabulary has {} tokens", metadata.source(), key,
                 *value, table.size());
        }
        *id = static_cast<int32_t>(*value);
    }
}

void Vocabulary::name_ends_of_turn(TokenTable &table) {
    auto add = [this](int32_t id) {
        if (id >= 0 && !is_end_of_turn(id)) ends_of_turn_.push_back(id);
    };
    for (int32_t id : {ids_.eos, ids_.eot, ids_.eom}) add(id);
    for (const NamedRole &named : kRoles) {
        int32_t id = table.find(named.name);
        if (id < 0 || ends_a_message(table, named.name)) continue;
        TokenKind &kind = table.kinds[static_cast<size_t>(id)];
        if (named.role == Role::kTag && kind != TokenKind::kControl && !is_end_of_turn(id)) continue;
        if (named.role != Role::kCodePart) add(id);
        if (named.role == Role::kTurnEnd && ids_.eot < 0) ids_.eot = id;
        kind = TokenKind::kControl;
    }
}

// No file says it, but the tokens of these models take the spaces after them along.
void Vocabulary::find_stripping(const Metadata &metadata, const TokenTable &table) {
    std::string name(metadata.get_string("general.name").value_or(""));
    for (char &c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
    strips_.resize(kinds_.size());
    for (int32_t id : ids_of_kinds({TokenKind::kUserDefined, TokenKind::kControl, TokenKind::kUnknown})) {
        std::string_view text = table.texts[static_cast<size_t>(id)];
        strips_[static_cast<size_t>(id)] = text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
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
        at = match.end;
        if (match.id < 0) break;
        out.push_back(match.id);
        if (strips_.empty() || !strips_[static_cast<size_t>(match.id)]) continue;
        at = std::min(text.find_first_not_of(" \t\n\v\f\r", at), text.size());
    }
    if (flags.add_special && add_eos_) out.push_back(ids_.eos);
}

void Vocabulary::detokenize(std::span<const int32_t> tokens, DetokenizeFlags flags, std::string &out) const {
    bool drop_space = model_->adds_space();
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (!has(tokens[i])) {
            fail(Status::kInvalidArgument, "token {} at position {} does not exist; the vocabulary has {}", tokens[i],
                 i, size());
        }
        bool literal = is_special(tokens[i]) || kind(tokens[i]) == TokenKind::kUserDefined;
        std::string_view bytes = bytes_[tokens[i]];
        if (drop_space && !literal && !bytes.empty() && bytes[0] == ' ') bytes.remove_prefix(1);
        drop_space = model_->adds_space() && literal;
        if (!flags.skip_special || !is_special(tokens[i])) out.append(bytes);
    }
}

size_t Vocabulary::memory_bytes() const {
    return sizeof *this + bytes_.memory_bytes() + kinds_.capacity() * sizeof kinds_[0] + strips_.capacity() / 8 +
           user_defined_->memory_bytes() + all_special_->memory_bytes() + model_->memory_bytes() +
           chat_template_.capacity();
}

}  // namespace el
