#include "gemm.h"
#include "packed.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace el::cuda {
namespace {

constexpr int kNever = 1 << 30;

// From how many tokens on cuBLAS is faster, though it needs the weights as float16 in memory, for packed matrices of so
// many rows or more: the first line that fits. Measured on the H200, Q4_K (docs/benchmarks.md, "Products of prompts"):
// the fused kernel has to have rows for all multiprocessors, and few tokens.
struct Rule {
    uint32_t rows;
    int blas_from;
};
constexpr Rule kMuchBandwidth[] = {{12288, 256}, {0, 9}};
// Chips of the H200's kind and others with so much bandwidth do as it does. On those with less, of which none is
// measured, the fused kernel does everything, as they pay most for writing weights and reading them again.
constexpr double kMuch = 1.5e12;  // bytes/s

bool has_much_bandwidth(int device) {
    auto attribute = [&](cudaDeviceAttr which) { return device_attribute(which, device); };
    const double clock = 1e3 * attribute(cudaDevAttrMemoryClockRate),  // two transfers each
        bytes = attribute(cudaDevAttrGlobalMemoryBusWidth) / 8.0;
    return 2 * clock * bytes >= kMuch ||
           (attribute(cudaDevAttrComputeCapabilityMajor) == 9 && attribute(cudaDevAttrComputeCapabilityMinor) == 0);
}

// The route that is asked for, to test and measure either.
std::string_view asked_route() {
    const char *given = secure_getenv("EDGELLM_CUDA_PREFILL");
    return given ? given : "";
}

bool wants_blas(int device) {
    return asked_route() == "cublas" || (asked_route() != "fused" && has_much_bandwidth(device));
}

}  // namespace

Routes::Routes() {
    if (wants_blas(current_device()) && Blas::available()) kind_ = asked_route() == "cublas" ? kBlas : kTable;
}

bool Routes::misses_blas(int device) { return wants_blas(device) && !Blas::available(); }

int Routes::blas_from(Format format, uint32_t rows) const {
    if (packed_shape(format).bits == 0) rows = 0;
    if (kind_ != kTable) return kind_ == kBlas ? 0 : kNever;
    return std::find_if(std::begin(kMuchBandwidth), std::end(kMuchBandwidth),
                        [&](const Rule &r) { return rows >= r.rows; })
        ->blas_from;
}

namespace {

// Weights as float16 at a time: for cuBLAS what mostly stays in the L2 cache between making and reading them, and still
// makes large products.
constexpr size_t kBlasChunk = 32 << 20, kFusedChunk = 8 << 20;

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
// Whether a matrix may have to become float16 first.
bool is_made(const WeightRef &w, bool by_blas) {
    if (w.format == Format::kF16) return w.cols % 8 != 0 || w.col_begin % 8 != 0;
    return w.format != Format::kF32 && (by_blas || packed_shape(w.format).bits == 0);
}
// Whether the fused kernel reads it as it is.
bool is_fused(const Matrix &m, uint32_t col_begin, uint32_t cols) { return m.packed || is_operand(m, col_begin, cols); }

// Rows of activations and results of an op that a step can have; 0: it is not a product of many.
size_t rows_of(const Program &program, const Op &op, const StepLimits &limits) {
    if (op.kind != OpKind::kLinear && op.kind != OpKind::kExpertLinear) return 0;
    const bool tokens = program.values[size_t(op.out)].rows == Rows::kTokens;
    const size_t rows = tokens ? limits.max_tokens : limits.max_outputs;
    return rows <= kDecodeTokens ? 0 : rows;
}

}  // namespace

GemmMemory Gemm::lay_out(const Program &program, const StepLimits &limits, Pieces &pieces) {
    GemmMemory m;
    const Routes routes;
    size_t n = 0, widest = 0, weights = 0, widest_row = 0, n_pairs = 0, n_experts = 0;
    bool blas = false;
    for (const Op &op : program.ops) {
        size_t rows = rows_of(program, op, limits);
        if (rows == 0) continue;
        const WeightRef &w = op.weight[0];
        const bool experts = op.kind == OpKind::kExpertLinear,
                   by_blas = !experts && rows >= size_t(routes.blas_from(w.format, w.rows));
        const size_t cols = operand_cols(w.cols);
        if (experts) {
            n_pairs = std::max(n_pairs, product(rows, op.expert.n_used));
            n_experts = std::max<size_t>(n_experts, op.expert.n_experts);
            if (op.expert.own_input) rows = product(rows, op.expert.n_used);
        }
        n = std::max(n, rows);
        widest = std::max(widest, product(rows, cols));
        blas |= by_blas;
        if (!is_made(w, by_blas)) continue;
        weights = std::max(weights, product(w.rows, cols));
        widest_row = std::max(widest_row, product(cols, experts ? w.rows / op.expert.n_experts : 4));
    }
    if (n == 0) return m;
    m.x = pieces.take<__half>(widest);
    m.undo = pieces.take<float>(n);
    m.n_weights = std::min(weights, std::max(blas ? kBlasChunk : kFusedChunk, widest_row));
    m.weights = pieces.take<__half>(m.n_weights);
    m.uses_blas = blas;
    if (blas) m.blas = pieces.take<uint8_t>(Blas::kWorkspaceBytes);
    if (n_pairs > 0) {
        m.pairs.order = pieces.take<int32_t>(n_pairs);
        m.pairs.of_expert = pieces.take<int32_t>(n_experts);
        m.pairs.tiles = pieces.take<Pairs::Tile>(most_tiles(n_pairs, n_experts, kFusedTiles[0]));
        m.pairs.n_tiles = pieces.take<int32_t>(1);
    }
    return m;
}

