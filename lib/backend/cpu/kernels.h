// The functions that are compiled once per instruction set, and the plain data that they are called with. This header
// and what the kernels include define no inline function with external linkage: the linker might otherwise merge code
// for a newer instruction set into the rest of the library.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace el::cpu {

// ---- weights as tiles: a panel is 16 rows; a tile is 16 rows x 32 columns (see tile.h)

constexpr int kPanelRows = 16;
constexpr int kTileCols = 32;

// How quants are stored: planes of 64-byte vectors. Vector j holds columns 4j..4j+3 of each of the 16 rows.
enum class Planes : uint8_t {
    kNibbles,     // 4 vectors: low halves j, high halves j + 4
    kNibbles1,    // and 1 vector of fifth bits: bit j
    kNibbles2,    // and 2 vectors of bits 4..5: vector j / 4, bits 2 (j % 4)
    kPairs,       // 2 vectors of 2 bits: vector j / 4, bits 2 (j % 4)
    kPairsEight,  // and a byte for each row of third bits that 8 columns share: bit j / 2
    kTriples,     // 3 vectors of 3 bits: vector j / 2, bits 3 (j % 2); of j = 6, 7 bits 0..1 in bits 6..7 of vector
                  // j - 6, bit 2 in bit j of vector 2
    kBytes,       // 8 vectors
};

// How scales are stored; a value is scale * q + offset, or where there is a table of values scale * unit * table[q].
enum class Scales : uint8_t {
    kConstant,    // per tile f16 d[16]: d * (q - constant)
    kMinimum,     // per tile f16 d[16], m[16]: d * q + m
    kSuper32,     // per 256 columns f16 d[16], -dmin[16], and per 32 u8 scale[16], min[16]
    kSuper16,     // per 256 columns f16 d[16], and per 16 i8 scale[16]: d * scale * (q - constant)
    kSuper16Min,  // per 256 columns f16 d[16], -dmin[16], and per 16 u8 (scale | min << 4)[16]
    kSigned32,    // per 256 columns f16 d[16], and per 32 i8 scale[16]: d * scale
    kOne256,      // per 256 columns f16 d[16]: d * (q - constant)
    kPower32,     // per tile u8 e[16]: 2^(e - 127)
    kE4m3x16,     // per 16 columns u8 scale[16], bits of an E4M3 float
};

// Which tile function: the order of the table.
enum class TileKind : uint8_t {
    kQ4_0,
    kQ4_1,
    kQ5_0,
    kQ5_1,
    kQ8_0,
    kQ2_K,
    kQ3_K,
    kQ4_K,
    kQ5_K,
    kQ6_K,
    kIQ1,  // IQ1_S, IQ1_M
    kIQ2_XXS,
    kIQ2,  // IQ2_XS, IQ2_S
    kIQ3_XXS,
    kIQ3_S,
    kIQ4_NL,
    kIQ4_XS,
    kTernary,  // TQ1_0, TQ2_0
    kMXFP4,
    kNVFP4,
    kF32,
    kF16,
    kBF16
};
constexpr int kTileKinds = 23;

// Quantized activations of a group of T tokens, per 32 columns: int8 q[T][32], then float [T] each: the scale of the
// first 16 columns, that of the others, the sum of scale * q over all 32 and over the first 16. Scales for 16 columns
// rather than for 32 leave fewer small values beside an outlier: the model's output is off by a quarter less.
constexpr size_t kActivationBytes = 32 + 4 * sizeof(float);  // per token and 32 columns

struct TileCall {
    const uint8_t *scales, *quants;  // of one panel, from the first column used, which begins a super-block; of floats:
                                     // elements [cols][16] in quants
    const uint8_t *activations;      // of one group of tokens; float [cols][T] for float kinds
    uint32_t n_columns;              // a multiple of 32 for quantized kinds
    float *out;                      // [T][16]
};
using TileFunction = void (*)(const TileCall &);

// ---- attention: some consecutive tokens of one sequence and the query heads that share a kv head

enum class CacheType : uint8_t { kF32, kF16, kQ8_0, kQ4_0 };

struct AttentionCall {
    const float *q;   // of the first token and head
    size_t q_stride;  // floats from token to token
    uint32_t n_tokens, n_heads;
    uint32_t dim_k, dim_v;
    float scale;
    float soft_cap;                               // of scores; 0: none
    void (*rotate)(float *q, size_t n) noexcept;  // what was done to the keys; NULL: nothing
    const float *sinks;                           // [n_heads], each one more score, whose value is zero; NULL: none
    const int32_t *pages;
    const uint8_t *k, *v;  // page 0 of the layer and kv head
    size_t k_page_bytes, v_page_bytes, k_row_bytes, v_row_bytes;
    CacheType k_type, v_type;
    const int32_t *visible_begin, *visible_end;  // [n_tokens]
    const uint64_t *ancestors;                   // [n_tokens] as Step says; 0: all that is visible
    int32_t begin, end;                          // logical rows to look at
    float *scratch;                              // attention_scratch_floats()
    float *out;                                  // of the first token and head; out[t * out_stride + h * dim_v + d]
    size_t out_stride;
    float *max_sum;  // not NULL: out is not divided by the sum, and the maximum and sum of each (token, head) go here
};
constexpr uint32_t kAttentionRows = 32;  // n_tokens * n_heads at most, or n_tokens is 1
constexpr uint32_t kMaxGroupRows = 256;  // n_heads at most

struct RopeCall {
    const float *x;
    float *out;
    const float *cos, *sin;  // [dims / 2]
    uint32_t n_heads, head_dim, dims;
    bool interleaved;
};

