#include "base/utf8.h"
#include "text/text_stream.h"
#include "vocab_helpers.h"

using namespace el;
using namespace el::test;

namespace {

// The definition: of all pairs of neighbours, merge the leftmost of the lowest rank, and begin again.
Ids merge_naively(const Small &small, std::string_view piece) {
    Ids ids;
    for (char c : piece) ids.push_back(static_cast<uint8_t>(c));
    for (;;) {
        size_t best = small.pairs.size(), where = 0;
        for (size_t i = 0; i + 1 < ids.size(); ++i) {
            auto at = std::find(small.pairs.begin(), small.pairs.end(), std::pair(ids[i], ids[i + 1]));
            auto rank = static_cast<size_t>(at - small.pairs.begin());
            if (rank < best) best = rank, where = i;
        }
        if (best == small.pairs.size()) return ids;
        auto [left, right] = small.pairs[best];
        ids[where] = small.id(small.tokens[static_cast<size_t>(left)] + small.tokens[static_cast<size_t>(right)]);
        ids.erase(ids.begin() + static_cast<ptrdiff_t>(where) + 1);
    }
}

}  // namespace

TEST_CASE("utf8: decode, encode, validate, replace") {
    for (char32_t code :
         {0x0u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xD7FFu, 0xE000u, 0xFFFDu, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
        char bytes[4];
        size_t n = utf8_encode(code, bytes);
        Utf8Char c = utf8_decode(bytes, n);
        CHECK(c.code == code);
        CHECK(c.length == n);
        CHECK(c.state == Utf8State::kValid);
        if (n > 1) CHECK(utf8_decode(bytes, n - 1).state == Utf8State::kPartial);
    }
    // The last example of the standard's chapter 3.9, and others: one U+FFFD for each maximal subpart.
    CHECK(utf8_replace_invalid("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") == "a���b�c��d");
    CHECK(utf8_replace_invalid("\xC0\xAF\xED\xA0\x80\xF4\x90\x80\x80") == "���������");
    CHECK(utf8_replace_invalid("plain text, long enough \xE2\x82") == "plain text, long enough �");
    CHECK(utf8_is_valid("Grüße, 世界 😀"));
    CHECK(utf8_valid_prefix("12345678901234567\xFFx") == 17);
}

TEST_CASE("byte level: 256 different characters that decode to their byte") {
    std::string all, back;
    for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
    CHECK(byte_level_decode(byte_level(all), back));
    CHECK(back == all);
    CHECK(byte_level(" the\n") == "ĠtheĊ");
    CHECK_FALSE(byte_level_decode("a b", back));
    CHECK_FALSE(byte_level_decode("你", back));
    CHECK_FALSE(byte_level_decode("\xFF", back));
}

TEST_CASE("bpe: as the naive definition, short and long pieces") {
    std::mt19937 random(1);
    for (int round = 0; round < 30; ++round) {
        Small small;
        // Merges of random tokens in random order: later ones may make what earlier ones use.
        for (int i = 0; i < 40; ++i) {
            auto pick = [&] {
                size_t n = small.tokens.size();
                return static_cast<int32_t>(n > 256 && random() % 2 ? 256 + random() % (n - 256) : 'a' + random() % 3);
            };
            small.merge(pick(), pick());
        }
        auto v = small.build();
        for (size_t n : {1u, 2u, 5u, 31u, 32u, 33u, 100u, 300u}) {
            std::string piece;
            for (size_t i = 0; i < n; ++i) piece.push_back(static_cast<char>('a' + random() % 3));
            CHECK(tokenize(*v, piece) == merge_naively(small, piece));
        }
    }
}

TEST_CASE("bpe: a megabyte of one letter is one piece") {
    Small small;
    int32_t aa = small.merge("a", "a"), aaaa = small.merge(aa, aa);
    Ids ids = tokenize(*small.build(), std::string((1 << 20) + 3, 'a'));
    REQUIRE(ids.size() == (1 << 18) + 2);
    CHECK(ids.front() == aaaa);
    CHECK(ids[1 << 18] == aa);
    CHECK(ids.back() == 'a');
}

TEST_CASE("any bytes come back as they were") {
    Small small;
    for (auto [l, r] : {std::pair("a", "a"), {"\xC3", "\xA9"}, {" ", "a"}, {" ", " "}, {"\xFF", "\xFF"}, {"aa", "b"}}) {
        small.merge(l, r);
    }
    small.add("<|x|>", TokenKind::kControl);
    small.add("ab ", TokenKind::kUserDefined);
    small.add("你好", TokenKind::kUserDefined);
    std::mt19937 random(2);
    for (const char *pre : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
        small.pre = pre;
        auto v = small.build();
        for (size_t n = 0; n < 300; ++n) {
            std::string text = random_bytes(random, n) + (n % 7 ? "<|x|>" : "你好");
            CHECK(detokenize(*v, tokenize(*v, text)) == text);
            CHECK(detokenize(*v, tokenize(*v, text, {false, true})) == text);
        }
    }
}

TEST_CASE("merges are ignored for a piece that is a token, where the model does so") {
    Small small;
    small.add("abc", TokenKind::kNormal);
    small.merge("a", "b");
    CHECK(tokenize(*small.build(), "abc") == Ids{small.id("ab"), 'c'});
    small.pre = "llama-bpe";
    CHECK(tokenize(*small.build(), "abc") == Ids{small.id("abc")});
}

TEST_CASE("special tokens: longest first, control only on demand, user-defined always") {
    Small small;
    int32_t control = small.add("<|a|>", TokenKind::kControl), longer = small.add("<|a|>>", TokenKind::kControl);
    int32_t user = small.add("[[x", TokenKind::kUserDefined);
    auto v = small.build();
    CHECK(tokenize(*v, "1<|a|><|a|>>2", {false, true}) == Ids{'1', control, longer, '2'});
    CHECK(tokenize(*v, "<|a|>") == Ids{'<', '|', 'a', '|', '>'});
    CHECK(tokenize(*v, "[[[x[[") == Ids{'[', user, '[', '['});
    CHECK(tokenize(*v, "<|a", {false, true}) == Ids{'<', '|', 'a'});
    CHECK(v->find("<|a|>") == control);
    CHECK(v->find("[[x") == user);
    CHECK(v->find(" ") == ' ');
    CHECK(v->find("nothing") == -1);
    CHECK(detokenize(*v, {control, 'o', 'k', user, longer}) == "<|a|>ok[[x<|a|>>");
    CHECK(detokenize(*v, {control, 'o', 'k', user, longer}, {true}) == "ok[[x");
    CHECK_THROWS_AS(detokenize(*v, {v->size()}), Error);
    CHECK_THROWS_AS(detokenize(*v, {-1}), Error);
}

TEST_CASE("special ids, flags and ends of turn") {
    Small small;
    int32_t bos = small.add("<s>", TokenKind::kControl), eos = small.add("</s>", TokenKind::kControl);
    int32_t named = small.add("<|im_end|>", TokenKind::kUserDefined);
    auto builder = small.builder();
    builder.add_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(bos));
    builder.add_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(eos));
    builder.add_bool("tokenizer.ggml.add_bos_token", true).add_bool("tokenizer.ggml.add_eos_token", true);
    builder.add_string("tokenizer.chat_template", "{{ x }}");
    auto v = Vocabulary::from_metadata(builder.build(), {});
    CHECK(v->bos() == bos);
    CHECK(v->eos() == eos);
    CHECK(v->eot() == named);
    CHECK(v->unk() == -1);
    CHECK(v->is_end_of_turn(eos));
    CHECK(v->is_end_of_turn(named));
    CHECK_FALSE(v->is_end_of_turn(bos));
    CHECK_FALSE(v->is_end_of_turn(-1));
    CHECK(v->kind(named) == TokenKind::kControl);  // a user's message must not end a turn
    CHECK(v->chat_template() == "{{ x }}");
    CHECK(tokenize(*v, "a", {true, false}) == Ids{bos, 'a', eos});
    CHECK(tokenize(*v, "a") == Ids{'a'});
}

