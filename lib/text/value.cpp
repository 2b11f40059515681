#include "text/value.h"

#include "base/status.h"
#include "text/template_text.h"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace el {

void Object::release() noexcept {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    // The children of a dying object join this list instead of dying inside its destructor.
    static thread_local Object *dying = nullptr;
    static thread_local bool busy = false;
    next_dying_ = dying;
    dying = this;
    if (busy) return;
    busy = true;
    while (dying) {
        Object *object = dying;
        dying = object->next_dying_;
        delete object;
    }
    busy = false;
}

void Meter::fail_steps() { fail(Status::kLimitExceeded, "the template takes too many steps"); }
void Meter::fail_bytes() { fail(Status::kLimitExceeded, "the template builds too much text and data"); }
void Meter::fail_depth() { fail(Status::kLimitExceeded, "the template nests values or calls too deeply"); }

Value::Value(std::string text) : Value(make_ref<String>(std::move(text))) {}

Value Value::undefined(std::string hint) {
    Value value;
    Ref<String> text = make_ref<String>(std::move(hint));
    text->retain();
    value.object_ = text.get();
    return value;
}

const std::string &Value::text() const { return static_cast<String *>(object_)->text; }
bool Value::is_markup() const { return is_string() && static_cast<String *>(object_)->markup; }
List &Value::list() const { return *static_cast<List *>(object_); }
Dict &Value::dict() const { return *static_cast<Dict *>(object_); }
std::string_view Value::hint() const {
    return object_ ? std::string_view(static_cast<String *>(object_)->text)
                   : std::string_view("the value is undefined");
}

namespace {

// Compares an integer with a float exactly.
int compare_int_float(int64_t a, double b) {
    if (std::isnan(b)) return 2;
    if (b >= 9223372036854775808.0) return -1;
    if (b < -9223372036854775808.0) return 1;
    double whole = std::floor(b);
    int64_t floor = static_cast<int64_t>(whole);
    if (a != floor) return a < floor ? -1 : 1;
    return b > whole ? -1 : 0;
}

// 2: not comparable (NaN)
int compare_numbers(const Value &a, const Value &b) {
    if (a.is_integer() && b.is_integer()) return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int();
    if (a.is_integer()) return compare_int_float(a.as_int(), b.as_float());
    if (b.is_integer()) {
        int order = compare_int_float(b.as_int(), a.as_float());
        return order == 2 ? 2 : -order;
    }
    if (std::isnan(a.as_float()) || std::isnan(b.as_float())) return 2;
    return a.as_float() < b.as_float() ? -1 : a.as_float() > b.as_float();
}

int key_rank(const Value &key) {
    if (key.is_number()) return 1;
    return key.is_none() ? 0 : 2 + static_cast<int>(key.type());
}

// A total order of hashable values, for the index of a dict.
int compare_keys(const Value &a, const Value &b) {
    if (int ranks = key_rank(a) - key_rank(b)) return ranks;
    if (a.is_number()) {
        int order = compare_numbers(a, b);
        return order == 2 ? std::isnan(a.as_float()) - std::isnan(b.as_float()) : order;
    }
    if (a.is_string()) return a.text().compare(b.text());
    if (a.is_list()) {
        const auto &x = a.list().items, &y = b.list().items;
        for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
            if (int order = compare_keys(x[i], y[i])) return order;
        return x.size() < y.size() ? -1 : x.size() > y.size();
    }
    if (a.is_none() || a.is_undefined()) return 0;
    return std::less<Object *>()(a.object(), b.object()) ? -1 : a.object() != b.object();
}

}  // namespace

bool Dict::Less::operator()(const Value &a, const Value &b) const { return compare_keys(a, b) < 0; }

size_t Dict::position(const Value &key) const {
    if (!index_.empty()) {
        auto found = index_.find(key);
        return found == index_.end() ? entries_.size() : found->second;
    }
    size_t i = 0;
    while (i < entries_.size() && compare_keys(entries_[i].first, key) != 0) ++i;
    return i;
}

const Value *Dict::find(const Value &key) const {
    size_t at = position(key);
    return at < entries_.size() ? &entries_[at].second : nullptr;
}

const Value *Dict::find(std::string_view key) const {
    if (!index_.empty()) return find(Value(key));
    for (const Entry &entry : entries_)
        if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
    return nullptr;
}

