#include "base/status.h"
#include "text/pretokenizer.h"
#include <cstring>
#include <doctest/doctest.h>
#include <string>

using namespace el;

namespace {

std::vector<std::string> pieces(const char *pre, std::string_view text) {
    const PreTokenizerRow *row = find_pre_tokenizer(pre);
    REQUIRE_MESSAGE(row != nullptr, pre);
    std::vector<uint32_t> ends;
    PreTokenizer(*row).split(text, ends);
    std::vector<std::string> out;
    size_t start = 0;
    for (uint32_t end : ends) {
        out.emplace_back(text.substr(start, end - start));
        start = end;
    }
    CHECK(start == text.size());
    return out;
}

const std::string kAcute = "\xCC\x81";  // a combining mark

// One sample that tells all rows apart, split by each as another implementation of regular expressions does it.
const std::string kSample = "I'LL  pay 12345 for ÜberBook's+`x`/\n\n e" + kAcute + "你好。 ½  ";
const std::pair<const char *, std::vector<std::string>> kSplits[] = {
    {"gpt-2",
     {"I", "'", "LL", " ", " pay", " 12345", " for", " ÜberBook", "'s", "+`", "x", "`/", "\n\n", " e", kAcute, "你好",
      "。", " ½", "  "}},
    {"smollm", {"I",  "'",  "LL", " ",  " pay", " ",  "1",    "2",    "3",  "4", "5", " for", " ÜberBook",
                "'s", "+`", "x",  "`/", "\n\n", " e", kAcute, "你好", "。", " ", "½", "  "}},
    {"falcon", {"I", "'",  "LL", " ",  " pay", " ",  "123",  "45",   " for", " ÜberBook", "'",
                "s", "+`", "x",  "`/", "\n\n", " e", kAcute, "你好", "。",   " ½",        "  "}},
    {"default", {"I", "'", "LL", " ", " pay", " ",  "123",  "45",   " for", " ÜberBook", "'", "s", "+",
                 "`", "x", "`",  "/", "\n\n", " e", kAcute, "你好", "。",   " ",         "½", "  "}},
    {"superbpe", {"I'LL  pay ", "12", "345", " for ÜberBook's+`x`/\n\n e" + kAcute + "你好。 ", "½", "  "}},
    {"llama-bpe",
     {"I", "'LL", " ", " pay", " ", "123", "45", " for", " ÜberBook", "'s", "+`", "x", "`/\n\n", " e", kAcute + "你好",
      "。", " ", "½", "  "}},
    {"qwen2", {"I", "'LL",    " ",  " pay",          " ",  "1", "2", "3", "4", "5", " for", " ÜberBook", "'s", "+`",
               "x", "`/\n\n", " e", kAcute + "你好", "。", " ", "½", "  "}},
    {"qwen35",
     {"I",
      "'LL",
      " ",
      " pay",
      " ",
      "1",
      "2",
      "3",
      "4",
      "5",
      " for",
      " ÜberBook",
      "'s",
      "+`",
      "x",
      "`/\n\n",
      " e" + kAcute + "你好",
      "。",
      " ",
      "½",
      "  "}},
    {"tekken", {"I",  "'LL",  " ",     " pay", " ",  "1",  "2", "3",      "4",
                "5",  " for", " Über", "Book", "'s", "+`", "x", "`/\n\n", " e" + kAcute + "你好",
                "。", " ",    "½",     "  "}},
    {"gpt-4o",
     {"I'LL", " ", " pay", " ", "123", "45", " for", " Über", "Book's", "+`", "x", "`/\n\n", " e" + kAcute + "你好",
      "。", " ", "½", "  "}},
    {"deepseek-llm", {"I",  "'", "LL", " ",  " pay", " ",  "12345", " for", " Ü", "berBook", "'", "s",
                      "+`", "x", "`/", "\n", "\n",   " e", kAcute,  "你好", "。", " ",       "½", "  "}},
    {"deepseek-coder",
     {"I", "'",  "LL", " ", " pay", " ",  "1",  "2",  "3",    "4",    "5",  " for", " ÜberBook", "'",
      "s", "+`", "x",  "`", "/",    "\n", "\n", " e", kAcute, "你好", "。", " ",    "½",         "  "}},
    {"hunyuan-dense",
     {"I", "'LL", " ", " pay", " ", "123", "45", " for", " ÜberBook", "'s", "+`", "x", "`/\n\n", " e" + kAcute, "你好",
      "。", " ", "½", "  "}},
    {"jais-2",
     {"I", "'LL", " ", " pay", " ", "123", "45", " for", " ÜberBook", "'s", "+`", "x", "`/\n\n", " e", kAcute + "你好",
      "。", " ", "½", "  "}},
    {"laguna",
     {"I",  "'LL",  " ",  " pay",          " ",  "1", "2", "3", "4", "5", " for", " ÜberBook", "'s", "+`", "x",
      "`/", "\n\n", " e", kAcute + "你好", "。", " ", "½", "  "}},
    {"ufakzeka", {"I", "'LL",    " ",  " pay",          " ",  "1", "2", "3", "4", "5", " for", " ÜberBook", "'s", "+`",
                  "x", "`/\n\n", " e", kAcute + "你好", "。", " ", "½", "  "}},
    {"seed-coder",
     {"I",  "'LL",  " ",  " pay",          " ",  "1", "2", "3", "4", "5", " for", " ÜberBook", "'s", "+`", "x",
      "`/", "\n\n", " e", kAcute + "你好", "。", " ", "½", "  "}},
    {"exaone-moe",
     {"I",
      "'LL",
      " ",
      " pay",
      " ",
      "1",
      "2",
      "3",
      "4",
      "5",
      " for ÜberBook",
      "'s",
      "+`",
      "x",
      "`/\n",
      "\n",
      " e" + kAcute + "你好",
      "。",
      " ",
      "½",
      "  "}},
    {"tiny_aya",
     {"I'LL", " ", " pay", " ", "12", "345", " for", " Über", "Book's", "+`", "x", "`/\n\n", " e" + kAcute + "你好",
      "。", " ", "½", "  "}},
    {"youtu", {"I'LL",   " ",  " pay", " ",      "1",           "2",    "3",  "4", "5", " for", " Über",
               "Book's", "+`", "x",    "`/\n\n", " e" + kAcute, "你好", "。", " ", "½", "  "}},
    {"spark2_5", {"I",  "'LL", " ", " pay", " ",  "1",  "2",           "3",    "4",  "5", " for", " ÜberBook",
                  "'s", "+`",  "x", "`/",   "\n", "\n", " e" + kAcute, "你好", "。", " ", "½",    "  "}},
    {"bloom",
     {"I'LL", " ", " pay", " 12345", " for", " ÜberBook's+`x`/", "\n\n", " e" + kAcute + "你好", "。", " ½", "  "}},
    {"viking",
     {"I'LL", " ", " pay", " ", "1", "2", "3", "4", "5", " for", " ÜberBook's+`x`/", "\n\n", " e" + kAcute + "你好",
      "。", " ", "½", "  "}},
    {"chameleon", {"I", "'", "LL", "  ", "pay", " ",  "1",  "2",  "3",    "4",    "5",  " for", " ÜberBook", "'", "s",
                   "+", "`", "x",  "`",  "/",   "\n", "\n", " e", kAcute, "你好", "。", " ",    "½",         "  "}},
    {"gemma4", {"I'LL  pay 12345 for ÜberBook's+`x`/", "\n\n", " e" + kAcute + "你好。 ½  "}},
};

// The same pattern under another name.
constexpr std::pair<const char *, const char *> kSame[] = {
    {"phi-2", "gpt-2"},        {"phi", "gpt-2"},
    {"olmo", "gpt-2"},         {"exaone4", "gpt-2"},
    {"refact", "smollm"},      {"starcoder", "smollm"},
    {"command-r", "smollm"},   {"lfm2", "llama-bpe"},
    {"llama3", "llama-bpe"},   {"deepseek-r1-qwen", "qwen2"},
    {"stablelm2", "qwen2"},    {"deepseek-v3", "hunyuan-dense"},
    {"llama4", "gpt-4o"},      {"granite-embed-multi-97m", "gpt-4o"},
    {"minicpm5", "llama-bpe"}, {"bailingmoe", "qwen2"},
    {"llada-moe", "qwen2"},    {"hy_v4", "deepseek-v3"},
    {"poro-chat", "bloom"},    {"cohere2moe", "tiny_aya"},
    {"glm5", "llama-bpe"},     {"glm4", "llama-bpe"},
    {"sarvam-moe", "gemma4"},  {"mellum2", "smollm"},
};

}  // namespace