TEST_CASE("tokens with known names end a turn, and are never text") {
    Small small;
    int32_t harmony_end = small.add("<|end|>", TokenKind::kControl);
    int32_t eot = small.add("<|eot_id|>", TokenKind::kUserDefined),
            fim = small.add("<|fim_prefix|>", TokenKind::kNormal);
    int32_t pad = small.add("<|fim_pad|>", TokenKind::kUserDefined), tag = small.add("</s>", TokenKind::kNormal);
    auto v = small.build();
    for (int32_t id : {harmony_end, eot, pad}) CHECK(v->is_end_of_turn(id));
    CHECK_FALSE(v->is_end_of_turn(fim));
    CHECK_FALSE(v->is_end_of_turn(tag));  // HTML
    CHECK(tokenize(*v, "<|fim_prefix|>").size() == 14);
    CHECK(tokenize(*v, "<|fim_prefix|>", {false, true}) == Ids{fim});
    // Nor is it one where it is matched in any text; it is the end where the file says that it steers the model.
    small = {};
    tag = small.add("</s>", TokenKind::kUserDefined);
    int32_t end = small.add("<eos>", TokenKind::kControl);
    v = small.build();
    CHECK_FALSE(v->is_end_of_turn(tag));
    CHECK(v->kind(tag) == TokenKind::kUserDefined);
    CHECK(v->is_end_of_turn(end));
    v = Vocabulary::from_metadata(small.builder().add_u32("tokenizer.ggml.eos_token_id", 256).build(), {});
    CHECK(v->is_end_of_turn(tag));
    CHECK(v->kind(tag) == TokenKind::kControl);
    small = {};
    harmony_end = small.add("<|end|>", TokenKind::kControl);
    // Beside others that end the turn, this ends a message of it.
    int32_t last = small.add("<|return|>", TokenKind::kControl);
    small.add("<|call|>", TokenKind::kControl);
    v = small.build();
    CHECK(v->is_end_of_turn(last));
    CHECK_FALSE(v->is_end_of_turn(harmony_end));
}

