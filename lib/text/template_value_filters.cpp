// The filters that work on one value: numbers, text, JSON.
#include "base/status.h"
#include "text/json.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace el {

namespace {

std::string subject_text(Call &call) { return call.renderer.text(call.self); }
Value text_result(Call &call, std::string text) {
    return call.renderer.make_string(std::move(text), call.self.is_markup());
}

Value count(Call &call) {
    call.bind({});
    const Value &self = call.self;
    if (self.is_undefined()) return Value(0);
    if (self.is_string()) {
        call.renderer.meter.look(self.text().size());
        return Value(count_code_points(self.text()));
    }
    if (self.is_dict()) return Value(self.dict().size());
    if (self.as<Loop>()) return call.renderer.attribute(self, "length");
    if (!self.is_list() || self.list().kind == ListKind::kGenerator)
        fail_template(el::format("object of type '{}' has no len()", type_name(self)));
    return Value(self.list().items.size());
}

Value default_value(Call &call) {
    call.bind({"default_value", "boolean"});
    bool absent = call.self.is_undefined() || (call.flag(1, false) && !is_truthy(call.self));
    return !absent ? call.self : call.has(0) ? call.args[0] : Value("");
}

Value attr(Call &call) {
    call.bind({"name"}, 1);
    if (call.self.is_dict()) {  // only what is no item
        if (!find_dict_method(call.string(0))) return Value::undefined(el::format("no attribute '{}'", call.string(0)));
    }
    return call.renderer.attribute(call.self, call.string(0));
}

Value tojson(Call &call) {
    call.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
    JsonStyle style;
    style.ascii = call.flag(0, false);
    style.sort_keys = call.flag(3, false);
    if (call.has(1) && !call.args[1].is_none()) {
        style.lines = true;
        style.indent = call.args[1].is_string()
                           ? call.args[1].text()
                           : std::string(static_cast<size_t>(std::clamp<int64_t>(call.integer(1, 0), 0, 1000)), ' ');
        style.item_separator = ",";
    }
    if (call.has(2) && !call.args[2].is_none()) {
        std::vector<Value> pair = call.renderer.iterate(call.args[2]);
        if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) fail_template("separators are two str");
        style.item_separator = pair[0].text();
        style.key_separator = pair[1].text();
    }
    std::string out;
    append_json(out, call.self, style, call.renderer.meter);
    return call.renderer.make_string(std::move(out));
}

Value from_json(Call &call) {
    call.bind({});
    if (!call.self.is_string()) fail_template("from_json needs a str");
    call.renderer.meter.build(call.self.text().size() * 8);
    call.renderer.meter.look(call.self.text().size() * 8);
    try {
        return parse_json(call.self.text(), "the text");
    } catch (const Error &error) {
        fail_template(error.what());
    }
}

Value absolute(Call &call) {
    call.bind({});
    if (!call.self.is_number()) fail_template(el::format("bad operand type for abs(): '{}'", type_name(call.self)));
    if (call.self.is_integer()) return call.self.as_int() < 0 ? negate(call.self) : Value(call.self.as_int());
    return Value(std::fabs(call.self.as_float()));
}

[[noreturn]] void fail_range(const Call &call) {
    fail_template(el::format("{}: the number does not fit into 64 bits", call.name));
}

// To tens, hundreds..., halves to the even one, as Python rounds an int.
Value round_integer(Call &call, int64_t value, int64_t zeros) {
    if (zeros > 19) return Value(0);
    uint64_t unit = 1, size = value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    for (int64_t i = 0; i < zeros; ++i) unit *= 10;
    uint64_t below = size % unit, whole = size - below;
    bool up = below > unit / 2 || (below == unit / 2 && whole / unit % 2 == 1);
    if (up && __builtin_add_overflow(whole, unit, &whole)) fail_range(call);
    if (whole > static_cast<uint64_t>(INT64_MAX)) fail_range(call);
    return Value(value < 0 ? -static_cast<int64_t>(whole) : static_cast<int64_t>(whole));
}

