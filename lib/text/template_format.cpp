// Text formatting: "%5.2f" % value, "{:>8}".format(value).
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>
#include <cmath>

namespace el {

namespace {

// What both kinds of format specifications come to.
struct Spec {
    std::string fill = " ";
    char align = 0;  // < > ^ =
    char sign = '-';
    bool alternate = false, grouped = false;
    char group = ',';
    int width = 0, precision = -1;
    char type = 0;
};

constexpr int kMaxWidth = 100'000;

int read_number(std::string_view text, size_t &at) {
    int value = 0;
    while (at < text.size() && is_digit(static_cast<uint8_t>(text[at]))) {
        value = value * 10 + (text[at++] - '0');
        if (value > kMaxWidth) fail_template("a width or precision in a format is too large");
    }
    return value;
}

std::string repr(const Value &value, Renderer &renderer) {
    std::string out;
    append_repr(out, value, renderer.meter);
    return out;
}

std::string pad(std::string text, const Spec &spec, char default_align, Renderer &renderer) {
    size_t size = count_code_points(text), width = static_cast<size_t>(spec.width);
    if (size >= width) return text;
    size_t missing = width - size, left = 0;
    renderer.meter.build(width * spec.fill.size());
    char align = spec.align ? spec.align : default_align;
    if (align == '>') left = missing;
    if (align == '^') left = missing / 2;
    std::string out;
    if (align == '=') {  // between sign and digits
        size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
        if (text.size() > sign + 1 && text[sign] == '0' && is_letter(static_cast<uint8_t>(text[sign + 1]))) sign += 2;
        out = text.substr(0, sign);
        for (size_t i = 0; i < missing; ++i) out += spec.fill;
        return out.append(text, sign);
    }
    for (size_t i = 0; i < left; ++i) out += spec.fill;
    out += text;
    for (size_t i = left; i < missing; ++i) out += spec.fill;
    return out;
}

std::string group_digits(std::string digits, char separator) {
    size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
    for (size_t at = end; at > 3;) digits.insert(at -= 3, 1, separator);
    return digits;
}

std::string integer_text(int64_t value, const Spec &spec) {
    uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    std::string digits;
    switch (spec.type) {
    case 'x':
        digits = el::format("{}{:x}", spec.alternate ? "0x" : "", size);
        break;
    case 'X':
        digits = el::format("{}{:X}", spec.alternate ? "0X" : "", size);
        break;
    case 'o':
        digits = el::format("{}{:o}", spec.alternate ? "0o" : "", size);
        break;
    case 'b':
        digits = el::format("{}{:b}", spec.alternate ? "0b" : "", size);
        break;
    default:
        digits = el::format("{}", size);
    }
    if (spec.grouped) digits = group_digits(digits, spec.group);
    return (value < 0 ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign)) + digits;
}

std::string float_format(double value, const Spec &spec) {
    char type = spec.type ? spec.type : 'g';
    if (type == '%') value *= 100;
    double size = std::fabs(value);
    int precision = spec.precision < 0 ? 6 : spec.precision;
    std::string digits;
    if (!std::isfinite(value))
        digits = std::isnan(value) ? "nan" : "inf";
    else if (type == 'f' || type == 'F' || type == '%')
        digits = el::format("{:.{}f}", size, precision);
    else if (type == 'e' || type == 'E')
        digits = el::format("{:.{}e}", size, precision);
    else if (!spec.type && spec.precision < 0)
        digits = float_text(size);
    else
        digits = el::format("{:.{}g}", size, std::max(precision, 1));
    if (!spec.type && spec.precision >= 0 && digits.find_first_not_of("0123456789") == std::string::npos)
        digits += ".0";
    if (type == 'E' || type == 'G' || type == 'F') digits = upper_text(digits);
    if (spec.grouped) digits = group_digits(digits, spec.group);
    if (type == '%') digits += '%';
    return (std::signbit(value) && !std::isnan(value) ? "-"
            : spec.sign == '-'                        ? ""
                                                      : std::string(1, spec.sign)) +
           digits;
}

std::string cut(std::string text, int precision) {
    if (precision >= 0) text.resize(byte_offset(text, static_cast<size_t>(precision)));
    return text;
}

// --- "..." % values ---

class PercentFormatter {
  public:
    PercentFormatter(std::string_view format, const Value &values, Renderer &renderer)
        : format_(format), values_(values), renderer_(renderer) {}

    std::string run() {
        std::string out;
        while (at_ < format_.size()) {
            size_t percent = std::min(format_.find('%', at_), format_.size());
            out.append(format_, at_, percent - at_);
            at_ = percent + 1;
            if (percent < format_.size()) one(out);
        }
        bool is_tuple = values_.is_list() && values_.list().kind == ListKind::kTuple;
        bool may_stay = values_.is_dict() || values_.is_list() || values_.is_undefined();  // as Python has it
        size_t given = is_tuple ? values_.list().items.size() : may_stay ? used_ : 1;
        if (used_ < given) fail_template("not all arguments converted during string formatting");
        return out;
    }

