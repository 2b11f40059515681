// GGUF files: what the writer writes is read back; what is damaged gives its own status and names the culprit.
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
#include <limits>
#include <string>
#include <vector>

using namespace el;

namespace {

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

std::string slurp(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

File memory_file(std::string_view content, uint64_t size = 0) {
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
size_t walk(const GgufFile &file) {
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

Outcome open_bytes(std::string_view bytes, uint64_t size = 0) {
    return outcome_of([&] { walk(GgufFile::open(memory_file(bytes, size))); });
}

template <typename T, size_t N> std::span<const T> as_span(const T (&values)[N]) { return values; }

constexpr uint64_t kShapeA[] = {64, 3}, kShapeB[] = {32, 2, 2}, kShapeC[] = {5};

// A small file with every metadata type and three tensors.
std::string small_file(uint32_t version = 3, uint32_t alignment = 0) {
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

// Writes headers by hand, right or wrong.
struct Raw {
    std::string bytes = "GGUF";
    Raw(uint32_t version, uint64_t n_tensors, uint64_t n_keys) { u32(version).u64(n_tensors).u64(n_keys); }
    Raw &u32(uint32_t x) { return put(&x, 4); }
    Raw &u64(uint64_t x) { return put(&x, 8); }
    Raw &str(std::string_view s) { return u64(s.size()).put(s.data(), s.size()); }
    Raw &key(std::string_view name, MetaType type) { return str(name).u32(static_cast<uint32_t>(type)); }
    Raw &tensor(std::string_view name, std::vector<uint64_t> shape, uint32_t type, uint64_t offset) {
        str(name).u32(static_cast<uint32_t>(shape.size()));
        for (uint64_t n : shape) u64(n);
        return u32(type).u64(offset);
    }
    Raw &pad(size_t data_bytes) {
        bytes.resize((bytes.size() + 31) / 32 * 32 + data_bytes);
        return *this;
    }
    Outcome open() const { return open_bytes(bytes); }

  private:
    Raw &put(const void *p, size_t n) {
        bytes.append(static_cast<const char *>(p), n);
        return *this;
    }
};

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

}  // namespace

TEST_CASE("what is written is read back") {
    for (uint32_t version : {2u, 3u}) {
        CAPTURE(version);
        GgufFile file = GgufFile::open(memory_file(small_file(version)));
        CHECK(file.version() == version);
        CHECK(file.alignment() == 32);
        CHECK(file.file_count() == 1);
        const Metadata &m = file.metadata();
        CHECK(m.source() == "m.gguf");
        CHECK(m.entries().size() == 19);
        CHECK(m.entries()[0].key == "general.architecture");
        CHECK(m.get_string("general.architecture") == "llama");
        CHECK(m.get_uint("u8") == 200);
        CHECK(m.get_int("i8") == -5);
        CHECK(m.get_uint("u16") == 60000);
        CHECK(m.get_int("i16") == -300);
        CHECK(m.get_uint("u32") == 4000000000u);
        CHECK(m.get_int("i32") == -70000);
        CHECK(m.get_uint("u64") == kHuge);
        CHECK(m.get_int("i64") == int64_t{-1} << 40);
        CHECK(m.get_float("f32") == 0.5);
        CHECK(m.get_float("f64") == 0.25);
        CHECK(m.get_bool("bool") == true);
        CHECK(m.get_string("empty string") == "");
        CHECK(Metadata::to_text(*m.find("strings")) == "[\"a\", \"\", \"\xc3\xa9\"]");
        CHECK(*m.get_floats("floats") == std::vector<float>{0.5f, -1});
        CHECK(*m.get_ints("ints") == std::vector<int64_t>{1, -2, 3});
        CHECK(*m.get_ints("bytes") == std::vector<int64_t>{1, 2, 255});
        CHECK(*m.get_ints("bools") == std::vector<int64_t>{1, 0});
        CHECK(m.get_ints("nothing")->empty());
    }
}

TEST_CASE("tensors lie where the alignment puts them") {
    for (uint32_t alignment : {0u, 8u, 48u, 4096u}) {
        CAPTURE(alignment);
        GgufFile file = GgufFile::open(memory_file(small_file(3, alignment)));
        CHECK(file.alignment() == (alignment ? alignment : 32));
        REQUIRE(file.tensors().size() == 3);
        const TensorInfo *a = file.find_tensor("a.weight"), *b = file.find_tensor("b.weight"),
                         *c = file.find_tensor("c.bias");
        REQUIRE(a);
        REQUIRE(b);
        REQUIRE(c);
        CHECK(a == &file.tensors()[0]);
        CHECK(file.find_tensor("d") == nullptr);
        CHECK(a->format == Format::kF16);
        CHECK(a->n_dims == 2);
        CHECK(a->cols() == 64);
        CHECK(a->rows() == 3);
        CHECK(a->bytes == 384);
        CHECK(a->offset == file.data_offset());
        CHECK(b->n_dims == 3);
        CHECK(b->rows() == 4);
        CHECK(b->bytes == 4 * 18);
        CHECK(c->shape[0] == 5);
        CHECK(c->rows() == 1);
        CHECK(c->bytes == 20);
        uint64_t n = 0;
        for (const TensorInfo &t : file.tensors()) {
            CHECK(t.offset % file.alignment() == 0);
            std::vector<uint8_t> data(t.bytes);
            file.read_tensor(t, 0, data.data(), 10);
            file.read_tensor(t, 10, data.data() + 10, data.size() - 10);
            CHECK(std::all_of(data.begin(), data.end(), [&](uint8_t x) { return x == static_cast<uint8_t>(7 * n++); }));
        }
        char byte;
        CHECK(outcome_of([&] { file.read_tensor(*c, 20, &byte, 1); }).status == Status::kInternal);
    }
}

TEST_CASE("a large vocabulary is read in chunks") {
    TempDir dir;
    std::vector<std::string> tokens;
    for (int i = 0; i < 100000; ++i) tokens.push_back(fmt::format("token number {}", i * 31));
    {
        GgufWriter w(dir / "vocab.gguf");
        w.set("first", "value");
        w.set_array("tokens", std::span<const std::string>(tokens));
        w.set("long", std::string(3 << 20, 'x'));
        w.set("last", uint32_t{7});
        w.begin_data();
        w.finish();
    }
    GgufFile file = GgufFile::open(dir / "vocab.gguf");
    CHECK(file.tensors().empty());
    CHECK(file.metadata().get_string("first") == "value");
    CHECK(file.metadata().get_uint("last") == 7);
    CHECK(file.metadata().get_string("long")->size() == 3 << 20);
    size_t i = 0;
    bool equal = true;
    StringArray read = file.metadata().get_strings("tokens").value();
    CHECK(read.size() == tokens.size());
    for (std::string_view s : read) equal &= s == tokens[i++];
    CHECK(equal);
}

TEST_CASE("offsets of more than 32 bits") {
    const uint64_t rows = 5 << 10, bytes = rows * (1 << 20);
    Raw raw(3, 2, 0);
    raw.tensor("big", {1 << 18, rows}, 0, 0).tensor("after", {8}, 0, bytes).pad(0);
    const uint64_t size = raw.bytes.size() + bytes + 32;
    GgufFile file = GgufFile::open(memory_file(raw.bytes, size));
    CHECK(file.find_tensor("big")->bytes == bytes);
    CHECK(file.find_tensor("after")->offset == raw.bytes.size() + bytes);
    CHECK(walk(file) > 0);
    Outcome cut = open_bytes(raw.bytes, size - 1);
    CHECK(cut.status == Status::kFileTruncated);
    CHECK(cut.says("tensor 'after'"));
}

TEST_CASE("a file cut anywhere is truncated") {
    const std::string whole = small_file();
    const uint64_t end = [&] {
        GgufFile file = GgufFile::open(memory_file(whole));
        return file.tensors().back().offset + file.tensors().back().bytes;
    }();
    CHECK(open_bytes(std::string_view(whole).substr(0, end)).status == Status::kOk);
    CHECK(open_bytes("").status == Status::kNotAModelFile);
    size_t wrong = 0, unnamed = 0;
    for (uint64_t n = 1; n < end; ++n) {
        Outcome cut = open_bytes(std::string_view(whole).substr(0, n));
        wrong += cut.status != Status::kFileTruncated;
        // From the first key on, the sentence says which key or tensor is cut.
        unnamed += n > 24 + 14 * 19 + 33 * 3 && !cut.says("metadata key '") && !cut.says("metadata key number") &&
                   !cut.says("tensor '") && !cut.says("tensor number");
    }
    CHECK(wrong == 0);
    CHECK(unnamed == 0);
    Outcome cut = open_bytes(std::string_view(whole).substr(0, end - 1));
    CHECK(cut.text ==
          fmt::format("m.gguf is truncated: tensor 'c.bias' needs {} bytes, the file has {}", end, end - 1));
}

TEST_CASE("a changed byte or length never does harm") {
    const std::string whole = small_file();
    const size_t header = GgufFile::open(memory_file(whole)).data_offset();
    size_t opened = 0, refused = 0, wrong = 0;
    auto attempt = [&](const std::string &bytes) {
        Outcome o = open_bytes(bytes);
        (o.status == Status::kOk ? opened : refused)++;
        wrong += o.status == Status::kInternal || o.status == Status::kOutOfMemory || o.text.size() > 500;
        wrong += o.status != Status::kOk && !o.says("m.gguf");
    };
    for (size_t i = 0; i < header; ++i) {
        for (int value : {0, 1, 0x7f, 0x80, 0xff, whole[i] ^ 1, whole[i] ^ 0x20}) {
            std::string bytes = whole;
            bytes[i] = static_cast<char>(value);
            attempt(bytes);
        }
        for (uint64_t value : {uint64_t{0}, uint64_t{1} << 31, uint64_t{1} << 40, kHuge / 2, kHuge}) {
            std::string bytes = whole;
            bytes.replace(i, 8, reinterpret_cast<const char *>(&value), 8);
            attempt(bytes);
        }
    }
    CHECK(wrong == 0);
    CHECK(opened > 0);
    CHECK(refused > opened);
}

TEST_CASE("what is no GGUF file says so") {
    Outcome o = open_bytes("PK\3\4 and so on, long enough to be read");
    CHECK(o.status == Status::kNotAModelFile);
    CHECK(o.says("m.gguf is not a GGUF model"));
    o = Raw(1, 0, 0).open();
    CHECK(o.status == Status::kNotAModelFile);
    CHECK(o.says("version 1"));
    o = Raw(0x03000000, 0, 0).open();
    CHECK(o.status == Status::kNotAModelFile);
    CHECK(o.says("big-endian"));
    o = Raw(4, 0, 0).open();
    CHECK(o.status == Status::kNotAModelFile);
    CHECK(o.says("version 4"));
    CHECK(Raw(3, 0, 0).open().status == Status::kOk);
}

TEST_CASE("counts and lengths that cannot be") {
    Outcome o = Raw(3, kHuge, 1).open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("18446744073709551615 tensors"));
    CHECK(Raw(3, 0, uint64_t{1} << 40).open().status == Status::kFileCorrupt);
    CHECK(Raw(3, 1000, 0).open().status == Status::kFileTruncated);

    o = Raw(3, 0, 1).u64(kHuge).str("padding").open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("metadata key number 1"));
    o = Raw(3, 0, 1).key("k.string", MetaType::kString).u64(kHuge - 4).open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("metadata key 'k.string'"));
    o = Raw(3, 0, 1).key("k.array", MetaType::kArray).u32(uint32_t(MetaType::kU64)).u64(uint64_t{1} << 61).open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("metadata key 'k.array'"));
    o = Raw(3, 0, 1).key("k.strings", MetaType::kArray).u32(uint32_t(MetaType::kString)).u64(uint64_t{1} << 50).open();
    CHECK(o.status == Status::kFileTruncated);
    CHECK(o.says("metadata key 'k.strings'"));
    o = Raw(3, 0, 1).str("").u32(0).u64(0).open();
    CHECK(o.status == Status::kFileCorrupt);
    o = Raw(3, 0, 1).str("line\nbreak").u32(0).u64(0).open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("printable"));
    o = Raw(3, 0, 2).key("twice", MetaType::kU32).u32(0).key("twice", MetaType::kU32).u32(0).open();
    CHECK(o.status == Status::kFileCorrupt);
    CHECK(o.says("'twice'"));
}