void Dict::build_index() {
    index_.clear();
    if (entries_.size() < kIndexFrom) return;
    for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].first, i);
}

void Dict::set(Value key, Value value) {
    size_t at = position(key);
    if (at < entries_.size()) {
        entries_[at].second = std::move(value);
        return;
    }
    entries_.emplace_back(std::move(key), std::move(value));
    if (index_.empty())
        build_index();
    else
        index_.emplace(entries_.back().first, at);
}

bool Dict::remove(const Value &key) {
    size_t at = position(key);
    if (at == entries_.size()) return false;
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(at));
    build_index();
    return true;
}

void Dict::clear() {
    index_.clear();
    entries_.clear();
}

bool is_truthy(const Value &value) {
    switch (value.type()) {
    case ValueType::kUndefined:
    case ValueType::kNone:
        return false;
    case ValueType::kBool:
    case ValueType::kInt:
        return value.as_int() != 0;
    case ValueType::kFloat:
        return value.as_float() != 0;
    case ValueType::kString:
        return !value.text().empty();
    case ValueType::kList:
        return value.list().kind == ListKind::kGenerator || !value.list().items.empty();
    case ValueType::kDict:
        return value.dict().size() != 0;
    case ValueType::kObject:
        return true;
    }
    return true;
}

bool is_hashable(const Value &value) {
    if (value.is_dict()) return false;
    if (!value.is_list()) return true;
    if (value.list().kind != ListKind::kTuple || value.list().items.size() > 16) return false;
    return std::all_of(value.list().items.begin(), value.list().items.end(),
                       [](const Value &item) { return !item.is_list() && !item.is_dict(); });
}

const char *type_name(const Value &value) {
    static constexpr const char *kNames[] = {"Undefined", "NoneType", "bool", "int", "float", "str"};
    static constexpr const char *kListNames[] = {"list",        "tuple",      "range",    "dict_keys",
                                                 "dict_values", "dict_items", "generator"};
    if (value.is_list()) return kListNames[static_cast<int>(value.list().kind)];
    if (value.is_dict()) return "dict";
    return value.is(ValueType::kObject) ? "object" : kNames[static_cast<int>(value.type())];
}

static bool dicts_equal(const Dict &a, const Dict &b, Meter &meter, int depth) {
    if (a.size() != b.size()) return false;
    for (const auto &[key, value] : a.entries()) {
        const Value *other = b.find(key);
        if (!other || !values_equal(value, *other, meter, depth)) return false;
    }
    return true;
}

bool values_equal(const Value &a, const Value &b, Meter &meter, int depth) {
    if (depth > kMaxValueDepth) Meter::fail_depth();
    meter.step();
    if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
    if (a.type() != b.type()) return false;
    if (a.is_none() || a.is_undefined() || a.object() == b.object()) return true;
    if (a.is_string()) {
        if (a.text().size() != b.text().size()) return false;
        meter.look(a.text().size());
        return a.text() == b.text();
    }
    if (a.is_dict()) return dicts_equal(a.dict(), b.dict(), meter, depth + 1);
    if (!a.is_list()) return false;
    const List &x = a.list(), &y = b.list();
    if (x.kind != y.kind || x.items.size() != y.items.size() || x.kind == ListKind::kGenerator) return false;
    for (size_t i = 0; i < x.items.size(); ++i)
        if (!values_equal(x.items[i], y.items[i], meter, depth + 1)) return false;
    return true;
}

int compare_values(const Value &a, const Value &b, Meter &meter, int depth) {
    if (depth > kMaxValueDepth) Meter::fail_depth();
    meter.step();
    if (a.is_number() && b.is_number()) return compare_numbers(a, b);
    if (a.is_string() && b.is_string()) {
        meter.look(std::min(a.text().size(), b.text().size()));
        return a.text().compare(b.text());
    }
    if (a.is_undefined() || b.is_undefined()) fail(Status::kTemplateFailed, "{}", (a.is_undefined() ? a : b).hint());
    if (a.is_list() && b.is_list() && a.list().kind == b.list().kind && a.list().kind <= ListKind::kTuple) {
        const auto &x = a.list().items, &y = b.list().items;
        for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
            if (!values_equal(x[i], y[i], meter, depth + 1)) return compare_values(x[i], y[i], meter, depth + 1);
        return x.size() < y.size() ? -1 : x.size() > y.size();
    }
    fail(Status::kTemplateFailed, "'{}' and '{}' cannot be ordered", type_name(a), type_name(b));
}

