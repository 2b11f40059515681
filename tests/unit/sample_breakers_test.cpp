#include "sample/breakers.h"
#include "vocab_helpers.h"

using namespace el;
using namespace el::test;

namespace {

using Sequences = std::vector<std::vector<int32_t>>;

Sequences sequences(const Vocabulary &vocabulary, std::vector<std::string_view> texts) {
    return breaker_sequences(vocabulary, texts);
}

}  // namespace

TEST_CASE("a token that contains the text is a breaker, and so are tokens that go on with it") {
    Small small;
    const int32_t two = small.merge("\n", "\n"), word = small.merge("a", "\n"), xu = small.merge("x", "U");
    auto v = small.build();
    CHECK(sequences(*v, {"\n"}) == Sequences{{'\n'}, {two}, {word}});
    CHECK(sequences(*v, {"\n", "\n"}) == sequences(*v, {"\n"}));
    CHECK(sequences(*v, {"Us"}) == Sequences{{'U', 's'}, {xu, 's'}});
    CHECK(sequences(*v, {"\n\n"}) == Sequences{{'\n', '\n'}, {two}, {word, '\n'}});
    CHECK(sequences(*v, {}).empty());
    CHECK(usual_breakers().size() == 4);
    CHECK_THROWS_AS(sequences(*v, {""}), Error);
    CHECK_THROWS_AS(sequences(*v, {std::string(65, 'x')}), Error);
    CHECK_THROWS_AS(sequences(*v, std::vector<std::string_view>(33, "x")), Error);
}

TEST_CASE("the space that a vocabulary puts first is none of the breaker") {
    MetadataBuilder b;
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "▁", "▁U", "U", "s", "▁t", "t"};
    b.add_string("tokenizer.ggml.model", "llama").add_strings("tokenizer.ggml.tokens", tokens);
    b.add_i32s("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 1, 1, 1});
    b.add_f32s("tokenizer.ggml.scores", {0, 0, 0, -9, -1, -2, -3, -1, -2});
    auto v = Vocabulary::from_metadata(b.build(), {});
    CHECK(sequences(*v, {"Us"}) == Sequences{{4, 6}, {5, 6}});
    CHECK(sequences(*v, {"st"}) == Sequences{{6, 8}});
    CHECK(sequences(*v, {" t"}) == Sequences{{3, 8}, {7}});
}