TEST_CASE("the tokens of some models take the spaces after them along") {
    Small small;
    int32_t user = small.add("<|user|>", TokenKind::kControl), bos = small.add("<s>", TokenKind::kControl);
    auto v = Vocabulary::from_metadata(small.builder().add_string("general.name", "Phi-3 mini").build(), {});
    CHECK(tokenize(*v, "<|user|> \n\ta <s> b<|user|> ", {false, true}) == Ids{user, 'a', ' ', bos, ' ', 'b', user});
    CHECK(tokenize(*small.build(), "<|user|> a", {false, true}) == Ids{user, ' ', 'a'});
}

TEST_CASE("tokens without text are places that nothing uses") {
    Small small;
    small.add("", TokenKind::kNormal);
    small.add("", TokenKind::kControl);
    CHECK(tokenize(*small.build(), "a", {false, true}) == Ids{'a'});
}

TEST_CASE("no vocabulary") {
    CHECK(Vocabulary::from_metadata(test::MetadataBuilder().build(), {}) == nullptr);
    CHECK(Vocabulary::from_metadata(test::MetadataBuilder().add_string("tokenizer.ggml.model", "none").build(), {}) ==
          nullptr);
}

TEST_CASE("a byte without token is left out") {
    Small small;
    small.tokens['x'] = "instead";
    CHECK(tokenize(*small.build(), "axb") == Ids{'a', 'b'});
}

