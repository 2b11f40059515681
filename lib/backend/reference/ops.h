// The meaning of every op: one simple float32 function each, for a range of rows. Each output is made by one thread in
// a fixed order, so results are bit-equal for any batch and any number of threads.
#pragma once
#include "program/op.h"

namespace el::reference {

// Where a cache layer's rows lie: page-major planes, [page][kv head][token of the page][row].
struct CachePlane {
    std::byte *data = nullptr;
    Format format = Format::kF32;
    uint32_t n_kv_heads = 0, head_dim = 0;
    size_t row_bytes = 0;

    std::byte *row(int32_t slot, uint32_t kv_head) const {
        size_t page = size_t(slot) / kPageTokens, in_page = size_t(slot) % kPageTokens;
        return data + ((page * n_kv_heads + kv_head) * kPageTokens + in_page) * row_bytes;
    }
};

// A matrix as it lies in the file.
struct Matrix {
    const std::byte *data = nullptr;
    Format format = Format::kF32;
    uint32_t cols = 0;
    size_t row_bytes = 0;

    void decode_row(size_t row, float *out) const { format_info(format).decode(data + row * row_bytes, cols, out); }
};

float dot(const float *a, const float *b, size_t n);

// x, out [width]; weight [width / groups]
void norm(const NormArgs &args, const float *x, const float *weight, uint32_t width, float *out);
// x, out [n_heads, head_dim]; frequencies [dims/2]; factors [dims/2] or NULL
void rope(const RopeArgs &args, const float *frequencies, const float *factors, int32_t position, const float *x,
          float *out);
// One head of one token: q [head_dim_k], out [head_dim_v]. `pages` maps logical pages to physical ones; scratch holds
// `end - begin` scores and one row.
struct AttentionInput {
    const CachePlane *k, *v;
    const int32_t *pages;
    int32_t begin, end;
    uint32_t kv_head;
    float scale;
    float *scores, *row;
};
void attend(const AttentionInput &in, const float *q, float *out);
void gate(const GateArgs &args, const float *a, const float *b, uint32_t width, float *out);
// x [head_dim] becomes a row of the cache; `padded` has room for the row's values rounded up to a block.
void write_row(const CachePlane &plane, int32_t slot, uint32_t kv_head, const float *x, float *padded);

}  // namespace el::reference
