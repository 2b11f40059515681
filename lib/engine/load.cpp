#include "engine/load.h"
#include "base/hash.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace el {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;
constexpr size_t kSampleBytes = 4096;

// Vectors: everything computes with them in float32.
bool needs_decoding(const TensorInfo &tensor, const WeightTensor &weight) { return tensor.format != weight.format; }

// Rows that are read at once.
uint64_t chunk_rows(const TensorInfo &tensor, const WeightTensor &weight, uint32_t granularity) {
    const uint64_t row = row_bytes(tensor.format, weight.cols);
    return std::min(std::max<uint64_t>(kChunkBytes / row / granularity, 1) * granularity, weight.rows);
}

// Reads files by pread or through a mapping. The system need not keep what was read by pread.
class Reader {
  public:
    Reader(const GgufFile &file, bool map) : file_(file) {
        if (!map) return;
        for (uint32_t i = 0; i < file.file_count(); ++i) mappings_.push_back(file.file(i).map());
    }
    void read(const TensorInfo &tensor, uint64_t begin, size_t n, std::byte *to) const {
        const uint64_t offset = tensor.offset + begin;
        if (!mappings_.empty()) {
            std::memcpy(to, mappings_[tensor.file].bytes().data() + offset, n);
            return;
        }
        const File &file = file_.file(tensor.file);
        file.read_at(offset, to, n);
        const uint64_t behind = offset - std::min(offset, kDroppedAgain);
        file.drop_cache(behind, offset + n - behind);
    }

  private:
    // The system drops only what lies within the range as a whole, and it caches in pieces of up to 2 MiB.
    static constexpr uint64_t kDroppedAgain = 4 << 20;
    const GgufFile &file_;
    std::vector<FileMapping> mappings_;
};

class WeightReader {
  public:
    WeightReader(const GgufFile &file, std::span<const WeightTensor> tensors, uint32_t granularity,
                 const ModelOptions &options, WeightStore &store)
        : reader_(file, options.map), granularity_(granularity), options_(options), store_(store) {
        const StagingBytes staging = staging_bytes(file, tensors, granularity);
        rows_.reset(new std::byte[staging.rows]);
        floats_.reset(new float[staging.floats / sizeof(float)]);
    }

    uint64_t total_bytes = 0;
    Hash64 hash;  // see read_weights()

    void report() {
        if (options_.progress && options_.progress(options_.progress_user, done_bytes_, total_bytes))
            fail(Status::kCancelled, "the load was stopped by the progress callback");
    }

    void read_tensor(size_t index, const TensorInfo &tensor, const WeightTensor &weight) {
        const size_t file_row = row_bytes(tensor.format, weight.cols);
        const bool convert = needs_decoding(tensor, weight);
        const uint64_t chunk = chunk_rows(tensor, weight, granularity_);
        for (uint64_t row = 0; row < weight.rows;) {
            const uint64_t n = std::min(chunk, weight.rows - row);
            std::byte *place = store_.place(index, row);
            std::byte *to = place && !convert ? place : rows_.get();
            reader_.read(tensor, row * file_row, n * file_row, to);
            const size_t sample = std::min(file_row, kSampleBytes);
            if (row == 0) hash.add(to, sample);
            if (row + n == weight.rows) hash.add(to + n * file_row - sample, sample);
            if (convert) {
                format_info(tensor.format).decode(to, n * weight.cols, floats_.get());
                to = reinterpret_cast<std::byte *>(floats_.get());
            }
            if (to != place) store_.load(index, row, n, to);
            row += n;
            done_bytes_ += n * file_row;
            report();
        }
    }

  private:
    Reader reader_;
    const uint32_t granularity_;
    const ModelOptions &options_;
    WeightStore &store_;
    std::unique_ptr<std::byte[]> rows_;
    std::unique_ptr<float[]> floats_;
    uint64_t done_bytes_ = 0;
};

void add_text(Hash64 &hash, std::string_view text) {
    hash.add_value(uint64_t(text.size()));
    hash.add(text.data(), text.size());
}

// The tokenizer's keys and general ones may change; what is computed stays the same.
void add_metadata(Hash64 &hash, const Metadata &metadata) {
    const std::string_view architecture = metadata.get_string("general.architecture").value_or("");
    add_text(hash, architecture);
    for (const Metadata::Entry &entry : metadata.entries()) {
        if (entry.key.substr(0, entry.key.find('.')) != architecture) continue;
        add_text(hash, entry.key);
        add_text(hash, Metadata::to_text(entry));
    }
}

void add_tensor(Hash64 &hash, const TensorInfo &tensor) {
    add_text(hash, tensor.name);
    hash.add_value(uint32_t(tensor.format));
    for (uint64_t n : tensor.shape) hash.add_value(n);
}

uint8_t use_of(const Op &op, int which) {
    if (which > 0) return kUseVector;
    if (op.kind == OpKind::kEmbed) return kUseLookup;
    return op.kind == OpKind::kLinear || op.kind == OpKind::kExpertLinear ? kUseMatrix : kUseVector;
}

}  // namespace

std::vector<WeightTensor> weight_tensors(const GgufFile &file, const Program &program) {
    std::vector<WeightTensor> weights(file.tensors().size());
    for (const Op &op : program.ops)
        for (int i = 0; i < kOpWeights; ++i)
            if (op.weight[i].exists()) weights[op.weight[i].tensor].uses |= use_of(op, i);
    for (size_t i = 0; i < weights.size(); ++i) {
        const TensorInfo &tensor = file.tensors()[i];
        weights[i].name = tensor.name;
        weights[i].format = weights[i].uses == kUseVector ? Format::kF32 : tensor.format;
        if (weights[i].uses == 0) continue;
        weights[i].rows = tensor.rows();
        weights[i].cols = tensor.shape[0];
    }
    return weights;
}

StagingBytes staging_bytes(const GgufFile &file, std::span<const WeightTensor> tensors, uint32_t granularity) {
    StagingBytes bytes;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].uses == 0) continue;
        const TensorInfo &tensor = file.tensors()[i];
        const uint64_t rows = chunk_rows(tensor, tensors[i], granularity);
        bytes.rows = std::max(bytes.rows, rows * row_bytes(tensor.format, tensors[i].cols));
        if (needs_decoding(tensor, tensors[i]))
            bytes.floats = std::max<uint64_t>(bytes.floats, rows * tensors[i].cols * sizeof(float));
    }
    return bytes;
}

uint64_t read_weights(const GgufFile &file, std::span<const WeightTensor> tensors, uint32_t granularity,
                      const ModelOptions &options, WeightStore &store) {
    WeightReader reader(file, tensors, granularity, options, store);
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {  // as they lie on the disk
        const TensorInfo &x = file.tensors()[a], &y = file.tensors()[b];
        return std::pair(x.file, x.offset) < std::pair(y.file, y.offset);
    });
    for (size_t i : order)
        if (tensors[i].uses) reader.total_bytes += file.tensors()[i].bytes;
    reader.report();
    add_metadata(reader.hash, file.metadata());
    for (size_t i : order) {
        if (!tensors[i].uses) continue;
        add_tensor(reader.hash, file.tensors()[i]);
        reader.read_tensor(i, file.tensors()[i], tensors[i]);
    }
    return reader.hash.digest();
}

}  // namespace el
