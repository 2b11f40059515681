// The filters that make and take apart HTML, and wrap text.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>
#include <memory>
#include <new>
#include <pcre2.h>
#include <set>

namespace el {

namespace {

std::string escaped(const Value &value, Renderer &renderer) {
    return value.is_markup() ? value.text() : escape_html(renderer.text(value));
}

Value xmlattr(Call &call) {
    call.bind({"autospace"});
    if (!call.self.is_dict()) fail_template("xmlattr needs a mapping");
    std::string out;
    for (auto &[key, value] : call.self.dict().entries()) {
        if (value.is_none() || value.is_undefined()) continue;
        if (!key.is_string() || key.text().find_first_of(" \t\n\v\f\r/>=") != std::string::npos)
            fail_template("xmlattr: a key is no name of an attribute");
        if (!out.empty() || call.flag(0, true)) out += ' ';
        out += escaped(key, call.renderer) + "=\"" + escaped(value, call.renderer) + '"';
    }
    return call.renderer.make_string(std::move(out));
}

// --- striptags ---

// Takes out everything from `open` to the next `close`, again and again, as taking out may bring new ones together.
void remove_between(std::string &text, std::string_view open, std::string_view close, Meter &meter) {
    for (size_t start; (start = text.find(open)) != std::string::npos;) {
        size_t end = text.find(close, start);
        if (end == std::string::npos) return;
        meter.look(text.size());
        text.erase(start, end + close.size() - start);
    }
}

// The character that a reference at text[at], after the '&', stands for; `at` moves behind it. 0: there is none.
uint32_t character_reference(std::string_view text, size_t &at) {
    static constexpr std::pair<std::string_view, uint32_t> kNames[] = {
        {"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", 0xA0},
        {"amp", '&'},  {"lt", '<'},  {"gt", '>'},  {"quot", '"'},  {"nbsp", 0xA0}};
    for (auto [name, code] : kNames) {
        if (text.substr(at, name.size()) != name) continue;
        at += name.size();
        return code;
    }
    if (at >= text.size() || text[at] != '#') return 0;
    bool hex = at + 1 < text.size() && (text[at + 1] | 32) == 'x';
    size_t digit = at + 1 + hex, first = digit;
    uint32_t code = 0;
    for (; digit < text.size(); ++digit) {
        auto c = static_cast<uint8_t>(text[digit] | (text[digit] > '9' ? 32 : 0));
        bool letter = hex && c >= 'a' && c <= 'f';
        if (!is_digit(c) && !letter) break;
        code = std::min<uint32_t>(code * (hex ? 16 : 10) + (letter ? c - 'a' + 10 : c - '0'), 0x110000);
    }
    if (digit == first) return 0;
    at = digit + (digit < text.size() && text[digit] == ';');
    return code == 0 || code >= 0x110000 ? 0xFFFD : code;
}

// With numbers and the names that escaping writes; other names stay.
Value striptags(Call &call) {
    call.bind({});
    std::string text = call.renderer.text(call.self), spaced, out;
    remove_between(text, "<!--", "-->", call.renderer.meter);
    remove_between(text, "<", ">", call.renderer.meter);
    bool space = false;
    for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        if (is_space(next_code_point(text, at))) {
            space = true;
            continue;
        }
        if (std::exchange(space, false) && !spaced.empty()) spaced += ' ';
        spaced.append(text, begin, at - begin);
    }
    for (size_t at = 0; at < spaced.size();) {
        size_t after = at + 1;
        uint32_t code = spaced[at] == '&' ? character_reference(spaced, after) : 0;
        if (code)
            append_utf8(out, code);
        else
            out += spaced[at];
        at = code ? after : at + 1;
    }
    return call.renderer.make_string(std::move(out));
}

// --- wordwrap ---

// Wraps one line as Python's textwrap does that keeps white space as it is.
class Wrapper {
  public:
    Wrapper(std::string_view line, size_t width, bool break_words, bool break_on_hyphens)
        : line_(line), width_(width), break_words_(break_words), hyphens_(break_on_hyphens) {
        for (size_t at = 0; at < line.size();) {
            offsets_.push_back(at);
            codes_.push_back(next_code_point(line, at));
        }
        offsets_.push_back(line.size());
    }