Gemm::Gemm(const GemmMemory &memory, cudaStream_t stream)
    : at_(memory), stream_(stream), n_multiprocessors_(device_attribute(cudaDevAttrMultiProcessorCount)) {
    if (at_.blas) blas_ = std::make_unique<Blas>(stream, at_.blas);
}

void Gemm::use(cudaStream_t stream) {
    stream_ = stream;
    if (blas_) blas_->use(stream, at_.blas);
}

bool Gemm::linear(const LinearCall &c, ValueId input) {
    if (c.n <= kDecodeTokens) return false;
    const bool blas = blas_ && c.n >= routes_.blas_from(c.m.format, c.rows);
    if (c.m.format != Format::kF32) {
        const bool as_it_is = is_operand(c.m, c.col_begin, c.cols) || (!blas && c.m.packed);
        if (!as_it_is && at_.n_weights < 4 * operand_cols(c.cols)) return false;
        blas ? by_blas(c, input) : by_fused(c, input);
        return true;
    }
    if (!blas) return false;
    const float *w = reinterpret_cast<const float *>(c.m.data) + c.row_begin * size_t(c.m.cols) + c.col_begin;
    blas_->multiply({int(c.rows), c.n, int(c.cols), int(c.m.cols), int(c.cols), int(c.rows)}, w, c.x, c.out);
    undo({nullptr, c.bias, c.rows, c.out, c.n}, stream_);
    return true;
}

bool Gemm::expert_linear(const ExpertCall &e, uint32_t n_experts, ValueId input, ValueId route) {
    const LinearCall &c = e.linear;
    const int n_tokens = c.n / int(e.n_used);
    if (n_tokens <= kDecodeTokens || c.m.format == Format::kF32 || n_experts > kMostExperts) return false;
    if (!is_fused(c.m, c.col_begin, c.cols) && at_.n_weights < c.rows * operand_cols(c.cols)) return false;
    const int tile = kFusedTiles[uint32_t(c.n) / n_experts >= 64];
    if (sorted_ != route) sort_pairs({e.route, n_tokens, e.n_used, n_experts, tile, at_.pairs}, stream_);
    sorted_ = route;
    FusedCall f = fused_call(c);
    f.tile = tile;
    f.pairs = at_.pairs;
    f.n_experts = f.n_all_experts = n_experts;
    f.share = e.own_input ? 1 : e.n_used;
    to_operand({c.x, c.cols, fused_run(c.m), e.own_input ? c.n : n_tokens, at_.x, at_.undo}, input);
    multiply_experts(f);
    return true;
}

void Gemm::to_operand(const ConvertCall &c, ValueId input) {
    if (converted_ == input && converted_run_ == c.run) return;
    convert(c, stream_);
    converted_ = input;
    converted_run_ = c.run;
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
    to_operand({c.x, c.cols, 0, c.n, at_.x, at_.undo}, input);
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

// Weights that for_parts() or dequantize() has made.
Matrix Gemm::made(uint32_t cols) const {
    const uint32_t stride = uint32_t(operand_cols(cols));
    return {reinterpret_cast<const uint8_t *>(at_.weights), Format::kF16, stride, stride * sizeof(__half), false};
}

FusedCall Gemm::fused_call(const LinearCall &c) const {
    FusedCall f;
    f.m = c.m;
    f.row_begin = c.row_begin;
    f.rows = f.out_stride = c.rows;
    f.col_begin = c.col_begin;
    f.cols = c.cols;
    f.x = at_.x;
    f.undo = at_.undo;
    f.factor = 1 / weight_factor(c.m.format);
    f.bias = c.bias;
    f.out = c.out;
    f.n = c.n;
    // Large tiles share more, but only if there are enough of them (measured on the H200: 0.48 of its multiprocessors
    // are too few, 0.85 are enough).
    const size_t blocks = (size_t(c.rows) + 127) / 128 * ((size_t(c.n) + 127) / 128);
    f.tile = kFusedTiles[c.n > 96 && 4 * blocks >= 3 * size_t(n_multiprocessors_)];
    return f;
}

void Gemm::by_fused(const LinearCall &c, ValueId input) {
    FusedCall f = fused_call(c);
    const bool direct = is_fused(c.m, c.col_begin, c.cols);
    if (!direct) {
        f.m = made(c.cols);
        f.row_begin = f.col_begin = 0;
        f.cols = f.m.cols;
    }
    to_operand({c.x, c.cols, fused_run(f.m), c.n, at_.x, at_.undo}, input);
    if (direct) return fused_gemm(f, stream_);
    for_parts(c, [&](size_t row, size_t rows) {
        f.rows = uint32_t(rows);
        f.bias = c.bias ? c.bias + row : nullptr;
        f.out = c.out + row;
        fused_gemm(f, stream_);
    });
}

// Weights that are not read as they are become float16 first, of as many experts at a time as there is room for.
void Gemm::multiply_experts(FusedCall f) const {
    if (is_fused(f.m, f.col_begin, f.cols)) return fused_gemm(f, stream_);
    const size_t stride = operand_cols(f.cols), most = at_.n_weights / stride / f.rows;
    DequantizeCall d{f.m,         0,     0, f.col_begin, f.cols, uint32_t(stride), at_.weights, at_.pairs.of_expert,
                     f.row_begin, f.rows};
    f.m = made(f.cols);
    f.row_begin = f.col_begin = 0;
    f.cols = f.m.cols;
    for (size_t e = 0; e < f.n_all_experts; e += most) {
        f.first_expert = uint32_t(e);
        f.n_experts = uint32_t(std::min(most, f.n_all_experts - e));
        d.row_begin = d.first_row + e * f.rows;
        d.rows = size_t(f.n_experts) * f.rows;
        dequantize(d, stream_);
        fused_gemm(f, stream_);
    }
}

}  // namespace el::cuda