std::string float_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char buffer[40];
    // The shortest digits that read back as the same number; Python prints them plainly from 1e-4 up to 1e16.
    auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
    int exponent = std::atoi(std::string(text.substr(text.find('e') + 1)).c_str());
    if (exponent < -4 || exponent >= 16) return std::string(text);
    end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
    std::string plain(buffer, end.ptr);
    if (plain.find('.') == std::string::npos) plain += ".0";
    return plain;
}

// Python's quoting: single quotes unless only they occur inside.
static void append_quoted(std::string &out, const std::string &text) {
    char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
    out += quote;
    for (size_t at = 0; at < text.size();) {
        size_t start = at;
        uint32_t code = next_code_point(text, at);
        if (code == static_cast<uint32_t>(quote) || code == '\\')
            (out += '\\') += static_cast<char>(code);
        else if (code == '\n')
            out += "\\n";
        else if (code == '\r')
            out += "\\r";
        else if (code == '\t')
            out += "\\t";
        else if (is_printable(code))
            out.append(text, start, at - start);
        else if (code < 0x100)
            append_format(out, "\\x{:02x}", code);
        else if (code < 0x10000)
            append_format(out, "\\u{:04x}", code);
        else
            append_format(out, "\\U{:08x}", code);
    }
    out += quote;
}

static void append_list(std::string &out, const List &list, Meter &meter, int depth) {
    static constexpr const char *kOpen[] = {"[", "(", "range(", "dict_keys([", "dict_values([", "dict_items(["};
    static constexpr const char *kClose[] = {"]", ")", ")", "])", "])", "])"};
    int kind = static_cast<int>(list.kind);
    if (list.kind == ListKind::kGenerator) {
        out += "<generator object>";
        return;
    }
    out += kOpen[kind];
    if (list.kind == ListKind::kRange) {
        int64_t first = list.items.empty() ? 0 : list.items.front().as_int();
        int64_t step = list.items.size() < 2 ? 1 : list.items[1].as_int() - first;
        int64_t last = list.items.empty() ? 0 : list.items.back().as_int() + step;
        append_format(out, "{}, {}", first, last);
        if (step != 1) append_format(out, ", {}", step);
    } else {
        for (size_t i = 0; i < list.items.size(); ++i) {
            if (i) out += ", ";
            append_repr(out, list.items[i], meter, depth + 1);
        }
        if (list.kind == ListKind::kTuple && list.items.size() == 1) out += ',';
    }
    out += kClose[kind];
}

void append_repr(std::string &out, const Value &value, Meter &meter, int depth) {
    if (depth > kMaxValueDepth) Meter::fail_depth();
    meter.step();
    size_t before = out.size();
    switch (value.type()) {
    case ValueType::kUndefined:
        out += "Undefined";
        break;
    case ValueType::kNone:
        out += "None";
        break;
    case ValueType::kBool:
        out += value.as_int() ? "True" : "False";
        break;
    case ValueType::kInt:
        out += std::to_string(value.as_int());
        break;
    case ValueType::kFloat:
        out += float_text(value.as_float());
        break;
    case ValueType::kString:
        meter.build(value.text().size());
        meter.look(value.text().size());
        if (value.is_markup()) out += "Markup(";
        append_quoted(out, value.text());
        if (value.is_markup()) out += ')';
        return;
    case ValueType::kList:
        append_list(out, value.list(), meter, depth);
        return;
    case ValueType::kDict: {
        out += '{';
        const char *separator = "";
        for (const auto &[key, item] : value.dict().entries()) {
            out += separator;
            append_repr(out, key, meter, depth + 1);
            out += ": ";
            append_repr(out, item, meter, depth + 1);
            separator = ", ";
        }
        out += '}';
        return;
    }
    case ValueType::kObject:
        out += "<object>";
        break;
    }
    meter.build(out.size() - before);
}

void append_text(std::string &out, const Value &value, Meter &meter) {
    if (value.is_undefined()) return;
    if (!value.is_string()) return append_repr(out, value, meter);
    meter.build(value.text().size());
    meter.look(value.text().size());
    out += value.text();
}

}  // namespace el