TEST_CASE("more metadata than any model has is not read into memory") {
    Raw raw(3, 0, 1);
    raw.key("k", MetaType::kString).u64(uint64_t{3} << 30);
    Outcome o = open_bytes(raw.bytes, uint64_t{4} << 30);
    CHECK(o.status == Status::kLimitExceeded);
    CHECK(o.says("metadata key 'k'"));
}

TEST_CASE("metadata values that cannot be") {
    Outcome o = Raw(3, 0, 1).str("k.type").u32(13).u64(0).open();
    CHECK(o.status == Status::kMetadataInvalid);
    CHECK(o.text == "m.gguf: metadata key 'k.type' has the unknown value type 13");
    o = Raw(3, 0, 1).key("k.nested", MetaType::kArray).u32(uint32_t(MetaType::kArray)).u64(1).u64(0).open();
    CHECK(o.status == Status::kMetadataInvalid);
    CHECK(o.says("'k.nested' is an array of arrays"));
    o = Raw(3, 0, 1).key("k.bool", MetaType::kBool).u64(2).open();
    CHECK(o.status == Status::kMetadataInvalid);
    CHECK(o.says("'k.bool'"));
    for (uint32_t bad : {0u, 4u, 12u, 0xfffffff8u}) {
        o = Raw(3, 0, 1).key("general.alignment", MetaType::kU32).u32(bad).pad(32).open();
        CHECK(o.status == Status::kMetadataInvalid);
        CHECK(o.says("'general.alignment'"));
    }
    o = Raw(3, 0, 1).key("general.alignment", MetaType::kString).str("32").open();
    CHECK(o.status == Status::kMetadataInvalid);
}

