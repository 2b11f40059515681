// GGUF files that are damaged give their own status and name the culprit.
#include "gguf_helpers.h"

#include <limits>

using namespace el;

namespace {

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
    CHECK(cut.text == el::format("m.gguf is truncated: tensor 'c.bias' needs {} bytes, the file has {}", end, end - 1));
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
