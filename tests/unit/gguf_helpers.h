// GGUF files in memory, and what became of opening them.
#pragma once
#include "base/status.h"
#include "model/gguf.h"
#include "model/gguf_writer.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace el {

struct TempDir {
    std::filesystem::path path;
    TempDir() {
        std::string pattern = (std::filesystem::temp_directory_path() / "gguf_test_XXXXXX").string();
        REQUIRE(mkdtemp(pattern.data()) != nullptr);
        path = pattern;
    }
    ~TempDir() { std::filesystem::remove_all(path); }
    std::string operator/(const char *name) const { return (path / name).string(); }
};

inline std::string slurp(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

inline File memory_file(std::string_view content, uint64_t size = 0) {
    int fd = memfd_create("gguf_test", MFD_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    if (size > content.size()) REQUIRE(ftruncate(fd, static_cast<off_t>(size)) == 0);
    return File::from_fd(fd, "m.gguf");
}

struct Outcome {
    Status status = Status::kOk;
    std::string text;
    bool says(const char *part) const { return text.find(part) != std::string::npos; }
};

template <typename F> Outcome outcome_of(F &&f) {
    try {
        f();
    } catch (const Error &e) {
        return {e.status(), e.what()};
    }
    return {};
}

// Reads everything a caller may read of a header.
inline size_t walk(const GgufFile &file) {
    size_t sum = 0;
    for (const Metadata::Entry &e : file.metadata().entries()) {
        sum += Metadata::to_text(e, 100).size();
        if (e.element == MetaType::kString && e.type == MetaType::kArray)
            for (std::string_view s : StringArray(e.data, e.count)) sum += s.size();
    }
    for (const TensorInfo &t : file.tensors()) {
        std::vector<char> data(std::min<uint64_t>(t.bytes, 4096));
        file.read_tensor(t, t.bytes - data.size(), data.data(), data.size());
        sum += file.find_tensor(t.name) == &t;
    }
    return sum;
}

inline Outcome open_bytes(std::string_view bytes, uint64_t size = 0) {
    return outcome_of([&] { walk(GgufFile::open(memory_file(bytes, size))); });
}

template <typename T, size_t N> std::span<const T> as_span(const T (&values)[N]) { return values; }

inline constexpr uint64_t kShapeA[] = {64, 3}, kShapeB[] = {32, 2, 2}, kShapeC[] = {5};

// A small file with every metadata type and three tensors.
inline std::string small_file(uint32_t version = 3, uint32_t alignment = 0) {
    TempDir dir;
    GgufWriter w(dir / "small.gguf", version);
    if (alignment) w.set_alignment(alignment);
    w.set("general.architecture", "llama");
    w.set("u8", uint8_t{200});
    w.set("i8", int8_t{-5});
    w.set("u16", uint16_t{60000});
    w.set("i16", int16_t{-300});
    w.set("u32", uint32_t{4000000000u});
    w.set("i32", int32_t{-70000});
    w.set("u64", ~uint64_t{0});
    w.set("i64", int64_t{-1} << 40);
    w.set("f32", 0.5f);
    w.set("f64", 0.25);
    w.set("bool", true);
    w.set("empty string", "");
    const std::string tokens[] = {"a", "", "\xc3\xa9"};
    w.set_array("strings", as_span(tokens));
    const float floats[] = {0.5f, -1};
    w.set_array("floats", as_span(floats));
    const int32_t ints[] = {1, -2, 3};
    w.set_array("ints", as_span(ints));
    const uint8_t bytes[] = {1, 2, 255};
    w.set_array("bytes", as_span(bytes));
    const bool bools[] = {true, false};
    w.set_array("bools", as_span(bools));
    w.set_array("nothing", std::span<const int16_t>());

    std::string data;
    uint64_t n = w.add_tensor("a.weight", Format::kF16, kShapeA);
    n += w.add_tensor("b.weight", Format::kQ4_0, kShapeB);
    n += w.add_tensor("c.bias", Format::kF32, kShapeC);
    for (uint64_t i = 0; i < n; ++i) data += static_cast<char>(i * 7);
    w.begin_data();
    for (size_t i = 0; i < data.size(); i += 37) w.write(data.data() + i, std::min<size_t>(37, data.size() - i));
    w.finish();
    return slurp(dir / "small.gguf");
}

}  // namespace el