TEST_CASE("tensors that cannot be") {
    struct Case {
        Status status;
        const char *says;
        std::vector<uint64_t> shape;
        uint32_t type;
        uint64_t offset;
    };
    const uint64_t half = uint64_t{1} << 32;
    const Case cases[] = {
        {Status::kUnknownFormat, "tensor 'w' has format number 999", {32}, 999, 0},
        {Status::kUnknownFormat, "tensor 'w' has format number 4,", {32}, 4, 0},
        {Status::kTensorInvalid, "tensor 'w' has 0 dimensions", {}, 0, 0},
        {Status::kTensorInvalid, "tensor 'w' has 5 dimensions", {1, 1, 1, 1, 1}, 0, 0},
        {Status::kTensorInvalid, "tensor 'w' has the impossible shape [8, 0, 1, 1]", {8, 0}, 0, 0},
        {Status::kTensorInvalid, "tensor 'w' has the impossible shape", {half, half}, 0, 0},
        {Status::kTensorInvalid, "tensor 'w' has the impossible shape", {half, half / 2}, 0, 0},
        {Status::kTensorInvalid, "tensor 'w' has rows of 33 values", {33, 2}, 2, 0},
        {Status::kTensorInvalid, "tensor 'w' begins at 8", {8}, 0, 8},
        {Status::kTensorInvalid, "tensor 'w' lies outside the file", {8}, 0, 64},
        {Status::kTensorInvalid, "tensor 'w' has an offset that overflows", {8}, 0, kHuge - 31},
        {Status::kFileTruncated, "tensor 'w' needs", {8, 3}, 0, 0},
        {Status::kOk, "", {8, 2}, 0, 0},
        {Status::kOk, "", {8}, 0, 32},
    };
    for (const Case &c : cases) {
        CAPTURE(c.says);
        Outcome o = Raw(3, 1, 0).tensor("w", c.shape, c.type, c.offset).pad(64).open();
        CHECK(o.status == c.status);
        CHECK(o.says(c.says));
        CAPTURE(o.text);
    }
    Outcome o = Raw(3, 2, 0).tensor("w", {8}, 0, 0).tensor("w", {8}, 0, 32).pad(64).open();
    CHECK(o.status == Status::kTensorInvalid);
    CHECK(o.says("tensor 'w' appears twice"));
    o = Raw(3, 2, 0).tensor("v", {8}, 0, 32).tensor("w", {9}, 0, 0).pad(64).open();
    CHECK(o.status == Status::kTensorInvalid);
    CHECK(o.says("tensors 'w' and 'v' overlap"));
    o = Raw(3, 1, 0).tensor("w\x01", {8}, 0, 0).pad(32).open();
    CHECK(o.status == Status::kTensorInvalid);
    CHECK(o.says("tensor number 1"));
    // A long name leaves room for the rest of the sentence.
    o = Raw(3, 1, 0).tensor(std::string(5000, 'n'), {8}, 77, 0).pad(32).open();
    CHECK(o.status == Status::kUnknownFormat);
    CHECK(o.says("format number 77"));
}

