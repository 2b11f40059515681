#include "engine/load.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace el {
namespace {

constexpr uint64_t kChunkBytes = 4 << 20;

// Reads one file after the other, by pread or through a mapping.
class Reader {
  public:
    Reader(const GgufFile &file, bool map) : file_(file) {
        if (!map) return;
        for (uint32_t i = 0; i < file.file_count(); ++i) mappings_.push_back(file.file(i).map());
    }
    void read(const TensorInfo &tensor, uint64_t begin, size_t n, std::byte *to) const {
        if (mappings_.empty())
            file_.file(tensor.file).read_at(tensor.offset + begin, to, n);
        else
            std::memcpy(to, mappings_[tensor.file].bytes().data() + tensor.offset + begin, n);
    }

  private:
    const GgufFile &file_;
    std::vector<FileMapping> mappings_;
};

class WeightReader {
  public:
    WeightReader(const GgufFile &file, const ModelOptions &options, WeightStore &store)
        : reader_(file, options.map), options_(options), store_(store) {}

    uint64_t total_bytes = 0;

    void report() {
        if (options_.progress && options_.progress(options_.progress_user, done_bytes_, total_bytes))
            fail(Status::kCancelled, "the load was stopped by the progress callback");
    }

    void read_tensor(size_t index, const TensorInfo &tensor, const WeightTensor &weight) {
        const size_t file_row = row_bytes(tensor.format, weight.cols);
        const bool convert = tensor.format != weight.format;  // vectors: everything computes with them in float32
        const uint64_t granule = store_.row_granularity(index);
        const uint64_t chunk = std::max<uint64_t>(kChunkBytes / file_row / granule, 1) * granule;
        for (uint64_t row = 0; row < weight.rows;) {
            const uint64_t n = std::min(chunk, weight.rows - row);
            std::byte *place = store_.place(index, row);
            std::byte *to = place && !convert ? place : staging(n * file_row);
            reader_.read(tensor, row * file_row, n * file_row, to);
            if (convert) to = converted(tensor.format, n * weight.cols);
            if (to != place) store_.load(index, row, n, to);
            row += n;
            done_bytes_ += n * file_row;
            report();
        }
    }

  private:
    std::byte *staging(size_t bytes) {
        if (staging_.size() < bytes) staging_.resize(bytes);
        return staging_.data();
    }
    std::byte *converted(Format format, size_t n) {
        floats_.resize(n);
        format_info(format).decode(staging_.data(), n, floats_.data());
        return reinterpret_cast<std::byte *>(floats_.data());
    }

    Reader reader_;
    const ModelOptions &options_;
    WeightStore &store_;
    std::vector<std::byte> staging_;
    std::vector<float> floats_;
    uint64_t done_bytes_ = 0;
};

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

void read_weights(const GgufFile &file, std::span<const WeightTensor> tensors, const ModelOptions &options,
                  WeightStore &store) {
    WeightReader reader(file, options, store);
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {  // as they lie on the disk
        const TensorInfo &x = file.tensors()[a], &y = file.tensors()[b];
        return std::pair(x.file, x.offset) < std::pair(y.file, y.offset);
    });
    for (size_t i : order)
        if (tensors[i].uses) reader.total_bytes += file.tensors()[i].bytes;
    reader.report();
    for (size_t i : order)
        if (tensors[i].uses) reader.read_tensor(i, file.tensors()[i], tensors[i]);
}

}  // namespace el