TEST_CASE("an unknown pre-tokenizer gives a warning and the default") {
    Small small;
    small.pre = "no-such";
    std::string said;
    Log log{[](void *user, int, const char *text) { *static_cast<std::string *>(user) += text; }, &said};
    auto v = Vocabulary::from_metadata(small.builder().build(), log);
    CHECK(tokenize(*v, "a") == Ids{'a'});
    CHECK(said.find("no-such") != std::string::npos);
}

TEST_CASE("a special token that is too long is only text, and the log says so") {
    Small small;
    int32_t longest = small.add(std::string(SpecialTokens::kMaxBytes, '<'), TokenKind::kControl);
    small.add(std::string(SpecialTokens::kMaxBytes + 1, '>'), TokenKind::kControl);
    std::string said;
    Log log{[](void *user, int, const char *text) { *static_cast<std::string *>(user) += text; }, &said};
    auto v = Vocabulary::from_metadata(small.builder().build(), log);
    CHECK(said.find("1 special tokens") != std::string::npos);
    CHECK(tokenize(*v, std::string(SpecialTokens::kMaxBytes, '<'), {false, true}) == Ids{longest});
    CHECK(tokenize(*v, std::string(SpecialTokens::kMaxBytes + 1, '>'), {false, true}).size() == 257);
}

TEST_CASE("hostile vocabularies: each its status, naming the key") {
    const char *tokens = "tokenizer.ggml.tokens", *merges = "tokenizer.ggml.merges";
    auto gpt2 = [] { return test::MetadataBuilder().add_string("tokenizer.ggml.model", "gpt2"); };
    CHECK(status_of(gpt2(), tokens) == Status::kVocabularyInvalid);
    CHECK(status_of(gpt2().add_strings(tokens, {}), tokens) == Status::kVocabularyInvalid);
    CHECK(status_of(gpt2().add_u32(tokens, 1), tokens) == Status::kMetadataInvalid);
    CHECK(status_of(gpt2().add_strings(tokens, {"a", "b", "a"}), "[0] and [2]") == Status::kVocabularyInvalid);
    CHECK(status_of(gpt2().add_strings(tokens, {"a"}), merges) == Status::kVocabularyInvalid);
    CHECK(status_of(test::MetadataBuilder().add_string("tokenizer.ggml.model", "abacus"), "abacus") ==
          Status::kUnsupported);
    CHECK(status_of(test::MetadataBuilder().add_u32("tokenizer.ggml.model", 1), "tokenizer.ggml.model") ==
          Status::kMetadataInvalid);

    auto ab = [&] { return gpt2().add_strings(tokens, {"a", "b", "ab"}); };
    CHECK(status_of(ab().add_strings(merges, {"a b"}), "") == Status::kOk);
    CHECK(status_of(ab().add_strings(merges, {"a b", "ab c"}), "merges[1]") == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_strings(merges, {"c b"}), "merges[0]") == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_strings(merges, {"b a"}), "result") == Status::kVocabularyInvalid);
    for (const char *line : {"ab", "", " ", "a ", " b"}) {
        CHECK(status_of(ab().add_strings(merges, {line}), "merges[0]") == Status::kVocabularyInvalid);
    }
    CHECK(status_of(ab().add_u32(merges, 3), merges) == Status::kMetadataInvalid);
    // A literal result of byte-level parts would change the text.
    CHECK(status_of(gpt2()
                        .add_strings(tokens, {"Ġ", "ĠĠ"})
                        .add_strings(merges, {"Ġ Ġ"})
                        .add_i32s("tokenizer.ggml.token_type", {1, 4}),
                    "merges[0]") == Status::kVocabularyInvalid);

    auto whole = [&] { return ab().add_strings(merges, {"a b"}); };
    CHECK(status_of(whole().add_i32s("tokenizer.ggml.token_type", {1, 1}), "token_type") == Status::kVocabularyInvalid);
    CHECK(status_of(whole().add_i32s("tokenizer.ggml.token_type", {1, 7, 1}), "token_type[1]") ==
          Status::kVocabularyInvalid);
    CHECK(status_of(whole().add_i32s("tokenizer.ggml.token_type", {1, 1, -1}), "token_type[2]") ==
          Status::kVocabularyInvalid);
    CHECK(status_of(whole().add_u32("tokenizer.ggml.token_type", 1), "token_type") == Status::kMetadataInvalid);
    CHECK(status_of(whole().add_f32s("tokenizer.ggml.scores", {0, 0, 0, 0}), "scores") == Status::kVocabularyInvalid);
    CHECK(status_of(whole().add_string("tokenizer.ggml.scores", "x"), "scores") == Status::kMetadataInvalid);
    for (const char *name : {"bos", "eos", "eot", "eom", "unknown", "padding"}) {
        std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
        CHECK(status_of(whole().add_u32(key, 3), key.c_str()) == Status::kVocabularyInvalid);
        CHECK(status_of(whole().add_string(key, "a"), key.c_str()) == Status::kMetadataInvalid);
    }
    CHECK(status_of(whole().add_bool("tokenizer.ggml.add_bos_token", true), "bos_token_id") ==
          Status::kVocabularyInvalid);
}

