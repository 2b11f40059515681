// Reads `<architecture>.<name>` keys and says which one is wrong.
#pragma once
#include "base/metadata.h"
#include "base/status.h"

#include "base/format.h"
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace el {

class Keys {
  public:
    Keys(const Metadata &metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix) + ".") {}

    const std::string &source() const { return metadata_.source(); }
    std::string full(std::string_view name) const { return prefix_ + std::string(name); }
    bool has(std::string_view name) const { return metadata_.find(full(name)) != nullptr; }

    [[noreturn]] void bad(std::string_view name, std::string_view why) const {
        fail(Status::kMetadataInvalid, "{}: metadata key {}: {}", source(), full(name), why);
    }

    // A number from `least` on that fits in an int32.
    uint32_t count(std::string_view name, std::optional<uint32_t> absent = {}, uint32_t least = 1) const {
        auto value = metadata_.get_uint(full(name));
        if (!value && !absent) bad(name, "is missing");
        return checked(name, value ? *value : *absent, least);
    }
    uint32_t count_or_zero(std::string_view name, uint32_t absent = 0) const { return count(name, absent, 0); }

    // Arrays may go on for these layers after the last.
    void allow_more_layers(uint32_t n) { more_layers_ = n; }

    // A number for every layer: the key holds one for all or an array with one each.
    std::vector<uint32_t> per_layer(std::string_view name, size_t n_layers, std::optional<uint32_t> absent = {},
                                    uint32_t least = 1) const {
        if (!is_array(name)) return std::vector<uint32_t>(n_layers, count(name, absent, least));
        std::vector<uint32_t> out;
        out.reserve(n_layers);
        for (int64_t v : ints(name, n_layers)) out.push_back(checked(name, v < 0 ? UINT64_MAX : uint64_t(v), least));
        return out;
    }

    bool is_array(std::string_view name) const {
        const Metadata::Entry *entry = metadata_.find(full(name));
        return entry && entry->type == MetaType::kArray;
    }
    std::vector<int64_t> ints(std::string_view name, size_t n_layers) const {
        std::vector<int64_t> values = *metadata_.get_ints(full(name));
        if (values.size() == n_layers + more_layers_) values.resize(n_layers);
        if (values.size() != n_layers) bad(name, el::format("has {} values for {} layers", values.size(), n_layers));
        return values;
    }

    float real(std::string_view name, std::optional<float> absent = {}) const {
        auto value = metadata_.get_float(full(name));
        if (!value && !absent) bad(name, "is missing");
        float v = value ? static_cast<float>(*value) : *absent;
        if (!std::isfinite(v)) bad(name, "is not a finite number");
        return v;
    }
    float positive(std::string_view name, std::optional<float> absent = {}) const {
        float v = real(name, absent);
        if (!(v > 0)) bad(name, el::format("{} is not positive", v));
        return v;
    }

    std::optional<std::string_view> text(std::string_view name) const { return metadata_.get_string(full(name)); }
    bool flag(std::string_view name, bool absent) const { return metadata_.get_bool(full(name)).value_or(absent); }

  private:
    uint32_t checked(std::string_view name, uint64_t n, uint32_t least) const {
        if (n < least || n > uint64_t(std::numeric_limits<int32_t>::max()))
            bad(name, n == UINT64_MAX ? "is out of range" : el::format("{} is out of range", n));
        return static_cast<uint32_t>(n);
    }

    const Metadata &metadata_;
    std::string prefix_;
    uint32_t more_layers_ = 0;
};

}  // namespace el