Value round(Call &call) {
    call.bind({"precision", "method"});
    int64_t precision = std::clamp<int64_t>(call.integer(0, 0), -300, 300);
    std::string method = call.string(1, "common");
    if (call.self.is_undefined()) fail_template(call.self.hint());
    if (!call.self.is_number()) fail_template(el::format("a '{}' cannot be rounded", type_name(call.self)));
    double value = call.self.as_float(), scale = std::pow(10.0, static_cast<double>(precision));
    if (method == "ceil") return Value(std::ceil(value * scale) / scale);
    if (method == "floor") return Value(std::floor(value * scale) / scale);
    if (method != "common") fail_template("the method of round is common, ceil or floor");
    if (call.self.is_integer() && precision >= 0) return Value(call.self.as_int());
    if (call.self.is_integer()) return round_integer(call, call.self.as_int(), -precision);
    if (precision < 0) {
        double unit = std::pow(10.0, static_cast<double>(-precision));
        return Value(std::nearbyint(value / unit) * unit);
    }
    if (!std::isfinite(value)) return Value(value);
    // Decimal text is exact here, as Python's rounding is.
    read_float(el::format("{:.{}f}", value, precision), value);
    return Value(value);
}

// The status is that of from_chars.
std::errc parse_int(std::string_view text, int base, int64_t &out) {
    text = strip_text(text, kStripBoth);
    bool negative = !text.empty() && text[0] == '-';
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
    int prefix = text.size() > 2 && text[0] == '0' ? ((text[1] | 32) == 'x'   ? 16
                                                      : (text[1] | 32) == 'o' ? 8
                                                      : (text[1] | 32) == 'b' ? 2
                                                                              : 0)
                                                   : 0;
    if (prefix && prefix == base) text.remove_prefix(2);
    std::string digits;
    for (size_t i = 0; i < text.size(); ++i)
        if (text[i] != '_' || i == 0 || i + 1 == text.size() || text[i - 1] == '_') digits += text[i];
    if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::errc::invalid_argument;
    if (negative) digits.insert(0, "-");
    auto end = std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
    return end.ptr == digits.data() + digits.size() ? end.ec : std::errc::invalid_argument;
}

bool parse_float(std::string_view text, double &out) {
    text = strip_text(text, kStripBoth);
    if (!text.empty() && text[0] == '+') text.remove_prefix(1);
    if (text.empty() || text[0] == '+') return false;
    return read_float(text, out);
}

Value to_int(Call &call) {
    call.bind({"default", "base"});
    Value otherwise = call.has(0) ? call.args[0] : Value(0);
    if (call.self.is_undefined()) fail_template(call.self.hint());
    int64_t base = call.integer(1, 10), whole = 0;
    double number = 0;
    if (call.self.is_integer()) return Value(call.self.as_int());
    if (call.self.is_number())
        number = call.self.as_float();
    else if (!call.self.is_string() || base < 2 || base > 36)
        return otherwise;
    else if (std::errc error = parse_int(call.self.text(), static_cast<int>(base), whole); error == std::errc())
        return Value(whole);
    else if (error == std::errc::result_out_of_range)
        fail_range(call);
    else if (!parse_float(call.self.text(), number))
        return otherwise;
    if (!std::isfinite(number)) return otherwise;
    if (!(std::fabs(number) < 0x1p63)) fail_range(call);
    return Value(static_cast<int64_t>(number));
}

Value to_float(Call &call) {
    call.bind({"default"});
    Value otherwise = call.has(0) ? call.args[0] : Value(0.0);
    if (call.self.is_undefined()) fail_template(call.self.hint());
    if (call.self.is_number()) return Value(call.self.as_float());
    double number = 0;
    return call.self.is_string() && parse_float(call.self.text(), number) ? Value(number) : otherwise;
}

// --- text ---

