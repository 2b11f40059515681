// The filters of templates.
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
Value generator(Call &call, std::vector<Value> items) {
    return call.renderer.make_list(std::move(items), ListKind::kGenerator);
}

// --- attributes of items ---

// "user.name", "0" or a number; `otherwise` stands for what is undefined on the way.
Value get_attribute(Renderer &renderer, Value item, const Value &path, const Value *otherwise = nullptr) {
    auto step = [&](const Value &key) {
        item = renderer.subscript(item, key);
        if (otherwise && item.is_undefined()) item = *otherwise;
    };
    if (!path.is_string()) {
        step(path);
        return item;
    }
    std::string_view rest = path.text();
    for (;;) {
        size_t dot = std::min(rest.find('.'), rest.size());
        std::string_view part = rest.substr(0, dot);
        int64_t index = 0;
        auto end = std::from_chars(part.data(), part.data() + part.size(), index);
        bool number = !part.empty() && is_digit(static_cast<uint8_t>(part[0])) && end.ec == std::errc() &&
                      end.ptr == part.data() + part.size();
        step(number ? Value(index) : Value(part));
        if (dot == rest.size()) return item;
        rest.remove_prefix(dot + 1);
    }
}

// What items are ordered or grouped by: themselves, an attribute, or several attributes with commas between them.
class Key {
  public:
    Key(Call &call, const Value *attribute, bool case_sensitive) : call_(call), case_sensitive_(case_sensitive) {
        if (!attribute || attribute->is_none() || attribute->is_undefined()) return;
        if (!attribute->is_string()) {
            paths_.push_back(*attribute);
            return;
        }
        std::string_view text = attribute->text();
        for (size_t comma; (comma = text.find(',')) != std::string_view::npos; text.remove_prefix(comma + 1))
            paths_.push_back(Value(text.substr(0, comma)));
        paths_.push_back(Value(text));
    }

    Value of(const Value &item, const Value *otherwise = nullptr) const {
        if (paths_.empty()) return fold(item);
        std::vector<Value> keys;
        for (const Value &path : paths_) {
            keys.push_back(fold(get_attribute(call_.renderer, item, path, otherwise)));
        }
        return keys.size() == 1 ? keys[0] : call_.renderer.make_list(std::move(keys), ListKind::kTuple);
    }

  private:
    Value fold(const Value &value) const {
        if (case_sensitive_ || !value.is_string()) return value;
        return call_.renderer.make_string(lower_text(value.text()));
    }
    Call &call_;
    bool case_sensitive_;
    std::vector<Value> paths_;
};

using Keyed = std::pair<Value, Value>;  // key, item

// With `equal_first` keys that are equal need no order, such as several None.
void sort_keyed(Call &call, std::vector<Keyed> &keyed, bool reverse, bool equal_first) {
    std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed &a, const Keyed &b) {
        if (equal_first && values_equal(a.first, b.first, call.renderer.meter)) return false;
        int order = compare_values(a.first, b.first, call.renderer.meter);
        if (order == 2 && a.first.is_number()) return false;
        return reverse ? order > 0 : order < 0;
    });
}

Value sort(Call &call) {
    call.bind({"reverse", "case_sensitive", "attribute"});
    Key key(call, call.has(2) ? &call.args[2] : nullptr, call.flag(1, false));
    std::vector<Keyed> keyed;
    for (Value &item : call.renderer.iterate(call.self)) keyed.emplace_back(key.of(item), item);
    sort_keyed(call, keyed, call.flag(0, false), true);
    std::vector<Value> items;
    for (Keyed &entry : keyed) items.push_back(std::move(entry.second));
    return call.renderer.make_list(std::move(items));
}

Value dictsort(Call &call) {
    call.bind({"case_sensitive", "by", "reverse"});
    std::string by = call.string(1, "key");
    if (by != "key" && by != "value") fail_template("dictsort: 'by' is \"key\" or \"value\"");
    if (call.self.is_undefined()) fail_template(call.self.hint());
    if (!call.self.is_dict()) fail_template("dictsort needs a dict");
    Key key(call, nullptr, call.flag(0, false));
    std::vector<Keyed> keyed;
    for (auto &[name, value] : call.self.dict().entries())
        keyed.emplace_back(key.of(by == "key" ? name : value),
                           call.renderer.make_list({name, value}, ListKind::kTuple));
    sort_keyed(call, keyed, call.flag(2, false), false);
    std::vector<Value> items;
    for (Keyed &entry : keyed) items.push_back(std::move(entry.second));
    return call.renderer.make_list(std::move(items));
}

