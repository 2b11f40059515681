// Cuts text into the pieces that byte-pair merges must not cross. Which patterns do it is data: a row per name.
#pragma once
#include "base/log.h"
#include "base/metadata.h"
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace el {

struct PreTokenizerRow {
    static constexpr size_t kMaxPatterns = 6;
    std::string_view names;              // of tokenizer.ggml.pre, with spaces between
    const char *patterns[kMaxPatterns];  // PCRE2; each cuts the pieces of the former; what it skips is a piece, too
    bool ignore_merges = false;          // a piece that is a token needs no merges
    bool add_bos = false;                // where the file does not say
    bool characters = false;  // merging begins with characters, not with bytes; spaces are U+2581 in the file
};

const PreTokenizerRow *find_pre_tokenizer(std::string_view name);  // NULL if not known

// The row that the file names, or the default one with a warning.
const PreTokenizerRow &choose_pre_tokenizer(const Metadata &metadata, const Log &log);

// The compiled patterns of a row; immutable, so threads may share it.
class PreTokenizer {
  public:
    static constexpr size_t kMaxTextBytes = UINT32_MAX / 3;

    explicit PreTokenizer(const PreTokenizerRow &row);

    // Puts the end offsets of the pieces of `text` into `ends`, in order; together they are the text. It may be any
    // bytes, at most kMaxTextBytes: for the patterns, each invalid one is a U+FFFD.
    void split(std::string_view text, std::vector<uint32_t> &ends) const;
    size_t memory_bytes() const;  // of the compiled patterns

  private:
    struct FreeCode {
        void operator()(pcre2_real_code_8 *code) const;
    };
    void split_valid(std::string_view text, std::vector<uint32_t> &ends) const;
    std::vector<std::unique_ptr<pcre2_real_code_8, FreeCode>> patterns_;
};

}  // namespace el