namespace {

// Part `no` of `count`, with one tensor that holds its number.
void write_part(const std::string &path, uint16_t no, uint16_t count, int32_t n_tensors) {
    GgufWriter w(path);
    if (no == 0) w.set("general.architecture", "llama");
    w.set("split.no", no);
    w.set("split.count", count);
    w.set("split.tensors.count", n_tensors);
    const uint64_t shape[] = {8};
    w.add_tensor(fmt::format("t{}", no), Format::kF32, shape);
    w.begin_data();
    const std::vector<float> values(8, no);
    w.write(values.data(), 32);
    w.finish();
}

}  // namespace

TEST_CASE("a split model opens from any of its parts") {
    TempDir dir;
    const std::string parts[] = {dir / "m-00001-of-00003.gguf", dir / "m-00002-of-00003.gguf",
                                 dir / "m-00003-of-00003.gguf"};
    for (uint16_t i = 0; i < 3; ++i) write_part(parts[i], i, 3, 3);
    for (const std::string &path : parts) {
        GgufFile file = GgufFile::open(path);
        CHECK(file.file_count() == 3);
        CHECK(file.metadata().get_string("general.architecture") == "llama");
        REQUIRE(file.tensors().size() == 3);
        for (uint32_t i = 0; i < 3; ++i) {
            const TensorInfo *t = file.find_tensor(fmt::format("t{}", i));
            REQUIRE(t == &file.tensors()[i]);
            CHECK(t->file == i);
            CHECK(file.file(i).path() == parts[i]);
            float value = -1;
            file.read_tensor(*t, 4, &value, 4);
            CHECK(value == static_cast<float>(i));
        }
    }
    auto outcome = [&](int i) { return outcome_of([&] { GgufFile::open(parts[i]); }); };

    SUBCASE("a part is missing") {
        std::filesystem::remove(parts[1]);
        CHECK(outcome(0).status == Status::kIoError);
        CHECK(outcome(2).says("m-00002-of-00003.gguf"));
        CHECK(outcome(2).says("one folder"));
    }
    SUBCASE("a part has another name") {
        std::filesystem::rename(parts[0], dir / "renamed.gguf");
        Outcome o = outcome_of([&] { GgufFile::open(dir / "renamed.gguf"); });
        CHECK(o.status == Status::kFileCorrupt);
        CHECK(o.says("'-00001-of-00003.gguf'"));
    }
    SUBCASE("a part is another part") {
        std::filesystem::copy_file(parts[1], parts[2], std::filesystem::copy_options::overwrite_existing);
        CHECK(outcome(0).status == Status::kFileCorrupt);
        CHECK(outcome(0).says("m-00003-of-00003.gguf"));
    }
    SUBCASE("a part is of no split model") {
        std::ofstream(parts[1], std::ios::binary) << small_file();
        CHECK(outcome(0).status == Status::kMetadataInvalid);
        CHECK(outcome(0).says("'split.no'"));
    }
    SUBCASE("tensors are missing") {
        write_part(parts[0], 0, 3, 4);
        CHECK(outcome(0).status == Status::kFileCorrupt);
        CHECK(outcome(0).says("'split.tensors.count'"));
    }
    SUBCASE("a part number out of range") {
        write_part(parts[0], 3, 3, 3);
        CHECK(outcome(0).status == Status::kMetadataInvalid);
    }
    SUBCASE("a part is truncated") {
        std::filesystem::resize_file(parts[2], 100);
        CHECK(outcome(0).status == Status::kFileTruncated);
        CHECK(outcome(0).says("m-00003-of-00003.gguf"));
    }
}

