// Small vocabularies for tests, and what the tests of all kinds of them need.
#pragma once
#include "base/status.h"
#include "metadata_builder.h"
#include "text/byte_level.h"
#include "text/vocab.h"
#include <algorithm>
#include <doctest/doctest.h>
#include <random>

namespace el::test {

inline std::string byte_level(std::string_view bytes) {
    std::string out;
    byte_level_encode(bytes, out);
    return out;
}

// A small byte-level vocabulary: token b is byte b, then the merges' results, then special tokens.
struct Small {
    std::vector<std::string> tokens;  // as a file writes them
    std::vector<int32_t> kinds;
    std::vector<std::string> merges;
    std::vector<std::pair<int32_t, int32_t>> pairs;  // of merges
    std::string pre = "gpt-2";

    Small() {
        for (int b = 0; b < 256; ++b) add(byte_level(std::string(1, static_cast<char>(b))), TokenKind::kNormal);
    }
    int32_t add(const std::string &text, TokenKind kind) {
        tokens.push_back(text);
        kinds.push_back(static_cast<int32_t>(kind));
        return static_cast<int32_t>(tokens.size() - 1);
    }
    int32_t id(const std::string &text) const {
        auto at = std::find(tokens.begin(), tokens.end(), text);
        return at == tokens.end() ? -1 : static_cast<int32_t>(at - tokens.begin());
    }
    int32_t merge(int32_t left, int32_t right) {
        std::string joined = tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)];
        merges.push_back(tokens[static_cast<size_t>(left)] + " " + tokens[static_cast<size_t>(right)]);
        pairs.emplace_back(left, right);
        return id(joined) >= 0 ? id(joined) : add(joined, TokenKind::kNormal);
    }
    int32_t merge(const std::string &left, const std::string &right) {
        return merge(id(byte_level(left)), id(byte_level(right)));
    }
    MetadataBuilder builder() const {
        MetadataBuilder b;
        b.add_string("tokenizer.ggml.model", "gpt2").add_string("tokenizer.ggml.pre", pre);
        b.add_strings("tokenizer.ggml.tokens", tokens).add_i32s("tokenizer.ggml.token_type", kinds);
        b.add_strings("tokenizer.ggml.merges", merges);
        return b;
    }
    std::unique_ptr<Vocabulary> build() const { return Vocabulary::from_metadata(builder().build(), {}); }
};

using Ids = std::vector<int32_t>;

inline Ids tokenize(const Vocabulary &v, std::string_view text, TokenizeFlags flags = {}) {
    Ids ids;
    v.tokenize(text, flags, ids);
    return ids;
}

inline std::string detokenize(const Vocabulary &v, const Ids &ids, DetokenizeFlags flags = {}) {
    std::string text;
    v.detokenize(ids, flags, text);
    return text;
}

inline Status status_of(const MetadataBuilder &builder, const char *names) {
    try {
        Vocabulary::from_metadata(builder.build("broken.gguf"), {});
    } catch (const Error &e) {
        CHECK_MESSAGE(std::string_view(e.what()).find("broken.gguf") != std::string_view::npos, e.what());
        CHECK_MESSAGE(std::string_view(e.what()).find(names) != std::string_view::npos, e.what());
        return e.status();
    }
    return Status::kOk;
}

inline std::string random_bytes(std::mt19937 &random, size_t n) {
    // Mostly from a few bytes, so that there are characters, words and spaces, whole and broken.
    static constexpr std::string_view kCommon = "aab  '\n7\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80\xFF\xE1\xA0\x8E";
    std::string out;
    for (size_t i = 0; i < n; ++i) {
        out.push_back(random() % 4 ? kCommon[random() % kCommon.size()] : static_cast<char>(random()));
    }
    return out;
}

}  // namespace el::test