TEST_CASE("pre-tokenizer: every row") {
    for (const auto &split : kSplits) {
        CAPTURE(split.first);
        CHECK(pieces(split.first, kSample) == split.second);
    }
    for (const auto &same : kSame) {
        CAPTURE(same.first);
        CHECK(pieces(same.first, kSample) == pieces(same.second, kSample));
    }
    CHECK(find_pre_tokenizer("") == nullptr);
    CHECK(find_pre_tokenizer("gpt") == nullptr);
    CHECK(find_pre_tokenizer("gpt-2 phi") == nullptr);
    // Letters of two cases, but not the mathematical ones and none without cases; then the ASCII ones are cut out
    // again.
    CHECK(pieces("deepseek-llm", "xéЖ ａª") == std::vector<std::string>{"x", "éЖ", " ａ", "ª"});
    CHECK(pieces("deepseek-llm", "é𝐀") == std::vector<std::string>{"é", "𝐀"});
}

TEST_CASE("pre-tokenizer: long runs of anything stay within PCRE2's limits") {
    constexpr size_t kRun = 20000;
    for (const auto &split : kSplits) {
        CAPTURE(split.first);
        for (const char *unit :
             {" ", "a", "A", "7", "!", "\n", "\t", "你", "aB", " a", "\r\n", "\xFF", "e\xCC\x81", "'"}) {
            std::string text;
            while (text.size() < kRun) text += unit;
            for (const char *end : {"", "\x01", "a", " ", "A!"}) {
                std::string joined;
                for (const std::string &piece : pieces(split.first, text + end)) joined += piece;
                CHECK(joined.size() == text.size() + std::strlen(end));
            }
        }
    }
}