  private:
    Value next() {
        if (values_.is_list() && values_.list().kind == ListKind::kTuple) {
            if (used_ >= values_.list().items.size()) fail_template("not enough arguments for format string");
            return values_.list().items[used_++];
        }
        if (used_++ > 0) fail_template("not enough arguments for format string");
        return values_;
    }

    Value named() {
        size_t end = format_.find(')', at_);
        if (end == std::string_view::npos) fail_template("incomplete format key");
        std::string key(format_.substr(at_ + 1, end - at_ - 1));
        at_ = end + 1;
        if (!values_.is_dict()) fail_template("format requires a mapping");
        const Value *found = values_.dict().find(std::string_view(key));
        if (!found) fail_template(el::format("the format's key '{}' is missing", key));
        return *found;
    }

    int number_or_star() {
        if (at_ >= format_.size() || format_[at_] != '*') return read_number(format_, at_);
        ++at_;
        Value value = next();
        if (!value.is_integer()) fail_template("* wants int");
        return static_cast<int>(std::clamp<int64_t>(value.as_int(), 0, kMaxWidth));
    }

    void one(std::string &out) {
        Spec spec;
        Value value;
        bool has_value = at_ < format_.size() && format_[at_] == '(';
        if (has_value) value = named();
        for (; at_ < format_.size() && std::string_view("-+ #0").find(format_[at_]) != std::string_view::npos; ++at_) {
            char flag = format_[at_];
            if (flag == '-') spec.align = '<';
            if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
            if (flag == '#') spec.alternate = true;
            if (flag == '0') spec.fill = "0";
        }
        spec.width = number_or_star();
        if (at_ < format_.size() && format_[at_] == '.') {
            ++at_;
            spec.precision = number_or_star();
        }
        if (at_ >= format_.size()) fail_template("incomplete format");
        spec.type = format_[at_++];
        if (spec.type == '%') {
            out += '%';
            return;
        }
        if (!has_value) value = next();
        convert(out, value, spec);
    }

    void convert(std::string &out, const Value &value, Spec &spec) {
        bool is_text = spec.type == 's' || spec.type == 'r' || spec.type == 'a' || spec.type == 'c';
        bool zero = std::exchange(spec.fill, spec.fill == "0" && !spec.align && !is_text ? "0" : " ") == "0" &&
                    !is_text && !spec.align;
        std::string text;
        if (spec.type == 's')
            text = cut(renderer_.text(value), spec.precision);
        else if (spec.type == 'r' || spec.type == 'a')
            text = cut(repr(value, renderer_), spec.precision);
        else if (spec.type == 'c' && value.is_string())
            text = value.text();
        else if (spec.type == 'c' && value.is_integer())
            append_utf8(text, static_cast<uint32_t>(value.as_int()));
        else
            text = number(value, spec);
        out += pad(std::move(text), spec, zero ? '=' : '>', renderer_);
        renderer_.meter.build(out.size() > built_ ? out.size() - built_ : 0);
        built_ = std::max(built_, out.size());
    }

    std::string number(const Value &value, Spec &spec) {
        static constexpr std::string_view kIntegers = "diuxXo", kFloats = "eEfFgG";
        bool integer = kIntegers.find(spec.type) != std::string_view::npos;
        if (!integer && kFloats.find(spec.type) == std::string_view::npos)
            fail_template(el::format("unsupported format character '{}'", spec.type));
        if (!value.is_number())
            fail_template(el::format("%{} format: a number is required, not {}", spec.type, type_name(value)));
        if (!integer) return float_format(value.as_float(), spec);
        if (value.is_integer()) return integer_text(value.as_int(), spec);
        double whole = std::trunc(value.as_float());
        if (!(std::fabs(whole) < 9e18)) fail_template("the number does not fit into 64 bits");
        return integer_text(static_cast<int64_t>(whole), spec);
    }

