// Operands of matrix products of many tokens, as float16.
#pragma once
#include "ops.h"

#include <cuda_fp16.h>

namespace el::cuda {

// Rows of activations are padded with zeros to a multiple of this many values.
constexpr uint32_t kOperandCols = 128;
constexpr size_t operand_cols(size_t cols) { return (cols + kOperandCols - 1) / kOperandCols * kOperandCols; }

// Weights become float16 times this, so that small ones keep their precision. Float16 stays as it is.
constexpr float weight_factor(Format format) { return format == Format::kF16 ? 1.0f : 64.0f; }

// Rows [row_begin, row_begin + rows) of columns [col_begin, col_begin + cols); `stride` values from row to row of
// `out`, zeros after the last column. A multiple of 8.
struct DequantizeCall {
    Matrix m;
    size_t row_begin, rows;
    uint32_t col_begin, cols, stride;
    __half *out;
    // Not packed, of experts: rows of one that no pair has chosen are left as they are. NULL: not of experts.
    const int32_t *pairs_of_expert = nullptr;
    size_t first_row = 0;  // of expert 0
    uint32_t expert_rows = 1;
};
void dequantize(const DequantizeCall &call, cudaStream_t stream);

// Activations in float16: each row times a power of two where its values would be too large or too small for
// float16, and 1 elsewhere. `undo`: what products are to be multiplied with.
//
// `run`: 0 leaves the columns in order. Otherwise they are put in the order in which mma.sync wants them when four
// neighbours in a warp hold `run` successive weights each: of 4 * run columns, value 4 * j + 2 * h + e of part t goes
// to 16 * j + 8 * h + 2 * t + e.
struct ConvertCall {
    const float *x;  // [n, cols]
    uint32_t cols, run;
    int n;
    __half *out;  // [n, operand_cols(cols)]
    float *undo;  // [n]
};
void convert(const ConvertCall &call, cudaStream_t stream);

// out [n, rows] = out * undo (+ bias); touches nothing where that is the same.
struct UndoCall {
    const float *undo, *bias;  // NULL: none
    uint32_t rows;
    float *out;
    int n;
};
void undo(const UndoCall &call, cudaStream_t stream);

// Pairs of a token and one of its experts, number token * n_used + i, sorted by expert.
struct Pairs {
    struct Tile {  // pairs order[first] to order[first + n - 1] are of one expert
        int32_t expert, first, n;
    };
    int32_t *order = nullptr;      // [n_pairs]; NULL: no experts
    int32_t *of_expert = nullptr;  // [n_experts] how many
    Tile *tiles = nullptr;
    int32_t *n_tiles = nullptr;
};
struct SortCall {
    const float *route;  // [n, 2 * n_used]
    int n;
    uint32_t n_used, n_experts;
    int tile;  // pairs of one at most
    Pairs out;
};
constexpr uint32_t kMostExperts = 4096;
constexpr size_t most_tiles(size_t n_pairs, size_t n_experts, int tile) { return n_pairs / size_t(tile) + n_experts; }
void sort_pairs(const SortCall &call, cudaStream_t stream);

// Packed weights, or float16 whose rows, col_begin and cols are multiples of 8, times activations that convert() has
// put into the order of fused_run().
struct FusedCall {
    Matrix m;
    size_t row_begin;
    uint32_t rows, col_begin, cols;
    const __half *x;    // [n, operand_cols(cols)]
    const float *undo;  // [n]
    float factor;       // of all results
    const float *bias;  // [rows]; NULL: none
    float *out;         // [n, out_stride]
    uint32_t out_stride;
    int n;
    int tile;  // tokens that share weights once read: one of kFusedTiles

    // Of experts: n pairs, each of which has a row of `out`; weights begin with those of first_expert. `share` pairs
    // in a row have the same row of x.
    Pairs pairs;
    uint32_t first_expert = 0, n_experts = 0, n_all_experts = 0, share = 1;
};
constexpr int kFusedTiles[] = {32, 128};
uint32_t fused_run(const Matrix &m);
void fused_gemm(const FusedCall &call, cudaStream_t stream);

}  // namespace el::cuda
