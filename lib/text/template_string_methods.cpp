// Methods of str.
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>

namespace el {

namespace {

const std::string &text_of(const Call &call) { return call.self.text(); }
Value like_self(Call &call, std::string text) {
    return call.renderer.make_string(std::move(text), call.self.is_markup());
}

using TextMap = std::string (*)(std::string_view);
template <TextMap map> Value mapped(Call &call) {
    call.bind({});
    call.renderer.meter.look(text_of(call).size());
    return like_self(call, map(text_of(call)));
}

template <StripSides sides> Value strip(Call &call) {
    call.bind({"chars"});
    const std::string &text = text_of(call);
    if (!call.has(0) || call.args[0].is_none()) return like_self(call, std::string(strip_text(text, sides)));
    const std::string &chars = call.string(0);
    call.renderer.meter.step(1 + text.size() * (chars.size() + 1) / 64);
    return like_self(call, std::string(strip_text(text, chars, sides)));
}

// The part of the subject between the code points `start` and `stop` that a method was given from index `first` on.
std::string_view part_of(Call &call, size_t first, size_t &begin) {
    const std::string &text = text_of(call);
    begin = 0;
    if (!call.has(first) && !call.has(first + 1)) return text;
    call.renderer.meter.look(text.size());
    int64_t size = static_cast<int64_t>(count_code_points(text));
    auto bound = [&](size_t i, int64_t otherwise) {
        int64_t at = call.has(i) && call.args[i].is_none() ? otherwise : call.integer(i, otherwise);
        return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    };
    int64_t start = bound(first, 0), stop = std::max(start, bound(first + 1, size));
    begin = byte_offset(text, static_cast<size_t>(start));
    return std::string_view(text).substr(begin, byte_offset(text, static_cast<size_t>(stop)) - begin);
}

template <bool at_end> Value starts_or_ends(Call &call) {
    call.bind({at_end ? "suffix" : "prefix", "start", "end"}, 1);
    size_t begin;
    std::string_view text = part_of(call, 1, begin);
    std::vector<Value> choices{call.args[0]};
    if (call.args[0].is_list() && call.args[0].list().kind == ListKind::kTuple) choices = call.args[0].list().items;
    for (const Value &choice : choices) {
        if (!choice.is_string()) fail_template(el::format("{} needs a str or a tuple of str", call.name));
        const std::string &part = choice.text();
        call.renderer.meter.look(part.size());
        if (part.size() > text.size()) continue;
        if (text.substr(at_end ? text.size() - part.size() : 0, part.size()) == part) return Value(true);
    }
    return Value(false);
}

// In code points from the start of the text; -1 or an error if it is not there.
template <bool from_right, bool must_exist> Value find_in(Call &call) {
    call.bind({"sub", "start", "end"}, 1);
    const std::string &needle = call.string(0);
    size_t begin;
    std::string_view text = part_of(call, 1, begin);
    call.renderer.meter.look(text.size());
    size_t found = find_text(text, needle);
    if (from_right && found != std::string_view::npos) {
        if (needle.empty()) found = text.size();
        for (size_t next = found; !needle.empty() && next != std::string_view::npos;
             next = find_text(text, needle, next + 1)) {
            found = next;
            call.renderer.meter.look(needle.size());
        }
    }
    if (found == std::string_view::npos) {
        if (must_exist) fail_template("substring not found");
        return Value(-1);
    }
    return Value(count_code_points(std::string_view(text_of(call)).substr(0, begin + found)));
}

Value count_in(Call &call) {
    call.bind({"sub", "start", "end"}, 1);
    size_t begin;
    std::string_view text = part_of(call, 1, begin);
    call.renderer.meter.look(text.size());
    return Value(count_text(text, call.string(0)));
}

Value replace(Call &call) {
    call.bind({"old", "new", "count"}, 2);
    const std::string &text = text_of(call), &to = call.string(1);
    call.renderer.meter.look(text.size());
    call.renderer.meter.build(count_text(text, call.string(0)) * to.size());
    return like_self(call, replace_text(text, call.string(0), to, call.integer(2, -1)));
}

// --- splitting ---

void split_on_space(std::string_view text, int64_t limit, std::vector<std::string_view> &parts) {
    for (;;) {
        text = strip_text(text, kStripLeft);
        if (text.empty()) return;
        if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) break;
        size_t end = 0, at = 0;
        while (at < text.size() && !is_space(next_code_point(text, at))) end = at;
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    parts.push_back(text);
}

void rsplit_on_space(std::string_view text, int64_t limit, std::vector<std::string_view> &parts) {
    for (;;) {
        text = strip_text(text, kStripRight);
        if (text.empty()) break;
        if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
            parts.push_back(text);
            break;
        }
        size_t begin = text.size(), at = text.size();
        while (at > 0 && !is_space(previous_code_point(text, at))) begin = at;
        parts.push_back(text.substr(begin));
        text = text.substr(0, begin);
    }
    std::reverse(parts.begin(), parts.end());
}

void split_on(std::string_view text, std::string_view separator, int64_t limit, std::vector<std::string_view> &parts) {
    size_t at = 0;
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
        size_t found = find_text(text, separator, at);
        if (found == std::string_view::npos) break;
        parts.push_back(text.substr(at, found - at));
        at = found + separator.size();
    }
    parts.push_back(text.substr(at));
}

