#include "text/pretokenizer.h"
#include <algorithm>

namespace el {
namespace {

// Contractions, words, numbers and runs of the rest take one space before them; spaces leave their last one to the
// word.
constexpr const char *kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr const char *kDigit = R"(\p{N})", *kDigits = R"(\p{N}+)", *kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr const char *kThreeDigits = "[0-9][0-9][0-9]";
constexpr const char *kLineBreak = R"([\r\n])", *kHan = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

// Words take any one character before them that is no letter, digit or line break; line breaks end what they follow.
constexpr const char *kLlama3 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                                R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kQwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                               R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Marks are parts of words.
constexpr const char *kQwen35 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                                R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// As kQwen2, but what follows an apostrophe is a word.
constexpr const char *kNoContractions =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Line breaks never belong to what they follow.
constexpr const char *kSeedCoder = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                   R"(| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Words with a space between are one piece. A word is never given up again, so nothing is kept to come back to.
constexpr const char *kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}\p{M}*+(?: ?\p{L}\p{M}*+)*+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
// Runs of spaces are cut by powers of two. The look-behind keeps the search for a line break linear: where the run's
// beginning has found none, the rest of it has none.
constexpr const char *kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|(?<![^\S\r\n])\s*[\r\n]+)"
    R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S))"
    R"(|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)";
// Words end also where a capital letter follows a small one.
constexpr const char *kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
                                R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char *kYoutu =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kEastAsian =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+)"
    R"(|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+)"
    R"(|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";

// Whole numbers in groups of three from their end: the first pattern isolates a number, the second cuts what is left
// over off its front, and groups of three follow. One pattern alone would look to the end at each group.
constexpr const char *kWholeNumber = R"((?<!\d)\d++(?![\p{L}\p{M}\p{Nl}\p{Pc}]))";
constexpr const char *kIncompleteGroup = R"(\A\d{1,2}(?=(?:\d{3})++\z))";
// The same within any text. After a group comes the next one, without another look to the end.
constexpr const char *kGroupsFromTheEnd = R"(\G(?<=\d{3})\d{3}|\d{3}(?=(?:\d{3})*+(?!\d)))";

// Letters that have two cases, by the Unicode of the day and without the mathematical ones.
constexpr const char *kCasedLetters =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C})"
    R"(\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5})"
    R"(\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B})"
    R"(\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45})"
    R"(\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4})"
    R"(\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB})"
    R"(\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115})"
    R"(\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE})"
    R"(\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"
    R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A})"
    R"(\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2})"
    R"(\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr const char *kWideSymbols =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
// The look-behind keeps this linear: of a run of spaces, only its first one is tried.
constexpr const char *kTrailingSpaces = R"((?<!\s)\s++\z)";
constexpr const char *kHanAndKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char *kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kSpark = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
                               R"(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
constexpr const char *kLines = "[^\\n]+|\\n+";
// Words between punctuation of several scripts.
constexpr const char *kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
constexpr const char *kImageToken = "(?:IMGIMG)[A-I]{1,4}Z", *kSentinel = "<sentinel:[0-9]+>";

constexpr PreTokenizerRow kRows[] = {
    {.names = "default", .patterns = {R"([\p{P}$+<=>^~|]+)", kGpt2, kDigits, kThreeDigits}},
    {.names = "gpt-2 phi phi-2 olmo exaone4 mpt jais jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code "
              "roberta-bpe modern-bert gigachat a.x-4.0 mellum trillion granite-docling",
     .patterns = {kGpt2}},
    {.names = "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", .patterns = {kDigit, kGpt2}},
    // Its own tokenizer looks for digits in the byte alphabet, where only the ASCII ones matter to its merges.
    {.names = "falcon", .patterns = {R"([\p{P}$+<=>^~|`]+)", kGpt2, "[0-9]+", kThreeDigits}},
    {.names = "llama-bpe llama3 llama-v3 lfm2 falcon3 falcon-h1 pixtral midm-2.0 jina-v5-nano",
     .patterns = {kLlama3},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "dbrx smaug-bpe chatglm-bpe", .patterns = {kLlama3}},
    {.names = "glm4 glm5", .patterns = {kLlama3}, .ignore_merges = true},
    {.names = "minicpm5", .patterns = {kUpToThreeDigits, kLlama3}, .ignore_merges = true},
    {.names = "jais-2", .patterns = {kJais2}},
    {.names = "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez kormo f2llmv2 solar-open grok-2 bailingmoe bailingmoe2 "
              "llada-moe",
     .patterns = {kQwen2}},
    {.names = "laguna", .patterns = {kLines, kQwen2}},
    {.names = "ufakzeka", .patterns = {kNoContractions}},
    {.names = "seed-coder", .patterns = {kSeedCoder}},
    {.names = "exaone-moe", .patterns = {kExaoneMoe}},
    {.names = "qwen35", .patterns = {kQwen35}},
    {.names = "tekken", .patterns = {kTekken}, .ignore_merges = true, .add_bos = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .patterns = {kGpt4o}},
    {.names = "granite-embed-multi-97m", .patterns = {kGpt4o}, .ignore_merges = true},
    {.names = "tiny_aya cohere2moe", .patterns = {kWholeNumber, kIncompleteGroup, kGpt4o}},
    // Words are not cut: tokens may be several of them.
    {.names = "superbpe", .patterns = {kDigits, kGroupsFromTheEnd}},
    {.names = "youtu", .patterns = {kEastAsian, kYoutu}, .ignore_merges = true},
    {.names = "deepseek-llm", .patterns = {kLineBreak, kCasedLetters, kWideSymbols, kTrailingSpaces, kHan, kDigits}},
    {.names = "deepseek-coder", .patterns = {kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHan, kDigit}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4", .patterns = {kUpToThreeDigits, kHanAndKana, kDeepSeek3}},
    {.names = "spark2_5", .patterns = {kUpToThreeDigits, kHanAndKana, kSpark, kDigit}},
    {.names = "bloom poro-chat gpt3-finnish", .patterns = {kBloom}},
    {.names = "viking", .patterns = {kBloom, kDigit}},
    {.names = "chameleon",
     .patterns = {kSentinel, kImageToken, R"([\t\n]|    |  )", kDigit, R"([\p{P}!-/:-@\[-`{-~])", kGpt2},
     .add_bos = true},
    {.names = "gemma4 granite-embed-multi-311m", .patterns = {kLines}, .add_bos = true, .characters = true},
    {.names = "sarvam-moe", .patterns = {kLines}, .characters = true},
};

// Whether `name` is one of `names`, which have spaces between them.
bool is_listed(std::string_view names, std::string_view name) {
    while (!names.empty()) {
        size_t end = std::min(names.find(' '), names.size());
        if (names.substr(0, end) == name) return true;
        names.remove_prefix(std::min(end + 1, names.size()));
    }
    return false;
}

}  // namespace

const PreTokenizerRow *find_pre_tokenizer(std::string_view name) {
    for (const PreTokenizerRow &row : kRows) {
        if (is_listed(row.names, name)) return &row;
    }
    return nullptr;
}

}  // namespace el
