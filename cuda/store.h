// The weights of one model on a device: matrices in common formats packed, all else as it lies in the file.
#pragma once
#include "backend/cuda/interface.h"
#include "device.h"
#include "ops.h"
#include "stream.h"

#include <optional>
#include <vector>

namespace el::cuda {

struct Store {
    Store(int32_t device, const Tensor *tensors, size_t n);
    // Of each tensor; and what loading takes beside them.
    static void bytes(const Tensor *tensors, size_t n, uint64_t *bytes, uint64_t *load_extra_bytes);
    static constexpr uint32_t kRowGranularity = 4;  // of load(): whole tiles
    void load(size_t tensor, uint64_t row, uint64_t n_rows, const void *rows);

    const Matrix &matrix(int32_t tensor) const { return matrices[size_t(tensor)]; }
    // The values of a reference to (a part of) one row; NULL if there is none.
    const float *vector(const WeightRef &ref) const {
        if (!ref.exists()) return nullptr;
        const Matrix &m = matrix(ref.tensor);
        return reinterpret_cast<const float *>(m.data) + size_t(ref.row_begin) * m.cols + ref.col_begin;
    }

    const int32_t device;
    std::vector<Matrix> matrices;
    DeviceMemory memory;

  private:
    void send(uint8_t *to, const void *rows, size_t n) const;

    // Given back after the last row.
    std::optional<Stream> stream_;
    DeviceMemory staging_;  // rows on their way to a packed matrix
    uint64_t missing_rows_ = 0, staging_bytes_ = 0;
};

}  // namespace el::cuda
