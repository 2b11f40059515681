#include "text/token_table.h"
#include "base/status.h"

namespace el {
namespace {

constexpr const char *kTokensKey = "tokenizer.ggml.tokens";

// An array beside the tokens must have one element for each.
void check_length(const Metadata &metadata, const char *key, size_t n_tokens) {
    const Metadata::Entry *entry = metadata.find(key);
    if (!entry) return;
    if (entry->type != MetaType::kArray) {
        fail(Status::kMetadataInvalid, "{}: {} is no array", metadata.source(), key);
    }
    if (entry->count != n_tokens) {
        fail(Status::kVocabularyInvalid, "{}: {} has {} elements, but {} has {}", metadata.source(), key, entry->count,
             kTokensKey, n_tokens);
    }
}

std::vector<TokenKind> read_kinds(const Metadata &metadata, size_t n_tokens) {
    constexpr const char *key = "tokenizer.ggml.token_type";
    check_length(metadata, key, n_tokens);
    std::vector<TokenKind> kinds(n_tokens, TokenKind::kNormal);
    auto values = metadata.get_ints(key);
    for (size_t i = 0; values && i < n_tokens; ++i) {
        int64_t value = (*values)[i];
        if (value < 0 || value > static_cast<int64_t>(TokenKind::kByte)) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}] is {}, but token types are 1 to 6", metadata.source(), key, i,
                 value);
        }
        if (value != 0) kinds[i] = static_cast<TokenKind>(value);  // 0: not said, so normal
    }
    return kinds;
}

}  // namespace

TokenTable::TokenTable(const Metadata &metadata) {
    auto strings = metadata.get_strings(kTokensKey);
    if (!strings || strings->size() == 0) {
        fail(Status::kVocabularyInvalid, "{}: {} is {}, so the vocabulary has no tokens", metadata.source(), kTokensKey,
             strings ? "empty" : "missing");
    }
    if (strings->size() > INT32_MAX) {
        fail(Status::kVocabularyInvalid, "{}: {} has {} elements; at most {} are possible", metadata.source(),
             kTokensKey, strings->size(), INT32_MAX);
    }
    auto count = static_cast<size_t>(strings->size());
    check_length(metadata, "tokenizer.ggml.scores", count);
    kinds = read_kinds(metadata, count);
    texts.reserve(count);
    index = TextIndex(count);
    auto text_of = [this](int32_t id) { return texts[static_cast<size_t>(id)]; };
    for (std::string_view text : *strings) {
        auto id = static_cast<int32_t>(texts.size());
        texts.push_back(text);
        if (text.empty()) continue;  // a place that nothing uses
        if (int32_t other = index.insert(text, id, text_of); other >= 0) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}] and [{}] are the same text", metadata.source(), kTokensKey,
                 other, id);
        }
    }
}

void TokenBytes::add(std::string_view bytes) {
    if (bytes.size() > UINT32_MAX - pool_.size()) {
        fail(Status::kVocabularyInvalid, "tokenizer.ggml.tokens: the tokens have more than 4 GiB of text");
    }
    pool_.append(bytes);
    ends_.push_back(static_cast<uint32_t>(pool_.size()));
}

}  // namespace el
