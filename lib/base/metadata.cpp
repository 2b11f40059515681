#include "base/metadata.h"

#include "base/status.h"

#include "base/format.h"
#include <algorithm>
#include <concepts>
#include <limits>
#include <utility>

namespace el {
namespace {

template <typename T> T load(const std::byte *p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// Calls f with the number at `p`, in its own C++ type. Returns false for strings and arrays.
template <typename F> bool visit_number(MetaType type, const std::byte *p, F &&f) {
    switch (type) {
    case MetaType::kU8:
        f(load<uint8_t>(p));
        return true;
    case MetaType::kI8:
        f(load<int8_t>(p));
        return true;
    case MetaType::kU16:
        f(load<uint16_t>(p));
        return true;
    case MetaType::kI16:
        f(load<int16_t>(p));
        return true;
    case MetaType::kU32:
        f(load<uint32_t>(p));
        return true;
    case MetaType::kI32:
        f(load<int32_t>(p));
        return true;
    case MetaType::kF32:
        f(load<float>(p));
        return true;
    case MetaType::kBool:
        f(load<uint8_t>(p) != 0);
        return true;
    case MetaType::kU64:
        f(load<uint64_t>(p));
        return true;
    case MetaType::kI64:
        f(load<int64_t>(p));
        return true;
    case MetaType::kF64:
        f(load<double>(p));
        return true;
    case MetaType::kString:
    case MetaType::kArray:
        break;
    }
    return false;
}

bool is_float(MetaType type) { return type == MetaType::kF32 || type == MetaType::kF64; }
bool is_integer(MetaType type) { return meta_type_bytes(type) != 0 && !is_float(type) && type != MetaType::kBool; }

std::string_view string_at(const std::byte *p) {
    return {reinterpret_cast<const char *>(p) + 8, static_cast<size_t>(load<uint64_t>(p))};
}

[[noreturn]] void wrong_type(const Metadata &meta, const Metadata::Entry &e, const char *wanted) {
    bool array = e.type == MetaType::kArray;
    fail(Status::kMetadataInvalid, "{}: metadata key '{}' must be {}, but it is {}{}", meta.source(), e.key, wanted,
         array ? "an array of " : "of type ", meta_type_name(e.element));
}

// The integer under `key`, if it fits T.
template <typename T> std::optional<T> get_integer(const Metadata &meta, std::string_view key) {
    const Metadata::Entry *e = meta.find(key);
    if (!e) return std::nullopt;
    if (!is_integer(e->type)) wrong_type(meta, *e, "an integer");
    T value = 0;
    visit_number(e->type, e->data, [&](auto x) {
        if constexpr (std::integral<decltype(x)> && !std::same_as<decltype(x), bool>) {
            if (!std::in_range<T>(x))
                fail(Status::kMetadataInvalid, "{}: metadata key '{}' has the impossible value {}", meta.source(), key,
                     x);
            value = static_cast<T>(x);
        }
    });
    return value;
}

void append_quoted(std::string &out, std::string_view text) {
    out += '"';
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) < 0x20)
            append_format(out, "\\u{:04x}", static_cast<unsigned>(c));
        else
            out += c;
    }
    out += '"';
}

void append_number(std::string &out, MetaType type, const std::byte *p) {
    visit_number(type, p, [&](auto x) { append_format(out, "{}", x); });
}

}  // namespace

const char *meta_type_name(MetaType type) {
    static constexpr const char *kNames[kMetaTypeCount] = {"uint8",  "int8",    "uint16",  "int16",  "uint32",
                                                           "int32",  "float32", "boolean", "string", "array",
                                                           "uint64", "int64",   "float64"};
    uint32_t i = static_cast<uint32_t>(type);
    return i < kMetaTypeCount ? kNames[i] : "unknown";
}

size_t meta_type_bytes(MetaType type) {
    static constexpr uint8_t kBytes[kMetaTypeCount] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint32_t i = static_cast<uint32_t>(type);
    return i < kMetaTypeCount ? kBytes[i] : 0;
}

