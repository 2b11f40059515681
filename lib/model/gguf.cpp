#include "model/gguf.h"

#include "base/status.h"

#include <algorithm>
#include <utility>

namespace el {
namespace {

constexpr uint64_t kMaxParts = 99999;  // file names have five digits

// How names end in a split model: part `i` of `n`, counted from 0.
std::string part_suffix(uint64_t i, uint64_t n) { return el::format("-{:05}-of-{:05}.gguf", i + 1, n); }

uint64_t required_uint(const Metadata &metadata, std::string_view key) {
    auto value = metadata.get_uint(key);
    if (!value) fail(Status::kMetadataInvalid, "{}: metadata key '{}' is missing", metadata.source(), key);
    return *value;
}

File open_part(const std::string &path, uint64_t count) {
    try {
        return File::open(path);
    } catch (const Error &e) {
        fail(e.status(), "{}; all {} parts of a split model must lie in one folder", e.what(), count);
    }
}

}  // namespace

GgufFile GgufFile::open(const std::string &path, const Log &log) { return open(File::open(path), log); }

GgufFile GgufFile::open(File file, const Log &log) {
    Part part = read_part(std::move(file), 0);
    const uint64_t count = part.header.metadata.get_uint("split.count").value_or(1);
    GgufFile model;
    if (count > 1)
        model.open_parts(std::move(part), count);
    else
        model.parts_.push_back(std::move(part));
    model.collect_tensors();
    log(LogLevel::kDebug, "{}: GGUF version {}, {} metadata keys, {} tensors in {} file(s)", model.metadata().source(),
        model.version(), model.metadata().entries().size(), model.tensors_.size(), model.parts_.size());
    return model;
}

GgufFile::Part GgufFile::read_part(File file, uint32_t index) {
    GgufHeader header = read_gguf_header(file, index);
    return {std::move(file), std::move(header)};
}

// `opened` is the part that the caller named; the others are beside it.
void GgufFile::open_parts(Part opened, uint64_t count) {
    const Metadata &metadata = opened.header.metadata;
    const uint64_t opened_no = required_uint(metadata, "split.no");
    if (count > kMaxParts || opened_no >= count)
        fail(Status::kMetadataInvalid,
             "{}: metadata keys 'split.no' and 'split.count' say part {} of {}, counted from 0", metadata.source(),
             opened_no, count);
    std::string prefix = opened.file.path();
    const std::string suffix = part_suffix(opened_no, count);
    if (prefix.size() < suffix.size() || prefix.compare(prefix.size() - suffix.size(), suffix.size(), suffix) != 0)
        fail(Status::kFileCorrupt,
             "{} is one part of a split model, and the others are found by name: its name must end in '{}'",
             metadata.source(), suffix);
    prefix.resize(prefix.size() - suffix.size());

    for (uint64_t i = 0; i < count; ++i) {
        if (i == opened_no) {
            for (TensorInfo &t : opened.header.tensors) t.file = static_cast<uint32_t>(i);
            parts_.push_back(std::move(opened));
            continue;
        }
        parts_.push_back(read_part(open_part(prefix + part_suffix(i, count), count), static_cast<uint32_t>(i)));
        const Metadata &m = parts_.back().header.metadata;
        if (required_uint(m, "split.no") != i || required_uint(m, "split.count") != count)
            fail(Status::kFileCorrupt, "{}: metadata keys 'split.no' and 'split.count' do not say part {} of {}",
                 m.source(), i, count);
    }
}

void GgufFile::collect_tensors() {
    for (Part &part : parts_) {
        tensors_.insert(tensors_.end(), part.header.tensors.begin(), part.header.tensors.end());
        part.header.tensors = {};
    }
    const uint64_t announced = metadata().get_uint("split.tensors.count").value_or(tensors_.size());
    if (parts_.size() > 1 && announced != tensors_.size())
        fail(Status::kFileCorrupt, "{}: metadata key 'split.tensors.count' says {}, but the parts have {} tensors",
             metadata().source(), announced, tensors_.size());

    by_name_.resize(tensors_.size());
    for (size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = static_cast<uint32_t>(i);
    auto name_of = [&](uint32_t i) { return tensors_[i].name; };
    std::sort(by_name_.begin(), by_name_.end(), [&](uint32_t a, uint32_t b) { return name_of(a) < name_of(b); });
    for (size_t i = 1; i < by_name_.size(); ++i)
        if (name_of(by_name_[i - 1]) == name_of(by_name_[i]))
            fail(Status::kTensorInvalid, "{}: tensor '{:.128}' appears twice", metadata().source(),
                 name_of(by_name_[i]));
}

const TensorInfo *GgufFile::find_tensor(std::string_view name) const {
    auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                               [&](uint32_t i, std::string_view n) { return tensors_[i].name < n; });
    return it != by_name_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
}

void GgufFile::read_tensor(const TensorInfo &tensor, uint64_t offset, void *to, size_t n) const {
    if (offset > tensor.bytes || n > tensor.bytes - offset)
        fail(Status::kInternal, "bytes {} to {} of tensor '{:.128}' were asked for; it has {}", offset, offset + n,
             tensor.name, tensor.bytes);
    parts_[tensor.file].file.read_at(tensor.offset + offset, to, n);
}

}  // namespace el