Value string(Call &call) {
    call.bind({});
    return call.self.is_string() ? call.self : call.renderer.make_string(subject_text(call));
}
using TextMap = std::string (*)(std::string_view);
template <TextMap change> Value mapped(Call &call) {
    call.bind({});
    return text_result(call, change(subject_text(call)));
}
Value safe(Call &call) {
    call.bind({});
    return call.renderer.make_string(subject_text(call), true);
}
Value escape(Call &call) {
    call.bind({});
    return call.self.is_markup() ? call.self : call.renderer.make_string(escape_html(subject_text(call)), true);
}
Value force_escape(Call &call) {
    call.bind({});
    return call.renderer.make_string(escape_html(subject_text(call)), true);
}

// A filter that is a method of the subject's text.
template <char first> Value as_method(Call &call) {
    static constexpr std::string_view kName = first == 't' ? "strip" : first == 'c' ? "center" : "replace";
    if (!call.self.is_string()) call.self = call.renderer.make_string(subject_text(call));
    if (first == 'c' && call.args.empty() && call.named.empty()) call.args.push_back(Value(80));
    if (first == 'r') {
        for (size_t i = 0; i < std::min<size_t>(call.args.size(), 2); ++i)
            if (!call.args[i].is_string()) call.args[i] = Value(call.renderer.text(call.args[i]));
        if (call.args.size() == 3 && call.args[2].is_none()) call.args.pop_back();
    }
    return find_string_method(kName)(call);
}

Value format(Call &call) {
    Value values;
    if (!call.named.empty()) {
        auto dict = make_ref<Dict>();
        for (auto &[name, value] : call.named) dict->set(Value(name), value);
        values = Value(dict);
    } else {
        values = call.renderer.make_list(call.args, ListKind::kTuple);
    }
    return text_result(call, format_percent(subject_text(call), values, call.renderer));
}

