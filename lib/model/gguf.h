// Model files in the GGUF format, versions 2 and 3, in one file or split into several. Only headers are read and kept;
// tensor data is read by the caller, straight to its final place. Files are untrusted: whatever is wrong is an Error.
#pragma once
#include "base/file.h"
#include "base/log.h"
#include "base/metadata.h"
#include "quant/format.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace el {

struct TensorInfo {
    std::string_view name;
    Format format = Format::kF32;
    uint32_t n_dims = 0;
    uint64_t shape[4] = {1, 1, 1, 1};  // shape[0] is the fastest; unused ones are 1
    uint64_t offset = 0;               // from the beginning of its file
    uint64_t bytes = 0;
    uint32_t file = 0;  // which part of a split model holds it

    uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
    uint64_t cols() const { return shape[0]; }
};

// The header of one file: all that comes before tensor data. Names and values are views into `metadata`'s bytes.
struct GgufHeader {
    uint32_t version = 0;
    uint64_t alignment = 32;   // of every tensor
    uint64_t data_offset = 0;  // where tensor data begins; may lie past the end of a file without tensors
    Metadata metadata;
    std::vector<TensorInfo> tensors;  // in file order; every one lies within the file, none overlap
};

// Reads at most 1 MiB beyond the header. `file_index` becomes TensorInfo::file.
GgufHeader read_gguf_header(const File &file, uint32_t file_index);

// A model: one file, or all parts of a split one.
class GgufFile {
  public:
    // Of a split model (...-00001-of-00003.gguf), any part may be named; the others are found beside it.
    static GgufFile open(const std::string &path, const Log &log = {});
    static GgufFile open(File file, const Log &log = {});

    const Metadata &metadata() const { return parts_[0].header.metadata; }
    const std::vector<TensorInfo> &tensors() const { return tensors_; }
    const TensorInfo *find_tensor(std::string_view name) const;  // NULL if there is none

    size_t file_count() const { return parts_.size(); }
    const File &file(size_t i) const { return parts_[i].file; }
    // Bytes [offset, offset + n) of a tensor, which must lie within it.
    void read_tensor(const TensorInfo &tensor, uint64_t offset, void *to, size_t n) const;

    // When all tensors have been read: gives the descriptors back. Metadata and the list of tensors stay.
    void close_files() {
        for (Part &part : parts_) part.file = File();
    }

    uint32_t version() const { return parts_[0].header.version; }
    uint64_t alignment() const { return parts_[0].header.alignment; }
    uint64_t data_offset(size_t i = 0) const { return parts_[i].header.data_offset; }

  private:
    struct Part {
        File file;
        GgufHeader header;
    };
    static Part read_part(File file, uint32_t index);
    void open_parts(Part first_opened, uint64_t count);
    void collect_tensors();

    std::vector<Part> parts_;
    std::vector<TensorInfo> tensors_;
    std::vector<uint32_t> by_name_;  // indices of tensors_, sorted by name
};

}  // namespace el