// The order of ActivationKind.
enum class Activation : uint8_t { kNone, kSilu, kGelu, kReluSquared, kSigmoid, kClampedSwiglu };

// out = activation(a) (* b)
struct GateCall {
    Activation activation;
    const float *a;  // [n]
    const float *b;  // [n]; NULL: none
    size_t n;
    float *out;
};

// out = (x - mean) / deviation (* weight) (+ bias); without a mean where it is not `centred`
struct NormCall {
    const float *x, *weight, *bias;  // [n]; weight, bias: NULL: none
    size_t n;
    float epsilon;
    bool centred;
    float *out;
};

// What becomes of a tile: out[t][row_begin..row_end) = cap(activation(tile + bias) * scale) (+ residual).
struct StoreCall {
    const float *tile;            // [n_tokens][16]
    uint32_t row_begin, row_end;  // within the tile
    uint32_t n_tokens;
    float *out;  // of the first token, at the tile's row 0
    size_t stride;
    const float *bias;      // NULL: none; at the tile's row 0
    const float *residual;  // NULL: none; as `out`
    const float *gate;      // NULL: none; else [n_tokens][16]: activation(gate) * (tile + bias) takes that place
    Activation activation;
    float scale;
    float cap;  // 0: none; else x = cap * tanh(x / cap)
};

// ---- recurrent ops: the tokens t of a sequence, sequence_of[t] being its number, in order

struct SequenceTokens {
    const int32_t *sequence_of;
    int32_t sequence, first, n_tokens;  // first .. n_tokens of the step
};

// State slots: `before` NULL means zeros; `after` is never the same.
struct ShortConvCall {
    SequenceTokens tokens;
    const float *x;       // [n_tokens of the step, stride]
    const float *weight;  // [channels, kernel]
    const float *bias;    // [channels]; NULL: none
    uint32_t begin, end;  // channels to do
    size_t stride;        // channels
    uint32_t kernel;      // kMaxKernel at most
    Activation activation;
    const float *before;  // [kernel - 1, channels]
    float *after;
    float *out;  // [n_tokens of the step, stride]
};
constexpr uint32_t kMaxKernel = 16;

struct DeltaRuleCall {
    SequenceTokens tokens;
    const float *q, *k, *v;         // of the head
    size_t qkv_stride;              // from token to token
    const float *decay, *strength;  // of the head; n_v_heads from token to token
    uint32_t n_v_heads;
    float rate, bias;
    uint32_t dim_k, dim_v;
    uint32_t begin, end;  // of dim_v: each column of the state has a life of its own
    float epsilon;
    const float *before;  // [dim_k, dim_v]
    float *after;
    float *out;      // of the head; n_v_heads * dim_v from token to token
    float *scratch;  // delta_rule_scratch_floats()
};

constexpr uint32_t kDeltaColumns = 64;  // that are done together
[[maybe_unused]] static constexpr size_t delta_rule_scratch_floats(uint32_t dim_k) {
    return size_t(dim_k) * kDeltaColumns;
}

struct SelectiveScanCall {
    SequenceTokens tokens;
    const float *x, *b, *c;  // of the head and its group
    size_t xbc_stride;       // from token to token
    const float *dt;         // of the head; n_heads from token to token
    uint32_t n_heads;
    float rate, skip, bias;
    uint32_t head_dim, state_dim;
    const float *before;  // [head_dim, state_dim]
    float *after;
    float *out;  // of the head; n_heads * head_dim from token to token
};

struct Kernels {
    const char *name;
    int group_tokens;                  // the largest T
    TileFunction tile[kTileKinds][4];  // T is 1, 2, 4, 8
    void (*store_tile)(const StoreCall &);

    // Row of n floats to token t of a group of T; n is a multiple of 32.
    void (*quantize)(const float *x, size_t n, int t, int T, uint8_t *out);
    void (*norm)(const NormCall &);
    void (*gate)(const GateCall &);
    void (*add)(const float *a, const float *b, size_t n, float *out);
    void (*scale)(const float *x, float factor, size_t n, float *out);
    void (*add_scaled)(const float *x, float factor, size_t n, float *out);  // out += factor * x
    void (*soft_cap)(const float *x, float cap, size_t n, float *out);
    void (*rope)(const RopeCall &);
    void (*to_f16)(const float *x, size_t n, uint16_t *out);
    // n values, and zeros that fill up a block of the two quantized types, to a row of the cache.
    void (*to_cache)(CacheType type, const float *x, size_t n, uint8_t *row);
    void (*attention)(const AttentionCall &);
    void (*short_conv)(const ShortConvCall &);
    void (*delta_rule)(const DeltaRuleCall &);
    void (*selective_scan)(const SelectiveScanCall &);
};

static constexpr uint32_t round_up(uint32_t n, uint32_t to) { return (n + to - 1) / to * to; }

// Floats of AttentionCall::scratch for so many (token, head) rows.
[[maybe_unused]] static constexpr size_t attention_scratch_floats(uint32_t rows, uint32_t dim_k, uint32_t dim_v) {
    return size_t(rows) * (round_up(dim_k, 32) + round_up(dim_v, 32) + 32 + 4) +  // Q, O, scores, statistics
           32 * (2 * size_t(round_up(dim_k, 32)) + round_up(dim_v, 32)) + 64;     // K, its transpose, V
}

const Kernels *kernels_scalar();
const Kernels *kernels_avx2();  // NULL where not compiled in
const Kernels *kernels_avx512();
const Kernels *kernels_neon();

}  // namespace el::cpu