Value groupby(Call &call) {
    call.bind({"attribute", "default", "case_sensitive"}, 1);
    Key key(call, &call.args[0], call.flag(2, false)), exact(call, &call.args[0], true);
    const Value *otherwise = call.has(1) && !call.args[1].is_none() ? &call.args[1] : nullptr;
    std::vector<Keyed> keyed;
    for (Value &item : call.renderer.iterate(call.self)) keyed.emplace_back(key.of(item, otherwise), item);
    sort_keyed(call, keyed, false, false);
    std::vector<Value> groups, items;
    for (size_t i = 0; i < keyed.size(); ++i) {
        items.push_back(keyed[i].second);
        if (i + 1 < keyed.size() && values_equal(keyed[i].first, keyed[i + 1].first, call.renderer.meter)) continue;
        Value name = exact.of(items[0], otherwise);
        groups.push_back(
            call.renderer.make_list({name, call.renderer.make_list(std::exchange(items, {}))}, ListKind::kTuple));
    }
    return call.renderer.make_list(std::move(groups));
}

Value unique(Call &call) {
    call.bind({"case_sensitive", "attribute"});
    Key key(call, call.has(1) ? &call.args[1] : nullptr, call.flag(0, false));
    Dict seen;
    std::vector<Value> items;
    for (Value &item : call.renderer.iterate(call.self)) {
        Value id = key.of(item);
        if (!is_hashable(id)) fail_template(fmt::format("unhashable type: '{}'", type_name(id)));
        if (seen.find(id)) continue;
        seen.set(id, Value(true));
        items.push_back(std::move(item));
    }
    return generator(call, std::move(items));
}

template <int wanted> Value extreme(Call &call) {
    call.bind({"case_sensitive", "attribute"});
    Key key(call, call.has(1) ? &call.args[1] : nullptr, call.flag(0, false));
    std::vector<Value> items = call.renderer.iterate(call.self);
    if (items.empty()) return Value::undefined("the sequence is empty");
    Value best = items[0], best_key = key.of(items[0]);
    for (size_t i = 1; i < items.size(); ++i) {
        Value next = key.of(items[i]);
        int order = compare_values(next, best_key, call.renderer.meter);
        if ((order == 2 && next.is_number()) || order * wanted <= 0) continue;
        best = items[i];
        best_key = std::move(next);
    }
    return best;
}

// --- map, select ---

// A filter or test that was given by name, with its arguments, to apply to each item.
class Applied {
  public:
    Applied(Call &call, size_t first) : call_(call) {
        if (first >= call.args.size()) return;
        if (!call.args[first].is_string()) fail_template("the name of a filter or test must be a str");
        name_ = call.args[first].text();
        args_.assign(call.args.begin() + static_cast<std::ptrdiff_t>(first) + 1, call.args.end());
    }
    bool test(const Value &item) {
        if (name_.empty()) return is_truthy(item);
        Call inner{call_.renderer, name_, item, args_, call_.named};
        return call_.renderer.apply_test(name_, inner);
    }
    Value filter(const Value &item) {
        Call inner{call_.renderer, name_, item, args_, call_.named};
        return call_.renderer.apply_filter(name_, inner);
    }

  private:
    Call &call_;
    std::string name_;
    std::vector<Value> args_;
};

// What map and the select filters go over: they take whatever is false for empty.
std::vector<Value> items_or_none(Call &call) {
    return is_truthy(call.self) ? call.renderer.iterate(call.self) : std::vector<Value>();
}

Value map(Call &call) {
    std::vector<Value> items = items_or_none(call);
    if (!call.args.empty()) {
        Applied filter(call, 0);
        for (Value &item : items) item = filter.filter(item);
        return generator(call, std::move(items));
    }
    call.bind({"attribute", "default"}, 1);
    for (Value &item : items)
        item = get_attribute(call.renderer, item, call.args[0], call.has(1) ? &call.args[1] : nullptr);
    return generator(call, std::move(items));
}

template <bool wanted, bool of_attribute> Value select(Call &call) {
    if (of_attribute && call.args.empty()) fail_template(fmt::format("{} needs the name of an attribute", call.name));
    Applied test(call, of_attribute ? 1 : 0);
    std::vector<Value> items;
    for (Value &item : items_or_none(call)) {
        call.renderer.meter.step();
        if (test.test(of_attribute ? get_attribute(call.renderer, item, call.args[0]) : item) == wanted)
            items.push_back(std::move(item));
    }
    return generator(call, std::move(items));
}

// --- sequences ---

Value join(Call &call) {
    call.bind({"d", "attribute"});
    std::string separator = call.has(0) ? call.renderer.text(call.args[0]) : "", out;
    bool first = true;
    for (Value &item : call.renderer.iterate(call.self)) {
        call.renderer.meter.build(separator.size());
        if (!std::exchange(first, false)) out += separator;
        bool by_attribute = call.has(1) && !call.args[1].is_none();
        append_text(out, by_attribute ? get_attribute(call.renderer, item, call.args[1]) : item, call.renderer.meter);
    }
    return call.renderer.make_string(std::move(out));
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
        fail_template(fmt::format("object of type '{}' has no len()", type_name(self)));
    return Value(self.list().items.size());
}

