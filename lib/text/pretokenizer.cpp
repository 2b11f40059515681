#include "text/pretokenizer.h"
#include "base/status.h"
#include "base/utf8.h"
#include <algorithm>
#include <new>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace el {
namespace {

// Contractions, words, numbers and runs of the rest take one space before them; spaces leave their last one to the
// word.
constexpr const char *kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr const char *kDigit = R"(\p{N})", *kDigits = R"(\p{N}+)", *kThreeDigits = "[0-9][0-9][0-9]";
constexpr const char *kLineBreak = R"([\r\n])", *kHan = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

// Words take any one character before them that is no letter, digit or line break; line breaks end what they follow.
constexpr const char *kLlama3 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                                R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kQwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                               R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Marks are parts of words.
constexpr const char *kQwen35 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                                R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Words end also where a capital letter follows a small one.
constexpr const char *kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
                                R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char *kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

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

constexpr PreTokenizerRow kRows[] = {
    {.names = "default", .patterns = {R"([\p{P}$+<=>^~|]+)", kGpt2, kDigits, kThreeDigits}},
    {.names = "gpt-2 phi phi-2 olmo exaone4 mpt jais jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code "
              "roberta-bpe modern-bert gigachat a.x-4.0 mellum trillion granite-docling",
     .patterns = {kGpt2}},
    {.names = "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", .patterns = {kDigit, kGpt2}},
    {.names = "falcon", .patterns = {R"([\p{P}$+<=>^~|`]+)", kGpt2, kThreeDigits}},
    {.names = "llama-bpe llama3 llama-v3 lfm2 falcon3 falcon-h1 pixtral midm-2.0 jina-v5-nano",
     .patterns = {kLlama3},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "dbrx smaug-bpe glm4 chatglm-bpe", .patterns = {kLlama3}},
    {.names = "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez kormo f2llmv2 solar-open grok-2", .patterns = {kQwen2}},
    {.names = "qwen35", .patterns = {kQwen35}},
    {.names = "tekken", .patterns = {kTekken}, .ignore_merges = true, .add_bos = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .patterns = {kGpt4o}},
    {.names = "deepseek-llm", .patterns = {kLineBreak, kCasedLetters, kWideSymbols, kTrailingSpaces, kHan, kDigits}},
    {.names = "deepseek-coder", .patterns = {kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHan, kDigit}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm", .patterns = {R"(\p{N}{1,3})", kHanAndKana, kDeepSeek3}},
    {.names = "gemma4", .patterns = {"[^\\n]+|\\n+"}, .add_bos = true, .characters = true},
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

struct FreeMatch {
    void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context *context) const { pcre2_match_context_free(context); }
};

// The memory of matching, made once per text.
class Matcher {
  public:
    explicit Matcher(size_t text_bytes)
        : data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
        if (!data_ || !context_) throw std::bad_alloc();
        // The patterns need a few steps per byte; the limits are there for one that runs wild.
        pcre2_set_match_limit(context_.get(),
                              static_cast<uint32_t>(std::min<size_t>(1000000 + 8 * text_bytes, UINT32_MAX)));
        pcre2_set_depth_limit(context_.get(), 10000000);
        pcre2_set_heap_limit(context_.get(), 1 << 20);  // KiB
    }

    // The next match in text[from..], not empty; false if there is none.
    bool next(const pcre2_code *code, std::string_view text, size_t from, size_t &begin, size_t &end) {
        auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
        uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
        int rc = pcre2_match(code, subject, text.size(), from, options, data_.get(), context_.get());
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
            options |= PCRE2_NO_JIT;
            rc = pcre2_match(code, subject, text.size(), from, options, data_.get(), context_.get());
        }
        if (rc == PCRE2_ERROR_NOMATCH) return false;
        if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
        if (rc < 0) fail(Status::kLimitExceeded, "pre-tokenizer: matching failed with PCRE2 error {}", rc);
        const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(data_.get());
        begin = offsets[0], end = offsets[1];
        return true;
    }

  private:
    std::unique_ptr<pcre2_match_data, FreeMatch> data_;
    std::unique_ptr<pcre2_match_context, FreeMatch> context_;
};