void rsplit_on(std::string_view text, std::string_view separator, int64_t limit, std::vector<std::string_view> &parts) {
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
        size_t found = text.rfind(separator);
        if (found == std::string_view::npos) break;
        parts.push_back(text.substr(found + separator.size()));
        text = text.substr(0, found);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
}

Value parts_list(Call &call, const std::vector<std::string_view> &parts, ListKind kind = ListKind::kList) {
    std::vector<Value> items;
    items.reserve(parts.size());
    for (std::string_view part : parts) items.push_back(like_self(call, std::string(part)));
    return call.renderer.make_list(std::move(items), kind);
}

template <bool from_right> Value split(Call &call) {
    call.bind({"sep", "maxsplit"});
    const std::string &text = text_of(call);
    int64_t limit = call.integer(1, -1);
    std::vector<std::string_view> parts;
    call.renderer.meter.look(text.size());
    call.renderer.meter.build(text.size());  // of views, at the most one for each two bytes or so
    if (!call.has(0) || call.args[0].is_none()) {
        from_right ? rsplit_on_space(text, limit, parts) : split_on_space(text, limit, parts);
        return parts_list(call, parts);
    }
    const std::string &separator = call.string(0);
    if (separator.empty()) fail_template("empty separator");
    // From the right a search may look at each byte as often as the separator is long.
    if (from_right) call.renderer.meter.step(text.size() * std::min<size_t>(separator.size(), 4096) / 64);
    from_right ? rsplit_on(text, separator, limit, parts) : split_on(text, separator, limit, parts);
    return parts_list(call, parts);
}

template <bool from_right> Value partition(Call &call) {
    call.bind({"sep"}, 1);
    std::string_view text = text_of(call), separator = call.string(0);
    if (separator.empty()) fail_template("empty separator");
    call.renderer.meter.step(1 + text.size() * (from_right ? std::min<size_t>(separator.size(), 4096) : 1) / 64);
    size_t found = from_right ? text.rfind(separator) : find_text(text, separator);
    if (found != std::string_view::npos)
        return parts_list(call, {text.substr(0, found), separator, text.substr(found + separator.size())},
                          ListKind::kTuple);
    if (from_right) return parts_list(call, {"", "", text}, ListKind::kTuple);
    return parts_list(call, {text, "", ""}, ListKind::kTuple);
}

Value splitlines(Call &call) {
    call.bind({"keepends"});
    call.renderer.meter.look(text_of(call).size());
    return parts_list(call, split_lines(text_of(call), call.flag(0, false)));
}

Value join(Call &call) {
    call.bind({"iterable"}, 1);
    std::string out;
    bool first = true;
    for (const Value &item : call.renderer.iterate(call.args[0])) {
        if (!item.is_string()) fail_template(el::format("join: expected str, found {}", type_name(item)));
        call.renderer.meter.build(item.text().size() + text_of(call).size());
        if (!std::exchange(first, false)) out += text_of(call);
        out += item.text();
    }
    return like_self(call, std::move(out));
}

template <char align> Value justify(Call &call) {
    call.bind({"width", "fillchar"}, 1);
    const std::string fill = call.string(1, " ");
    if (count_code_points(fill) != 1) fail_template("the fill character must be exactly one character long");
    int64_t width = call.integer(0, 0), size = static_cast<int64_t>(count_code_points(text_of(call)));
    if (width <= size) return call.self;
    size_t missing = static_cast<size_t>(width - size), left = align == '>' ? missing : 0;
    call.renderer.meter.build(missing);
    // Python puts the odd blank of centered text to the left only when the width is odd.
    if (align == '^') left = missing / 2 + (missing & static_cast<size_t>(width) & 1);
    std::string out;
    for (size_t i = 0; i < left; ++i) out += fill;
    out += text_of(call);
    for (size_t i = left; i < missing; ++i) out += fill;
    return like_self(call, std::move(out));
}