    std::vector<std::string_view> run() {
        split();
        std::vector<std::string_view> lines;
        for (size_t next = 0; next < chunks_.size();) {
            if (!lines.empty() && is_blank(chunks_[next]) && ++next == chunks_.size()) break;
            std::vector<Chunk> taken;
            size_t length = 0;
            for (; next < chunks_.size() && length + chunks_[next].size() <= width_; ++next) {
                length += chunks_[next].size();
                taken.push_back(chunks_[next]);
            }
            if (next < chunks_.size() && chunks_[next].size() > width_) {
                if (break_words_)
                    taken.push_back(break_off(chunks_[next], width_ - length));
                else if (taken.empty())
                    taken.push_back(chunks_[next++]);
            }
            if (!taken.empty() && is_blank(taken.back())) taken.pop_back();
            if (taken.empty()) continue;
            size_t begin = offsets_[taken.front().begin];
            lines.push_back(line_.substr(begin, offsets_[taken.back().end] - begin));
        }
        return lines;
    }

  private:
    struct Chunk {  // code points
        size_t begin, end;
        size_t size() const { return end - begin; }
    };

    uint32_t code(size_t at) const { return at < codes_.size() ? codes_[at] : 0; }
    bool blank(size_t at) const { return code(at) == ' ' || (code(at) >= '\t' && code(at) <= '\r'); }
    bool letter(size_t at) const { return at < codes_.size() && (is_letter(codes_[at]) || codes_[at] == '_'); }
    bool word(size_t at) const { return letter(at) || is_digit(code(at)); }
    bool before_dash(size_t at) const {
        return word(at) || (code(at) && std::u32string_view(U"!\"'&.,?").find(code(at)) != std::u32string_view::npos);
    }
    bool is_blank(const Chunk &chunk) const {
        return std::all_of(codes_.begin() + static_cast<ptrdiff_t>(chunk.begin),
                           codes_.begin() + static_cast<ptrdiff_t>(chunk.end), is_space);
    }

    // The end of two or more dashes at `at` with a word behind them, or `at`.
    size_t dashes(size_t at) const {
        size_t end = at;
        while (code(end) == '-') ++end;
        return end >= at + 2 && word(end) ? end : at;
    }

    // A hyphen between two parts of a word, each of two letters or more ("e-mail" is not cut; "x-y-ray" is, once).
    bool hyphen(size_t at) const {
        if (code(at) != '-') return false;
        bool left = at >= 2 && letter(at - 1) && (letter(at - 2) || (at >= 3 && code(at - 2) == '-' && letter(at - 3)));
        return left && letter(at + 1) && letter(at + (code(at + 2) == '-' ? 3 : 2));
    }

    size_t chunk_end(size_t begin) const {
        size_t end = begin + 1;
        if (blank(begin)) {
            while (end < codes_.size() && blank(end)) ++end;
            return end;
        }
        if (hyphens_ && begin > 0 && before_dash(begin - 1) && dashes(begin) > begin) return dashes(begin);
        for (; end < codes_.size() && !blank(end); ++end) {
            if (!hyphens_) continue;
            if (hyphen(end)) return end + 1;
            if (before_dash(end - 1) && dashes(end) > end) break;
        }
        return end;
    }

    void split() {
        for (size_t begin = 0; begin < codes_.size(); begin = chunks_.back().end)
            chunks_.push_back({begin, chunk_end(begin)});
    }

    // Takes what fits off a chunk that is too long for any line, at a hyphen if there is one.
    Chunk break_off(Chunk &chunk, size_t room) {
        size_t end = chunk.begin + room;
        for (size_t at = hyphens_ ? end : chunk.begin; at > chunk.begin + 1; --at) {
            if (code(at - 1) != '-') continue;
            bool only = std::all_of(codes_.begin() + static_cast<ptrdiff_t>(chunk.begin),
                                    codes_.begin() + static_cast<ptrdiff_t>(at), [](uint32_t c) { return c == '-'; });
            if (!only) end = at;
            break;
        }
        return {std::exchange(chunk.begin, end), end};
    }

