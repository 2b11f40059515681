// Puts rows of a file's blocks into a packed matrix.
#include "device.h"
#include "ops.h"
#include "packed.cuh"

namespace el::cuda {
namespace {

// A thread for a group of a row.
template <typename F> __global__ void pack_kernel(Matrix m, uint64_t first_row, uint64_t n, const uint8_t *rows) {
    const uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x, groups = m.cols / kGroup;
    if (i >= n * groups) return;
    const uint64_t row = i / groups;
    const uint32_t group = uint32_t(i % groups);
    const auto *blocks = reinterpret_cast<const typename F::Block *>(rows + row * m.row_bytes);
    pack_group<F>(blocks[group / (F::kValues / kGroup)], const_cast<uint8_t *>(m.data), m.cols, first_row + row, group);
}

}  // namespace

void pack(const Matrix &m, uint64_t row, uint64_t n_rows, const uint8_t *rows, cudaStream_t stream) {
    constexpr unsigned kThreads = 128;
    const uint64_t n = n_rows * (m.cols / kGroup);
    with_packed_format(m.format, [&](auto f) {
        using F = typename decltype(f)::type;
        pack_kernel<F><<<unsigned((n + kThreads - 1) / kThreads), kThreads, 0, stream>>>(m, row, n_rows, rows);
    });
    check(cudaGetLastError(), "packing weights");
}

}  // namespace el::cuda
