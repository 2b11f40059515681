#include "text/json.h"

#include "base/status.h"
#include "text/template_text.h"
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace el {

namespace {

// Builds values while the text is read, so that no second tree exists.
class Builder : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit Builder(std::string_view what) : what_(what) {}
    Value root;

    bool null() override { return add(Value::none()); }
    bool boolean(bool value) override { return add(Value(value)); }
    bool number_integer(number_integer_t value) override { return add(Value(int64_t{value})); }
    bool number_unsigned(number_unsigned_t value) override {
        if (value > static_cast<uint64_t>(INT64_MAX)) fail_integer(std::to_string(value));
        return add(Value(static_cast<int64_t>(value)));
    }
    bool number_float(number_float_t value, const string_t &text) override {
        if (text.find_first_of(".eE") == std::string::npos) fail_integer(text);
        return add(Value(value));
    }
    bool string(string_t &value) override { return add(Value(std::move(value))); }
    bool binary(binary_t &) override { return false; }
    bool key(string_t &value) override {
        open_.back().key = Value(std::move(value));
        return true;
    }
    bool start_object(size_t) override {
        auto dict = make_ref<Dict>();
        dict->frozen = true;
        return open(Value(dict));
    }
    bool start_array(size_t) override {
        auto list = make_ref<List>();
        list->frozen = true;
        return open(Value(list));
    }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool parse_error(size_t at, const std::string &, const nlohmann::detail::exception &error) override {
        // The library's sentence without its number and place.
        std::string_view text = error.what();
        size_t cut = text.find(": ");
        if (cut != std::string_view::npos) text.remove_prefix(cut + 2);
        text = text.substr(0, text.find("; last read"));  // which repeats the input
        fail(Status::kInvalidText, "{} cannot be read as JSON at byte {}: {}", what_, at, text);
    }

  private:
    struct Open {
        Value container, key;
    };
    // As a float it would be another number.
    [[noreturn]] void fail_integer(std::string_view text) const {
        fail(Status::kInvalidText, "{}: the integer {} does not fit into 64 bits; write it as a string or a float",
             what_, text.substr(0, 40));
    }
    bool add(Value value) {
        if (open_.empty()) {
            root = std::move(value);
        } else if (open_.back().container.is_dict()) {
            open_.back().container.dict().set(open_.back().key, std::move(value));
        } else {
            open_.back().container.list().items.push_back(std::move(value));
        }
        return true;
    }
    bool open(Value container) {
        if (open_.size() >= kMaxValueDepth)
            fail(Status::kLimitExceeded, "{} nests more than {} levels of JSON", what_, kMaxValueDepth);
        add(container);
        open_.push_back({std::move(container), Value()});
        return true;
    }
    bool close() {
        open_.pop_back();
        return true;
    }
    std::string_view what_;
    std::vector<Open> open_;
};

// Writes one value; the members hold what is the same at every level.
class Writer {
  public:
    Writer(std::string &out, const JsonStyle &style, Meter &meter) : out_(out), style_(style), meter_(meter) {}

    void write(const Value &value, int depth) {
        if (depth > kMaxValueDepth) Meter::fail_depth();
        meter_.step();
        size_t before = out_.size();
        switch (value.type()) {
        case ValueType::kNone:
            out_ += "null";
            break;
        case ValueType::kBool:
            out_ += value.as_int() ? "true" : "false";
            break;
        case ValueType::kInt:
            out_ += std::to_string(value.as_int());
            break;
        case ValueType::kFloat:
            write_float(value.as_float());
            break;
        case ValueType::kString:
            write_string(value.text());
            break;
        case ValueType::kDict:
            return write_dict(value.dict(), depth);
        case ValueType::kList:
            if (value.list().kind <= ListKind::kTuple) return write_list(value.list(), depth);
            [[fallthrough]];
        default:
            fail(Status::kTemplateFailed, "Object of type {} is not JSON serializable", type_name(value));
        }
        meter_.build(out_.size() - before);
    }

  private:
    void write_float(double value) {
        if (std::isnan(value))
            out_ += "NaN";
        else if (std::isinf(value))
            out_ += value < 0 ? "-Infinity" : "Infinity";
        else
            out_ += float_text(value);
    }

    void write_string(std::string_view text) {
        meter_.look(text.size());
        out_ += '"';
        for (size_t at = 0; at < text.size();) {
            size_t start = at;
            uint32_t code = next_code_point(text, at);
            static constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
            size_t named = code < 0x80 ? kEscaped.find(static_cast<char>(code)) : std::string_view::npos;
            if (named != std::string_view::npos)
                (out_ += '\\') += kLetters[named];
            else if (code < 0x20 || (style_.ascii && code >= 0x7F))
                write_escape(code);
            else
                out_.append(text, start, at - start);
        }
        out_ += '"';
    }

    void write_escape(uint32_t code) {
        if (code >= 0x10000) {
            write_escape(0xD800 + ((code - 0x10000) >> 10));
            write_escape(0xDC00 + ((code - 0x10000) & 0x3FF));
        } else {
            append_format(out_, "\\u{:04x}", code);
        }
    }

    void write_key(const Value &key) {
        if (key.is_string()) return write_string(key.text());
        if (!key.is_number() && !key.is_none())
            fail(Status::kTemplateFailed, "keys must be str, int, float, bool or None, not {}", type_name(key));
        out_ += '"';
        write(key, 0);
        out_ += '"';
    }

    void new_line(int depth) {
        if (!style_.lines) return;
        meter_.build(style_.indent.size() * static_cast<size_t>(depth));
        out_ += '\n';
        for (int level = 0; level < depth; ++level) out_ += style_.indent;
    }

    void write_list(const List &list, int depth) {
        out_ += '[';
        for (size_t i = 0; i < list.items.size(); ++i) {
            if (i) out_ += style_.item_separator;
            new_line(depth + 1);
            write(list.items[i], depth + 1);
        }
        if (!list.items.empty()) new_line(depth);
        out_ += ']';
        meter_.build(2 + list.items.size() * style_.item_separator.size());
    }

    void write_dict(const Dict &dict, int depth) {
        std::vector<const Dict::Entry *> entries;
        for (const auto &entry : dict.entries()) entries.push_back(&entry);
        if (style_.sort_keys)
            std::stable_sort(entries.begin(), entries.end(), [&](auto *a, auto *b) {
                int order = compare_values(a->first, b->first, meter_);
                return order < 0;
            });
        out_ += '{';
        for (size_t i = 0; i < entries.size(); ++i) {
            if (i) out_ += style_.item_separator;
            new_line(depth + 1);
            size_t before = out_.size();
            write_key(entries[i]->first);
            out_ += style_.key_separator;
            meter_.build(out_.size() - before + style_.item_separator.size());
            write(entries[i]->second, depth + 1);
        }
        if (!entries.empty()) new_line(depth);
        out_ += '}';
        meter_.build(2);
    }

    std::string &out_;
    const JsonStyle &style_;
    Meter &meter_;
};

}  // namespace

Value parse_json(std::string_view text, std::string_view what) {
    if (const size_t nul = text.find('\0'); nul != text.npos)  // which the parser takes for the end
        fail(Status::kInvalidText, "{} cannot be read as JSON at byte {}: a NUL", what, nul + 1);
    Builder builder(what);
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return std::move(builder.root);
}

void append_json(std::string &out, const Value &value, const JsonStyle &style, Meter &meter) {
    Writer(out, style, meter).write(value, 0);
}

}  // namespace el
