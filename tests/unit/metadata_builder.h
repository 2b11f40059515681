// Makes Metadata for tests, laid out as a file's would be.
#pragma once
#include "base/metadata.h"

namespace el::test {

class MetadataBuilder {
  public:
    MetadataBuilder &add_string(std::string_view key, std::string_view value) {
        begin(key, MetaType::kString, MetaType::kString, 1);
        put_string(value);
        return *this;
    }
    MetadataBuilder &add_u32(std::string_view key, uint32_t value) { return add_scalar(key, MetaType::kU32, value); }
    MetadataBuilder &add_bool(std::string_view key, bool value) {
        return add_scalar(key, MetaType::kBool, static_cast<uint8_t>(value));
    }
    MetadataBuilder &add_strings(std::string_view key, const std::vector<std::string> &values) {
        begin(key, MetaType::kArray, MetaType::kString, values.size());
        for (const std::string &value : values) put_string(value);
        return *this;
    }
    MetadataBuilder &add_i32s(std::string_view key, const std::vector<int32_t> &values) {
        begin(key, MetaType::kArray, MetaType::kI32, values.size());
        put(values.data(), values.size() * sizeof(int32_t));
        return *this;
    }
    MetadataBuilder &add_f32s(std::string_view key, const std::vector<float> &values) {
        begin(key, MetaType::kArray, MetaType::kF32, values.size());
        put(values.data(), values.size() * sizeof(float));
        return *this;
    }

    Metadata build(const std::string &source = "test.gguf") const {
        std::shared_ptr<std::byte[]> blob(new std::byte[blob_.size() + 1]);
        std::memcpy(blob.get(), blob_.data(), blob_.size());
        std::vector<Metadata::Entry> entries;
        for (const Item &item : items_) {
            const std::byte *key = blob.get() + item.key_at;
            entries.push_back({{reinterpret_cast<const char *>(key), item.key_size},
                               item.type,
                               item.element,
                               item.count,
                               key + item.key_size});
        }
        return Metadata(source, blob, std::move(entries));
    }

  private:
    struct Item {
        size_t key_at, key_size;
        MetaType type, element;
        uint64_t count;
    };
    template <typename T> MetadataBuilder &add_scalar(std::string_view key, MetaType type, T value) {
        begin(key, type, type, 1);
        put(&value, sizeof value);
        return *this;
    }
    void begin(std::string_view key, MetaType type, MetaType element, uint64_t count) {
        items_.push_back({blob_.size(), key.size(), type, element, count});
        put(key.data(), key.size());
    }
    void put_string(std::string_view value) {
        uint64_t size = value.size();
        put(&size, sizeof size);
        put(value.data(), value.size());
    }
    void put(const void *data, size_t size) {
        if (size > 0) blob_.append(static_cast<const char *>(data), size);
    }
    std::string blob_;
    std::vector<Item> items_;
};

}  // namespace el::test
