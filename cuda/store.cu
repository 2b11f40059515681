#include "packed.h"
#include "store.h"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr uint64_t kStagingBytes = 1 << 20;

bool packed(const Tensor &t) {
    return (t.uses & kUseMatrix) && packed_shape(t.format).bits != 0 && t.cols % kGroup == 0;
}

// The bytes of a tensor; each begins at a multiple of Pieces' alignment.
size_t bytes_of(const Tensor &t) {
    const PackedShape shape = packed_shape(t.format);
    const size_t n = packed(t) ? shape.tiles(t.rows) : t.rows,
                 each = packed(t) ? shape.tile_bytes(t.cols) : row_bytes(t.format, t.cols);
    size_t bytes;
    if (__builtin_mul_overflow(n, each, &bytes))
        throw Failure(kOutOfMemory, "tensor %.*s is larger than the address space", int(t.name_bytes), t.name);
    return bytes;
}

uint64_t staging_bytes_of(const Tensor &t) {
    const uint64_t row = row_bytes(t.format, t.cols);
    return std::min(t.rows * row, std::max(kStagingBytes, Store::kRowGranularity * row));
}

}  // namespace

void Store::bytes(const Tensor *tensors, size_t n, uint64_t *bytes, uint64_t *load_extra_bytes) {
    *load_extra_bytes = 0;
    for (size_t i = 0; i < n; ++i) {
        const Tensor &t = tensors[i];
        Pieces counted;
        if (t.uses) counted.take<uint8_t>(bytes_of(t));
        bytes[i] = counted.used();
        if (packed(t)) *load_extra_bytes = std::max(*load_extra_bytes, staging_bytes_of(t));
    }
}

Store::Store(int32_t device_, const Tensor *tensors, size_t n) : device(device_), matrices(n) {
    std::vector<uint64_t> each(n);
    bytes(tensors, n, each.data(), &staging_bytes_);
    size_t all = 0;
    for (uint64_t b : each)
        if (__builtin_add_overflow(all, size_t(b), &all))
            throw Failure(kOutOfMemory, "the model's weights are larger than the address space");
    memory = DeviceMemory(all, "the model's weights");
    staging_ = DeviceMemory(staging_bytes_, "loading the model's weights");
    stream_.emplace();
    // What pads packed matrices is 0.
    check(cudaMemsetAsync(memory.data(), 0, all, *stream_), "clearing the model's weights");
    Pieces pieces(memory.data());
    for (size_t i = 0; i < n; ++i) {
        const Tensor &t = tensors[i];
        if (!t.uses) continue;
        missing_rows_ += t.rows;
        matrices[i] = {pieces.take<uint8_t>(bytes_of(t)), t.format, uint32_t(t.cols), row_bytes(t.format, t.cols),
                       packed(t)};
    }
}

// When this returns, the caller may use the memory of `rows` again.
void Store::send(uint8_t *to, const void *rows, size_t n) const {
    constexpr char kWhat[] = "copying weights to the GPU";
    check(cudaMemcpyAsync(to, rows, n, cudaMemcpyHostToDevice, *stream_), kWhat);
    check(cudaStreamSynchronize(*stream_), kWhat);
}

void Store::load(size_t tensor, uint64_t row, uint64_t n_rows, const void *rows) {
    const Matrix &m = matrices[tensor];
    uint8_t *const data = const_cast<uint8_t *>(m.data);
    if (!m.packed) {
        send(data + row * m.row_bytes, rows, n_rows * m.row_bytes);
    } else {
        const uint64_t most = staging_bytes_ / m.row_bytes;
        const uint8_t *from = static_cast<const uint8_t *>(rows);
        for (uint64_t i = 0; i < n_rows; i += most) {
            const uint64_t count = std::min(most, n_rows - i);
            send(staging_.data(), from + i * m.row_bytes, count * m.row_bytes);
            pack(m, row + i, count, staging_.data(), *stream_);
        }
    }
    missing_rows_ -= n_rows;
    if (missing_rows_ > 0) return;
    check(cudaStreamSynchronize(*stream_), "packing weights");
    staging_ = DeviceMemory();
    stream_.reset();
}

}  // namespace el::cuda
