// The list of block formats, and what the rest of the library knows about one: its name, sizes, decode and encode.
// The layouts themselves are in one header each (q4_k.h, ...), compiled for host and device.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace el {

// Numbered as tensor types in GGUF; these numbers never change.
enum class Format : uint8_t {
    kF32 = 0,
    kF16 = 1,
    kQ4_0 = 2,
    kQ4_1 = 3,
    kQ5_0 = 6,
    kQ5_1 = 7,
    kQ8_0 = 8,
    kQ2_K = 10,
    kQ3_K = 11,
    kQ4_K = 12,
    kQ5_K = 13,
    kQ6_K = 14,
    kIQ2_XXS = 16,
    kIQ2_XS = 17,
    kIQ3_XXS = 18,
    kIQ1_S = 19,
    kIQ4_NL = 20,
    kIQ3_S = 21,
    kIQ2_S = 22,
    kIQ4_XS = 23,
    kIQ1_M = 29,
    kBF16 = 30,
    kTQ1_0 = 34,
    kTQ2_0 = 35,
    kMXFP4 = 39,
    kNVFP4 = 40,
};

struct FormatInfo {
    Format format;
    const char *name;  // "Q4_K"
    uint32_t values;   // per block; 1 for F32, F16, BF16
    uint32_t bytes;    // per block
    // `n` is a multiple of `values`; `blocks` need not be aligned. Both are exact inverses of the layout, no threads.
    void (*decode)(const void *blocks, size_t n, float *out);
    void (*encode)(const float *in, size_t n, void *blocks);  // NULL: only read from files (IQ1, IQ2, IQ3)
};

const FormatInfo *find_format(uint32_t gguf_type);     // NULL if not known
const FormatInfo *find_format(std::string_view name);  // "Q4_K", case-insensitive; NULL if not known
const FormatInfo &format_info(Format format);

// Bytes of one row of `n` values; `n` must be a multiple of the block's values.
inline size_t row_bytes(Format format, size_t n) {
    const FormatInfo &f = format_info(format);
    return n / f.values * f.bytes;
}

}  // namespace el