TEST_CASE("text stream: whole characters, whatever the tokens") {
    Small small;
    int32_t half = small.merge("a", "\xF0"), control = small.add("<|x|>", TokenKind::kControl);
    auto v = small.build();
    TextStream stream(*v);
    char buf[64];
    size_t needed = 99;
    auto push = [&](int32_t id) {
        CHECK(stream.push(id, buf, sizeof buf, needed) == Status::kOk);
        return std::string(buf, needed);
    };
    CHECK(push(half) == "a");
    CHECK(push(0x9F) == "");
    CHECK(push(control) == "");
    CHECK(push(0x98) == "");
    CHECK(push(0x80) == "😀");
    CHECK(push(0xE4) == "");
    CHECK(push('b') == "�b");
    CHECK(push(0xFF) == "�");
    CHECK(push(0xC3) == "");
    // Too small a buffer consumes nothing.
    CHECK(stream.push(0xA9, buf, 1, needed) == Status::kBufferTooSmall);
    CHECK(needed == 2);
    CHECK(push(0xA9) == "é");
    CHECK(push(0xC3) == "");
    CHECK(stream.push(v->size(), buf, sizeof buf, needed) == Status::kInvalidArgument);
    CHECK(stream.flush(nullptr, 0, needed) == Status::kBufferTooSmall);
    CHECK(stream.flush(buf, sizeof buf, needed) == Status::kOk);
    CHECK(std::string(buf, needed) == "�");
    CHECK(stream.flush(nullptr, 0, needed) == Status::kOk);
    CHECK(needed == 0);
    TextStream printing(*v, false);
    CHECK(printing.push(control, buf, sizeof buf, needed) == Status::kOk);
    CHECK(std::string(buf, needed) == "<|x|>");
}

TEST_CASE("text stream: the same as replacing in the whole text") {
    Small small;
    for (auto [l, r] : {std::pair("a", "\xC3"), {"\xA9", "\xF0"}, {"\x9F", "\x98"}}) small.merge(l, r);
    auto v = small.build();
    std::mt19937 random(3);
    for (size_t n = 0; n < 200; ++n) {
        std::string text = random_bytes(random, n), streamed, buf(TextStream::max_bytes(*v), '\0');
        TextStream stream(*v);
        size_t needed;
        for (int32_t id : tokenize(*v, text)) {
            REQUIRE(stream.push(id, buf.data(), buf.size(), needed) == Status::kOk);
            CHECK(utf8_is_valid({buf.data(), needed}));
            streamed.append(buf, 0, needed);
        }
        REQUIRE(stream.flush(buf.data(), buf.size(), needed) == Status::kOk);
        streamed.append(buf, 0, needed);
        CHECK(streamed == utf8_replace_invalid(text));
    }
}
