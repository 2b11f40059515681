#include "model/gguf.h"
#include "vocab_helpers.h"
#include <fstream>
#include <iterator>
#include <sstream>

using namespace el;
using namespace el::test;

namespace {

std::string read_file(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    REQUIRE_MESSAGE(in.good(), path);
    return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<std::string> split(std::string_view text, std::string_view separator) {
    std::vector<std::string> parts;
    for (size_t end; (end = text.find(separator)) != std::string_view::npos;) {
        parts.emplace_back(text.substr(0, end));
        text.remove_prefix(end + separator.size());
    }
    parts.emplace_back(text);
    return parts;
}

}  // namespace

// Small vocabularies with the ids of a plain encoder: tests/golden/make_vocab.py.
TEST_CASE("vocabularies of files") {
    auto texts = split(read_file("tests/golden/vocab/texts.inp"), "\n__ggml_vocab_test__\n");
    for (const char *name : {"small-gpt-2", "small-smollm", "small-falcon", "small-llama-bpe", "small-qwen35",
                             "small-deepseek-coder", "small-spm", "small-chars"}) {
        CAPTURE(name);
        std::string path = std::string("tests/golden/vocab/") + name;
        GgufFile file = GgufFile::open(path + ".gguf");
        auto v = Vocabulary::from_metadata(file.metadata(), {});
        REQUIRE(v);
        auto lines = split(read_file(path + ".out"), "\n");
        REQUIRE(lines.size() == texts.size() + 1);
        for (size_t i = 0; i < texts.size(); ++i) {
            CAPTURE(texts[i]);
            std::istringstream line(lines[i]);
            Ids expected{std::istream_iterator<int32_t>(line), {}};
            CHECK(tokenize(*v, texts[i]) == expected);
            CHECK(detokenize(*v, expected) == texts[i]);
        }
    }
}
