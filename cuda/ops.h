// The ops as kernels: one launch function each, on the stream of an executable. Pointers are the device's; rows of
// values are dense. All of them are right for every shape and format; fast paths come in front of them.
#pragma once
#include "program/op.h"

#include <cuda_runtime.h>

namespace el::cuda {

inline bool aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }  // for loads of 16 bytes

struct Matrix {
    const uint8_t *data = nullptr;  // [rows, row_bytes], or packed
    Format format = Format::kF32;
    uint32_t cols = 0;
    size_t row_bytes = 0;
    bool packed = false;  // see packed.h
};
// Puts rows of a packed matrix into their place.
void pack(const Matrix &m, uint64_t row, uint64_t n_rows, const uint8_t *rows, cudaStream_t stream);

struct Rope {
    RopeArgs args;
    const float *frequencies, *factors;  // [dims / 2]; factors NULL: 1
};

// K or V of one cache layer: [page][kv head][32][row]; how rows of blocks lie: ops/quantized_row.cuh
struct Plane {
    uint8_t *data = nullptr;
    Format format = Format::kF32;
    uint32_t n_kv_heads = 0, head_dim = 0;
    size_t row_bytes = 0;
    bool rotated = false;  // each row, by rotation.cuh

    __host__ __device__ uint8_t *row(int32_t slot, uint32_t head) const {
        const size_t page = size_t(slot) / kPageTokens, in_page = size_t(slot) % kPageTokens;
        return data + ((page * n_kv_heads + head) * kPageTokens + in_page) * row_bytes;
    }
};
bool plane_format_known(Format format);

// n: rows of the output; early: the chip has programmatic dependent launch

void embed(const Matrix &m, const int32_t *token, int n, float *out, cudaStream_t stream);

struct LinearCall {
    Matrix m;
    uint32_t row_begin, rows, col_begin, cols;
    const float *x, *bias;  // bias NULL: none
    float *out;
    int n;
};
void linear(const LinearCall &call, cudaStream_t stream);

struct ExpertCall {
    LinearCall linear;  // rows: of one expert; n: pairs of token and expert; bias [n_experts, rows]
    const float *route;
    uint32_t n_used;
    bool own_input;
};
void expert_linear(const ExpertCall &call, cudaStream_t stream);

struct NormCall {
    NormArgs args;
    const float *x, *weight, *bias;  // NULL: none
    uint32_t width, weight_width;
    float *out;
    int n;
    const float *residual = nullptr;  // [n, width] is added; NULL: none
};
void norm(const NormCall &call, bool early, cudaStream_t stream);

void rope(const Rope &rope, const int32_t *position, const float *x, float *out, int n, bool early,
          cudaStream_t stream);
void cache_write(const Plane &plane, const int32_t *slot, const float *x, int n, cudaStream_t stream);

struct AttentionCall {
    AttentionArgs args;
    Plane k, v;
    const float *q, *sinks;
    float *out;
    int n;
    Step step;  // the device's
    uint32_t group;
};
// What few tokens see is split: its parts meet in memory.
struct AttentionSplit {
    uint8_t *scratch = nullptr;  // attention_scratch() bytes; one for all layers
    int n_multiprocessors = 1;
    bool early = false;  // the chip has programmatic dependent launch
};
size_t attention_scratch(const AttentionArgs &args, uint32_t max_pages, int n_multiprocessors);
size_t attention_shared_bytes(const AttentionArgs &args);  // that a block must get: it grows with heads
void attention(const AttentionCall &call, const AttentionSplit &split, cudaStream_t stream);
// Of many tokens, on matrix units; false where it does not cover the shape or format, and nothing was done.
bool flash_attention(const AttentionCall &call, cudaStream_t stream);

// ---- attention of few tokens, in steps that are captured once: all that changes lies in the step's arrays

constexpr int kDecodeTokens = 8;

// An RMS norm of each head, before rope.
struct HeadNorm {
    bool exists = false;
    float epsilon = 0;
    const float *weight = nullptr;  // NULL: none
    uint32_t stride = 0;            // of weights from head to head: 0 or head_dim
};