pcre2_code *compile(const PreTokenizerRow &row, const char *pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
    if (!code && error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
    if (!code) {
        fail(Status::kInternal, "pre-tokenizer {}: PCRE2 error {} at offset {} of its pattern", row.names, error,
             offset);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, pcre2_match interprets
    return code;
}

// U+180E is a space to PCRE2, but not to Unicode since 6.3, by which the models' authors tokenize.
constexpr std::string_view kVowelSeparator = "\xE1\xA0\x8E";
constexpr std::string_view kOtherFormatChar = "\xE2\x81\xA0";  // U+2060: the same length and category

// What the patterns see of a text that they cannot see as it is.
struct CleanText {
    std::string text;
    std::vector<uint32_t> replaced;  // where in `text` a U+FFFD stands for one byte

    explicit CleanText(std::string_view raw) {
        while (!raw.empty()) {
            size_t valid = utf8_valid_prefix(raw);
            text.append(raw.substr(0, valid));
            raw.remove_prefix(valid);
            for (size_t n = raw.empty() ? 0 : utf8_decode(raw.data(), raw.size()).length; n > 0; --n) {
                replaced.push_back(static_cast<uint32_t>(text.size()));
                text.append(kReplacementUtf8);
                raw.remove_prefix(1);
            }
        }
        for (size_t at = 0; (at = text.find(kVowelSeparator, at)) != std::string::npos;) {
            text.replace(at, kOtherFormatChar.size(), kOtherFormatChar);
        }
    }

    void to_raw_offsets(std::vector<uint32_t> &ends) const {
        size_t n = 0;
        for (uint32_t &end : ends) {
            while (n < replaced.size() && replaced[n] < end) ++n;
            end -= static_cast<uint32_t>(n * (kReplacementUtf8.size() - 1));
        }
    }
};

}  // namespace

const PreTokenizerRow *find_pre_tokenizer(std::string_view name) {
    for (const PreTokenizerRow &row : kRows) {
        if (is_listed(row.names, name)) return &row;
    }
    return nullptr;
}

const PreTokenizerRow &choose_pre_tokenizer(const Metadata &metadata, const Log &log) {
    constexpr const char *key = "tokenizer.ggml.pre";
    auto name = metadata.get_string(key);
    const PreTokenizerRow *row = name ? find_pre_tokenizer(*name) : nullptr;
    if (row) return *row;
    const PreTokenizerRow &fallback = kRows[0];
    if (name) {
        log(LogLevel::kWarning,
            "{}: {} is '{}', which is not known; '{}' is used, so tokens may differ from the model's",
            metadata.source(), key, utf8_excerpt(*name), fallback.names);
    } else {
        log(LogLevel::kWarning, "{}: {} is missing; '{}' is used, so tokens may differ from the model's",
            metadata.source(), key, fallback.names);
    }
    return fallback;
}

void PreTokenizer::FreeCode::operator()(pcre2_real_code_8 *code) const { pcre2_code_free(code); }

PreTokenizer::PreTokenizer(const PreTokenizerRow &row) {
    patterns_.reserve(PreTokenizerRow::kMaxPatterns);
    for (const char *pattern : row.patterns) {
        if (pattern) patterns_.emplace_back(compile(row, pattern));
    }
}

void PreTokenizer::split(std::string_view text, std::vector<uint32_t> &ends) const {
    if (utf8_is_valid(text) && text.find(kVowelSeparator) == std::string_view::npos) return split_valid(text, ends);
    CleanText clean(text);
    split_valid(clean.text, ends);
    clean.to_raw_offsets(ends);
}

void PreTokenizer::split_valid(std::string_view text, std::vector<uint32_t> &ends) const {
    ends.clear();
    if (text.empty()) return;
    ends.push_back(static_cast<uint32_t>(text.size()));
    Matcher matcher(text.size());
    std::vector<uint32_t> former;
    for (const auto &pattern : patterns_) {
        former.swap(ends);
        ends.clear();
        size_t start = 0;
        for (uint32_t end : former) {
            std::string_view piece = text.substr(start, end - start);
            size_t at = 0, match_begin = 0, match_end = 0;
            while (at < piece.size() && matcher.next(pattern.get(), piece, at, match_begin, match_end)) {
                if (match_begin > at) ends.push_back(static_cast<uint32_t>(start + match_begin));
                ends.push_back(static_cast<uint32_t>(start + match_end));
                at = match_end;
            }
            if (at < piece.size()) ends.push_back(end);
            start = end;
        }
    }
}

}  // namespace el
