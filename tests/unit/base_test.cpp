// Files, arenas, CPU features and the metadata view.
#include "base/arena.h"
#include "base/cpu_info.h"
#include "base/file.h"
#include "base/file_io.h"
#include "base/hash.h"
#include "base/metadata.h"
#include "base/status.h"
#include "base/system_memory.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <string>
#include <vector>

using namespace el;

namespace {

// The status with which `f` fails, and its sentence in `text`.
template <typename F> Status status_of(F &&f, std::string *text = nullptr) {
    try {
        f();
    } catch (const Error &e) {
        if (text) *text = e.what();
        return e.status();
    }
    return Status::kOk;
}

File memory_file(const std::string &content) {
    int fd = memfd_create("base_test", MFD_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    return File::from_fd(fd, "memory");
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

// Builds the bytes of metadata values as a model file has them.
struct Builder {
    std::string bytes;
    struct Value {
        std::string key;
        MetaType type, element;
        uint64_t count;
        size_t at;
    };
    std::vector<Value> values;

    template <typename T> void raw(T x) { bytes.append(reinterpret_cast<const char *>(&x), sizeof x); }
    void raw_string(std::string_view s) {
        raw<uint64_t>(s.size());
        bytes += s;
    }
    void begin(std::string key, MetaType type, MetaType element, uint64_t count) {
        values.push_back({std::move(key), type, element, count, bytes.size()});
    }
    template <typename T> void scalar(std::string key, MetaType type, T x) {
        begin(std::move(key), type, type, 1);
        raw(x);
    }
    template <typename T> void array(std::string key, MetaType element, const std::vector<T> &xs) {
        begin(std::move(key), MetaType::kArray, element, xs.size());
        for (const T &x : xs) raw(x);
    }
    void string(std::string key, std::string_view s) {
        begin(std::move(key), MetaType::kString, MetaType::kString, 1);
        raw_string(s);
    }
    void strings(std::string key, const std::vector<std::string> &xs) {
        begin(std::move(key), MetaType::kArray, MetaType::kString, xs.size());
        for (const std::string &x : xs) raw_string(x);
    }

    Metadata build() const {
        // Everything is in the blob: the payloads, then the keys.
        std::string all = bytes;
        std::vector<size_t> key_at;
        for (const Value &v : values) {
            key_at.push_back(all.size());
            all += v.key;
        }
        std::shared_ptr<std::byte[]> blob(new std::byte[all.size()]);
        std::memcpy(blob.get(), all.data(), all.size());
        std::vector<Metadata::Entry> entries;
        for (size_t i = 0; i < values.size(); ++i) {
            const char *key = reinterpret_cast<const char *>(blob.get()) + key_at[i];
            const Value &v = values[i];
            entries.push_back({{key, v.key.size()}, v.type, v.element, v.count, blob.get() + v.at});
        }
        return Metadata("model.gguf", blob, std::move(entries));
    }
};

}  // namespace

TEST_CASE("a file is read exactly, anywhere") {
    File file = memory_file("0123456789");
    CHECK(file.size() == 10);
    char buffer[10] = {};
    file.read_at(3, buffer, 4);
    CHECK(std::string(buffer, 4) == "3456");
    file.read_at(10, buffer, 0);
    std::string text;
    CHECK(status_of([&] { file.read_at(8, buffer, 3); }, &text) == Status::kFileTruncated);
    CHECK(contains(text, "memory"));
    CHECK(status_of([&] { file.read_at(std::numeric_limits<uint64_t>::max(), buffer, 2); }) == Status::kFileTruncated);

    FileMapping mapping = file.map();
    CHECK(std::string(reinterpret_cast<const char *>(mapping.bytes().data()), mapping.bytes().size()) == "0123456789");
    file.drop_cache(0, file.size());

    File moved = std::move(file);
    CHECK(moved.is_open());
    CHECK_FALSE(file.is_open());  // NOLINT(bugprone-use-after-move): this is what is tested
    CHECK(memory_file("").map().bytes().empty());
}

TEST_CASE("a file that became shorter is reported, not read past") {
    int fd = memfd_create("base_test", MFD_CLOEXEC);
    REQUIRE(ftruncate(fd, 100) == 0);
    int other = dup(fd);
    File file = File::from_fd(fd, "memory");
    REQUIRE(ftruncate(other, 50) == 0);
    close(other);
    char buffer[100];
    std::string text;
    CHECK(status_of([&] { file.read_at(0, buffer, 100); }, &text) == Status::kFileTruncated);
    CHECK(contains(text, "became shorter"));
}

TEST_CASE("what cannot be opened is named") {
    std::string text;
    CHECK(status_of([] { File::open("/nonexistent/model.gguf"); }, &text) == Status::kIoError);
    CHECK(text == "cannot open /nonexistent/model.gguf: No such file or directory");
    CHECK(status_of([] { File::open("/tmp"); }, &text) == Status::kIoError);
    CHECK(contains(text, "directory"));
    CHECK(status_of([] { File::open("/dev/zero"); }, &text) == Status::kIoError);
    CHECK(contains(text, "not a regular file"));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK(status_of([&] { File::from_fd(ends[0], "pipe"); }) == Status::kIoError);
    CHECK(close(ends[0]) != 0);  // it was taken, and closed
    close(ends[1]);

    std::string long_path = "/" + std::string(3000, 'x') + "/model.gguf";
    CHECK(status_of([&] { File::open(long_path); }, &text) == Status::kIoError);
    CHECK(contains(text, "xx/model.gguf: File name too long"));
}

namespace {
struct Layout {
    float *floats;
    uint8_t *bytes;
    double *doubles;
};
template <class A> Layout lay_out(A &arena) {
    return {arena.template take<float>(3), arena.template take<uint8_t>(65), arena.template take<double>(1)};
}
}  // namespace

TEST_CASE("one function sizes and lays out an arena") {
    ArenaSizer sizer;
    lay_out(sizer);
    CHECK(sizer.bytes() == 64 + 128 + 64);
    Arena arena(sizer.bytes());
    Layout l = lay_out(arena);
    CHECK(arena.used() == arena.bytes());
    CHECK(reinterpret_cast<uintptr_t>(l.floats) % kArenaAlignment == 0);
    CHECK(reinterpret_cast<std::byte *>(l.bytes) == reinterpret_cast<std::byte *>(l.floats) + 64);
    CHECK(reinterpret_cast<std::byte *>(l.doubles) == reinterpret_cast<std::byte *>(l.bytes) + 128);
    for (int i = 0; i < 65; ++i) CHECK(l.bytes[i] == 0);
    CHECK(status_of([&] { arena.take<char>(1); }) == Status::kInternal);
    CHECK(arena.take<char>(0) != nullptr);

    Arena moved = std::move(arena);
    CHECK(moved.bytes() == 256);
    CHECK(Arena(0).bytes() == 0);
    CHECK(status_of([] { ArenaSizer().take<double>(std::numeric_limits<size_t>::max() / 4); }) == Status::kOutOfMemory);
    CHECK(status_of([] { ArenaSizer().take<char>(std::numeric_limits<size_t>::max() - 3); }) == Status::kOutOfMemory);

    Arena large(size_t{16} << 20);
    char *p = large.take<char>(large.bytes());
    CHECK(reinterpret_cast<uintptr_t>(p) % (size_t{2} << 20) == 0);
    CHECK(p[large.bytes() - 1] == 0);
}

TEST_CASE("the processor is described") {
    CpuInfo info = detect_cpu();
    CHECK(isa_available(Isa::kScalar));
    CHECK(isa_available(info.best));
    CHECK_FALSE(info.model_name.empty());
    CHECK(info.physical_cores >= 1);
    CHECK(info.logical_cpus >= info.physical_cores);
    CHECK_FALSE((isa_available(Isa::kNeon) && isa_available(Isa::kAvx2)));
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) CHECK(parse_isa(isa_name(isa)) == isa);
    CHECK_FALSE(parse_isa("avx1024").has_value());
#if defined(__x86_64__)
    CHECK((isa_available(Isa::kAvx512) ? __builtin_cpu_supports("avx512vnni") : true));
    CHECK(isa_available(Isa::kAvx2) == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
#endif
}

TEST_CASE("metadata converts what fits and names what does not") {
    Builder b;
    b.scalar<uint8_t>("u8", MetaType::kU8, 200);
    b.scalar<int8_t>("i8", MetaType::kI8, -5);
    b.scalar<uint16_t>("u16", MetaType::kU16, 60000);
    b.scalar<int16_t>("i16", MetaType::kI16, -300);
    b.scalar<uint32_t>("u32", MetaType::kU32, 4000000000u);
    b.scalar<int32_t>("i32", MetaType::kI32, -70000);
    b.scalar<uint64_t>("u64", MetaType::kU64, ~uint64_t{0});
    b.scalar<int64_t>("i64", MetaType::kI64, int64_t{1} << 40);
    b.scalar<float>("f32", MetaType::kF32, 0.5f);
    b.scalar<double>("f64", MetaType::kF64, 0.25);
    b.scalar<uint8_t>("bool", MetaType::kBool, 1);
    b.string("string", "h\xc3\xa9llo");
    Metadata m = b.build();

    CHECK(m.get_uint("u8") == 200);
    CHECK(m.get_int("i8") == -5);
    CHECK(m.get_uint("u16") == 60000);
    CHECK(m.get_int("i16") == -300);
    CHECK(m.get_int("u32") == 4000000000);
    CHECK(m.get_int("i32") == -70000);
    CHECK(m.get_uint("u64") == ~uint64_t{0});
    CHECK(m.get_uint("i64") == uint64_t{1} << 40);
    CHECK(m.get_float("f32") == 0.5);
    CHECK(m.get_float("f64") == 0.25);
    CHECK(m.get_bool("bool") == true);
    CHECK(m.get_string("string") == "h\xc3\xa9llo");
    CHECK_FALSE(m.get_uint("absent").has_value());
    CHECK_FALSE(m.get_string("absent").has_value());
    CHECK(m.find("absent") == nullptr);

    std::string text;
    CHECK(status_of([&] { m.get_uint("i8"); }, &text) == Status::kMetadataInvalid);
    CHECK(text == "model.gguf: metadata key 'i8' has the impossible value -5");
    CHECK(status_of([&] { m.get_int("u64"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_uint("string"); }, &text) == Status::kMetadataInvalid);
    CHECK(text == "model.gguf: metadata key 'string' must be an integer, but it is of type string");
    CHECK(status_of([&] { m.get_uint("bool"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_uint("f32"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_float("u8"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_bool("u8"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_string("u8"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_strings("string"); }) == Status::kMetadataInvalid);
}

TEST_CASE("metadata arrays and text") {
    Builder b;
    b.strings("strings", {"a", "", "quote\"\n"});
    b.array<int32_t>("ints", MetaType::kI32, {1, -2, 3});
    b.array<uint64_t>("big", MetaType::kU64, {1, ~uint64_t{0}});
    b.array<uint8_t>("bools", MetaType::kBool, {0, 1});
    b.array<float>("floats", MetaType::kF32, {0.5f, -1.0f});
    b.array<double>("doubles", MetaType::kF64, {0.125});
    b.array<int32_t>("empty", MetaType::kI32, {});
    b.scalar<uint8_t>("yes", MetaType::kBool, 1);
    b.string("text", "plain \"text\"");
    Metadata m = b.build();

    std::vector<std::string> strings;
    StringArray array = m.get_strings("strings").value();
    for (std::string_view s : array) strings.emplace_back(s);
    CHECK(strings == std::vector<std::string>{"a", "", "quote\"\n"});
    CHECK(*m.get_ints("ints") == std::vector<int64_t>{1, -2, 3});
    CHECK(*m.get_ints("bools") == std::vector<int64_t>{0, 1});
    CHECK(*m.get_floats("floats") == std::vector<float>{0.5f, -1.0f});
    CHECK(*m.get_floats("doubles") == std::vector<float>{0.125f});
    CHECK(m.get_ints("empty")->empty());
    std::string text;
    CHECK(status_of([&] { m.get_ints("big"); }, &text) == Status::kMetadataInvalid);
    CHECK(contains(text, "'big'"));
    CHECK(status_of([&] { m.get_ints("floats"); }, &text) == Status::kMetadataInvalid);
    CHECK(text == "model.gguf: metadata key 'floats' must be an array of integers, but it is an array of float32");
    CHECK(status_of([&] { m.get_floats("ints"); }) == Status::kMetadataInvalid);
    CHECK(status_of([&] { m.get_ints("text"); }) == Status::kMetadataInvalid);

    auto shown = [&](const char *key, size_t limit) { return Metadata::to_text(*m.find(key), limit); };
    CHECK(shown("strings", 10) == R"(["a", "", "quote\"\u000a"])");
    CHECK(shown("ints", 3) == "[1, -2, 3]");
    CHECK(shown("ints", 2) == "[1, -2, ... 3 in all]");
    CHECK(shown("floats", 9) == "[0.5, -1]");
    CHECK(shown("bools", 9) == "[false, true]");
    CHECK(shown("empty", 9) == "[]");
    CHECK(shown("yes", 9) == "true");
    CHECK(shown("text", 9) == "plain \"text\"");
}

TEST_CASE("a metadata key may appear once") {
    Builder b;
    b.scalar<uint8_t>("general.name", MetaType::kU8, 1);
    b.scalar<uint8_t>("x", MetaType::kU8, 1);
    b.scalar<uint8_t>("general.name", MetaType::kU8, 1);
    std::string text;
    CHECK(status_of([&] { b.build(); }, &text) == Status::kFileCorrupt);
    CHECK(text == "model.gguf: metadata key 'general.name' appears twice");
    Metadata none;
    CHECK(none.find("x") == nullptr);
}

TEST_CASE("messages are valid UTF-8 whatever the file said, and whole when cut") {
    CHECK(std::string(Error(Status::kInternal, "a{}b", "\xff\xc3(").what()) == "a??(b");
    std::string long_text(Error::kTextBytes - 2, 'x');
    CHECK(std::string(Error(Status::kInternal, "{}\u00e9", long_text).what()) == long_text);
    CHECK(std::string(Error(Status::kInternal, "\u00e9{}", "\u00fc").what()) == "\u00e9\u00fc");
}

TEST_CASE("the system says how much memory there is") { CHECK(available_memory_bytes() > 1 << 20); }

TEST_CASE("a control group is bounded by those around it") {
    char folder[] = "/tmp/edgellm-groups-XXXXXX";
    REQUIRE(mkdtemp(folder));
    const std::string root = folder;
    std::filesystem::create_directories(root + "/a/b");
    auto put = [&](const char *name, const char *text) { std::ofstream(root + name) << text; };
    CHECK(available_in_groups(root, "/a/b") == UINT64_MAX);
    put("/a/b/memory.max", "max\n");
    put("/a/b/memory.current", "300\n");
    CHECK(available_in_groups(root, "/a/b") == UINT64_MAX);
    put("/a/memory.max", "1000\n");
    put("/a/memory.current", "400\n");
    CHECK(available_in_groups(root, "/a/b") == 600);
    CHECK(available_in_groups(root, "/") == UINT64_MAX);
    put("/a/memory.stat", "anon 300\ninactive_file 100\n");
    CHECK(available_in_groups(root, "/a/b") == 700);
    put("/a/b/memory.max", "500\n");
    CHECK(available_in_groups(root, "/a/b") == 200);
    put("/memory.max", "350\n");
    put("/memory.current", "400\n");
    CHECK(available_in_groups(root, "/a/b") == 0);
    CHECK(available_in_groups(root, "") == 0);
    std::filesystem::remove_all(folder);
}

TEST_CASE("a file never takes the place of a closed standard stream") {
    int saved = dup(0);
    close(0);
    File file = File::open("meson.build");
    CHECK(fcntl(0, F_GETFD) == -1);
    dup2(saved, 0);
    close(saved);
}

TEST_CASE("XXH64, whole and in pieces") {
    auto hash = [](const std::string &text, size_t piece) {
        Hash64 h;
        for (size_t i = 0; i < text.size(); i += piece) h.add(text.data() + i, std::min(piece, text.size() - i));
        return h.digest();
    };
    const std::string long_text = "Nobody inspects the spammish repetition";
    for (size_t piece : {1, 3, 8, 31, 32, 33, 100}) {
        CHECK(hash("", piece) == 0xef46db3751d8e999);
        CHECK(hash("abc", piece) == 0x44bc2cf5ad770999);
        CHECK(hash(long_text, piece) == 0xfbcea83c8a378bf1);
    }
}

TEST_CASE("a file is replaced whole or not at all") {
    char folder[] = "/tmp/edgellm-base-XXXXXX";
    REQUIRE(mkdtemp(folder));
    const std::string path = std::string(folder) + "/file";
    auto content = [&] {
        Report report;
        InputFile file(path.c_str());
        if (file.open(report) != Status::kOk) return std::string("?");
        std::string text(file.size(), ' ');
        CHECK(file.read_at(0, reinterpret_cast<std::byte *>(text.data()), text.size(), report) == Status::kOk);
        return text;
    };
    auto replace = [&](const std::string &with, bool commit) {
        Report report;
        ReplacementFile file(path.c_str());
        REQUIRE(file.open(report) == Status::kOk);
        for (char c : with) REQUIRE(file.write(reinterpret_cast<const std::byte *>(&c), 1, report) == Status::kOk);
        if (commit) CHECK(file.commit(report) == Status::kOk);
    };
    replace("one", false);
    CHECK(content() == "?");
    replace("one", true);
    CHECK(content() == "one");
    replace("other", false);
    CHECK(content() == "one");
    replace("other", true);
    CHECK(content() == "other");

    auto refused = [](std::string to_replace) {
        Report report;
        ReplacementFile file(to_replace.c_str());
        CHECK(file.open(report) == Status::kIoError);
        return std::string(report.text);
    };
    CHECK(refused(folder) == std::string(folder) + " is not a regular file, so it is not replaced");
    CHECK(refused("/dev/null").find("/dev/null is not a regular file") == 0);
    CHECK(refused(path + "/below") == "cannot open the folder of " + path + "/below: Not a directory");
    CHECK(refused("/nowhere/file") == "cannot open the folder of /nowhere/file: No such file or directory");
    CHECK(refused(std::string(5000, 'x')).find("File name too long") != std::string::npos);

    Report report;
    InputFile missing("/nowhere/file"), not_a_file(folder), shorter(path.c_str());
    CHECK(missing.open(report) == Status::kIoError);
    CHECK(std::string(report.text) == "cannot open /nowhere/file: No such file or directory");
    CHECK(not_a_file.open(report) == Status::kIoError);
    REQUIRE(shorter.open(report) == Status::kOk);
    REQUIRE(truncate(path.c_str(), 3) == 0);
    std::byte bytes[5];
    CHECK(shorter.read_at(0, bytes, 5, report) == Status::kFileTruncated);
    REQUIRE(unlink(path.c_str()) == 0);
    CHECK(rmdir(folder) == 0);  // nothing else is left there
}
