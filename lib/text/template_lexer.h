// Cuts the source of a template into text and the tokens inside tags, and settles white space: the newline after a
// block tag and the blanks before one on its own line go away (trim_blocks, lstrip_blocks), as do those beside a '-'.
#pragma once
#include "base/status.h"
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace el {

enum class TokenType : uint8_t {
    kText,        // outside of tags
    kPrintBegin,  // {{
    kPrintEnd,    // }}
    kBlockBegin,  // {%
    kBlockEnd,    // %}
    kName,        // also keywords
    kString,      // text is unescaped
    kInt,
    kFloat,
    kOperator,  // text is the operator
    kEnd,
};

struct Token {
    TokenType type;
    uint32_t offset;  // in the source, for messages
    std::string text;
    int64_t integer = 0;
    double number = 0;
    bool is(TokenType t, std::string_view s) const { return type == t && text == s; }
    bool is_name(std::string_view s) const { return is(TokenType::kName, s); }
    bool is_operator(std::string_view s) const { return is(TokenType::kOperator, s); }
};

// Line ends become "\n" and one at the end of the source is dropped: offsets count in this text.
std::string normalize_template(std::string_view source);

// Throws kTemplateFailed. The last token is kEnd.
std::vector<Token> lex_template(std::string_view source);

// "line 3, column 7", both from 1; columns count code points
std::string template_place(std::string_view source, size_t offset);
[[noreturn]] void fail_at(std::string_view source, size_t offset, std::string_view message);

}  // namespace el
