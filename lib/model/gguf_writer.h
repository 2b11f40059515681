// Writes a GGUF file, streaming the tensor data: metadata and tensors are declared, then the data follows in the same
// order. A file that was not finished is removed. I/O failures are kIoError and name the file.
#pragma once
#include "base/metadata.h"
#include "quant/format.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace el {

class GgufWriter {
  public:
    explicit GgufWriter(std::string path, uint32_t version = 3);
    ~GgufWriter();
    GgufWriter(const GgufWriter &) = delete;
    GgufWriter &operator=(const GgufWriter &) = delete;

    // Any integer type, bool, float or double; the metadata type follows from T.
    template <typename T>
    requires std::is_arithmetic_v<T>
    void set(std::string_view key, T value) {
        begin_value(key, type_of<T>());
        append(&value, sizeof value);
    }
    void set(std::string_view key, std::string_view value);
    void set(std::string_view key, const char *value) { set(key, std::string_view(value)); }
    template <typename T>
    requires std::is_arithmetic_v<T>
    void set_array(std::string_view key, std::span<const T> values) {
        begin_array(key, type_of<T>(), values.size());
        append(values.data(), values.size_bytes());
    }
    void set_array(std::string_view key, std::span<const std::string> values);
    void set_alignment(uint32_t alignment);  // of tensors; 32 unless set

    // shape[0] is the fastest dimension. Returns the tensor's bytes.
    uint64_t add_tensor(std::string_view name, Format format, std::span<const uint64_t> shape);

    void begin_data();
    // The next `n` bytes; padding between tensors is added here, and one call may span several tensors.
    void write(const void *data, size_t n);
    void finish();

  private:
    template <typename T> static constexpr MetaType type_of() {
        if constexpr (std::is_same_v<T, bool>) return MetaType::kBool;
        if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 4 ? MetaType::kF32 : MetaType::kF64;
        constexpr bool kSigned = std::is_signed_v<T>;
        switch (sizeof(T)) {
        case 1:
            return kSigned ? MetaType::kI8 : MetaType::kU8;
        case 2:
            return kSigned ? MetaType::kI16 : MetaType::kU16;
        case 4:
            return kSigned ? MetaType::kI32 : MetaType::kU32;
        default:
            return kSigned ? MetaType::kI64 : MetaType::kU64;
        }
    }
    void begin_value(std::string_view key, MetaType type);
    void begin_array(std::string_view key, MetaType element, uint64_t count);
    void append(const void *data, size_t n) { metadata_.append(static_cast<const char *>(data), n); }
    void put(const void *data, size_t n);
    void put_padding();
    void flush(const char *data, size_t n);

    std::string path_, written_path_, replaced_path_, metadata_, infos_, buffer_;  // buffer_: bytes not yet in the file
    int fd_ = -1;
    uint32_t version_;
    uint64_t alignment_ = 32, n_keys_ = 0;
    uint64_t data_bytes_ = 0;             // of all tensors so far, with padding
    std::vector<uint64_t> tensor_bytes_;  // of each tensor
    size_t current_ = 0;                  // the tensor being written
    uint64_t current_left_ = 0;           // its bytes still to come
    uint64_t written_ = 0;                // bytes put since the beginning of the file
    bool data_begun_ = false;
};

}  // namespace el
