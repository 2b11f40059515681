// The weights of one model on a device, as they lie in the file.
#pragma once
#include "backend/cuda/interface.h"
#include "device.h"
#include "ops.h"

#include <vector>

namespace el::cuda {

struct Store {
    Store(int32_t device, const Tensor *tensors, size_t n);
    static void bytes(const Tensor *tensors, size_t n, uint64_t *bytes);  // of each
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
};

}  // namespace el::cuda