// What happens to q, k and v before they meet. Tokens with slot -1 write nothing to the cache.
struct HeadsCall {
    AttentionCall attention;  // q: as its matrix made it [n, n_heads, dim]; n <= kDecodeTokens for decode_attention
    const float *k = nullptr, *v = nullptr;  // [n, n_kv_heads, dim] go to the cache; NULL: they are there already
    HeadNorm q_norm, k_norm, v_norm;
    Rope q_rope = {}, k_rope = {};  // args.dims 0: none; where both exist, their angles are the same
    float *q_out = nullptr;         // [n, n_heads, dim] for n > 1; may be attention.q's memory
};

struct DecodeAttentionCall {
    HeadsCall heads;
    // decode_attention_scratch() bytes, zeros before the first step; one for all layers.
    uint8_t *scratch = nullptr;
    int n_multiprocessors = 1;
    bool early = false;         // the chip has programmatic dependent launch (and clusters): sm_90 and later
    bool long_context = false;  // some token sees kLongContext rows or more: another split is faster then
};
constexpr int32_t kLongContext = 4096;    // measured on an H200
bool decode_formats(Format k, Format v);  // that it has
bool decode_attention_supported(const AttentionArgs &args, const Plane &k, const Plane &v);
size_t decode_attention_scratch(const AttentionArgs &args, int n);
// One kernel for n = 1; for more, rope_and_write() and then one. Started by launch_early().
void decode_attention(const DecodeAttentionCall &call, cudaStream_t stream);
// Norms, rope, and the cache written; q goes to q_out. For shapes that decode_attention_supported() tells.
void rope_and_write(const HeadsCall &call, bool early, cudaStream_t stream);

struct GateCall {
    ActivationKind activation;
    const float *a, *b;
    uint32_t a_width, width;
    float *out;
    int n;
};
void gate(const GateCall &call, bool early, cudaStream_t stream);
void add(const float *a, const float *b, size_t n, float *out, bool early, cudaStream_t stream);

struct ScaleCall {
    ScaleArgs args;
    const float *x, *weight, *bias;
    const int32_t *position;
    uint32_t width;
    float *out;
    int n;
};
void scale(const ScaleCall &call, bool early, cudaStream_t stream);
void soft_cap(float cap, const float *x, size_t n, float *out, bool early, cudaStream_t stream);
void slice(const SliceArgs &args, const float *x, uint32_t in_width, float *out, int n, bool early,
           cudaStream_t stream);
void take_rows(const float *x, const int32_t *row, uint32_t width, float *out, int n, bool early, cudaStream_t stream);

// Rows of no sequence take the experts of the first row, so that nobody reads others for them; sequence_of NULL: all
// rows are real ones or repeat the first.
void route(const RouteArgs &args, const float *logits, const int32_t *sequence_of, float *out, int n, bool early,
           cudaStream_t stream);

struct ExpertScaleCall {
    const float *x, *route, *scales, *bias;
    uint32_t n_used, width;
    float *out;
    int n;
};
void expert_scale(const ExpertScaleCall &call, bool early, cudaStream_t stream);
void combine(const float *parts, const float *route, uint32_t n_used, uint32_t width, float *out, int n, bool early,
             cudaStream_t stream);

// State of a layer: [slots, floats]. The step's arrays say which tokens belong to which of n_sequences; one whose
// state_after is -1 does not exist.
struct StateCall {
    Step step;
    float *state;
    size_t floats;
    const float *in[3], *weight[3];
    float *out;
};
void short_conv(const ShortConvArgs &args, const StateCall &call, uint32_t channels, bool early, cudaStream_t stream);
void delta_rule(const DeltaRuleArgs &args, const StateCall &call, bool early, cudaStream_t stream);
void selective_scan(const SelectiveScanArgs &args, const StateCall &call, bool early, cudaStream_t stream);

// Between steps: rows of a plane, and keys turned by some positions.
void copy_rows(const Plane &plane, const int32_t *from, const int32_t *to, int n, cudaStream_t stream);
void turn_rows(const Plane &plane, const Rope &rope, const int32_t *slots, int n, int32_t positions,
               cudaStream_t stream);
// Rows packed as read_rows() has them: `stride` bytes from row to row.
void pack_rows(const Plane &plane, const int32_t *slots, int n, uint8_t *packed, size_t stride, bool to_plane,
               cudaStream_t stream);

}  // namespace el::cuda
