// Products of matrices with few tokens: what decode steps spend their time on. One launch is one stage: the
// input may be normed before, rows of several matrices be made from it, and what follows be done to them after.
#pragma once
#include "ops.h"

namespace el::cuda {

constexpr int kMatvecTokens = 8, kMatvecParts = 4;

struct MatvecPart {
    Matrix m;
    uint32_t row_begin = 0, rows = 0;  // row_begin: of packed ones the first of a tile
    const float *bias = nullptr;       // [rows]; NULL: none
    float *out = nullptr;              // [n, rows]
};

struct MatvecCall {
    MatvecPart part[kMatvecParts];
    int n_parts = 0;
    uint32_t cols = 0;
    int n = 1;  // tokens, at most kMatvecTokens

    const float *x = nullptr;  // [n, cols]
    bool norm = false;         // RMS, of whole rows
    float epsilon = 0;
    const float *norm_weight = nullptr;  // [cols]; NULL: none
    uint8_t *quantized = nullptr;  // where n > 1 or x is long: matvec_scratch(cols) bytes for each of kMatvecTokens

    const float *residual = nullptr;  // [n, rows] is added to the only part; NULL: none
    bool gate = false;                // part 0's out = activation(part 0) * part 1
    ActivationKind activation = ActivationKind::kNone;

    // Of packed ones:
    bool odd = false;      // every other one of those that follow each other on a stream
    bool amid = false;     // one of these comes right before and right after
    uint64_t formats = 0;  // of all of these: bits 1 << format
};

struct Chip {
    int n_multiprocessors = 1;
    size_t block_shared_bytes = 0;  // that one block may take
    bool early = false;             // programmatic dependent launch
};
// What kernels ask for at most as dynamic shared memory; the rest is for what they have beside.
inline size_t most_shared_bytes(const Chip &chip) { return chip.block_shared_bytes - 1024; }

// Of packed matrices.
bool matvec_supported(const Matrix &m, uint32_t row_begin, uint32_t col_begin, uint32_t cols);
size_t matvec_scratch(uint32_t cols);  // bytes of one token
void matvec(const MatvecCall &call, const Chip &chip, cudaStream_t stream);

// The same for experts that at most kMatvecTokens tokens have chosen. `quantized`: matvec_scratch(cols) bytes for each
// row of the input. False for what it does not cover.
bool expert_matvec(const ExpertCall &call, uint8_t *quantized, const Chip &chip, cudaStream_t stream);

// Of matrices of F16, BF16 or F32, all in one format; their data may begin at any column. False for what it does not
// cover: more tokens, or rows, inputs or norms that are not whole pieces of 16 bytes at multiples of 16.
bool dense_matvec(const MatvecCall &call, const Chip &chip, cudaStream_t stream);

}  // namespace el::cuda
