// Parses the header of one GGUF file. The layout is that of the GGUF specification:
//     "GGUF", version u32, tensor count u64, metadata count u64,
//     metadata: key string, type u32, value;  tensors: name string, dimension count u32, dimensions u64[], type u32,
//     offset u64 padding to the alignment, tensor data
// A string is a u64 length and its bytes; an array is an element type u32, a count u64 and the elements.
#include "base/status.h"
#include "model/gguf.h"

#include <algorithm>
#include <utility>

namespace el {
namespace {

constexpr uint64_t kReadChunk = uint64_t{1} << 20, kFirstBlock = uint64_t{64} << 10;
// Far more than any model has (a vocabulary of 262,144 tokens takes about 10 MiB), and little enough that a damaged
// length in a huge file does not fill the memory with weights.
constexpr uint64_t kMaxHeaderBytes = uint64_t{512} << 20;
constexpr uint64_t kMaxKeys = 65536, kMaxTensors = uint64_t{1} << 20;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;

bool is_printable_ascii(std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

class Parser {
  public:
    Parser(const File &file, uint32_t file_index) : file_(file), file_index_(file_index) {}

    GgufHeader parse() {
        GgufHeader header;
        header.version = read_version();
        section_ = Section::kCounts;
        const uint64_t n_tensors = take<uint64_t>(), n_keys = take<uint64_t>();
        check_counts(n_tensors, n_keys);
        section_ = Section::kKeys;
        for (uint64_t i = 0; i < n_keys; ++i) read_entry();
        section_ = Section::kTensors;
        for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();

        relocate(at_);  // drops what was read ahead
        header.metadata = Metadata(shown(), blob_, std::move(entries_));
        header.tensors = std::move(tensors_);
        place_tensors(header);
        return header;
    }

  private:
    enum class Section { kStart, kCounts, kKeys, kTensors };

    const std::string &shown() const { return file_.shown_path(); }

    // What is being read, for messages.
    std::string subject() const {
        switch (section_) {
        case Section::kStart:
        case Section::kCounts:
            break;
        case Section::kKeys:
            if (entries_.empty() || entries_.back().key.empty())
                return el::format("metadata key number {}", std::max<size_t>(entries_.size(), 1));
            return el::format("metadata key '{:.128}'", entries_.back().key);
        case Section::kTensors:
            if (tensors_.empty() || tensors_.back().name.empty())
                return el::format("tensor number {}", std::max<size_t>(tensors_.size(), 1));
            return el::format("tensor '{:.128}'", tensors_.back().name);
        }
        return "the header";
    }

    // Moves everything to a block of `capacity` bytes, and the views with it.
    void relocate(uint64_t capacity) {
        std::shared_ptr<std::byte[]> to(new std::byte[capacity]);
        filled_ = std::min(filled_, capacity);
        if (filled_ > 0) std::memcpy(to.get(), blob_.get(), filled_);
        auto rebase = [&](std::string_view s) -> std::string_view {
            if (s.empty()) return {};
            size_t offset = static_cast<size_t>(reinterpret_cast<const std::byte *>(s.data()) - blob_.get());
            return {reinterpret_cast<const char *>(to.get()) + offset, s.size()};
        };
        for (Metadata::Entry &e : entries_) {
            e.key = rebase(e.key);
            if (e.data) e.data = to.get() + (e.data - blob_.get());
        }
        for (TensorInfo &t : tensors_) t.name = rebase(t.name);
        blob_ = std::move(to);
        capacity_ = capacity;
    }

    void check_available(uint64_t n) const {
        uint64_t end = 0;
        if (__builtin_add_overflow(at_, n, &end))
            fail(Status::kFileCorrupt, "{}: a length in {} overflows ({} bytes)", shown(), subject(), n);
        if (end > file_.size())
            fail(Status::kFileTruncated, "{} is truncated: {} needs {} bytes, the file has {}", shown(), subject(), end,
                 file_.size());
        if (end > kMaxHeaderBytes)
            fail(Status::kLimitExceeded, "{}: {} ends at {} bytes, but at most {} bytes of metadata are read", shown(),
                 subject(), end, kMaxHeaderBytes);
    }

    // Makes the next `n` bytes present, and returns them; valid until the next call.
    const std::byte *need(uint64_t n) {
        check_available(n);
        const uint64_t end = at_ + n;
        if (end > capacity_) relocate(std::min(file_.size(), std::max({end, 2 * capacity_, kFirstBlock})));
        while (filled_ < end) {
            uint64_t chunk = std::min(kReadChunk, capacity_ - filled_);
            file_.read_at(filled_, blob_.get() + filled_, chunk);
            filled_ += chunk;
        }
        return blob_.get() + at_;
    }

    template <typename T> T take() {
        T value;
        std::memcpy(&value, need(sizeof value), sizeof value);
        at_ += sizeof value;
        return value;
    }

    uint64_t multiply(uint64_t a, uint64_t b) const {
        uint64_t product = 0;
        if (__builtin_mul_overflow(a, b, &product))
            fail(Status::kFileCorrupt, "{}: a length in {} overflows ({} times {} bytes)", shown(), subject(), a, b);
        return product;
    }

    uint32_t read_version() {
        if (file_.size() == 0) fail(Status::kNotAModelFile, "{} is empty, not a GGUF model", shown());
        const uint64_t n = std::min<uint64_t>(4, file_.size());
        std::string_view magic(reinterpret_cast<const char *>(need(n)), n);
        if (magic != std::string_view("GGUF").substr(0, n))
            fail(Status::kNotAModelFile, "{} is not a GGUF model: it does not begin with the letters 'GGUF'", shown());
        take<uint32_t>();
        const uint32_t version = take<uint32_t>();
        if (version != 0 && (version & 0xffff) == 0)
            fail(Status::kNotAModelFile, "{} is a big-endian GGUF file; only little-endian ones can be read", shown());
        if (version == 1)
            fail(Status::kNotAModelFile, "{} is a GGUF file of version 1, which is too old; convert the model again",
                 shown());
        if (version != 2 && version != 3)
            fail(Status::kNotAModelFile, "{} is a GGUF file of version {}; only versions 2 and 3 are known", shown(),
                 version);
        return version;
    }

    void check_counts(uint64_t n_tensors, uint64_t n_keys) const {
        if (n_tensors > kMaxTensors || n_keys > kMaxKeys)
            fail(Status::kFileCorrupt,
                 "{}: the header announces {} tensors and {} metadata keys; a model has at most {} and {}", shown(),
                 n_tensors, n_keys, kMaxTensors, kMaxKeys);
        check_available(n_keys * kMinKeyBytes + n_tensors * kMinTensorBytes);
    }

    // A key or tensor name, which goes into messages and so must be printable.
    std::string_view take_name(Status if_bad) {
        const uint64_t n = take<uint64_t>();
        check_available(n);
        if (n == 0 || n > kMaxNameBytes)
            fail(if_bad, "{}: the name of {} has {} bytes; 1 to {} are allowed", shown(), subject(), n, kMaxNameBytes);
        std::string_view name(reinterpret_cast<const char *>(need(n)), n);
        if (!is_printable_ascii(name))
            fail(if_bad, "{}: the name of {} has bytes that are not printable ASCII", shown(), subject());
        at_ += n;
        return name;
    }

    void skip_string() { skip(take<uint64_t>()); }
    void skip(uint64_t n) {
        need(n);
        at_ += n;
    }

    MetaType take_type() {
        const uint32_t type = take<uint32_t>();
        if (type >= kMetaTypeCount)
            fail(Status::kMetadataInvalid, "{}: {} has the unknown value type {}", shown(), subject(), type);
        return static_cast<MetaType>(type);
    }

    void read_entry() {
        entries_.push_back({{}, MetaType::kU8, MetaType::kU8, 1, nullptr});
        // The name is set first: need() moves the entries along.
        entries_.back().key = take_name(Status::kFileCorrupt);
        MetaType type = take_type(), element = type;
        uint64_t count = 1;
        if (type == MetaType::kArray) {
            element = take_type();
            if (element == MetaType::kArray)
                fail(Status::kMetadataInvalid, "{}: {} is an array of arrays, which cannot be read", shown(),
                     subject());
            count = take<uint64_t>();
        }
        const uint64_t begin = at_;
        skip_values(element, count);
        Metadata::Entry &e = entries_.back();
        e.type = type;
        e.element = element;
        e.count = count;
        e.data = blob_.get() + begin;
        if (element == MetaType::kBool &&
            !std::all_of(e.data, e.data + count, [](std::byte b) { return b <= std::byte{1}; }))
            fail(Status::kMetadataInvalid, "{}: {} has a boolean that is neither 0 nor 1", shown(), subject());
    }

    void skip_values(MetaType element, uint64_t count) {
        if (element != MetaType::kString) return skip(multiply(count, meta_type_bytes(element)));
        check_available(multiply(count, sizeof(uint64_t)));  // bounds the loop before it begins
        for (uint64_t i = 0; i < count; ++i) skip_string();
    }

    void read_tensor() {
        tensors_.emplace_back();
        tensors_.back().name = take_name(Status::kTensorInvalid);
        tensors_.back().file = file_index_;
        const uint32_t n_dims = take<uint32_t>();
        if (n_dims < 1 || n_dims > 4)
            fail(Status::kTensorInvalid, "{}: {} has {} dimensions; 1 to 4 are allowed", shown(), subject(), n_dims);
        uint64_t shape[4] = {1, 1, 1, 1};
        for (uint32_t i = 0; i < n_dims; ++i) shape[i] = take<uint64_t>();
        const uint32_t type = take<uint32_t>();
        const uint64_t offset = take<uint64_t>();

        TensorInfo &t = tensors_.back();
        t.n_dims = n_dims;
        std::copy(shape, shape + 4, t.shape);
        t.offset = offset;
        const FormatInfo *format = find_format(type);
        if (!format)
            fail(Status::kUnknownFormat, "{}: {} has format number {}, which is not known", shown(), subject(), type);
        t.format = format->format;
        t.bytes = tensor_bytes(t, *format);
    }

    uint64_t tensor_bytes(const TensorInfo &t, const FormatInfo &format) const {
        uint64_t values = 1, bytes = 0;
        bool overflow = false;
        for (uint64_t n : t.shape) overflow |= __builtin_mul_overflow(values, n, &values);
        const bool zero = std::find(t.shape, t.shape + 4, 0) != t.shape + 4;
        if (!overflow) overflow = __builtin_mul_overflow(values / format.values, uint64_t{format.bytes}, &bytes);
        if (zero || overflow)
            fail(Status::kTensorInvalid, "{}: {} has the impossible shape [{}, {}, {}, {}]", shown(), subject(),
                 t.shape[0], t.shape[1], t.shape[2], t.shape[3]);
        if (t.shape[0] % format.values != 0)
            fail(Status::kTensorInvalid, "{}: {} has rows of {} values, but {} packs {} at a time", shown(), subject(),
                 t.shape[0], format.name, format.values);
        return bytes;
    }

    // Turns offsets into offsets within the file, and checks them against each other and the file's size.
    void place_tensors(GgufHeader &header) const {
        const uint64_t alignment = header.metadata.get_uint("general.alignment").value_or(32);
        if (alignment == 0 || alignment % 8 != 0 || alignment > kMaxAlignment)
            fail(Status::kMetadataInvalid,
                 "{}: metadata key 'general.alignment' is {}; it must be a multiple of 8, at most {}", shown(),
                 alignment, kMaxAlignment);
        auto align = [&](uint64_t x) { return (x + alignment - 1) / alignment * alignment; };
        header.alignment = alignment;
        header.data_offset = align(at_);
        std::vector<TensorInfo *> order;
        order.reserve(header.tensors.size());
        for (TensorInfo &t : header.tensors) {
            uint64_t end = 0;
            if (t.offset % alignment != 0)
                fail(Status::kTensorInvalid, "{}: tensor '{:.128}' begins at {}, which is no multiple of {}", shown(),
                     t.name, t.offset, alignment);
            if (__builtin_add_overflow(t.offset, header.data_offset, &t.offset) ||
                __builtin_add_overflow(t.offset, t.bytes, &end) || end > UINT64_MAX - alignment)
                fail(Status::kTensorInvalid, "{}: tensor '{:.128}' has an offset that overflows", shown(), t.name);
            order.push_back(&t);
        }
        std::sort(order.begin(), order.end(), [](auto *a, auto *b) { return a->offset < b->offset; });
        for (size_t i = 1; i < order.size(); ++i)
            if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
                fail(Status::kTensorInvalid, "{}: tensors '{:.128}' and '{:.128}' overlap", shown(), order[i - 1]->name,
                     order[i]->name);
        uint64_t expected = header.data_offset;
        for (const TensorInfo *t : order) {
            const uint64_t end = t->offset + t->bytes;
            // A tensor that follows the one before is where it belongs, so the file must have lost its end.
            if (end > file_.size() && t->offset == expected)
                fail(Status::kFileTruncated, "{} is truncated: tensor '{:.128}' needs {} bytes, the file has {}",
                     shown(), t->name, end, file_.size());
            if (end > file_.size())
                fail(Status::kTensorInvalid, "{}: tensor '{:.128}' lies outside the file: bytes {} to {} of {}",
                     shown(), t->name, t->offset, end, file_.size());
            expected = align(end);
        }
    }

    const File &file_;
    const uint32_t file_index_;
    std::shared_ptr<std::byte[]> blob_;
    uint64_t capacity_ = 0, filled_ = 0, at_ = 0;  // bytes of blob_: allocated, read, parsed
    Section section_ = Section::kStart;
    std::vector<Metadata::Entry> entries_;
    std::vector<TensorInfo> tensors_;
};

}  // namespace

GgufHeader read_gguf_header(const File &file, uint32_t file_index) { return Parser(file, file_index).parse(); }

}  // namespace el