Value list(Call &call) {
    call.bind({});
    return call.renderer.make_list(call.renderer.iterate(call.self));
}

template <bool last> Value first_or_last(Call &call) {
    call.bind({});
    if (call.self.is_list() && call.self.list().kind != ListKind::kGenerator) {  // without a copy
        auto &items = call.self.list().items;
        if (!items.empty()) return last ? items.back() : items.front();
    }
    std::vector<Value> items = call.renderer.iterate(call.self);
    if (items.empty()) return Value::undefined(fmt::format("there is no {} item, the sequence is empty", call.name));
    return last ? items.back() : items.front();
}

Value reverse(Call &call) {
    call.bind({});
    std::vector<Value> items = call.renderer.iterate(call.self);
    std::reverse(items.begin(), items.end());
    if (!call.self.is_string()) return generator(call, std::move(items));
    std::string out;
    for (const Value &item : items) out += item.text();
    return text_result(call, std::move(out));
}

Value items(Call &call) {
    call.bind({});
    if (call.self.is_undefined()) return generator(call, {});
    if (!call.self.is_dict()) fail_template("items needs a mapping");
    std::vector<Value> pairs;
    for (auto &[key, value] : call.self.dict().entries())
        pairs.push_back(call.renderer.make_list({key, value}, ListKind::kTuple));
    return generator(call, std::move(pairs));
}

Value batch(Call &call) {
    call.bind({"linecount", "fill_with"}, 1);
    int64_t size = call.integer(0, 1);
    if (size < 1) fail_template("batch needs a positive number");
    std::vector<Value> batches, row;
    for (Value &item : call.renderer.iterate(call.self)) {
        row.push_back(std::move(item));
        if (static_cast<int64_t>(row.size()) == size)
            batches.push_back(call.renderer.make_list(std::exchange(row, {})));
    }
    if (!row.empty()) {
        if (call.has(1) && !call.args[1].is_none()) {
            call.renderer.meter.build(static_cast<uint64_t>(size) * sizeof(Value));
            row.resize(static_cast<size_t>(size), call.args[1]);
        }
        batches.push_back(call.renderer.make_list(std::move(row)));
    }
    return generator(call, std::move(batches));
}

Value slice(Call &call) {
    call.bind({"slices", "fill_with"}, 1);
    int64_t count = call.integer(0, 1);
    if (count < 1 || count > 1'000'000) fail_template("slice needs a positive number");
    std::vector<Value> items = call.renderer.iterate(call.self), slices;
    size_t slots = static_cast<size_t>(count), each = items.size() / slots, longer = items.size() % slots;
    for (size_t i = 0, at = 0; i < slots; ++i) {
        size_t size = each + (i < longer);
        std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                                items.begin() + static_cast<std::ptrdiff_t>(at + size));
        if (call.has(1) && !call.args[1].is_none() && i >= longer) part.push_back(call.args[1]);
        slices.push_back(call.renderer.make_list(std::move(part)));
        at += size;
    }
    return generator(call, std::move(slices));
}

Value sum(Call &call) {
    call.bind({"attribute", "start"});
    Value total = call.has(1) ? call.args[1] : Value(0);
    bool by_attribute = call.has(0) && !call.args[0].is_none();
    for (Value &item : call.renderer.iterate(call.self))
        total = apply_operator(Operator::kAdd, total,
                               by_attribute ? get_attribute(call.renderer, item, call.args[0]) : item, call.renderer);
    return total;
}

// --- values ---

Value default_value(Call &call) {
    call.bind({"default_value", "boolean"});
    bool absent = call.self.is_undefined() || (call.flag(1, false) && !is_truthy(call.self));
    return !absent ? call.self : call.has(0) ? call.args[0] : Value("");
}

Value attr(Call &call) {
    call.bind({"name"}, 1);
    if (call.self.is_dict()) {  // only what is no item
        if (!find_dict_method(call.string(0)))
            return Value::undefined(fmt::format("no attribute '{}'", call.string(0)));
    }
    return call.renderer.attribute(call.self, call.string(0));
}

