#include "gemm.h"
#include "ops/gemm.cuh"
#include "packed.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace el::cuda {
namespace {

// From how many tokens on cuBLAS is faster, though it needs the weights as float16 in memory; by compute capability,
// the first line that fits. Measured where it says so, at 512 tokens.
struct Rule {
    int capability, blas_from;
};
constexpr int kNever = 1 << 30;
constexpr Rule kRules[] = {
    {90, 9},      // H200
    {0, kNever},  // not measured; chips with little bandwidth pay most for writing weights and reading them again
};

int blas_from() {
    // To test and measure either route.
    if (const char *route = secure_getenv("EDGELLM_CUDA_PREFILL")) {
        if (std::strcmp(route, "fused") == 0) return kNever;
        if (std::strcmp(route, "cublas") == 0) return Blas::available() ? 0 : kNever;
    }
    int device = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "asking for the GPU");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking a GPU what it is");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking a GPU what it is");
    const Rule *rule = std::find_if(std::begin(kRules), std::end(kRules),
                                    [&](const Rule &r) { return 10 * major + minor >= r.capability; });
    return rule->blas_from != kNever && Blas::available() ? rule->blas_from : kNever;
}

// Weights as float16 at a time: what stays in the L2 cache between making and reading them.
constexpr size_t kChunkValues = 32 << 20;

size_t product(size_t a, size_t b) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        throw Failure(kOutOfMemory, "%zu times %zu values are more than the address space holds", a, b);
    return result;
}

// Matrix units read rows of float16 in pieces of 16 bytes.
bool is_operand(const Matrix &m, uint32_t col_begin, uint32_t cols) {
    return m.format == Format::kF16 && m.cols % 8 == 0 && col_begin % 8 == 0 && cols % 8 == 0;
}

}  // namespace

GemmMemory Gemm::lay_out(const Program &program, const StepLimits &limits, Pieces &pieces) {
    GemmMemory m;
    const int from = blas_from();
    size_t n = 0, widest = 0, weights = 0, widest_row = 0;
    bool blas = false;
    for (const Op &op : program.ops) {
        const WeightRef &w = op.weight[0];
        if (op.kind != OpKind::kLinear) continue;
        const bool tokens = program.values[size_t(op.out)].rows == Rows::kTokens;
        const size_t rows = tokens ? limits.max_tokens : limits.max_outputs, cols = operand_cols(w.cols);
        if (rows <= kDecodeTokens) continue;
        n = std::max(n, rows);
        widest = std::max(widest, product(rows, cols));
        blas |= rows >= size_t(from);
        if (w.format == Format::kF32 || (rows < size_t(from) && packed_shape(w.format).bits != 0)) continue;
        weights = std::max(weights, product(w.rows, cols));
        widest_row = std::max(widest_row, cols);
    }
    if (n == 0) return m;
    m.x = pieces.take<__half>(widest);
    m.undo = pieces.take<float>(n);
    m.n_weights = std::min(weights, std::max(kChunkValues, 4 * widest_row));
    m.weights = pieces.take<__half>(m.n_weights);
    if (blas) m.blas = pieces.take<uint8_t>(Blas::kWorkspaceBytes);
    return m;
}

Gemm::Gemm(const GemmMemory &memory, cudaStream_t stream) : at_(memory), stream_(stream), blas_from_(blas_from()) {
    if (at_.blas) blas_ = std::make_unique<Blas>(stream, at_.blas);
}

bool Gemm::linear(const LinearCall &c, ValueId input) {
    if (c.n <= kDecodeTokens) return false;
    const bool blas = blas_ && c.n >= blas_from_;
    if (c.m.format != Format::kF32) {
        blas ? by_blas(c, input) : by_fused(c, input);
        return true;
    }
    if (!blas) return false;
    const float *w = reinterpret_cast<const float *>(c.m.data) + c.row_begin * size_t(c.m.cols) + c.col_begin;
    blas_->multiply({int(c.rows), c.n, int(c.cols), int(c.m.cols), int(c.cols), int(c.rows)}, w, c.x, c.out);
    undo({nullptr, c.bias, c.rows, c.out, c.n}, stream_);
    return true;
}

void Gemm::to_operand(const LinearCall &c, ValueId input, uint32_t run) {
    if (converted_ == input && converted_run_ == run) return;
    convert({c.x, c.cols, run, c.n, at_.x, at_.undo}, stream_);
    converted_ = input;
    converted_run_ = run;
}

// Calls visit(first row, rows) with the rows as float16 in at_.weights, one part after the other.
template <typename Visit> void Gemm::for_parts(const LinearCall &c, Visit visit) const {
    const size_t stride = operand_cols(c.cols), most = at_.n_weights / stride, n_parts = (c.rows + most - 1) / most;
    size_t each = (c.rows + n_parts - 1) / n_parts;  // parts of one size, whole tiles of cuBLAS if they fit
    each = std::min((each + 127) / 128 * 128, most / 4 * 4);
    for (size_t row = 0, rows; row < c.rows; row += rows) {
        rows = std::min(each, c.rows - row);
        dequantize({c.m, c.row_begin + row, rows, c.col_begin, c.cols, uint32_t(stride), at_.weights}, stream_);
        visit(row, rows);
    }
}

void Gemm::by_blas(const LinearCall &c, ValueId input) {
    const int stride = int(operand_cols(c.cols));
    to_operand(c, input, 0);
    if (is_operand(c.m, c.col_begin, c.cols)) {
        const __half *w = reinterpret_cast<const __half *>(c.m.data) + c.row_begin * size_t(c.m.cols) + c.col_begin;
        blas_->multiply({int(c.rows), c.n, int(c.cols), int(c.m.cols), stride, int(c.rows)}, w, at_.x, 1, c.out);
    } else {
        for_parts(c, [&](size_t row, size_t rows) {
            blas_->multiply({int(rows), c.n, stride, stride, stride, int(c.rows)}, at_.weights, at_.x,
                            1 / weight_factor(c.m.format), c.out + row);
        });
    }
    undo({at_.undo, c.bias, c.rows, c.out, c.n}, stream_);
}

void Gemm::by_fused(const LinearCall &c, ValueId input) {
    FusedCall f{c.m,    c.row_begin, c.rows, c.col_begin, c.cols, at_.x, at_.undo, 1 / weight_factor(c.m.format),
                c.bias, c.out,       c.rows, c.n};
    if (c.m.packed || is_operand(c.m, c.col_begin, c.cols)) {
        to_operand(c, input, fused_run(c.m));
        return fused_gemm(f, stream_);
    }
    const uint32_t stride = uint32_t(operand_cols(c.cols));
    f.m = {reinterpret_cast<const uint8_t *>(at_.weights), Format::kF16, stride, stride * sizeof(__half), false};
    f.row_begin = f.col_begin = 0;
    f.cols = stride;
    to_operand(c, input, fused_run(f.m));
    for_parts(c, [&](size_t row, size_t rows) {
        f.rows = uint32_t(rows);
        f.bias = c.bias ? c.bias + row : nullptr;
        f.out = c.out + row;
        fused_gemm(f, stream_);
    });
}

}  // namespace el::cuda