TEST_CASE("the writer reports what it cannot write") {
    TempDir dir;
    Outcome o = outcome_of([] { GgufWriter("/nonexistent/x.gguf"); });
    CHECK(o.status == Status::kIoError);
    CHECK(o.says("/nonexistent/x.gguf: No such file"));
    o = outcome_of([] {
        GgufWriter w("/dev/full");
        w.begin_data();
        w.finish();
    });
    CHECK(o.status == Status::kIoError);
    CHECK(o.says("/dev/full: No space left"));
    CHECK(std::filesystem::exists("/dev/full"));

    const std::string path = dir / "unfinished.gguf";
    const uint64_t shape[] = {8}, odd_shape[] = {33};
    const std::vector<char> data(64);
    o = outcome_of([&] {
        GgufWriter w(path);
        w.add_tensor("w", Format::kF32, shape);
        w.begin_data();
        w.write(data.data(), 31);
        CHECK(std::filesystem::exists(path));
        w.finish();
    });
    CHECK(o.status == Status::kInternal);
    CHECK_FALSE(std::filesystem::exists(path));
    o = outcome_of([&] {
        GgufWriter w(path);
        w.add_tensor("w", Format::kF32, shape);
        w.begin_data();
        w.write(data.data(), 33);
    });
    CHECK(o.status == Status::kInternal);
    CHECK(outcome_of([&] { GgufWriter(path).add_tensor("w", Format::kQ8_0, odd_shape); }).status == Status::kInternal);
}

TEST_CASE("the corpus of the fuzzer is valid") {
    size_t n = 0;
    for (const auto &entry : std::filesystem::directory_iterator("tests/fuzz/corpus/gguf")) {
        CAPTURE(entry.path().string());
        Outcome o = open_bytes(slurp(entry.path().string()));
        CHECK(o.text == "");
        ++n;
    }
    CHECK(n >= 3);
}
