// Fuzzes vocabularies: any metadata gives a vocabulary or an Error, and with one that has every byte, any text comes
// back from its tokens as it was, at once and as a stream. The input is read as flags, tokens, merges and text.
#include "../unit/metadata_builder.h"
#include "base/status.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/text_stream.h"
#include "text/vocab.h"

#include <algorithm>
#include <cstdlib>

using namespace el;

namespace {

void check(bool ok) {
    if (!ok) std::abort();
}

// Takes numbers and strings from the front of the input; zeros and empty strings at its end.
struct Reader {
    std::string_view left;

    uint8_t byte() {
        uint8_t value = left.empty() ? 0 : static_cast<uint8_t>(left[0]);
        left.remove_prefix(left.empty() ? 0 : 1);
        return value;
    }
    std::string text() {
        size_t size = std::min<size_t>(byte(), left.size());
        std::string value(left.substr(0, size));
        left.remove_prefix(size);
        return value;
    }
};

enum : uint8_t {
    kAllBytes = 1,
    kRawMerges = 2,
    kParseSpecial = 4,
    kNoKinds = 8,
    kAddSpecial = 16,
    kSpm = 32,
    kCharacters = 64
};

struct Input {
    uint8_t flags;
    std::vector<std::string> tokens;
    std::vector<int32_t> kinds;
    std::vector<float> scores;
    std::vector<std::string> merges;
    std::string_view text;
    Metadata metadata;

    explicit Input(Reader in) : flags(in.byte()) {
        static constexpr const char *kPre[] = {"gpt-2",  "smollm",       "llama-bpe", "qwen2",        "?",
                                               "falcon", "tekken",       "gpt-4o",    "deepseek-llm", "deepseek-coder",
                                               "qwen35", "hunyuan-dense"};
        const char *pre = kPre[in.byte() % std::size(kPre)];
        for (int b = 0; b < 256 && flags & kAllBytes; ++b) {
            if (of_characters())
                add(el::format("<0x{:02X}>", b), static_cast<int>(TokenKind::kByte), false);
            else
                add(std::string(1, static_cast<char>(b)), static_cast<int>(TokenKind::kNormal), true);
        }
        for (int n = in.byte() % 32; n > 0; --n) {
            uint8_t kind = in.byte();
            add(in.text(), kind % 8, kind & 0x80 && !of_characters());
            if (flags & kSpm) scores.back() = static_cast<float>(static_cast<int8_t>(in.byte()));
        }
        for (int n = in.byte() % 64; n > 0 && !tokens.empty(); --n) add_merge(in);
        test::MetadataBuilder builder;
        const char *model = flags & kSpm ? "llama" : flags & kCharacters ? "gemma4" : "gpt2";
        builder.add_string("tokenizer.ggml.model", model).add_string("tokenizer.ggml.pre", pre);
        if (flags & kSpm) builder.add_f32s("tokenizer.ggml.scores", scores);
        builder.add_strings("tokenizer.ggml.tokens", tokens).add_strings("tokenizer.ggml.merges", merges);
        if (!(flags & kNoKinds)) builder.add_i32s("tokenizer.ggml.token_type", kinds);
        if (flags & kAddSpecial) {
            builder.add_u32("tokenizer.ggml.bos_token_id", in.byte());
            builder.add_bool("tokenizer.ggml.add_bos_token", true);
        }
        metadata = builder.build();
        text = in.left;
    }
    bool of_characters() const { return (flags & (kSpm | kCharacters)) != 0; }
    // Whether every text comes back as it was. Of characters, U+2581 stands for a space; and only a begin token that is
    // no text keeps the space after it apart.
    bool is_exact() const {
        if (!(flags & kAllBytes)) return false;
        return !of_characters() ||
               (!(flags & (kNoKinds | kAddSpecial)) && text.find("\xE2\x96\x81") == std::string_view::npos);
    }
    void add(const std::string &text_of, int32_t kind, bool encode) {
        std::string token;
        if (encode) byte_level_encode(text_of, token);
        tokens.push_back(encode ? token : text_of);
        kinds.push_back(kind);
        scores.push_back(0);
    }
    void add_merge(Reader &in) {
        if (flags & kRawMerges) return merges.push_back(in.text());
        auto pick = [&] { return tokens[(in.byte() + in.byte() * 256u) % tokens.size()]; };
        std::string left = pick(), right = pick(), joined = left + right;
        if (joined.size() > 4096) return;
        merges.push_back(left + " " + right);
        if (std::find(tokens.begin(), tokens.end(), joined) == tokens.end()) {
            tokens.push_back(joined);
            kinds.push_back(static_cast<int32_t>(TokenKind::kNormal));
            scores.push_back(0);
        }
    }
};

std::string streamed(const Vocabulary &vocabulary, const std::vector<int32_t> &tokens) {
    TextStream stream(vocabulary, false);
    std::string out, buf(TextStream::max_bytes(vocabulary), '\0');
    size_t needed;
    for (int32_t token : tokens) {
        check(stream.push(token, buf.data(), buf.size(), needed) == Status::kOk);
        check(utf8_is_valid({buf.data(), needed}));
        out.append(buf, 0, needed);
    }
    check(stream.flush(buf.data(), buf.size(), needed) == Status::kOk);
    return out.append(buf, 0, needed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input input(Reader{{reinterpret_cast<const char *>(data), size}});
    try {
        auto vocabulary = Vocabulary::from_metadata(input.metadata, {});
        check(vocabulary != nullptr && vocabulary->size() == static_cast<int32_t>(input.tokens.size()));
        std::vector<int32_t> tokens;
        vocabulary->tokenize(input.text, {(input.flags & kAddSpecial) != 0, (input.flags & kParseSpecial) != 0},
                             tokens);
        std::string back, all;
        vocabulary->detokenize(tokens, {}, back);
        for (int32_t token : tokens) all += vocabulary->token_bytes(token);
        check(streamed(*vocabulary, tokens) == utf8_replace_invalid(all));
        check(input.flags & kSpm ? back.size() <= all.size() : back == all);
        if (vocabulary->add_bos() && input.flags & kAddSpecial)
            back.erase(0, vocabulary->token_bytes(tokens[0]).size());
        if (input.is_exact()) check(back == input.text);
    } catch (const Error &e) {
        check(e.status() == Status::kVocabularyInvalid);
    }
    return 0;
}
