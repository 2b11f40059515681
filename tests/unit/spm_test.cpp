#include "text/text_stream.h"
#include "vocab_helpers.h"
#include <map>

using namespace el;
using namespace el::test;

namespace {

// A small vocabulary of characters: <unk>, <s>, </s>, and the 256 bytes where asked for, then what a test adds.
struct Pieces {
    std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
    std::vector<int32_t> kinds{2, 3, 3};
    std::vector<float> scores{0, 0, 0};
    std::vector<std::string> merges;

    explicit Pieces(bool with_bytes = true) {
        for (int b = 0; b < 256 && with_bytes; ++b) add(el::format("<0x{:02X}>", b), 0, TokenKind::kByte);
    }
    int32_t add(const std::string &text, float score, TokenKind kind = TokenKind::kNormal) {
        tokens.push_back(text);
        kinds.push_back(static_cast<int32_t>(kind));
        scores.push_back(score);
        return static_cast<int32_t>(tokens.size() - 1);
    }
    int32_t id(std::string_view text) const {
        auto at = std::find(tokens.begin(), tokens.end(), text);
        return at == tokens.end() ? -1 : static_cast<int32_t>(at - tokens.begin());
    }
    MetadataBuilder builder(const char *model = "llama") const {
        MetadataBuilder b;
        b.add_string("tokenizer.ggml.model", model).add_strings("tokenizer.ggml.tokens", tokens);
        b.add_i32s("tokenizer.ggml.token_type", kinds);
        if (model == std::string_view("llama")) b.add_f32s("tokenizer.ggml.scores", scores);
        if (!merges.empty()) b.add_strings("tokenizer.ggml.merges", merges);
        return b;
    }
    std::unique_ptr<Vocabulary> build() const { return Vocabulary::from_metadata(builder().build(), {}); }
};

int32_t byte_id(char byte) { return 3 + static_cast<uint8_t>(byte); }

void replace_all(std::string &text, std::string_view from, std::string_view to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
}

// The definition: of all neighbours whose joined text is a token, join the leftmost of the highest score, and begin
// again. What is no token in the end is written in bytes.
Ids merge_naively(const Pieces &pieces, std::string text) {
    text.insert(0, " ");
    replace_all(text, " ", "▁");
    std::vector<std::string> units;
    for (size_t at = 0; at < text.size();) {
        size_t n = static_cast<uint8_t>(text[at]) < 0x80 ? 1 : static_cast<uint8_t>(text[at]) < 0xE0 ? 2 : 3;
        units.push_back(text.substr(at, n));
        at += n;
    }
    for (;;) {
        size_t best = units.size();
        float score = 0;
        for (size_t i = 0; i + 1 < units.size(); ++i) {
            int32_t id = pieces.id(units[i] + units[i + 1]);
            if (id < 0 || (best < units.size() && pieces.scores[static_cast<size_t>(id)] <= score)) continue;
            best = i, score = pieces.scores[static_cast<size_t>(id)];
        }
        if (best == units.size()) break;
        units[best] += units[best + 1];
        units.erase(units.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
    Ids ids;
    for (const std::string &unit : units) {
        if (int32_t id = pieces.id(unit); id >= 0) {
            ids.push_back(id);
        } else {
            for (char b : unit) ids.push_back(byte_id(b));
        }
    }
    return ids;
}

const std::string kChars[] = {"a", "b", " ", "é", "你", "\n"};

std::string random_text(std::mt19937 &random, size_t n) {
    std::string text;
    for (size_t i = 0; i < n; ++i) text += kChars[random() % std::size(kChars)];
    return text;
}

}  // namespace

TEST_CASE("spm: as the naive definition, short and long texts") {
    std::mt19937 random(4);
    for (int round = 0; round < 40; ++round) {
        Pieces pieces;
        pieces.add("▁", -20);
        for (int i = 0; i < 40; ++i) {
            std::string text = random_text(random, 1 + random() % 4);
            replace_all(text, " ", "▁");
            // Few different scores, of both signs, so that many are equal.
            if (pieces.id(text) < 0) pieces.add(text, static_cast<float>(static_cast<int>(random() % 9)) - 6.5f);
        }
        auto v = pieces.build();
        for (size_t n : {1u, 2u, 5u, 31u, 32u, 33u, 100u, 200u}) {
            std::string text = random_text(random, n);
            CHECK(tokenize(*v, text) == merge_naively(pieces, text));
            CHECK(detokenize(*v, tokenize(*v, text)) == text);
        }
    }
}

TEST_CASE("bytes are known by their names where a file has no types of tokens") {
    Pieces pieces;
    const int32_t a = pieces.add("▁a", -1);
    std::fill(pieces.kinds.begin() + 3, pieces.kinds.end(), static_cast<int32_t>(TokenKind::kNormal));
    auto v = pieces.build();
    CHECK(tokenize(*v, "a\n\xC3") == Ids{a, byte_id('\n'), byte_id('\xC3')});
    CHECK(detokenize(*v, {a, byte_id('\n'), byte_id('\xC3')}) == "a\n\xC3");
    pieces.kinds[3] = static_cast<int32_t>(TokenKind::kByte);  // one type says what the others are not
    CHECK(tokenize(*pieces.build(), "a\n") == Ids{a, 0});
}

TEST_CASE("spaces in user-defined tokens are written as such or as U+2581") {
    for (const char *spaces : {"  ", "▁▁"})
        for (const char *model : {"llama", "gemma4"}) {
            Pieces pieces;
            const int32_t a = pieces.add("a", -1), two = pieces.add(spaces, -2, TokenKind::kUserDefined);
            pieces.merges = {};
            if (model == std::string_view("gemma4")) pieces.merges = {"a a"}, pieces.add("aa", -3);
            auto v = Vocabulary::from_metadata(
                pieces.builder(model).add_bool("tokenizer.ggml.add_space_prefix", false).build(), {});
            CHECK(tokenize(*v, "a  a") == Ids{a, two, a});
            CHECK(detokenize(*v, {a, two, a}) == "a  a");
            const int32_t call = pieces.add("[tool▁call]", 0, TokenKind::kUserDefined);
            CHECK(tokenize(*pieces.build(), "[tool▁call]").back() == call);  // other text stays as it is written
        }
}

TEST_CASE("spm: bytes for what is no token, or the unknown token") {
    Pieces pieces;
    int32_t space = pieces.add("▁", -1), a = pieces.add("a", -2), space_a = pieces.add("▁a", -3);
    auto v = pieces.build();
    CHECK(tokenize(*v, "a") == Ids{space_a});
    CHECK(tokenize(*v, "aé\xFF") == Ids{space_a, byte_id('\xC3'), byte_id('\xA9'), byte_id('\xFF')});
    CHECK(tokenize(*v, "\n") == Ids{space, byte_id('\n')});
    CHECK(detokenize(*v, {byte_id('a')}) == "a");
    CHECK(v->find("a") == a);  // not the byte
    CHECK(v->token_bytes(space_a) == " a");
    Pieces without(false);
    without.add("▁", -1);
    CHECK(tokenize(*without.build(), "é你") == Ids{without.id("▁"), 0, 0});
}

TEST_CASE("spm: the space before the text, by the file's switches") {
    Pieces pieces;
    int32_t space = pieces.add("▁", -1), a = pieces.add("a", -2), space_a = pieces.add("▁a", -3);
    int32_t control = pieces.add("<x>", 0, TokenKind::kControl);
    int32_t user = pieces.add("[]", 0, TokenKind::kUserDefined);
    auto v = pieces.build();
    TokenizeFlags parse{false, true};
    CHECK(tokenize(*v, "a a") == Ids{space_a, space_a});
    CHECK(tokenize(*v, " a") == Ids{space, space_a});
    CHECK(tokenize(*v, "").empty());
    CHECK(tokenize(*v, "a<x>a[] a", parse) == Ids{space_a, control, space_a, user, space, space_a});
    CHECK(tokenize(*v, "a", {true, false}) == Ids{1, space_a});  // BOS is added where the file does not say
    for (const char *text : {"a<x>a[] a", " a", "  ", "<x> ", "[][]a"}) {
        CHECK(detokenize(*v, tokenize(*v, text, parse)) == text);
    }
    CHECK(detokenize(*v, tokenize(*v, "a a", {true, false}), {true}) == "a a");
    // A stream goes on with a text, so its first space stays.
    TextStream stream(*v);
    char buf[16];
    size_t needed;
    CHECK(stream.push(space_a, buf, sizeof buf, needed) == Status::kOk);
    CHECK(std::string(buf, needed) == " a");

    auto bare =
        Vocabulary::from_metadata(pieces.builder().add_bool("tokenizer.ggml.add_space_prefix", false).build(), {});
    CHECK(tokenize(*bare, "a a") == Ids{a, space_a});
    CHECK(detokenize(*bare, {space_a, a}) == " aa");

    auto trimmed = Vocabulary::from_metadata(
        pieces.builder().add_bool("tokenizer.ggml.remove_extra_whitespaces", true).build(), {});
    CHECK(tokenize(*trimmed, "  a   a ") == Ids{space_a, space_a});
    CHECK(tokenize(*trimmed, "   ").empty());
}

TEST_CASE("spm: unused tokens are joined, but replaced by their parts") {
    Pieces pieces;
    int32_t a = pieces.add("a", -9), ab = pieces.add("ab", -1, TokenKind::kUnused), b = pieces.add("b", -9);
    int32_t abc = pieces.add("abc", -2);
    pieces.add("abd", -2, TokenKind::kUnused);
    int32_t c = pieces.add("c", -9), d = pieces.add("d", -9);
    auto v = Vocabulary::from_metadata(pieces.builder().add_bool("tokenizer.ggml.add_space_prefix", false).build(), {});
    CHECK(tokenize(*v, "abc") == Ids{abc});
    CHECK(tokenize(*v, "ab") == Ids{a, b});
    CHECK(tokenize(*v, "abdc") == Ids{a, b, d, c});
    CHECK(detokenize(*v, {ab}) == "ab");
}

TEST_CASE("spm: a megabyte of one letter") {
    Pieces pieces;
    pieces.add("▁", -5);
    int32_t a = pieces.add("a", -4), aa = pieces.add("aa", -3), aaaa = pieces.add("aaaa", -2);
    Ids ids = tokenize(*pieces.build(), std::string((1 << 20) + 3, 'a'));
    REQUIRE(ids.size() == (1 << 18) + 3);
    CHECK(ids[1] == aaaa);
    CHECK(ids[(1 << 18) + 1] == aa);
    CHECK(ids.back() == a);
}

TEST_CASE("any bytes come back, also from characters") {
    Pieces pieces;
    for (const char *text : {"▁", "a", "b", "aa", "▁a", "▁▁", "é", "你", "aab", "\n"}) pieces.add(text, -1);
    pieces.add("<|x|>", 0, TokenKind::kControl);
    pieces.add("ab ", 0, TokenKind::kUserDefined);
    pieces.merges = {"▁ ▁", "a a", "▁ a", "aa b"};
    std::mt19937 random(5);
    for (const char *model : {"llama", "gemma4"}) {
        auto v = Vocabulary::from_metadata(pieces.builder(model).build(), {});
        for (size_t n = 0; n < 300; ++n) {
            std::string text = random_bytes(random, n) + (n % 7 ? "<|x|>" : " ab");
            if (text.find("▁") != std::string::npos) continue;  // stands for a space
            CHECK(detokenize(*v, tokenize(*v, text)) == text);
            CHECK(detokenize(*v, tokenize(*v, text, {true, true}), {true}).size() <= text.size());
        }
    }
}

TEST_CASE("merges of characters") {
    Pieces pieces;
    for (const char *text : {"▁", "a", "é", "\n", "▁a", "▁aé", "\n\n", "\n\n\n"}) pieces.add(text, 0);
    pieces.merges = {"▁ a", "▁a é", "\n \n"};
    auto id = [&](const char *text) { return pieces.id(text); };
    auto builder = pieces.builder("gemma4");
    builder.add_u32("tokenizer.ggml.bos_token_id", 1).add_bool("tokenizer.ggml.add_bos_token", false);
    auto v = Vocabulary::from_metadata(builder.build(), {});
    CHECK(tokenize(*v, "a a aé") == Ids{id("a"), id("▁a"), id("▁aé")});
    CHECK(tokenize(*v, "\n\n\na") == Ids{id("\n\n\n"), id("a")});  // no merge leads there
    CHECK(tokenize(*v, "\n\n\n\na") == Ids{id("\n\n"), id("\n\n"), id("a")});
    CHECK(tokenize(*v, "你") == Ids{byte_id('\xE4'), byte_id('\xBD'), byte_id('\xA0')});
    CHECK(tokenize(*v, "a", {true, false}) == Ids{1, id("a")});  // although the file says no
    CHECK(detokenize(*v, {id("▁aé")}) == " aé");
    // Some files name it by the pre-tokenizer alone.
    auto named = pieces.builder("gpt2").add_string("tokenizer.ggml.pre", "gemma4").build();
    CHECK(tokenize(*Vocabulary::from_metadata(named, {}), "a a") == Ids{id("a"), id("▁a")});
    // Others are of the same kind, but leave BOS to the file.
    for (auto [pre, always_bos] : {std::pair("granite-embed-multi-311m", true), std::pair("sarvam-moe", false)}) {
        auto other = pieces.builder("gpt2").add_string("tokenizer.ggml.pre", pre);
        other.add_u32("tokenizer.ggml.bos_token_id", 1).add_bool("tokenizer.ggml.add_bos_token", false);
        auto chars = Vocabulary::from_metadata(other.build(), {});
        CHECK(tokenize(*chars, "a a") == Ids{id("a"), id("▁a")});
        CHECK(chars->add_bos() == always_bos);
    }
}

TEST_CASE("hostile vocabularies of characters: each its status, naming the key") {
    const char *scores = "tokenizer.ggml.scores", *tokens = "tokenizer.ggml.tokens";
    auto ab = [&] {
        return MetadataBuilder().add_string("tokenizer.ggml.model", "llama").add_strings(tokens, {"a", "b", "ab"});
    };
    CHECK(status_of(ab(), scores) == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_f32s(scores, {1, 2}), scores) == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_f32s(scores, {1, 2, 3, 4}), scores) == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_f32s(scores, {1, NAN, 3}), "scores[1]") == Status::kVocabularyInvalid);
    CHECK(status_of(ab().add_u32(scores, 1), scores) == Status::kMetadataInvalid);
    CHECK(status_of(ab().add_f32s(scores, {1, 2, -INFINITY}), "") == Status::kOk);
    CHECK(status_of(ab().add_f32s(scores, {1, 2, 3}).add_i32s("tokenizer.ggml.token_type", {1, 6, 1}), "tokens[1]") ==
          Status::kVocabularyInvalid);
    for (const char *text : {"<0x0>", "<0x0G>", "<0x000>", "0x00", ""}) {
        CHECK(status_of(MetadataBuilder()
                            .add_string("tokenizer.ggml.model", "llama")
                            .add_strings(tokens, {text})
                            .add_f32s(scores, {0})
                            .add_i32s("tokenizer.ggml.token_type", {6}),
                        "tokens[0]") == Status::kVocabularyInvalid);
    }
    auto gemma4 = [&] {
        return MetadataBuilder().add_string("tokenizer.ggml.model", "gemma4").add_strings(tokens, {"▁", "b", "▁b"});
    };
    CHECK(status_of(gemma4(), "merges") == Status::kVocabularyInvalid);
    CHECK(status_of(gemma4().add_strings("tokenizer.ggml.merges", {"▁ b"}), "") == Status::kOk);
    CHECK(status_of(gemma4().add_strings("tokenizer.ggml.merges", {"b ▁"}), "merges[0]") == Status::kVocabularyInvalid);
    CHECK(status_of(MetadataBuilder().add_string("tokenizer.ggml.model", "t5"), "t5") == Status::kUnsupported);
}
