#include "text/template_lexer.h"

#include "text/template_text.h"
#include <algorithm>
#include <charconv>

namespace el {

std::string normalize_template(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] != '\r') {
            out += source[i];
            continue;
        }
        out += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
    if (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
}

std::string template_place(std::string_view source, size_t offset) {
    std::string_view before = source.substr(0, offset);
    size_t line = static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
    size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return el::format("{}:{}", line, count_code_points(before.substr(line_start)) + 1);
}

void fail_at(std::string_view source, size_t offset, std::string_view message) {
    fail(Status::kTemplateFailed, "template:{}: {}", template_place(source, offset), message);
}

namespace {

class Lexer {
  public:
    explicit Lexer(std::string_view source) : source_(source) {}

    std::vector<Token> run() {
        while (at_ < source_.size()) text_until_tag();
        add(TokenType::kEnd, at_, "");
        return std::move(tokens_);
    }

  private:
    void add(TokenType type, size_t offset, std::string_view text) {
        tokens_.push_back({type, static_cast<uint32_t>(offset), std::string(text)});
    }
    bool starts(std::string_view text, size_t at) const { return source_.substr(at, text.size()) == text; }
    bool starts(std::string_view text) const { return starts(text, at_); }
    size_t skip_space(size_t at) const {
        while (at < source_.size()) {
            size_t next = at;
            if (!is_space(next_code_point(source_, next))) break;
            at = next;
        }
        return at;
    }
    void skip_space() { at_ = skip_space(at_); }

    // The text before a tag whose sign is `sign`. Only variables keep the blanks before them.
    std::string_view text_before(size_t begin, size_t end, char sign, bool is_print) const {
        std::string_view text = source_.substr(begin, end - begin);
        if (sign == '-') return strip_text(text, kStripRight);
        if (sign == '+' || is_print) return text;
        size_t newline = text.rfind('\n');
        if (newline == std::string_view::npos && !line_starting_) return text;
        size_t line = newline == std::string_view::npos ? 0 : newline + 1;
        return strip_text(text.substr(line), kStripLeft).empty() ? text.substr(0, line) : text;
    }

    char sign_at(size_t at) const {
        return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : 0;
    }

    void text_until_tag() {
        size_t begin = at_, tag = at_;
        for (;; ++tag) {
            tag = source_.find('{', tag);
            if (tag == std::string_view::npos || tag + 1 >= source_.size()) {
                add(TokenType::kText, begin, source_.substr(begin));
                at_ = source_.size();
                return;
            }
            char second = source_[tag + 1];
            if (second == '{' || second == '%' || second == '#') break;
        }
        char kind = source_[tag + 1], sign = sign_at(tag + 2);
        std::string_view text = text_before(begin, tag, sign, kind == '{');
        if (!text.empty()) add(TokenType::kText, begin, text);
        at_ = tag + 2 + (sign != 0);
        if (kind == '#')
            comment(tag);
        else if (kind == '{')
            tag_tokens(TokenType::kPrintBegin, tag);
        else if (!raw_block(tag))
            tag_tokens(TokenType::kBlockBegin, tag);
        line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
    }

    // After the end of a comment, block or raw section: its sign decides about the white space behind it.
    void after_block(char sign) {
        if (sign == '-')
            skip_space();
        else if (sign != '+' && starts("\n"))
            ++at_;
    }

    void comment(size_t tag) {
        size_t end = source_.find("#}", at_);
        if (end == std::string_view::npos) fail_at(source_, tag, "this comment is not closed with '#}'");
        char sign = end > at_ ? source_[end - 1] : 0;
        at_ = end + 2;
        after_block(sign);
    }

    // The end of a tag that holds only `word`, or npos.
    size_t word_tag_end(std::string_view word, size_t at, bool plus, char &sign) const {
        at = skip_space(at);
        if (!starts(word, at)) return std::string_view::npos;
        at = skip_space(at + word.size());
        sign = sign_at(at);
        if (sign == '+' && !plus) return std::string_view::npos;
        at += sign != 0;
        return starts("%}", at) ? at + 2 : std::string_view::npos;
    }

