// The best tokens of rows of logits, handed to the host.
#pragma once
#include "base/best_tokens.h"

#include <cuda_runtime.h>

namespace el::cuda {

struct RowBest {
    int32_t n;  // -1: not found, as too many tokens are as good as each other
    float sum;  // of e^(logit - best) over the row
    int32_t ids[kMaxBest];
    float logits[kMaxBest];
};

struct SelectCall {
    const float *logits;  // [rows, vocab]
    uint32_t vocab;
    int rows, n;       // n tokens of each row, 1 to kMaxBest
    uint8_t *scratch;  // [rows, select_scratch()], zeros before the first call
    RowBest *out;      // [rows], memory of the host
};
size_t select_scratch();
constexpr uint32_t kSelectRows = 16;  // in one call; more are not worth their scratch

// The same input gives the same output, bit for bit. One kernel for n = 1, two for more. `early`: see launch_early().
void select_best(const SelectCall &call, bool early, cudaStream_t stream);

}  // namespace el::cuda