Value zfill(Call &call) {
    call.bind({"width"}, 1);
    const std::string &text = text_of(call);
    int64_t missing = call.integer(0, 0) - static_cast<int64_t>(count_code_points(text));
    if (missing <= 0) return call.self;
    call.renderer.meter.build(static_cast<uint64_t>(missing));
    size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+');
    return like_self(call, text.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') + text.substr(sign));
}

template <bool at_end> Value remove_affix(Call &call) {
    call.bind({at_end ? "suffix" : "prefix"}, 1);
    std::string_view text = text_of(call), part = call.string(0);
    if (part.size() <= text.size() && text.substr(at_end ? text.size() - part.size() : 0, part.size()) == part)
        text = at_end ? text.substr(0, text.size() - part.size()) : text.substr(part.size());
    return like_self(call, std::string(text));
}

Value expandtabs(Call &call) {
    call.bind({"tabsize"});
    int64_t size = std::clamp<int64_t>(call.integer(0, 8), 0, 1000);
    const std::string &text = text_of(call);
    call.renderer.meter.build(count_text(text, "\t") * static_cast<size_t>(size));
    std::string out;
    int64_t column = 0;
    for (char c : text) {
        if (c != '\t') {
            out += c;
            if ((c & 0xC0) != 0x80) ++column;
            if (c == '\n' || c == '\r') column = 0;
        } else if (size > 0) {
            int64_t blanks = size - column % size;
            out.append(static_cast<size_t>(blanks), ' ');
            column += blanks;
        }
    }
    return like_self(call, std::move(out));
}

using CodeTest = bool (*)(uint32_t);
template <CodeTest test, bool when_empty = false> Value all_are(Call &call) {
    call.bind({});
    const std::string &text = text_of(call);
    call.renderer.meter.look(text.size());
    for (size_t at = 0; at < text.size();)
        if (!test(next_code_point(text, at))) return Value(false);
    return Value(when_empty || !text.empty());
}
bool is_alphanumeric(uint32_t code) { return is_letter(code) || is_digit(code); }
bool is_ascii(uint32_t code) { return code < 0x80; }

template <CodeTest wanted, CodeTest other> Value case_is(Call &call) {
    call.bind({});
    const std::string &text = text_of(call);
    call.renderer.meter.look(text.size());
    bool any = false;
    for (size_t at = 0; at < text.size();) {
        uint32_t code = next_code_point(text, at);
        if (other(code)) return Value(false);
        any |= wanted(code);
    }
    return Value(any);
}

Value istitle(Call &call) {
    call.bind({});
    return Value(title_text(text_of(call)) == text_of(call) && lower_text(text_of(call)) != text_of(call));
}
Value isidentifier(Call &call) {
    call.bind({});
    const std::string &text = text_of(call);
    for (size_t at = 0; at < text.size();) {
        bool first = at == 0;
        uint32_t code = next_code_point(text, at);
        if (!is_letter(code) && code != '_' && (first || !is_digit(code))) return Value(false);
    }
    return Value(!text.empty());
}

Value format(Call &call) { return like_self(call, format_braces(text_of(call), call, call.renderer)); }

std::string casefold_text(std::string_view text) { return lower_text(replace_text(text, "\u00df", "ss")); }

constexpr NamedFunction kStringMethods[] = {
    {"capitalize", mapped<capitalize_text>},
    {"casefold", mapped<casefold_text>},
    {"center", justify<'^'>},
    {"count", count_in},
    {"endswith", starts_or_ends<true>},
    {"expandtabs", expandtabs},
    {"find", find_in<false, false>},
    {"format", format},
    {"index", find_in<false, true>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_letter>},
    {"isascii", all_are<is_ascii, true>},
    {"isdecimal", all_are<is_digit>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", isidentifier},
    {"islower", case_is<is_lower, is_upper>},
    {"isnumeric", all_are<is_digit>},
    {"isprintable", all_are<is_printable, true>},
    {"isspace", all_are<is_space>},
    {"istitle", istitle},
    {"isupper", case_is<is_upper, is_lower>},
    {"join", join},
    {"ljust", justify<'<'>},
    {"lower", mapped<lower_text>},
    {"lstrip", strip<kStripLeft>},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace},
    {"rfind", find_in<true, false>},
    {"rindex", find_in<true, true>},
    {"rjust", justify<'>'>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", strip<kStripRight>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", starts_or_ends<false>},
    {"strip", strip<kStripBoth>},
    {"swapcase", mapped<swapcase_text>},
    {"title", mapped<title_text>},
    {"upper", mapped<upper_text>},
    {"zfill", zfill},
};

}  // namespace

Function find_string_method(std::string_view name) { return find_function(kStringMethods, name); }

}  // namespace el
