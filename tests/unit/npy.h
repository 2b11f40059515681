// Reads the simple .npy files of tests/golden: C order, little-endian float32 or 32/64-bit integers.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

template <typename T> std::vector<T> read_npy(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
    if (bytes.size() < 10) throw std::runtime_error("cannot read " + path);
    uint16_t header;
    std::memcpy(&header, bytes.data() + 8, 2);
    std::string text(bytes.data() + 10, header);
    const char *data = bytes.data() + 10 + header;
    size_t n = bytes.size() - 10 - header;
    auto convert = [&](auto type) {
        using From = decltype(type);
        std::vector<T> out(n / sizeof(From));
        for (size_t i = 0; i < out.size(); ++i) {
            From value;
            std::memcpy(&value, data + i * sizeof value, sizeof value);
            out[i] = static_cast<T>(value);
        }
        return out;
    };
    if (text.find("<f4") != text.npos) return convert(float{});
    if (text.find("<i4") != text.npos) return convert(int32_t{});
    if (text.find("<i8") != text.npos) return convert(int64_t{});
    throw std::runtime_error("unknown type in " + path);
}
