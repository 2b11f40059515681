// A read-only view of a model file's key-value metadata. The strings and arrays are views into bytes that the Metadata
// owns, so a vocabulary of 262,144 tokens costs no allocation per token.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace el {

// Numbered as in GGUF.
enum class MetaType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
constexpr uint32_t kMetaTypeCount = 13;
const char *meta_type_name(MetaType type);
size_t meta_type_bytes(MetaType type);  // of a scalar; 0 for strings and arrays

// An array of strings, read in order: for (std::string_view s : strings) ...
class StringArray {
  public:
    StringArray() = default;
    StringArray(const std::byte *data, uint64_t count) : data_(data), count_(count) {}
    uint64_t size() const { return count_; }
    struct Iterator {
        const std::byte *at;
        uint64_t left;
        static uint64_t length(const std::byte *p) {
            uint64_t n;
            std::memcpy(&n, p, sizeof n);
            return n;
        }
        std::string_view operator*() const { return {reinterpret_cast<const char *>(at) + 8, length(at)}; }
        Iterator &operator++() {
            at += 8 + length(at);
            --left;
            return *this;
        }
        bool operator!=(const Iterator &other) const { return left != other.left; }
    };
    Iterator begin() const { return {data_, count_}; }
    Iterator end() const { return {nullptr, 0}; }

  private:
    const std::byte *data_ = nullptr;
    uint64_t count_ = 0;
};

class Metadata {
  public:
    struct Entry {
        std::string_view key;
        MetaType type;
        MetaType element;       // of an array; otherwise equal to type
        uint64_t count;         // elements of an array, 1 for a scalar
        const std::byte *data;  // little-endian payload; a string is a u64 length and its bytes; no alignment
    };

    // `blob` holds every view in `entries`. `source` names the file in messages. Throws kFileCorrupt on a duplicate
    // key.
    Metadata(std::string source, std::shared_ptr<const std::byte[]> blob, std::vector<Entry> entries);
    Metadata() = default;

    const std::string &source() const { return source_; }
    const std::vector<Entry> &entries() const { return entries_; }
    const Entry *find(std::string_view key) const;  // NULL if there is none

    // Each returns nothing when the key is absent, and throws kMetadataInvalid naming file and key when it has another
    // type. Integers of any width convert as long as the value fits; floats read f32 and f64.
    std::optional<uint64_t> get_uint(std::string_view key) const;
    std::optional<int64_t> get_int(std::string_view key) const;
    std::optional<double> get_float(std::string_view key) const;
    std::optional<bool> get_bool(std::string_view key) const;
    std::optional<std::string_view> get_string(std::string_view key) const;
    std::optional<StringArray> get_strings(std::string_view key) const;
    std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;  // of any integer or bool type
    std::optional<std::vector<float>> get_floats(std::string_view key) const;

    // The value as text: strings as they are, arrays as JSON-like lists of at most `limit` elements.
    static std::string to_text(const Entry &entry, size_t limit = SIZE_MAX);

  private:
    std::string source_;
    std::shared_ptr<const std::byte[]> blob_;
    std::vector<Entry> entries_;
    std::vector<uint32_t> by_key_;  // indices of entries_, sorted by key: no hostile file can make look-ups slow
};

}  // namespace el