    bool raw_block(size_t tag) {
        char sign = 0;
        size_t begin = word_tag_end("raw", at_, false, sign);
        if (begin == std::string_view::npos) return false;
        if (sign == '-') begin = skip_space(begin);
        line_starting_ = begin > 0 && source_[begin - 1] == '\n';
        for (size_t end = begin; (end = source_.find("{%", end)) != std::string_view::npos; end += 2) {
            char open_sign = sign_at(end + 2);
            size_t after = word_tag_end("endraw", end + 2 + (open_sign != 0), true, sign);
            if (after == std::string_view::npos) continue;
            std::string_view text = text_before(begin, end, open_sign, false);
            if (!text.empty()) add(TokenType::kText, begin, text);
            at_ = after;
            after_block(sign);
            return true;
        }
        fail_at(source_, tag, "this raw section is not closed with '{% endraw %}'");
    }

    // Everything up to the matching end. Ends do not count inside brackets: {{ {'a': {}}}} has one.
    void tag_tokens(TokenType kind, size_t tag) {
        bool print = kind == TokenType::kPrintBegin;
        std::string_view end = print ? "}}" : "%}";
        add(kind, tag, "");
        std::string open;
        for (;;) {
            skip_space();
            if (at_ >= source_.size())
                fail_at(source_, tag, print ? "this '{{' is not closed" : "this '{%' is not closed");
            char sign = sign_at(at_);
            if (print && sign == '+') sign = 0;
            if (open.empty() && starts(end, at_ + (sign != 0))) {
                add(print ? TokenType::kPrintEnd : TokenType::kBlockEnd, at_, "");
                at_ += 2 + (sign != 0);
                if (!print)
                    after_block(sign);
                else if (sign == '-')
                    skip_space();
                return;
            }
            token(open);
        }
    }

    void token(std::string &open) {
        uint8_t c = static_cast<uint8_t>(source_[at_]);
        if (c == '\'' || c == '"') return string(static_cast<char>(c));
        if (is_digit(c)) return number();
        if (is_letter(c) || c == '_' || c >= 0x80) return name();
        static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                          "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                          ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
        for (std::string_view op : kOperators) {
            if (!starts(op)) continue;
            balance(op[0], open);
            add(TokenType::kOperator, at_, op);
            at_ += op.size();
            return;
        }
        fail_at(source_, at_, el::format("unexpected character '{}'", source_[at_]));
    }

    void balance(char op, std::string &open) const {
        if (op == '{' || op == '(' || op == '[') open += op == '{' ? '}' : op == '(' ? ')' : ']';
        if (op != '}' && op != ')' && op != ']') return;
        if (open.empty()) fail_at(source_, at_, el::format("unexpected '{}'", op));
        if (open.back() != op) fail_at(source_, at_, el::format("unexpected '{}', expected '{}'", op, open.back()));
        open.pop_back();
    }

    void name() {
        size_t start = at_;
        while (at_ < source_.size()) {
            size_t next = at_;
            uint32_t code = next_code_point(source_, next);
            if (!is_letter(code) && !is_digit(code) && code != '_') break;
            at_ = next;
        }
        if (at_ == start) fail_at(source_, at_, "unexpected character in an expression");
        add(TokenType::kName, start, source_.substr(start, at_ - start));
    }

    // Digits of a base with single underscores between them, appended to `out`.
    size_t digits(size_t at, int base, std::string &out) const {
        auto is_one = [&](char c) {
            int value = is_digit(static_cast<uint8_t>(c))    ? c - '0'
                        : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                             : 99;
            return value < base;
        };
        while (at < source_.size()) {
            if (is_one(source_[at]))
                out += source_[at++];
            else if (source_[at] == '_' && !out.empty() && at + 1 < source_.size() && is_one(source_[at + 1]))
                ++at;
            else
                break;
        }
        return at;
    }