Value tojson(Call &call) {
    call.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
    JsonStyle style;
    style.ascii = call.flag(0, false);
    style.sort_keys = call.flag(3, false);
    if (call.has(1) && !call.args[1].is_none()) {
        style.indent = static_cast<int>(std::clamp<int64_t>(call.integer(1, 0), 0, 1000));
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
    if (!call.self.is_number()) fail_template(fmt::format("bad operand type for abs(): '{}'", type_name(call.self)));
    if (call.self.is_integer()) return call.self.as_int() < 0 ? negate(call.self) : Value(call.self.as_int());
    return Value(std::fabs(call.self.as_float()));
}

Value round(Call &call) {
    call.bind({"precision", "method"});
    int64_t precision = std::clamp<int64_t>(call.integer(0, 0), -300, 300);
    std::string method = call.string(1, "common");
    if (call.self.is_undefined()) fail_template(call.self.hint());
    if (!call.self.is_number()) fail_template(fmt::format("a '{}' cannot be rounded", type_name(call.self)));
    double value = call.self.as_float(), scale = std::pow(10.0, static_cast<double>(precision));
    if (method == "ceil") return Value(std::ceil(value * scale) / scale);
    if (method == "floor") return Value(std::floor(value * scale) / scale);
    if (method != "common") fail_template("the method of round is common, ceil or floor");
    if (call.self.is_integer() && precision >= 0) return Value(call.self.as_int());
    if (precision < 0) {
        double rounded = std::nearbyint(value / std::pow(10.0, static_cast<double>(-precision))) *
                         std::pow(10.0, static_cast<double>(-precision));
        return call.self.is_integer() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
    }
    if (!std::isfinite(value)) return Value(value);
    // Decimal text is exact here, as Python's rounding is.
    return Value(std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr));
}

bool parse_int(std::string_view text, int base, int64_t &out) {
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
    if (digits.empty() || digits[0] == '-' || digits[0] == '+') return false;
    if (negative) digits.insert(0, "-");
    auto end = std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
    return end.ec == std::errc() && end.ptr == digits.data() + digits.size();
}

bool parse_float(std::string_view text, double &out) {
    text = strip_text(text, kStripBoth);
    if (!text.empty() && text[0] == '+') text.remove_prefix(1);
    if (text.empty() || text[0] == '+') return false;
    auto end = std::from_chars(text.data(), text.data() + text.size(), out);
    return end.ec == std::errc() && end.ptr == text.data() + text.size();
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
    else if (parse_int(call.self.text(), static_cast<int>(base), whole))
        return Value(whole);
    else if (!parse_float(call.self.text(), number))
        return otherwise;
    if (!(std::fabs(number) < 9.2e18)) return otherwise;
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
    bool start = true;
    for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        uint32_t code = next_code_point(text, at);
        std::string_view letter = std::string_view(text).substr(begin, at - begin);
        out += start ? upper_text(letter) : lower_text(letter);
        start = is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
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
            fmt::format_to(std::back_inserter(out), "%{:02X}", byte);
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
    if (bytes < base) return Value(fmt::format("{} Bytes", static_cast<int64_t>(std::max(bytes, -9e18))));
    static constexpr const char *kUnits = "kMGTPEZY";
    int unit = 0;
    double size = base;
    while (unit < 7 && bytes >= size * base) {
        size *= base;
        ++unit;
    }
    std::string letter(1, kUnits[unit]);
    return Value(fmt::format("{:.1f} {}{}", bytes / size, binary ? upper_text(letter) : letter, binary ? "iB" : "B"));
}

Value pprint(Call &call) {
    call.bind({"verbose"});
    std::string out;
    append_repr(out, call.self, call.renderer.meter);
    return call.renderer.make_string(std::move(out));
}

constexpr NamedFunction kFilters[] = {
    {"abs", absolute},
    {"attr", attr},
    {"batch", batch},
    {"capitalize", mapped<capitalize_text>},
    {"center", as_method<'c'>},
    {"count", count},
    {"d", default_value},
    {"default", default_value},
    {"dictsort", dictsort},
    {"e", escape},
    {"escape", escape},
    {"filesizeformat", filesizeformat},
    {"first", first_or_last<false>},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"from_json", from_json},
    {"groupby", groupby},
    {"indent", indent},
    {"int", to_int},
    {"items", items},
    {"join", join},
    {"last", first_or_last<true>},
    {"length", count},
    {"list", list},
    {"lower", mapped<lower_text>},
    {"map", map},
    {"max", extreme<1>},
    {"min", extreme<-1>},
    {"pprint", pprint},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"replace", as_method<'r'>},
    {"reverse", reverse},
    {"round", round},
    {"safe", safe},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"string", string},
    {"sum", sum},
    {"title", title},
    {"tojson", tojson},
    {"trim", as_method<'t'>},
    {"truncate", truncate},
    {"unique", unique},
    {"upper", mapped<upper_text>},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
};

}  // namespace

Function find_filter(std::string_view name) {
    auto found =
        std::lower_bound(std::begin(kFilters), std::end(kFilters), name,
                         [](const NamedFunction &entry, std::string_view wanted) { return entry.name < wanted; });
    return found != std::end(kFilters) && found->name == name ? found->function : nullptr;
}

}  // namespace el