Metadata::Metadata(std::string source, std::shared_ptr<const std::byte[]> blob, std::vector<Entry> entries)
    : source_(std::move(source)), blob_(std::move(blob)), entries_(std::move(entries)), by_key_(entries_.size()) {
    for (size_t i = 0; i < by_key_.size(); ++i) by_key_[i] = static_cast<uint32_t>(i);
    auto key_of = [&](uint32_t i) { return entries_[i].key; };
    std::sort(by_key_.begin(), by_key_.end(), [&](uint32_t a, uint32_t b) { return key_of(a) < key_of(b); });
    for (size_t i = 1; i < by_key_.size(); ++i)
        if (key_of(by_key_[i - 1]) == key_of(by_key_[i]))
            fail(Status::kFileCorrupt, "{}: metadata key '{}' appears twice", source_, key_of(by_key_[i]));
}

const Metadata::Entry *Metadata::find(std::string_view key) const {
    auto it = std::lower_bound(by_key_.begin(), by_key_.end(), key,
                               [&](uint32_t i, std::string_view k) { return entries_[i].key < k; });
    return it != by_key_.end() && entries_[*it].key == key ? &entries_[*it] : nullptr;
}

std::optional<uint64_t> Metadata::get_uint(std::string_view key) const { return get_integer<uint64_t>(*this, key); }
std::optional<int64_t> Metadata::get_int(std::string_view key) const { return get_integer<int64_t>(*this, key); }

std::optional<double> Metadata::get_float(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (!is_float(e->type)) wrong_type(*this, *e, "a float");
    return e->type == MetaType::kF32 ? load<float>(e->data) : load<double>(e->data);
}

std::optional<bool> Metadata::get_bool(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (e->type != MetaType::kBool) wrong_type(*this, *e, "a boolean");
    return load<uint8_t>(e->data) != 0;
}

std::optional<std::string_view> Metadata::get_string(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (e->type != MetaType::kString) wrong_type(*this, *e, "a string");
    return string_at(e->data);
}

std::optional<StringArray> Metadata::get_strings(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (e->type != MetaType::kArray || e->element != MetaType::kString) wrong_type(*this, *e, "an array of strings");
    return StringArray(e->data, e->count);
}

std::optional<std::vector<int64_t>> Metadata::get_ints(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (e->type != MetaType::kArray || !(is_integer(e->element) || e->element == MetaType::kBool))
        wrong_type(*this, *e, "an array of integers");
    std::vector<int64_t> values(e->count);
    const size_t bytes = meta_type_bytes(e->element);
    for (size_t i = 0; i < values.size(); ++i)
        visit_number(e->element, e->data + i * bytes, [&](auto x) {
            if constexpr (std::same_as<decltype(x), uint64_t>)
                if (!std::in_range<int64_t>(x))
                    fail(Status::kMetadataInvalid, "{}: metadata key '{}' has the impossible value {} at index {}",
                         source_, key, x, i);
            values[i] = static_cast<int64_t>(x);
        });
    return values;
}

std::optional<std::vector<float>> Metadata::get_floats(std::string_view key) const {
    const Entry *e = find(key);
    if (!e) return std::nullopt;
    if (e->type != MetaType::kArray || !is_float(e->element)) wrong_type(*this, *e, "an array of floats");
    std::vector<float> values(e->count);
    for (size_t i = 0; i < values.size(); ++i)
        values[i] = e->element == MetaType::kF32 ? load<float>(e->data + 4 * i)
                                                 : static_cast<float>(load<double>(e->data + 8 * i));
    return values;
}

std::string Metadata::to_text(const Entry &entry, size_t limit) {
    if (entry.type == MetaType::kString) return std::string(string_at(entry.data));
    std::string out;
    if (entry.type != MetaType::kArray) {
        append_number(out, entry.type, entry.data);
        return out;
    }
    out = "[";
    const std::byte *p = entry.data;
    for (uint64_t i = 0; i < entry.count; ++i) {
        if (i > 0) out += ", ";
        if (i == limit) {
            append_format(out, "... {} in all", entry.count);
            break;
        }
        if (entry.element == MetaType::kString) {
            append_quoted(out, string_at(p));
            p += 8 + string_at(p).size();
        } else {
            append_number(out, entry.element, p);
            p += meta_type_bytes(entry.element);
        }
    }
    return out + "]";
}

}  // namespace el