TEST_CASE("pre-tokenizer: a pattern that explodes has a limit") {
    PreTokenizer explodes({.names = "explodes", .patterns = {"(a|aa)+$"}});
    std::vector<uint32_t> ends;
    explodes.split("aaaa", ends);
    CHECK(ends == std::vector<uint32_t>{4});
    try {
        explodes.split(std::string(60, 'a') + "b", ends);
        FAIL("no error");
    } catch (const Error &e) {
        CHECK(e.status() == Status::kLimitExceeded);
    }
    CHECK_THROWS_AS(PreTokenizer({.names = "broken", .patterns = {"("}}), Error);
}

TEST_CASE("pre-tokenizer: pieces") {
    using P = std::vector<std::string>;
    CHECK(pieces("gpt-2", "It's  42 cats!?\n\n  end ") ==
          P{"It", "'s", " ", " 42", " cats", "!?", "\n\n ", " end", " "});
    CHECK(pieces("smollm", "v 42 １") == P{"v", " ", "4", "2", " ", "１"});
    CHECK(pieces("gpt-2", "naïve über-été") == P{"naïve", " über", "-", "été"});
    CHECK(pieces("llama-bpe", "I'LL pay 12345.\n\nok") == P{"I", "'LL", " pay", " ", "123", "45", ".\n\n", "ok"});
    CHECK(pieces("qwen2", "a 12") == P{"a", " ", "1", "2"});
    // Invalid bytes are symbols and keep their place; a vowel separator is a symbol, too, and no space.
    CHECK(pieces("gpt-2", "ab\xFF\xFE c\xC3") == P{"ab", "\xFF\xFE", " c", "\xC3"});
    CHECK(pieces("gpt-2", "a\xE1\xA0\x8E\xFFz") == P{"a", "\xE1\xA0\x8E\xFF", "z"});
    CHECK(pieces("gpt-2", "").empty());
}

TEST_CASE("pre-tokenizer: groups, suffixes and image tokens") {
    using P = std::vector<std::string>;
    CHECK(pieces("tiny_aya", "1234567 a1234 1234a") == P{"1", "234", "567", " a", "1", "234", " ", "123", "4", "a"});
    CHECK(pieces("tiny_aya", "1234_ 12.1000") == P{"123", "4", "_", " ", "12", ".", "1", "000"});
    CHECK(pieces("superbpe", "12 1234567, 123 a123456b12½3456") ==
          P{"12", " ", "1", "234", "567", ", ", "123", " a", "123", "456", "b", "12½3", "456"});
    CHECK(pieces("superbpe", std::string(1000000, '7')).size() == 333334);
    CHECK(find_pre_tokenizer("glm4")->ignore_merges);
    CHECK(pieces("jais-2", "a" + std::string(13, ' ') + "b") == P{"a", std::string(8, ' '), std::string(4, ' '), " b"});
    CHECK(pieces("jais-2", "!\n  \n   b") == P{"!\n", "  \n", "  ", " b"});
    CHECK(pieces("ufakzeka", "TBMM'de") == P{"TBMM", "'de"});
    CHECK(pieces("qwen2", "TBMM'de") == P{"TBMM", "'d", "e"});
    CHECK(pieces("chameleon", "x\ty IMGIMGACZz") == P{"x", "\t", "y", " ", "IMGIMGACZ", "z"});
    CHECK(pieces("youtu", "가나다ㄱ好，，a") == P{"가나다ㄱ", "好", "，，", "a"});
    CHECK(pieces("falcon", "½6789 `x`") == P{"½", "678", "9", " ", "`", "x", "`"});
}