Value indent(Call &call) {
    call.bind({"width", "first", "blank"});
    if (!call.self.is_string()) fail_template("indent needs a str");
    bool blank = call.flag(2, false);
    std::string by = call.has(0) && call.args[0].is_string()
                         ? call.args[0].text()
                         : std::string(static_cast<size_t>(std::clamp<int64_t>(call.integer(0, 4), 0, 10'000)), ' ');
    std::string text = subject_text(call) + '\n', out;
    std::vector<std::string_view> lines = split_lines(text, false);
    call.renderer.meter.build(lines.size() * (by.size() + 1));
    for (size_t i = 0; i < lines.size(); ++i) {
        if (i) out += '\n';
        if (i ? blank || !lines[i].empty() : call.flag(1, false)) out += by;
        out += lines[i];
    }
    return text_result(call, std::move(out));
}

// Capitals after blanks, hyphens and opening brackets.
Value title(Call &call) {
    call.bind({});
    std::string text = subject_text(call), out;
    for (size_t at = 0; at < text.size();) {
        size_t begin = at, second = 0;
        for (bool first = true; at < text.size(); first = false) {
            size_t next = at;
            uint32_t code = next_code_point(text, next);
            bool ends_word = is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
            if (ends_word && !first) break;
            at = next;
            if (first) second = at;
            if (ends_word) break;
        }
        std::string_view word = std::string_view(text).substr(begin, at - begin);
        out += upper_text(word.substr(0, second - begin)) + lower_text(word.substr(second - begin));
    }
    return text_result(call, std::move(out));
}

Value truncate(Call &call) {
    call.bind({"length", "killwords", "end", "leeway"});
    std::string text = subject_text(call), end = call.string(2, "...");
    int64_t length = call.integer(0, 255), leeway = call.has(3) && !call.args[3].is_none() ? call.integer(3, 5) : 5;
    int64_t end_size = static_cast<int64_t>(count_code_points(end));
    if (length < end_size || leeway < 0) fail_template("truncate: the length is too small");
    Call measured{call.renderer, call.name, call.self};
    if (count(measured).as_int() - leeway <= length) return call.self;
    if (!call.self.is_string()) fail_template("truncate needs a str");
    text.resize(byte_offset(text, static_cast<size_t>(length - end_size)));
    if (!call.flag(1, false) && text.rfind(' ') != std::string::npos) text.resize(text.rfind(' '));
    return text_result(call, text + end);
}

Value wordcount(Call &call) {
    call.bind({});
    std::string text = subject_text(call);
    int64_t count = 0;
    bool inside = false;
    for (size_t at = 0; at < text.size();) {
        uint32_t code = next_code_point(text, at);
        bool word = is_letter(code) || is_digit(code) || code == '_';
        count += word && !inside;
        inside = word;
    }
    return Value(count);
}

std::string quote_url(std::string_view text, bool query) {
    std::string out;
    for (char c : text) {
        uint8_t byte = static_cast<uint8_t>(c);
        if (byte < 0x80 && (is_letter(byte) || is_digit(byte) ||
                            std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query)))
            out += c;
        else if (c == ' ' && query)
            out += '+';
        else
            append_format(out, "%{:02X}", byte);
    }
    return out;
}

Value urlencode(Call &call) {
    call.bind({});
    Renderer &renderer = call.renderer;
    if (!call.self.is_dict() && !call.self.is_list()) return renderer.make_string(quote_url(subject_text(call), false));
    std::string out;
    for (const Value &entry : renderer.iterate(call.self)) {
        Value key = entry, value;
        if (call.self.is_dict()) {
            value = *call.self.dict().find(entry);
        } else {
            std::vector<Value> pair = renderer.iterate(entry);
            if (pair.size() != 2) fail_template("urlencode needs pairs");
            key = pair[0];
            value = pair[1];
        }
        out += (out.empty() ? "" : "&") + quote_url(renderer.text(key), true) + '=' +
               quote_url(renderer.text(value), true);
    }
    return renderer.make_string(std::move(out));
}

Value filesizeformat(Call &call) {
    call.bind({"binary"});
    bool binary = call.flag(0, false);
    double bytes = 0, base = binary ? 1024 : 1000;
    if (call.self.is_number())
        bytes = call.self.as_float();
    else if (!call.self.is_string() || !parse_float(call.self.text(), bytes))
        fail_template("filesizeformat needs a number");
    if (bytes == 1) return Value("1 Byte");
    if (bytes < base) return Value(el::format("{} Bytes", static_cast<int64_t>(std::max(bytes, -9e18))));
    static constexpr const char *kUnits = "kMGTPEZY";
    int unit = 0;
    double size = base;
    while (unit < 7 && bytes >= size * base) {
        size *= base;
        ++unit;
    }
    std::string letter(1, kUnits[unit]);
    return Value(el::format("{:.1f} {}{}", bytes / size, binary ? upper_text(letter) : letter, binary ? "iB" : "B"));
}

Value pprint(Call &call) {
    call.bind({"verbose"});
    std::string out;
    append_repr(out, call.self, call.renderer.meter);
    return call.renderer.make_string(std::move(out));
}

constexpr NamedFunction kValueFilters[] = {
    {"abs", absolute},
    {"attr", attr},
    {"capitalize", mapped<capitalize_text>},
    {"center", as_method<'c'>},
    {"count", count},
    {"d", default_value},
    {"default", default_value},
    {"e", escape},
    {"escape", escape},
    {"filesizeformat", filesizeformat},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"from_json", from_json},
    {"indent", indent},
    {"int", to_int},
    {"length", count},
    {"lower", mapped<lower_text>},
    {"pprint", pprint},
    {"replace", as_method<'r'>},
    {"round", round},
    {"safe", safe},
    {"string", string},
    {"title", title},
    {"tojson", tojson},
    {"trim", as_method<'t'>},
    {"truncate", truncate},
    {"upper", mapped<upper_text>},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
};

}  // namespace

Function find_value_filter(std::string_view name) { return find_function(kValueFilters, name); }

}  // namespace el
