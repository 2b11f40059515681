// GGUF files: what the writer writes is read back, from one file or several.
#include "gguf_helpers.h"

using namespace el;

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
        CHECK(m.get_uint("u64") == ~uint64_t{0});
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
    for (int i = 0; i < 100000; ++i) tokens.push_back(el::format("token number {}", i * 31));
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

namespace {

// Part `no` of `count`, with one tensor that holds its number.
void write_part(const std::string &path, uint16_t no, uint16_t count, int32_t n_tensors) {
    GgufWriter w(path);
    if (no == 0) w.set("general.architecture", "llama");
    w.set("split.no", no);
    w.set("split.count", count);
    w.set("split.tensors.count", n_tensors);
    const uint64_t shape[] = {8};
    w.add_tensor(el::format("t{}", no), Format::kF32, shape);
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
            const TensorInfo *t = file.find_tensor(el::format("t{}", i));
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
        CHECK_FALSE(std::filesystem::is_empty(dir / ""));
        CHECK_FALSE(std::filesystem::exists(path));
        w.finish();
    });
    CHECK(o.status == Status::kInternal);
    CHECK(std::filesystem::is_empty(dir / ""));
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
