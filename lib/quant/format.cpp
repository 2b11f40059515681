#include "quant/formats.h"
#include <bit>

namespace el {
static_assert(std::endian::native == std::endian::little, "blocks are little-endian");

namespace {
constexpr size_t kTableSize = 41;  // highest Format + 1
struct Table {
    FormatInfo entries[kTableSize]{};  // by number; name is NULL where there is no format
};

constexpr Table make_table() {
    Table table;
    for_each_format([&](auto type) {
        using F = typename decltype(type)::type;
        FormatInfo &info = table.entries[size_t(F::kFormat)];
        info = {F::kFormat, F::kName, F::kValues, sizeof(typename F::Block), &decode_row<F>, nullptr};
        if constexpr (HasEncoder<F>) info.encode = &encode_row<F>;
    });
    return table;
}
constexpr Table kTable = make_table();

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    auto upper = [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; };
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); i++) {
        if (upper(a[i]) != upper(b[i])) return false;
    }
    return true;
}
}  // namespace

const FormatInfo *find_format(uint32_t gguf_type) {
    return gguf_type < kTableSize && kTable.entries[gguf_type].name ? &kTable.entries[gguf_type] : nullptr;
}

const FormatInfo *find_format(std::string_view name) {
    for (const FormatInfo &info : kTable.entries) {
        if (info.name && equal_ignoring_case(info.name, name)) return &info;
    }
    return nullptr;
}

const FormatInfo &format_info(Format format) { return kTable.entries[size_t(format)]; }

}  // namespace el