    std::string_view line_;
    size_t width_;
    bool break_words_, hyphens_;
    std::vector<uint32_t> codes_;
    std::vector<size_t> offsets_;  // [codes + 1]
    std::vector<Chunk> chunks_;
};

Value wordwrap(Call &call) {
    call.bind({"width", "break_long_words", "wrapstring", "break_on_hyphens"});
    if (!call.self.is_string()) fail_template("wordwrap needs a str");
    int64_t width = call.integer(0, 79);
    if (width < 1) fail_template("wordwrap needs a positive width");
    std::string by = call.has(2) && !call.args[2].is_none() ? call.string(2) : "\n", out;
    const std::string &text = call.self.text();
    call.renderer.meter.build(text.size() * (16 + by.size()));
    bool first = true;
    for (std::string_view line : split_lines(text, false)) {
        Wrapper wrapper(line, static_cast<size_t>(width), call.flag(1, true), call.flag(3, true));
        std::vector<std::string_view> lines = wrapper.run();
        if (lines.empty()) lines.push_back("");
        for (std::string_view part : lines) {
            if (!std::exchange(first, false)) out += by;
            out += part;
        }
    }
    return call.renderer.make_string(std::move(out));
}

// --- urlize ---

class Pattern {
  public:
    explicit Pattern(const char *pattern) {
        int error = 0;
        PCRE2_SIZE offset = 0;
        code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &offset, nullptr));
        if (code_) data_.reset(pcre2_match_data_create(1, nullptr));
        context_.reset(pcre2_match_context_create(nullptr));
        if (!code_ || !data_ || !context_) throw std::bad_alloc();
        pcre2_set_match_limit(context_.get(), 1'000'000);
        pcre2_set_heap_limit(context_.get(), 1 << 16);  // KiB
    }
    bool matches(std::string_view text) const {
        int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data_.get(),
                             context_.get());
        if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) fail(Status::kLimitExceeded, "urlize: a word is too long to match");
        return rc >= 0;
    }

  private:
    struct Free {
        void operator()(pcre2_code *p) const { pcre2_code_free(p); }
        void operator()(pcre2_match_data *p) const { pcre2_match_data_free(p); }
        void operator()(pcre2_match_context *p) const { pcre2_match_context_free(p); }
    };
    std::unique_ptr<pcre2_code, Free> code_;
    std::unique_ptr<pcre2_match_data, Free> data_;
    std::unique_ptr<pcre2_match_context, Free> context_;
};

constexpr const char *kAddress =
    R"((?i)\A(?:(?:https?://|www\.)(?:[\w%-]+\.)*(?:[a-z]{2,63}|xn--[\w%]{2,59}))"
    R"(|(?:[\w%-]{2,63}\.)+(?:com|net|int|edu|gov|org|info|mil))"
    R"(|https?://(?:\d{1,3}(?:\.\d{1,3}){3}|\[(?:[\da-f]{0,4}:){2}(?:[\da-f]{0,4}:?){1,6}\]))"
    R"()(?::\d{1,5})?(?:[/?#]\S*)?\z)";
constexpr const char *kMail = R"(\A\S+@\w[\w.-]*\.\w+\z)", *kScheme = R"(\A[\w.+-]{2,}:/{0,2}\z)";

bool starts_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

class Linker {
  public:
    explicit Linker(Call &call) : address_(kAddress), mail_(kMail) {
        call.bind({"trim_url_limit", "nofollow", "target", "rel", "extra_schemes"});
        if (call.has(0) && !call.args[0].is_none()) limit_ = call.integer(0, 0);
        std::set<std::string> rel{"noopener"};
        if (call.flag(1, false)) rel.insert("nofollow");
        if (call.has(3) && !call.args[3].is_none()) {
            std::string_view words = call.string(3);
            for (size_t end; !(words = strip_text(words, kStripBoth)).empty(); words.remove_prefix(end)) {
                end = std::min(words.find_first_of(" \t\n"), words.size());
                rel.emplace(words.substr(0, end));
            }
        }
        for (const std::string &word : rel) attributes_ += (attributes_.empty() ? " rel=\"" : " ") + escape_html(word);
        attributes_ += '"';
        if (call.has(2) && !call.args[2].is_none()) {
            std::string target = escaped(call.args[2], call.renderer);
            if (!target.empty()) attributes_ += " target=\"" + target + '"';
        }
        if (!call.has(4) || call.args[4].is_none()) return;
        Pattern scheme(kScheme);
        for (const Value &value : call.renderer.iterate(call.args[4])) {
            schemes_.push_back(call.renderer.text(value));
            if (!scheme.matches(schemes_.back())) fail_template("urlize: an extra scheme is not one such as \"tel:\"");
        }
    }

