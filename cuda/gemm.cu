#include "gemm.h"
#include "ops/gemm.cuh"
#include "packed.h"

#include <algorithm>

namespace el::cuda {
namespace {

// Weights as float16 at a time: what stays in the L2 cache between making and reading them.
constexpr size_t kChunkValues = 32 << 20;

size_t product(size_t a, size_t b) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        throw Failure(kOutOfMemory, "%zu times %zu values are more than the address space holds", a, b);
    return result;
}

// cuBLAS wants rows of float16 at multiples of 16 bytes.
bool is_operand(const LinearCall &c) {
    return c.m.format == Format::kF16 && c.m.cols % 8 == 0 && c.col_begin % 8 == 0 && c.cols % 8 == 0;
}

}  // namespace

GemmMemory Gemm::lay_out(const Program &program, const StepLimits &limits, Pieces &pieces) {
    GemmMemory m;
    size_t n = 0, widest = 0, weights = 0, widest_weights = 0;
    for (const Op &op : program.ops) {
        const WeightRef &w = op.weight[0];
        if (op.kind != OpKind::kLinear) continue;
        const bool tokens = program.values[size_t(op.out)].rows == Rows::kTokens;
        const size_t rows = tokens ? limits.max_tokens : limits.max_outputs, cols = operand_cols(w.cols);
        if (rows <= kDecodeTokens) continue;
        n = std::max(n, rows);
        widest = std::max(widest, product(rows, cols));
        weights = std::max(weights, product(w.rows, cols));
        widest_weights = std::max(widest_weights, cols);
    }
    if (n == 0 || !Blas::available()) return m;
    m.x = pieces.take<__half>(widest);
    m.undo = pieces.take<float>(n);
    m.n_weights = std::min(weights, std::max(kChunkValues, 4 * widest_weights));
    m.weights = pieces.take<__half>(m.n_weights);
    m.blas = pieces.take<uint8_t>(Blas::kWorkspaceBytes);
    return m;
}

Gemm::Gemm(const GemmMemory &memory, cudaStream_t stream) : at_(memory), stream_(stream) {
    if (at_.blas) blas_ = std::make_unique<Blas>(stream, at_.blas);
}

void Gemm::to_operand(const LinearCall &c, ValueId input, uint32_t run) {
    if (converted_ == input && converted_run_ == run) return;
    convert({c.x, c.cols, run, c.n, at_.x, at_.undo}, stream_);
    converted_ = input;
    converted_run_ = run;
}

bool Gemm::linear(const LinearCall &c, ValueId input) {
    if (!blas_ || c.n <= kDecodeTokens) return false;
    if (c.m.format == Format::kF32) {
        const float *w = reinterpret_cast<const float *>(c.m.data) + size_t(c.row_begin) * c.m.cols + c.col_begin;
        blas_->multiply({int(c.rows), c.n, int(c.cols), int(c.m.cols), int(c.cols), int(c.rows)}, w, c.x, c.out);
        undo({nullptr, c.bias, c.rows, c.out, c.n}, stream_);
        return true;
    }
    to_operand(c, input, 0);
    multiply(c);
    undo({at_.undo, c.bias, c.rows, c.out, c.n}, stream_);
    return true;
}

void Gemm::multiply(const LinearCall &c) const {
    const int stride = int(operand_cols(c.cols));
    if (is_operand(c)) {
        const __half *w = reinterpret_cast<const __half *>(c.m.data) + size_t(c.row_begin) * c.m.cols + c.col_begin;
        return blas_->multiply({int(c.rows), c.n, int(c.cols), int(c.m.cols), stride, int(c.rows)}, w, at_.x, 1, c.out);
    }
    const size_t most = at_.n_weights / size_t(stride) / 4 * 4;
    for (size_t row = 0, rows; row < c.rows; row += rows) {
        rows = std::min(most, c.rows - row);
        dequantize({c.m, c.row_begin + row, rows, c.col_begin, c.cols, uint32_t(stride), at_.weights}, stream_);
        blas_->multiply({int(rows), c.n, stride, stride, stride, int(c.rows)}, at_.weights, at_.x,
                        1 / weight_factor(c.m.format), c.out + row);
    }
}

}  // namespace el::cuda