    void number() {
        size_t start = at_, at = at_;
        std::string text;
        int base = 10;
        char prefix = at + 1 < source_.size() && source_[at] == '0' ? static_cast<char>(source_[at + 1] | 32) : '0';
        if (prefix == 'x' || prefix == 'o' || prefix == 'b') {
            base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : 2;
            at = digits(at + 2, base, text);
            if (text.empty()) fail_at(source_, start, "a number without digits");
        } else {
            at = digits(at, 10, text);
        }
        size_t whole = text.size();
        if (base == 10 && (start == 0 || source_[start - 1] != '.')) at = fraction(at, text);
        at_ = at;
        Token token{whole == text.size() ? TokenType::kInt : TokenType::kFloat, static_cast<uint32_t>(start), text};
        const char *begin = text.data(), *end = begin + text.size();
        if (token.type == TokenType::kFloat) {
            read_float(text, token.number);
        } else if (base == 10 && text.size() > 1 && text[0] == '0' &&
                   text.find_first_not_of('0') != std::string::npos) {
            fail_at(source_, start, "an integer may not start with 0");
        } else if (std::from_chars(begin, end, token.integer, base).ec != std::errc()) {
            fail_at(source_, start, "the number does not fit into 64 bits");
        }
        tokens_.push_back(std::move(token));
    }

    // ".5", "e3" and ".5e3" behind digits
    size_t fraction(size_t at, std::string &text) const {
        std::string part;
        if (at < source_.size() && source_[at] == '.') {
            size_t end = digits(at + 1, 10, part);
            if (part.empty()) return at;
            text += '.' + part;
            at = end;
        }
        if (at >= source_.size() || (source_[at] | 32) != 'e') return at;
        size_t exponent = at + 1;
        char sign = sign_at(exponent);
        part.clear();
        size_t end = digits(exponent + (sign != 0), 10, part);
        if (part.empty()) return at;
        text += sign == '-' ? "e-" : "e";
        text += part;
        return end;
    }

    void string(char quote) {
        size_t start = at_++;
        std::string text;
        for (;;) {
            if (at_ >= source_.size()) fail_at(source_, start, "this string is not closed");
            char c = source_[at_++];
            if (c == quote) break;
            if (c == '\\' && at_ < source_.size())
                escape(text);
            else
                text += c;
        }
        add(TokenType::kString, start, text);
    }

    // Python's escapes; an unknown one keeps its backslash.
    void escape(std::string &text) {
        static constexpr std::string_view kNames = "ntrabfv\\'\"", kValues = "\n\t\r\a\b\f\v\\'\"";
        char c = source_[at_];
        if (c >= '0' && c <= '7') return octal(text);
        ++at_;
        if (c == '\n') return;
        if (c == 'x' || c == 'u' || c == 'U')
            return append_utf8(text, surrogates(hex(c == 'x' ? 2 : c == 'u' ? 4 : 8)));
        size_t known = kNames.find(c);
        if (known == std::string_view::npos)
            (text += '\\') += c;
        else
            text += kValues[known];
    }

    void octal(std::string &text) {
        uint32_t code = 0;
        for (int i = 0; i < 3 && at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '7'; ++i)
            code = code * 8 + static_cast<uint32_t>(source_[at_++] - '0');
        append_utf8(text, code);
    }

    uint32_t hex(size_t count) {
        uint32_t code = 0;
        auto digits = source_.substr(at_, count);
        auto end = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (digits.size() != count || end.ptr != digits.data() + count)
            fail_at(source_, at_ - 2, el::format("this escape needs {} hexadecimal digits", count));
        at_ += count;
        return code;
    }

    // Two escapes that together name one code point, as JSON writes them.
    uint32_t surrogates(uint32_t high) {
        if (high < 0xD800 || high >= 0xDC00 || !starts("\\u")) return high;
        size_t back = at_;
        at_ += 2;
        uint32_t low = hex(4);
        if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        at_ = back;
        return high;
    }

    std::string_view source_;
    size_t at_ = 0;
    bool line_starting_ = true;
    std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex_template(std::string_view source) { return Lexer(source).run(); }

}  // namespace el