    std::string_view format_;
    const Value &values_;
    Renderer &renderer_;
    size_t at_ = 0, used_ = 0, built_ = 0;
};

// --- str.format ---

Spec parse_spec(std::string_view text) {
    Spec spec;
    size_t at = 0;
    auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    size_t first = text.empty() ? 0 : byte_offset(text, 1);
    if (first < text.size() && is_align(text[first])) {
        spec.fill = text.substr(0, first);
        spec.align = text[first];
        at = first + 1;
    } else if (!text.empty() && is_align(text[0])) {
        spec.align = text[at++];
    }
    if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
    if (at < text.size() && text[at] == '#') spec.alternate = ++at;
    if (at < text.size() && text[at] == '0' && !spec.align) {
        spec.fill = "0";
        spec.align = '=';
    }
    spec.width = read_number(text, at);
    if (at < text.size() && (text[at] == ',' || text[at] == '_')) {
        spec.grouped = true;
        spec.group = text[at++];
    }
    if (at < text.size() && text[at] == '.') {
        ++at;
        spec.precision = read_number(text, at);
    }
    if (at < text.size()) spec.type = text[at++];
    if (at < text.size()) fail_template("invalid format specifier");
    return spec;
}

std::string format_value(const Value &value, std::string_view spec_text, Renderer &renderer) {
    if (spec_text.empty()) return renderer.text(value);
    Spec spec = parse_spec(spec_text);
    static constexpr std::string_view kFloats = "eEfFgG%", kIntegers = "dxXobn";
    bool is_float = value.is(ValueType::kFloat) ||
                    (value.is_integer() && spec.type && kFloats.find(spec.type) != std::string_view::npos);
    if (is_float && (!spec.type || kFloats.find(spec.type) != std::string_view::npos))
        return pad(float_format(value.as_float(), spec), spec, '>', renderer);
    if (value.is_integer() && !(value.is_bool() && !spec.type) &&
        (!spec.type || kIntegers.find(spec.type) != std::string_view::npos))
        return pad(integer_text(value.as_int(), spec), spec, '>', renderer);
    if (value.is_integer() && spec.type == 'c') {
        std::string text;
        append_utf8(text, static_cast<uint32_t>(value.as_int()));
        return pad(std::move(text), spec, '<', renderer);
    }
    if (!(value.is_string() || value.is_bool()) || (spec.type && spec.type != 's'))
        fail_template(el::format("unsupported format '{}' for '{}'", spec_text, type_name(value)));
    if (spec.align == '=') spec.align = '<';
    return pad(cut(renderer.text(value), spec.precision), spec, '<', renderer);
}

class BraceFormatter {
  public:
    BraceFormatter(const Call &call, Renderer &renderer) : call_(call), renderer_(renderer) {}

    std::string run(std::string_view format, int depth) {
        if (depth > 2) fail_template("a format nests too deeply");
        std::string out;
        for (size_t at = 0; at < format.size();) {
            char c = format[at];
            if (c != '{' && c != '}') {
                out += c;
                ++at;
            } else if (at + 1 < format.size() && format[at + 1] == c) {
                out += c;
                at += 2;
            } else if (c == '}') {
                fail_template("single '}' encountered in format string");
            } else {
                size_t end = field_end(format, at + 1);
                out += field(format.substr(at + 1, end - at - 1), depth);
                at = end + 1;
            }
        }
        renderer_.meter.build(out.size());
        return out;
    }

  private:
    static size_t field_end(std::string_view format, size_t at) {
        for (int open = 1; at < format.size(); ++at) {
            open += (format[at] == '{') - (format[at] == '}');
            if (open == 0) return at;
        }
        fail_template("expected '}' before end of string");
    }

    std::string field(std::string_view text, int depth) {
        size_t colon = std::min(text.find(':'), text.size()), bang = text.substr(0, colon).find('!');
        std::string spec = colon < text.size() ? run(text.substr(colon + 1), depth + 1) : "";
        char conversion = bang != std::string_view::npos && bang + 1 < colon ? text[bang + 1] : 0;
        Value value = lookup(text.substr(0, std::min(bang, colon)));
        if (conversion == 'r') value = Value(repr(value, renderer_));
        if (conversion == 's') value = Value(renderer_.text(value));
        return format_value(value, spec, renderer_);
    }

    // "0", "name", "user.name", "items[0]"
    Value lookup(std::string_view path) {
        size_t at = std::min(path.find_first_of(".["), path.size());
        Value value = argument(path.substr(0, at));
        while (at < path.size()) {
            bool index = path[at] == '[';
            size_t end = index ? path.find(']', at) : std::min(path.find_first_of(".[", at + 1), path.size());
            if (end == std::string_view::npos) fail_template("missing ']' in format string");
            std::string_view key = path.substr(at + 1, end - at - 1);
            size_t digits = 0;
            int number = index && !key.empty() && is_digit(static_cast<uint8_t>(key[0])) ? read_number(key, digits) : 0;
            if (!index)
                value = renderer_.attribute(value, key);
            else
                value = renderer_.subscript(value, digits && digits == key.size() ? Value(number) : Value(key));
            if (value.is_undefined()) fail_template(value.hint());
            at = end + index;
        }
        return value;
    }

    Value argument(std::string_view name) {
        size_t at = 0;
        if (name.empty() || is_digit(static_cast<uint8_t>(name[0]))) {
            size_t index = name.empty() ? next_++ : static_cast<size_t>(read_number(name, at));
            if (index >= call_.args.size()) fail_template(el::format("the format has no argument {}", index));
            return call_.args[index];
        }
        for (auto &[key, value] : call_.named)
            if (key == name) return value;
        fail_template(el::format("the format has no argument '{}'", name));
    }

    const Call &call_;
    Renderer &renderer_;
    size_t next_ = 0;
};

}  // namespace

std::string format_percent(std::string_view format, const Value &values, Renderer &renderer) {
    renderer.meter.build(format.size());
    return PercentFormatter(format, values, renderer).run();
}

std::string format_braces(std::string_view format, const Call &call, Renderer &renderer) {
    return BraceFormatter(call, renderer).run(format, 0);
}

std::string escape_html(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (char c : text) {
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '\'':
            out += "&#39;";
            break;
        case '"':
            out += "&#34;";
            break;
        default:
            out += c;
        }
    }
    return out;
}

}  // namespace el