    // A word without white space, escaped.
    std::string word(std::string_view text) const {
        std::string_view head = text.substr(0, prefix(text, {"(", "<", "&lt;"}));
        text.remove_prefix(head.size());
        std::string_view middle = text.substr(0, text.size() - tail_size(text));
        for (auto [open, close] : {std::pair("(", ")"), std::pair("<", ">"), std::pair("&lt;", "&gt;")}) {
            size_t opened = count_text(middle, open), closed = count_text(middle, close);
            if (opened <= closed) continue;
            // What closes a bracket of the address belongs to it.
            for (size_t n = opened; n > 0; --n) {
                size_t at = text.find(close, middle.size());
                if (at == std::string_view::npos) break;
                middle = text.substr(0, at + std::string_view(close).size());
            }
        }
        return std::string(head) + link(std::string(middle)) + std::string(text.substr(middle.size()));
    }

  private:
    // How much of the beginning consists of these.
    static size_t prefix(std::string_view text, std::initializer_list<std::string_view> parts) {
        size_t size = 0;
        for (bool found = true; found;) {
            found = false;
            for (std::string_view part : parts) {
                if (text.substr(size, part.size()) != part) continue;
                size += part.size();
                found = true;
            }
        }
        return size;
    }
    static size_t tail_size(std::string_view text) {
        size_t end = text.size();
        while (end > 0) {
            if (end >= 4 && text.substr(end - 4, 4) == "&gt;")
                end -= 4;
            else if (std::string_view(")>.,\n").find(text[end - 1]) != std::string_view::npos)
                --end;
            else
                break;
        }
        return text.size() - end;
    }

    std::string anchor(const std::string &to, const std::string &shown, const std::string &attributes) const {
        return "<a href=\"" + to + '"' + attributes + '>' + shown + "</a>";
    }
    std::string link(const std::string &text) const {
        if (address_.matches(text)) {
            std::string shown = text;
            if (limit_ >= 0 && count_code_points(text) > static_cast<size_t>(limit_))
                shown = text.substr(0, byte_offset(text, static_cast<size_t>(limit_))) + "...";
            bool whole = starts_with(text, "https://") || starts_with(text, "http://");
            return anchor((whole ? "" : "https://") + text, shown, attributes_);
        }
        if (starts_with(text, "mailto:") && mail_.matches(std::string_view(text).substr(7)))
            return anchor(text, text.substr(7), "");
        if (text.find('@') != std::string::npos && text[0] != '@' && !starts_with(text, "www.") &&
            text.find(':') == std::string::npos && mail_.matches(text))
            return anchor("mailto:" + text, text, "");
        for (const std::string &scheme : schemes_)
            if (text != scheme && starts_with(text, scheme)) return anchor(text, text, attributes_);
        return text;
    }

    Pattern address_, mail_;
    int64_t limit_ = -1;
    std::string attributes_;
    std::vector<std::string> schemes_;
};

Value urlize(Call &call) {
    std::string text = escaped(call.self, call.renderer), out;
    Linker linker(call);
    call.renderer.meter.build(text.size() * 4);
    call.renderer.meter.look(text.size() * 64);
    for (size_t at = 0; at < text.size();) {
        size_t begin = at, end = at;
        bool space = is_space(next_code_point(text, at));
        for (end = at; at < text.size(); end = at)
            if (is_space(next_code_point(text, at)) != space) break;
        at = end;
        std::string_view part = std::string_view(text).substr(begin, end - begin);
        out += space ? std::string(part) : linker.word(part);
    }
    call.renderer.meter.build(out.size());
    return call.renderer.make_string(std::move(out));
}

constexpr NamedFunction kMarkupFilters[] = {
    {"striptags", striptags},
    {"urlize", urlize},
    {"wordwrap", wordwrap},
    {"xmlattr", xmlattr},
};

}  // namespace

Function find_markup_filter(std::string_view name) { return find_function(kMarkupFilters, name); }

}  // namespace el
