#include "text/pretokenizer.h"
#include "base/status.h"
#include "base/utf8.h"
#include <algorithm>
#include <new>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace el {
namespace {

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

const PreTokenizerRow &choose_pre_tokenizer(const Metadata &metadata, const Log &log) {
    constexpr const char *key = "tokenizer.ggml.pre";
    auto name = metadata.get_string(key);
    const PreTokenizerRow *row = name ? find_pre_tokenizer(*name) : nullptr;
    if (row) return *row;
    const PreTokenizerRow &fallback = *find_pre_tokenizer("default");
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

size_t PreTokenizer::memory_bytes() const {
    size_t sum = 0;
    for (const auto &pattern : patterns_) {
        size_t code = 0, machine_code = 0;
        pcre2_pattern_info(pattern.get(), PCRE2_INFO_SIZE, &code);
        pcre2_pattern_info(pattern.get(), PCRE2_INFO_JITSIZE, &machine_code);
        sum += code + machine_code;
    }
    return sum;
}

}  // namespace el
